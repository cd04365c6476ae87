/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_SOCKETS_H
#define __REUSEPORTCTL_SOCKETS_H

#include "sock_diag.h"
#include "proc.h"

/* A socket at an endpoint, and the first process found that has it. */
struct held_socket {
	struct endpoint_socket info;
	pid_t pid;		/* 0: none in the tree */
	int fd;			/* its number there */
	char comm[16];
	int rank;		/* by the age of the process, then by fd */
};

/* The sockets at @endpoint that @root and its children have, in order; @root 0: all
 * sockets there, those that no process was found for (or may be seen) last.
 */
int find_sockets(const struct endpoint *endpoint, pid_t root, struct held_socket **list);

/* Make a socket of another process ours as well. -1: says what is wrong. */
int take_socket(const struct held_socket *socket);
/* The same for those who have others to try: silent, -1 and errno. */
int try_socket(const struct held_socket *socket);

#endif
