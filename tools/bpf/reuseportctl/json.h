/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 0: write JSON to a stream. Names that begin with jsonw_ are those of bpftool's
 * json_writer.h, which only exists in a kernel tree; this program also builds without one.
 */
#ifndef __REUSEPORTCTL_JSON_H
#define __REUSEPORTCTL_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json_writer json_writer_t;

/* NULL: out of memory. The stream stays the caller's. */
json_writer_t *jsonw_new(FILE *stream);
/* End the document with a newline, flush the stream, set *@writer to NULL. */
void jsonw_destroy(json_writer_t **writer);
/* One member or element per line, indented by tabs. */
void jsonw_pretty(json_writer_t *writer, bool pretty);

void jsonw_start_object(json_writer_t *writer);
void jsonw_end_object(json_writer_t *writer);
void jsonw_start_array(json_writer_t *writer);
void jsonw_end_array(json_writer_t *writer);

/* The name of a member; its value comes next. */
void jsonw_name(json_writer_t *writer, const char *name);
/* @text may be any bytes, such as the name of a process: those that are not UTF-8 become
 * U+FFFD, because JSON has no other encoding.
 */
void jsonw_string(json_writer_t *writer, const char *text);
void jsonw_uint(json_writer_t *writer, uint64_t number);
void jsonw_bool(json_writer_t *writer, bool value);

void jsonw_string_field(json_writer_t *writer, const char *name, const char *text);
void jsonw_uint_field(json_writer_t *writer, const char *name, uint64_t number);
void jsonw_bool_field(json_writer_t *writer, const char *name, bool value);

#endif
