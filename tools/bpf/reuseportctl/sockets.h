/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 1: which process has which socket, and duplicates of sockets. */
#ifndef __REUSEPORTCTL_SOCKETS_H
#define __REUSEPORTCTL_SOCKETS_H

#include "proc.h"
#include "sock_diag.h"

/* A socket, and the first process found that has it. */
struct held_socket {
	struct socket_info info;
	pid_t pid;		/* 0: none was found */
	int fd;			/* its number there */
	char comm[16];
	int rank;		/* by the age of the process, then by fd */
};

/* The sockets at @endpoint that @root and its descendants have, in order of rank; with a
 * @root of 0, or a @server of NULL, all sockets there, those without a process (that we may see)
 * last. Return how many, or -1. The caller frees *@list.
 */
int sockets_find(const struct endpoint *endpoint, pid_t root, struct held_socket **list);
/* The same for the main processes of @server and their descendants. */
int sockets_find_of(const struct endpoint *endpoint, const struct server *server,
		    struct held_socket **list);
/* The same for all listeners and bound UDP sockets of our network namespace. */
int sockets_find_all(const struct server *server, struct held_socket **list);
/* The same for sockets that have been listed already; takes one walk through /proc. */
int sockets_find_owners(const struct socket_info *sockets, int count,
			const struct server *server, struct held_socket **list);

/* The sockets at @endpoint that any other process has, with the first such process. */
int sockets_find_beside(const struct endpoint *endpoint, const struct server *server,
			struct held_socket **list);

/* Duplicate a socket of another process. Return the file descriptor or -1. */
int socket_dup(const struct held_socket *socket);
/* The same, with an errno in place of a sentence, for callers that have others to try. */
int socket_try_dup(const struct held_socket *socket);
/* Options of a socket that sock_diag does not report. Return -1 if they cannot be read. */
struct socket_options {
	int reuseport;
	int defer_accept;	/* TCP */
};
int socket_read_options(const struct held_socket *held, struct socket_options *options);
/* Fail if the socket, of which @fd is a duplicate, has no SO_REUSEPORT. */
int socket_require_reuseport(const struct held_socket *socket, int fd);

#endif
