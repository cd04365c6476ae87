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

/* Wait until @pid, which messages call @who, has as many sockets that are new as the current generation (or @wanted).
 * @is_over, if there is one, says why there is no sense in waiting any longer.
 * Return their number.
 */
int server_wait(const struct service *service, pid_t pid, const char *who, __u32 wanted,
		__u64 timeout, struct held_socket **list, __u32 *elsewhere, bool (*is_over)(void));
/* With the lock held. */
int server_switch(struct service *service, const struct held_socket *sockets, int count,
		  const struct process *server, bool force, __u32 *number);

/* Wait until generation @number has nothing to do any more. */
int server_drain(struct service *service, __u32 number, __u64 idle, __u64 timeout);
/* Stop it, or @pid if that is not 0, under the lock and only if it is not the current one,
 * and wait for its end.
 */
int server_stop(struct service *service, __u32 number, pid_t pid, int signal, __u64 timeout);
__u64 default_idle(const struct service *service);

#endif
