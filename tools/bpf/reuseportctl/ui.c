// SPDX-License-Identifier: GPL-2.0
/* Errors, progress and JSON. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ui.h"

#define MAX_ERRORS	8

json_writer_t *json;

static char errors[MAX_ERRORS][MAX_SENTENCE];
static int nr_errors;
static int status = 1;
static char first_error[MAX_SENTENCE];	/* of those reported; the others are its consequences */
static bool line_open, is_pretty;
static FILE *stream;			/* the document is written to memory */
static char *document;
static size_t document_size;

static void end_line(void)
{
	if (line_open)
		fputc('\n', stderr);
	line_open = false;
}

int fail(const char *format, ...)
{
	va_list args;

	if (nr_errors == MAX_ERRORS)
		return -1;
	va_start(args, format);
	vsnprintf(errors[nr_errors++], MAX_SENTENCE, format, args);
	va_end(args);
	return -1;
}

void report_errors(void)
{
	int i;

	end_line();
	for (i = 0; i < nr_errors; i++)
		fprintf(stderr, "reuseportctl: %s\n", errors[i]);
	if (nr_errors && !*first_error)
		strcpy(first_error, errors[0]);
	drop_errors();
}

void take_error(char *text)
{
	strcpy(text, nr_errors ? errors[0] : "");
	drop_errors();
}

void drop_errors(void)
{
	nr_errors = 0;
}

/* With one write(): the server that restart has started may have the same file. */
static void print_line(const char *format, va_list args)
{
	char text[MAX_SENTENCE];

	vsnprintf(text, sizeof(text), format, args);
	fprintf(stderr, "%s\n", text);
}

void say(const char *format, ...)
{
	va_list args;

	end_line();
	va_start(args, format);
	print_line(format, args);
	va_end(args);
}

void progress(const char *format, ...)
{
	bool is_terminal = isatty(STDERR_FILENO);
	static __u64 last;
	va_list args;

	/* a file gets a line every few seconds */
	if (!is_terminal) {
		if (now_ms() - last < 5000)
			return;
		last = now_ms();
	}
	va_start(args, format);
	if (is_terminal) {
		fputs("\r\033[K", stderr);
		vfprintf(stderr, format, args);
		line_open = true;
	} else {
		print_line(format, args);
	}
	va_end(args);
}

void ui_set_status(int new_status)
{
	status = new_status;
}

int ui_status(void)
{
	return status;
}

int ui_begin_json(bool pretty)
{
	stream = open_memstream(&document, &document_size);
	json = stream ? jsonw_new(stream) : NULL;
	if (!json)
		return fail("out of memory");
	is_pretty = pretty;
	jsonw_pretty(json, pretty);
	return 0;
}

static void print_json_error(void)
{
	json_writer_t *object = jsonw_new(stdout);

	if (!object)
		return;
	jsonw_pretty(object, is_pretty);
	jsonw_start_object(object);
	jsonw_string_field(object, "error", first_error);
	jsonw_end_object(object);
	jsonw_destroy(&object);
}

void ui_end(bool failed)
{
	if (failed)
		report_errors();
	end_line();
	if (!json)
		return;
	if (failed && *first_error) {
		/* the document may be incomplete, which jsonw_destroy() would not forgive */
		free(json);
		print_json_error();
	} else {
		jsonw_destroy(&json);
		fwrite(document, 1, document_size, stdout);
	}
	json = NULL;
	fclose(stream);
	free(document);
}

__u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

void sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}
