// SPDX-License-Identifier: GPL-2.0
/* Write JSON to a stream, see json.h. */
#include <stdlib.h>
#include <string.h>

#include "json.h"

struct json_writer {
	FILE *stream;
	unsigned int depth;
	bool pretty;
	bool first;		/* nothing stands in this object or array yet */
	bool named;		/* a member's name has been written, its value has not */
};

json_writer_t *jsonw_new(FILE *stream)
{
	struct json_writer *writer = calloc(1, sizeof(*writer));

	if (writer) {
		writer->stream = stream;
		writer->first = true;
	}
	return writer;
}

void jsonw_destroy(json_writer_t **writer)
{
	fputc('\n', (*writer)->stream);
	fflush((*writer)->stream);
	free(*writer);
	*writer = NULL;
}

void jsonw_pretty(json_writer_t *writer, bool pretty)
{
	writer->pretty = pretty;
}

static void start_line(struct json_writer *writer)
{
	unsigned int i;

	if (!writer->pretty)
		return;
	fputc('\n', writer->stream);
	for (i = 0; i < writer->depth; i++)
		fputc('\t', writer->stream);
}

/* What stands between this value or name and the one before it. */
static void separate(struct json_writer *writer)
{
	if (writer->named) {
		writer->named = false;
		return;
	}
	if (!writer->first)
		fputc(',', writer->stream);
	writer->first = false;
	if (writer->depth)
		start_line(writer);
}

static void start(struct json_writer *writer, char bracket)
{
	separate(writer);
	fputc(bracket, writer->stream);
	writer->depth++;
	writer->first = true;
}

static void end(struct json_writer *writer, char bracket)
{
	writer->depth--;
	if (!writer->first)
		start_line(writer);
	fputc(bracket, writer->stream);
	writer->first = false;
}

void jsonw_start_object(json_writer_t *writer)
{
	start(writer, '{');
}

void jsonw_end_object(json_writer_t *writer)
{
	end(writer, '}');
}

void jsonw_start_array(json_writer_t *writer)
{
	start(writer, '[');
}

void jsonw_end_array(json_writer_t *writer)
{
	end(writer, ']');
}

/* The length of the UTF-8 character at @text; 0 if there is none. Encodings that are longer
 * than necessary, surrogates and numbers above U+10FFFF are not UTF-8.
 */
static int utf8_len(const unsigned char *text)
{
	static const uint32_t min[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t code;
	int len, i;

	if (text[0] < 0x80)
		return 1;
	len = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	code = text[0] & (0x7f >> len);
	for (i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < min[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return len;
}

static void put_string(struct json_writer *writer, const char *string)
{
	static const char escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	const unsigned char *text = (const unsigned char *)string;
	const char *escape;
	int len;

	fputc('"', writer->stream);
	for (; *text; text += len ? len : 1) {
		len = utf8_len(text);
		for (escape = escapes; *escape && *escape != *text; escape += 2)
			;
		if (*escape)
			fprintf(writer->stream, "\\%c", escape[1]);
		else if (!len)
			fputs("\\ufffd", writer->stream);
		else if (*text < 0x20 || *text == 0x7f)
			fprintf(writer->stream, "\\u%04x", *text);
		else
			fwrite(text, 1, len, writer->stream);
	}
	fputc('"', writer->stream);
}

void jsonw_name(json_writer_t *writer, const char *name)
{
	separate(writer);
	put_string(writer, name);
	fputs(writer->pretty ? ": " : ":", writer->stream);
	writer->named = true;
}

void jsonw_string(json_writer_t *writer, const char *text)
{
	separate(writer);
	put_string(writer, text);
}

void jsonw_uint(json_writer_t *writer, uint64_t number)
{
	separate(writer);
	fprintf(writer->stream, "%llu", (unsigned long long)number);
}

void jsonw_bool(json_writer_t *writer, bool value)
{
	separate(writer);
	fputs(value ? "true" : "false", writer->stream);
}

void jsonw_string_field(json_writer_t *writer, const char *name, const char *text)
{
	jsonw_name(writer, name);
	jsonw_string(writer, text);
}

void jsonw_uint_field(json_writer_t *writer, const char *name, uint64_t number)
{
	jsonw_name(writer, name);
	jsonw_uint(writer, number);
}

void jsonw_bool_field(json_writer_t *writer, const char *name, bool value)
{
	jsonw_name(writer, name);
	jsonw_bool(writer, value);
}
