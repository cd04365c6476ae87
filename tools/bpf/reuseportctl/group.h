/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_GROUP_H
#define __REUSEPORTCTL_GROUP_H

#include "service.h"

/* Which program is on the group of a socket? 1: *@id (0: a classic one), 0: none,
 * -1: this kernel does not tell.
 */
int group_read_prog(const struct endpoint *endpoint, __u64 cookie, __u32 *id);
/* Does this kernel tell? */
bool group_probe(void);
/* Is it known to be somebody else's? */
bool group_is_foreign(const struct service *service, const struct endpoint_socket *socket);
/* Refuse a group that has, or might have, a program that is not of @service. If that is
 * NULL no program is welcome, but where the kernel does not tell, those of services are
 * taken to be on their own groups.
 */
int group_check_prog(const struct service *service, const struct endpoint *endpoint,
		   const struct endpoint_socket *socket);
__u32 prog_id(int fd);

#endif
