/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 0: the command line, as the table in commands.h describes it.
 *
 * Parsing, the help of each command, the completion and the check of the manual page all
 * come from that table; see print_table() in args.c for the form in which the last two
 * read it.
 */
#ifndef __REUSEPORTCTL_ARGS_H
#define __REUSEPORTCTL_ARGS_H

#include "ui.h"

#define MAX_OPTIONS	20
#define MAX_NUMBERS	16

enum option_kind {
	FLAG,			/* takes no value */
	TEXT,
	NUMBER,			/* from 1 to @max */
	NUMBERS,		/* the same; the option may be given up to MAX_NUMBERS times */
	DURATION,		/* 30s, 500ms, 2m, 24h; without a unit: seconds */
};

struct option {
	const char *name;	/* with its dashes */
	char letter;		/* of the short form, or 0 */
	enum option_kind kind;
	const char *value;	/* what the help calls the value */
	__u32 max;
	const char *complete;	/* words to offer for it; @pid, @service: see the completion */
	const char *help;
};

struct arguments;

struct command {
	const char *name;
	const char *alias;	/* or NULL */
	int (*run)(const struct arguments *args);
	const char *words;	/* its arguments, as the help has them */
	const char *complete;	/* what to offer for each, separated by spaces, as above */
	int max_words;
	bool has_rest;		/* a command line may follow behind -- */
	const char *help;	/* one line */
	struct option options[MAX_OPTIONS];
};

/* A command line that has been parsed: every option is known, every value is valid. */
struct arguments {
	const struct command *command;
	bool dry_run;
	int nr_words;
	const char *words[16];
	char **rest;		/* what follows --, NULL-terminated; NULL: nothing */
	struct {
		bool is_set;
		const char *text;
		__u64 number;	/* of a duration: ms */
		int nr_numbers;
		__u32 numbers[MAX_NUMBERS];
	} values[MAX_OPTIONS];
};

/* Parse the command line of a program that has @commands, which an entry without a name
 * ends. JSON begins here if it is asked for, so that errors are printed in it as well.
 * @args->command is "help" if help on the command is asked for, which is then words[0].
 */
int args_parse(int argc, char **argv, const struct command *commands, struct arguments *args);

/* The option @name, which must be in the command's table. */
bool args_flag(const struct arguments *args, const char *name);
const char *args_text(const struct arguments *args, const char *name);	/* NULL: not given */
__u64 args_number(const struct arguments *args, const char *name, __u64 without);
/* All values of an option that may be given several times. Return how many. */
int args_numbers(const struct arguments *args, const char *name, const __u32 **numbers);

/* Fail without a first word, for commands that take the name of a service. */
int args_require_name(const struct arguments *args);

/* Print the help of one command, or of all if @name is NULL. With JSON it is the table. */
int args_print_help(const struct command *commands, const char *name);
/* Print the table for programs. */
void args_print_table(const struct command *commands);

#endif
