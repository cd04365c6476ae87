// SPDX-License-Identifier: GPL-2.0
/* The connections that the server of a generation has open.
 *
 * The kernel does not report which listener a connection was accepted from. It was accepted by a
 * process of the server, though: a connection counts for the generation whose main process is
 * the nearest one among the ancestors of a process that has it open. The nearest one, because
 * some servers start their successor, which is a generation of its own, as a child.
 *
 * A worker whose parent has exited has no such ancestor. If the main process is running, proc.c
 * tells whether it is the server's. If that has ended too, the worker belongs to the generation
 * of which it has a socket.
 *
 * A connection that waits to be accepted belongs to no process, and does not count.
 */
#include <stdlib.h>

#include "connections.h"

struct mains {
	struct {
		__u32 number;
		struct server server;
	} list[MAX_GENERATIONS];
	int nr;
};

static void read_mains(const struct service *service, struct mains *mains)
{
	struct generation info;
	__u32 number;

	mains->nr = 0;
	for_each_generation(service, number) {
		if (generation_read(service, number, &info))
			continue;
		mains->list[mains->nr].number = number;
		generation_get_server(&info, &mains->list[mains->nr].server);
		mains->nr++;
	}
}

/* The generation, the newest one if one process is the main process of several, that a process
 * descends from.
 */
static __u32 find_by_ancestor(const struct mains *mains, pid_t pid)
{
	const struct server *server;
	struct process process;
	int i, j;

	while (!proc_read(pid, &process)) {
		for (i = 0; i < mains->nr; i++) {
			server = &mains->list[i].server;
			for (j = 0; j < server->nr; j++)
				if (server->list[j].pid == pid &&
				    server->list[j].started == process.started)
					return mains->list[i].number;
		}
		pid = process.parent;
	}
	return 0;
}

/* The generation whose running server has lost this process. */
static __u32 find_orphaned(const struct mains *mains, pid_t pid)
{
	struct server server;
	int i;

	for (i = 0; i < mains->nr; i++) {
		server = mains->list[i].server;
		if (proc_keep_alive(&server) && proc_is_orphan_of_any(pid, &server))
			return mains->list[i].number;
	}
	return 0;
}

/* The generation of which a process has a socket. */
static __u32 find_by_socket(const struct service *service, pid_t pid)
{
	struct held_socket *sockets;
	struct member *members;
	int count, nr_members, i;
	__u32 number = 0;

	count = sockets_find(&service->endpoint, pid, &sockets);
	if (count < 0)
		return 0;
	nr_members = generation_members(service, &members);
	for (i = 0; i < count && nr_members > 0 && !number; i++)
		number = member_find(members, nr_members, sockets[i].info.cookie);
	free(members);
	free(sockets);
	return number;
}

static __u32 find_generation(const struct service *service, const struct mains *mains, pid_t pid)
{
	__u32 number = find_by_ancestor(mains, pid);

	if (!number)
		number = find_orphaned(mains, pid);
	return number ? number : find_by_socket(service, pid);
}

/* How many of these, those of one process next to each other, does the generation have? */
static int count_held(const struct service *service, const struct mains *mains,
		      const struct held_socket *held, int nr, __u32 number)
{
	int count = 0, i;
	__u32 owner = 0;

	for (i = 0; i < nr && held[i].pid; i++) {
		if (!i || held[i].pid != held[i - 1].pid)
			owner = find_generation(service, mains, held[i].pid);
		count += owner == number;
	}
	return count;
}

/* The main processes of all generations, as far as there is room. */
static void merge_mains(const struct mains *mains, struct server *all)
{
	const struct server *server;
	int i, j;

	*all = (struct server){};
	for (i = 0; i < mains->nr; i++) {
		server = &mains->list[i].server;
		for (j = 0; j < server->nr && all->nr < MAX_PROCESSES; j++)
			all->list[all->nr++] = server->list[j];
	}
	proc_keep_alive(all);
}

/* Most connections belong to descendants of main processes. Only if some do not, all processes
 * are looked at.
 */
static int count_all(const struct service *service, const struct socket_info *sockets, int nr,
		     __u32 number)
{
	struct held_socket *held;
	struct server servers;
	struct mains mains;
	int found, count;

	read_mains(service, &mains);
	merge_mains(&mains, &servers);
	found = sockets_find_owners(sockets, nr, &servers, &held);
	if (found >= 0 && found < nr) {
		free(held);
		found = sockets_find_owners(sockets, nr, NULL, &held);
	}
	if (found < 0)
		return -1;
	count = count_held(service, &mains, held, found, number);
	free(held);
	return count;
}

int connections_count(const struct service *service, __u32 number, int *count)
{
	struct socket_info *sockets;
	struct generation info;
	struct server server;
	int listed, nr = 0, i;

	*count = CONNECTIONS_UNKNOWN;
	if (generation_read(service, number, &info))
		return 0;
	listed = sock_diag_list_connected(&service->endpoint, &sockets);
	if (listed < 0)
		return -1;
	/* without an inode it has not been accepted yet */
	for (i = 0; i < listed; i++)
		if (sockets[i].inode)
			sockets[nr++] = sockets[i];
	nr = nr ? count_all(service, sockets, nr, number) : 0;
	free(sockets);
	if (nr < 0)
		return -1;
	generation_get_server(&info, &server);
	/* of a server that is not visible only a few may have been found */
	if (nr || proc_keep_alive(&server))
		*count = nr;
	return 0;
}
