/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_SERVER_H
#define __REUSEPORTCTL_SERVER_H

#include "generation.h"

/* Find the process, which has to be in the network namespace @netns (0: in ours). */
int server_read(pid_t pid, __u64 netns, struct process *process);
/* Those of its sockets that no generation has; *@other_gen: the generation of the others. */
int server_sockets(const struct service *service, pid_t pid, struct held_socket **list,
		   __u32 *other_gen);
int check_reuseport(const struct held_socket *sockets, int count);
const char *protocol_name(__u32 protocol);

/* Wait until @pid, which messages call @who, has as many sockets that are new as the
 * current generation began with (or @wanted). @is_over, if there is one, says why there
 * is no sense in waiting any longer. Return their number.
 */
int server_wait(const struct service *service, pid_t pid, const char *who, __u32 wanted,
		__u64 timeout, struct held_socket **list, __u32 *other_gen, bool (*is_over)(void));
/* Give it @settle ms more, in which it may read its data. */
int server_settle(pid_t pid, const char *who, __u64 settle, bool (*is_over)(void));
/* Make a generation of them, with the lock held; generation_switch() comes next. */
int server_prepare(struct service *service, const struct held_socket *sockets, int count,
		   const struct process *server, bool force, __u32 *number);

/* How long to wait for an old server, unless it is said. */
#define DRAIN_MS	(24 * 3600 * 1000ULL)

/* Wait until generation @number has nothing to do any more, or until @end, as now_ms() has
 * it. @resume_cmd is the command that goes on waiting.
 */
int server_drain(struct service *service, __u32 number, __u64 idle, __u64 end,
		 const char *resume_cmd);
/* The process to be stopped, @known or that of the generation (its pid is 0 if there is no
 * such generation any more). With the lock held, and until it has had its signal: it must
 * not be the current one.
 */
int server_find(struct service *service, __u32 number, const struct process *known,
		struct process *process);
int server_stop(const struct process *process, int signal);
/* Wait until it has ended, and with it all sockets of the generation. */
int server_await_end(struct service *service, __u32 number, const struct process *process,
		     int signal, __u64 end, const char *resume_cmd);
__u64 default_idle(const struct service *service);
/* The command that waits for a generation; @idle: UINT64_MAX for the default. Return its
 * length, as snprintf() does.
 */
int describe_drain(char *text, size_t size, const char *name, __u32 number, __u64 idle);

#endif
