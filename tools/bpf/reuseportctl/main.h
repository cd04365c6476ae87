/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_MAIN_H
#define __REUSEPORTCTL_MAIN_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <linux/compiler.h>
#include <linux/types.h>

#include "json_writer.h"

#ifndef ENOTSUPP
#define ENOTSUPP	524
#endif
#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#endif

extern json_writer_t *json;	/* NULL unless -j or -p */
extern bool dry_run;

/* A sentence that names the thing and the remedy. Returns -1. */
int fail(const char *format, ...) __printf(1, 2);
/* Where fail() leaves it instead, for who has to look first whether it is one to be said. */
#define MAX_SENTENCE	2048
extern char *unsaid;
/* What is going on, for people: to stderr, so that stdout is what was asked for. */
void say(const char *format, ...) __printf(1, 2);
/* A line that the next one replaces, where stderr is a terminal. */
void progress(const char *format, ...) __printf(1, 2);

/* Options that commands have. Each takes those it knows off the list. */
struct arguments {
	int argc;
	char **argv;
};

bool take_flag(struct arguments *args, const char *name);
/* @value stays as it is if there is no such option. -1: it has no value. */
int take_option(struct arguments *args, const char *name, const char **value);
int take_number(struct arguments *args, const char *name, __u32 *value, __u32 max);
/* "30s", "500ms", "2m"; a bare number is seconds */
int take_duration(struct arguments *args, const char *name, __u64 *ms);
/* The name of a service, and then nothing more. */
int take_name(struct arguments *args, const char **name);
int args_end(const struct arguments *args);

__u64 now_ms(void);
void sleep_ms(unsigned int ms);

int do_attach(struct arguments *args);
int do_detach(struct arguments *args);
int do_drain(struct arguments *args);
int do_flows(struct arguments *args);
int do_metrics(struct arguments *args);
int do_probe(struct arguments *args);
int do_restart(struct arguments *args);
int do_rollback(struct arguments *args);
int do_show(struct arguments *args);
int do_switch(struct arguments *args);

#endif
