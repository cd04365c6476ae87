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

/* The sockets of the group that are in no generation. Return how many, or -1. */
static int find_outside(const struct service *service, struct socket_info **list)
{
	int count, nr_members, outside = 0, i;
	struct member *members;

	count = sock_diag_list(&service->endpoint, list);
	if (count < 0)
		return -1;
	nr_members = generation_members(service, &members);
	for (i = 0; i < count && nr_members >= 0; i++)
		if (group_has_socket(&service->config, &(*list)[i]) &&
		    !member_find(members, nr_members, (*list)[i].cookie))
			(*list)[outside++] = (*list)[i];
	free(members);
	return nr_members < 0 ? -1 : outside;
}

/* Add to @list, which has @found sockets, those that orphans of the server have. */
static int add_orphans(const struct server *server, const struct socket_info *sockets, int count,
		       struct held_socket *list, int found)
{
	struct held_socket *all;
	int nr, i, j;

	nr = sockets_find_owners(sockets, count, NULL, &all);
	for (i = 0; i < nr; i++) {
		for (j = 0; j < found && list[j].info.cookie != all[i].info.cookie; j++)
			;
		if (j == found && all[i].pid && proc_is_orphan_of_any(all[i].pid, server))
			list[found++] = all[i];
	}
	free(all);
	return nr < 0 ? -1 : found;
}

/* Those of the server of the current generation: of its main processes, their descendants, and if
 * there are others, of descendants that they have lost. Return how many, or -1.
 */
static int find_joined(const struct service *service, struct held_socket **list)
{
	struct socket_info *sockets;
	struct generation info;
	struct server server;
	int count, found = 0;

	*list = NULL;
	if (generation_read(service, service->now.current, &info))
		return 0;
	generation_get_server(&info, &server);
	if (!proc_keep_alive(&server))
		return 0;
	count = find_outside(service, &sockets);
	if (count > 0)
		found = sockets_find_owners(sockets, count, &server, list);
	if (found >= 0 && found < count)
		found = add_orphans(&server, sockets, count, *list, found);
	free(sockets);
	return count < 0 ? -1 : found;
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
