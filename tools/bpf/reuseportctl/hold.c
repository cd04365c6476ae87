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
#include <string.h>

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

/* Add to *@joined how many have joined. Return whether there were any to join, or -1. */
static int join(struct service *service, int *joined)
{
	struct held_socket *list;
	int count, err = 0, added;

	count = find_joined(service, &list);
	if (count > 0) {
		err = generation_refresh(service, service->now.current, list, count, &added);
		*joined += added;
	}
	free(list);
	return err ? -1 : count;
}

/* A socket that is connected gets its peer's datagrams whatever the program selects. Newer
 * kernels take it out of the group, and so out of its slot, when it connects; others do so if it
 * was bound to the wildcard, and otherwise the program would go on selecting it for strangers.
 */
static int leave(struct service *service, int *left)
{
	struct socket_info *list;
	int count;

	if (service->config.protocol != IPPROTO_UDP)
		return 0;
	count = sock_diag_list_connected(&service->endpoint, &list);
	if (count > 0)
		count = generation_leave(service, list, count);
	free(list);
	if (count < 0)
		return -1;
	*left += count;
	return 0;
}

/* The group has lost the program: it was detached, or all sockets have left the group, and those
 * that were bound since are in another one. A kernel that cannot tell may have lost it if sockets
 * have come.
 */
static int attach_lost(struct service *service, const struct group_prog *prog,
		       struct refresh *done)
{
	done->has_attached = prog->state == GROUP_WITHOUT_PROG;
	if (!done->has_attached && !(prog->state == GROUP_UNKNOWN && done->nr_joined))
		return 0;
	return server_replace_prog(service);
}

int hold_refresh(struct service *service, struct refresh *done)
{
	struct group_prog prog;

	*done = (struct refresh){};
	if (leave(service, &done->nr_left) || join(service, &done->nr_joined) < 0 ||
	    group_find_prog(service, &prog))
		return -1;
	return attach_lost(service, &prog, done);
}

void hold_report(const struct service *service, const struct refresh *done)
{
	if (done->nr_left)
		say("service %s: %d socket%s, connected to a peer, %s left %s", service->name,
		    done->nr_left, done->nr_left == 1 ? "" : "s",
		    done->nr_left == 1 ? "has" : "have",
		    done->nr_left == 1 ? "its slot" : "their slots");
	if (done->has_attached)
		say("service %s: the group had lost the program, which is attached again",
		    service->name);
}

/* Put the server's sockets into the generation until there are no more: a worker may have bound
 * its socket in between.
 */
static int join_all(struct service *service, struct hold *hold)
{
	int more;

	do {
		more = join(service, &hold->done.nr_joined);
	} while (more > 0);
	return more;
}

int hold_begin(struct service *service, struct hold *hold)
{
	*hold = (struct hold){ .state = service->now, .has_begun = true };
	if (group_find_prog(service, &hold->prog) || leave(service, &hold->done.nr_left) ||
	    join_all(service, hold) || attach_lost(service, &hold->prog, &hold->done))
		return -1;
	if (!service->now.open)
		return 0;
	if (generation_set_open(service, false))
		return -1;
	return join_all(service, hold);
}

static bool is_undone(struct service *service, const struct hold *hold)
{
	bool is_undone = true;

	if (group_put_prog(service, &hold->prog)) {
		is_undone = false;
		report_errors();
		say("service %s: the program of its group is another one than before: reuseportctl "
		    "switch attaches that of the service",
		    service->name);
	}
	if (memcmp(&service->now, &hold->state, sizeof(hold->state)) &&
	    generation_restore(service, &hold->state)) {
		is_undone = false;
		report_errors();
		say("service %s is still held by generation %u: reuseportctl release %s opens it",
		    service->name, service->now.current, service->name);
	}
	return is_undone;
}

void hold_undo(struct service *service, const struct hold *hold)
{
	const int joined = hold->done.nr_joined, left = hold->done.nr_left;
	const struct refresh slots = { .nr_left = left };
	const __u32 current = hold->state.current;

	if (!hold->has_begun)
		return;
	report_errors();
	if (!is_undone(service, hold))
		return;
	hold_report(service, &slots);
	if (joined)
		say("service %s stays with generation %u, which %d more socket%s of its server %s "
		    "joined: nothing else has changed",
		    service->name, current, joined, joined == 1 ? "" : "s",
		    joined == 1 ? "has" : "have");
	else if (left)
		say("service %s stays with generation %u: nothing else has changed", service->name,
		    current);
	else
		say("nothing has changed: service %s stays with generation %u", service->name,
		    current);
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
