/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_SERVER_H
#define __REUSEPORTCTL_SERVER_H

#include "generation.h"

/* Find the process, which has to be in the network namespace @netns (0: in ours). */
int server_read(pid_t pid, __u64 netns, struct process *process);
/* Those of its sockets that no generation has; *@elsewhere: the generation of the others. */
int server_sockets(const struct service *service, pid_t pid, struct held_socket **list,
		   __u32 *elsewhere);
int check_reuseport(const struct held_socket *sockets, int count);
const char *protocol_name(__u32 protocol);

/* Wait until @pid, which messages call @who, has as many sockets that are new as the
 * current generation began with (or @wanted). @is_over, if there is one, says why there
 * is no sense in waiting any longer. Return their number.
 */
int server_wait(const struct service *service, pid_t pid, const char *who, __u32 wanted,
		__u64 timeout, struct held_socket **list, __u32 *elsewhere, bool (*is_over)(void));
/* Give it @settle ms more, in which it may read its data. */
int server_settle(pid_t pid, const char *who, __u64 settle, bool (*is_over)(void));
/* Make a generation of them, with the lock held; generation_switch() comes next. */
int server_prepare(struct service *service, const struct held_socket *sockets, int count,
		   const struct process *server, bool force, __u32 *number);

/* Wait until generation @number has nothing to do any more. */
int server_drain(struct service *service, __u32 number, __u64 idle, __u64 timeout);
/* The process to be stopped, @pid or that of the generation (its pid is 0 if there is no
 * such generation any more). With the lock held, and until it has had its signal: it must
 * not be the current one.
 */
int server_find(struct service *service, __u32 number, pid_t pid, struct process *process);
int server_stop(const struct process *process, int signal);
int server_await_end(const struct process *process, int signal, __u64 timeout);
__u64 default_idle(const struct service *service);

#endif
