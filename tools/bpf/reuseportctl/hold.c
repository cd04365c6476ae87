// SPDX-License-Identifier: GPL-2.0
/* Holding a service for a change, and opening it again.
 *
 * Between changes a service of TCP, or of UDP whose datagrams are independent, is open: the
 * program selects nothing, and the kernel distributes over all sockets of the group, those
 * of workers that were started since included. For a change it is held: all sockets of the
 * running server are put into the current generation, which is selected from then on, and the
 * new server gets nothing before the switch. When the old generation has ended it is open
 * again. A command that is killed in between leaves it held.
 *
 * Where flows or ids decide, the program always selects, and a server's new sockets get their
 * share when they are put into its generation.
 */
#include <stdlib.h>

#include "hold.h"

bool hold_can_open(const struct service *service)
{
	return service->config.steering.mode == UDP_NONE && !(service->config.flags & SERVICE_HOLD);
}

/* The sockets of the server that are in no generation. Return how many, or -1. */
static int find_joined(const struct service *service, struct held_socket **list)
{
	int count, nr_members, joined = 0, i;
	struct generation info;
	struct member *members;

	*list = NULL;
	if (generation_read(service, service->now.current, &info) ||
	    !proc_is_alive(info.pid, info.started))
		return 0;
	count = sockets_find(&service->endpoint, info.pid, list);
	if (count < 0)
		return -1;
	nr_members = generation_members(service, &members);
	for (i = 0; i < count && nr_members >= 0; i++)
		if (group_has_socket(&service->config, &(*list)[i].info) &&
		    !member_find(members, nr_members, (*list)[i].info.cookie))
			(*list)[joined++] = (*list)[i];
	free(members);
	return nr_members < 0 ? -1 : joined;
}

int hold_nr_joined(const struct service *service)
{
	struct held_socket *list;
	int count = find_joined(service, &list);

	free(list);
	return count;
}

int hold_refresh(struct service *service)
{
	struct held_socket *list;
	int count, err = 0;

	count = find_joined(service, &list);
	if (count > 0)
		err = generation_refresh(service, service->now.current, list, count);
	free(list);
	return err ? -1 : count;
}

int hold_begin(struct service *service, bool *was_open)
{
	int count;

	*was_open = service->now.open;
	count = hold_refresh(service);
	if (count < 0)
		return -1;
	if (!*was_open)
		return 0;
	if (generation_set_open(service, false))
		return -1;
	/* a worker may have bound its socket in between */
	do {
		count = hold_refresh(service);
	} while (count > 0);
	if (!count)
		return 0;
	hold_undo(service, true);
	return -1;
}

int hold_undo(struct service *service, bool was_open)
{
	return was_open ? generation_set_open(service, true) : 0;
}

int hold_end(struct service *service)
{
	__u32 number;

	if (!hold_can_open(service) || service->now.open)
		return 0;
	for_each_generation(service, number)
		if (number != service->now.current && generation_has_sockets(service, number))
			return 0;
	return generation_set_open(service, true);
}
