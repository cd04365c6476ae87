/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 1: where the output of a new server goes. */
#ifndef __REUSEPORTCTL_OUTPUT_H
#define __REUSEPORTCTL_OUTPUT_H

#include "proc.h"

struct output {
	int fds[2];		/* for its stdout and stderr; -1: it gets ours */
	/* what becomes of them, for messages, if that was chosen because ours is a pipe */
	char chosen[2][64];
	bool is_discarded;	/* one of them: no better destination was found */
};

/* Fail unless @where is a value of --output; NULL: there is none. */
int output_check(const char *where);
/* Open it. @old is the server to be replaced, @name that of the new one in the journal. */
int output_open(const char *where, pid_t old, const char *name, struct output *output);
/* In the new server's process, before exec: make it stdout and stderr. */
void output_use(const struct output *output);
void output_close(const struct output *output);

#endif
