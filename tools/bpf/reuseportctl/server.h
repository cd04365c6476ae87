/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: the processes of a generation, before it is one and when it ends. */
#ifndef __REUSEPORTCTL_SERVER_H
#define __REUSEPORTCTL_SERVER_H

#include "generation.h"

/* Read a process, which must be in the network namespace @netns (0: in ours). */
int server_read(pid_t pid, __u64 netns, struct process *process);
/* The same for each of several. */
int server_read_all(const __u32 *pids, int count, __u64 netns, struct server *server);
/* Fail unless all these sockets have SO_REUSEPORT. */
int server_require_reuseport(const struct held_socket *sockets, int count);

/* Fail if a process that is not of the generation's server has sockets of it: they would not be
 * closed when the server is stopped. @ended: also if the server has ended.
 */
int server_check_holders(const struct service *service, __u32 number, bool ended);
/* The same before there is a generation, for a message. Return whether it is so. */
bool server_is_shared(const struct endpoint *endpoint, const struct server *server,
		      const struct held_socket *sockets, int count, struct held_socket *holder);

/* What a command waits for. */
struct server_wait {
	const struct server *server;
	const char *who;	/* in messages */
	__u32 wanted;		/* sockets; 0: as many as usual */
	__u64 timeout;
	__u64 settle;		/* ms that the server gets after its last socket */
	bool (*is_over)(void);	/* records why there is no sense in waiting; or NULL */
};

/* Wait until the server has its sockets. Return how many there are in *@list that are in no
 * generation; 0, and the generation in *@other_gen, if all are in that one; or -1.
 */
int server_wait(const struct service *service, const struct server_wait *wait,
		struct held_socket **list, __u32 *other_gen);
/* Let it settle. */
int server_settle(const struct server_wait *wait);
/* Make a generation of these sockets, with the lock held. generation_switch() comes next. */
int server_prepare(struct service *service, const struct held_socket *sockets, int count,
		   const struct server *server, bool force, __u32 *number);

/* Fail if another program is attached to the group of a generation. Otherwise return what
 * group_check_prog() does.
 */
int server_check_prog(const struct service *service, __u32 number);
/* Attach the service's program, whatever program the group has, by any socket of it. */
int server_replace_prog(struct service *service);

/* The process to be stopped: @known, or the main process @index of the generation; its pid is 0
 * if there is no such process any more. Fail if it also serves the current generation. The lock
 * is held, and must be until the process has had its signal: the generation must not become
 * the current one in between.
 */
int server_find(struct service *service, __u32 number, int index, const struct process *known,
		struct process *process);
int server_stop(const struct process *process, int signal);

#endif
