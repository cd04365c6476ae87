/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_GENERATION_H
#define __REUSEPORTCTL_GENERATION_H

#include "service.h"

/* The number that the next generation gets. 0: there is no place for it; says so. */
__u32 generation_next(const struct service *service);
/* Prepare the next generation from these sockets of @server. No packet goes there. */
int generation_fill(struct service *service, const struct held_socket *sockets, int count,
		    const struct process *server, __u32 *number);
/* Undo that. */
void generation_drop(struct service *service, __u32 number);
/* From here on what is new goes to @number. */
int generation_switch(struct service *service, __u32 number);
/* Are these sockets of the group of the service? */
int generation_check(const struct service *service, const struct held_socket *sockets, int count);
/* Put the program on the group of these sockets, which is new if the last one died. */
int generation_attach_prog(struct service *service, const struct held_socket *sockets, int count);
/* Do away with what a command that was killed has left, and generations without sockets. */
void generation_recover(struct service *service);

/* What is known of it. -1: there is no such generation. */
int generation_read(const struct service *service, __u32 number, struct generation *about);
/* Its map, or -1 */
int generation_sockets(const struct service *service, __u32 number);
/* The cookies by slot, 0 for an empty one. Return how many are filled, or -1. */
int generation_cookies(const struct service *service, const struct generation *about,
		       __u64 *cookies);
/* How many sockets it has. */
int generation_nr_sockets(const struct service *service, __u32 number);
/* All sockets that are in a generation. Return how many, or -1. */
struct member {
	__u64 cookie;
	__u32 number;
};

int generation_members(const struct service *service, struct member **list);
/* 0: it is in none */
__u32 member_find(const struct member *list, int count, __u64 cookie);
/* What was counted for a slot. */
int generation_read_counter(const struct service *service, __u32 number, __u32 slot,
		     struct counter *sum);
/* Empty all slots of all generations, so that the sockets can go other_gen at once. */
void generations_release(const struct service *service);

#endif
