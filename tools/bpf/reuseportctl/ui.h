/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 0: errors, progress and JSON. */
#ifndef __REUSEPORTCTL_UI_H
#define __REUSEPORTCTL_UI_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <linux/types.h>

#include "json.h"

#ifndef __printf
#define __printf(a, b)	__attribute__((format(printf, a, b)))
#endif
#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#endif

#define MAX_SENTENCE	2048

/* Record an error: one sentence that names the cause and the remedy. Nothing is printed
 * here; the command decides what becomes of it. Return -1.
 */
int fail(const char *format, ...) __printf(1, 2);
/* Print what has been recorded. main() does so for a command that fails; a command does so
 * itself if it has more to say after it.
 */
void report_errors(void);
/* Copy the first recorded error to @text, of MAX_SENTENCE bytes, and drop them all. */
void take_error(char *text);
/* Drop them: the caller has another way to go on. */
void drop_errors(void);

/* A line for people, to stderr: stdout has what the command was asked for. */
void say(const char *format, ...) __printf(1, 2);
/* A line that the next one replaces, if stderr is a terminal. */
void progress(const char *format, ...) __printf(1, 2);

/* The document that a command writes; NULL unless JSON was asked for. */
extern json_writer_t *json;

/* The exit status of commands that fail: 1, unless it is another one of these. */
#define STATUS_CANARY	3	/* a canary has failed */
void ui_set_status(int status);
int ui_status(void);

/* Begin one. It is kept until ui_end(): a command may fail with a list half written, and
 * what is printed has to be one document.
 */
int ui_begin_json(bool pretty);
/* Print the document, or, if @failed, the first error that was reported in its place. */
void ui_end(bool failed);

__u64 now_ms(void);
void sleep_ms(unsigned int ms);

#endif
