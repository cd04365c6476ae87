/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: the SO_REUSEPORT group of a service, and the program that is attached to it. */
#ifndef __REUSEPORTCTL_GROUP_H
#define __REUSEPORTCTL_GROUP_H

#include "group_record.h"
#include "store.h"

/* Is this socket, at the address of the service, in its group? */
bool group_has_socket(const struct service_config *config, const struct socket_info *socket);

/* Load the iterator that lists groups. Return a file descriptor; -1, and record nothing, if
 * this kernel has no iterators or no BTF.
 */
int group_load_iterator(__u32 protocol);
/* All sockets that are in a group, by cookie, with the program of the group. Return how
 * many; -1, and record nothing, if this kernel cannot list them. @iterator: one that is
 * loaded already, or -1. The caller frees *@list.
 */
int group_list(__u32 protocol, int iterator, struct group_record **list);
const struct group_record *group_find(const struct group_record *list, int count, __u64 cookie);
/* Can this kernel list them? */
bool group_probe(void);
/* Is this the id of a program of the service? */
bool group_is_own_prog(const struct service *service, __u32 id);

/* Which program a group has. */
struct group_prog {
	enum {
		GROUP_NONE,		/* there is no group: all sockets are closed */
		GROUP_UNKNOWN,		/* this kernel cannot tell */
		GROUP_WITHOUT_PROG,
		GROUP_WITH_PROG,
	} state;
	__u32 id;			/* 0: a classic BPF program */
};

/* That of the service's group. */
int group_find_prog(const struct service *service, struct group_prog *prog);
/* Give the group this program again, or none, unless it has it still. Where the kernel cannot
 * tell, it gets that of the service.
 */
int group_put_prog(struct service *service, const struct group_prog *prog);
/* Has any service this program? */
bool group_is_service_prog(__u32 id);
/* The map of generations of the program @id, and when it was loaded, if it is one of ours that no
 * service here has; otherwise -1.
 */
int group_open_orphan(__u32 id, __u64 *loaded);
/* Detach the program @id from the group of @socket, if it is attached there. */
int group_detach_prog_id(const struct held_socket *socket, __u32 id);

/* Fail if a program that is not of @service is attached to the group of the socket with this
 * cookie. Return 1 if the service's program is, 0 if none is, or if this kernel cannot tell:
 * a service had the group to itself when it was made.
 */
int group_check_prog(const struct service *service, __u64 cookie);
/* For a service that is to be made: fail if any program is attached, but one of a service
 * @name that was left over. Where the kernel cannot tell, fail if there is any program that
 * might be, which those of services are not: they are attached to their own groups.
 */
int group_check_free(const char *name, const struct endpoint *endpoint, __u64 cookie);

/* Attach the program to the group of this socket, in place of the one that is attached. */
int group_attach_prog(struct service *service, int fd);
/* The same for any of these sockets. */
int group_attach_to_any(struct service *service, const struct held_socket *sockets, int count);
/* Duplicate a socket of the group that has our program or none. If the group is gone, or has
 * another program, return 0 and set *@fd to -1.
 */
int group_get_fd(const struct service *service, int *fd);
/* Detach the program, if it is attached. */
int group_detach_prog(const struct service *service);

#endif
