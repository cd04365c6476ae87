/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: the generations of a service. */
#ifndef __REUSEPORTCTL_GENERATION_H
#define __REUSEPORTCTL_GENERATION_H

#include "group.h"

/* The number of the next generation; 0, and an error, if the oldest still has sockets. */
__u32 generation_next(const struct service *service);
/* Fail unless all these sockets are in the group that @config describes. */
int generation_check(const struct service_config *config, const struct held_socket *sockets,
		     int count);
/* Make the next generation of sockets of @server that generation_check() has passed, and
 * attach the program to their group, which is new if all former sockets are closed. No packet
 * goes to the generation yet.
 */
int generation_fill(struct service *service, const struct held_socket *sockets, int count,
		    const struct server *server, __u32 *number);
/* The opposite of generation_fill(). */
void generation_drop(struct service *service, __u32 number);
/* Make @number the current generation, and end a canary: one write. */
int generation_switch(struct service *service, __u32 number);
/* Make @number the canary, with a share of new traffic (of 2^32, less 1); 0: end it. One write. */
int generation_set_canary(struct service *service, __u32 number, __u32 share);
/* Select as before, when the service has been opened, held or switched since. */
int generation_restore(struct service *service, const struct state *before);
/* Put more sockets into a generation, in slots that are empty or were never used. *@added is how
 * many are in it, also if one of them fails.
 */
int generation_refresh(struct service *service, __u32 number, const struct held_socket *sockets,
		       int count, int *added);
/* Take those of these sockets that are in a slot of any generation out of it. Return how many. */
int generation_leave(struct service *service, const struct socket_info *list, int count);
/* Another server has taken over the sockets of a generation: it is the one to stop. */
int generation_set_server(struct service *service, __u32 number, const struct server *server);
/* Open the service: the program selects nothing any more. Or hold it: it selects sockets of the
 * current generation again.
 */
int generation_set_open(struct service *service, bool open);
/* Clean up what an interrupted command left, and generations without sockets. */
void generation_recover(struct service *service);
/* Copy all generations of @from to @to, which has none and is not attached yet. The maps of
 * sockets are shared.
 */
int generation_copy_all(struct service *to, struct service *from);
/* Empty all slots of all generations, so that the sockets can go into other maps at once. */
void generation_release_all(const struct service *service);

/* What is known of a generation. Return -1, and record nothing, if it does not exist. */
int generation_read(const struct service *service, __u32 number, struct generation *info);
/* The main processes of its server. */
void generation_get_server(const struct generation *info, struct server *server);
/* The cookies by slot, 0 for an empty one. Return how many slots have a socket. */
int generation_read_cookies(const struct service *service, const struct generation *info,
			    __u64 *cookies);
/* How many sockets it has; 0 if it does not exist. */
int generation_nr_sockets(const struct service *service, __u32 number);
/* Has it any? */
bool generation_has_sockets(const struct service *service, __u32 number);
/* The last generation before the current one that has sockets, or 0. */
__u32 generation_previous(const struct service *service);
bool generation_have_sockets(const struct service *service);

struct member {
	__u64 cookie;
	__u32 number;
};

/* All sockets of all generations, by cookie. Return how many, or -1; the caller frees. */
int generation_members(const struct service *service, struct member **list);
/* The generation of a socket, or 0. */
__u32 member_find(const struct member *list, int count, __u64 cookie);

/* Read what was counted for each slot, summed over all CPUs. */
int generation_read_counters(const struct service *service, const struct generation *info,
			     struct counter *sums);

#endif
