// SPDX-License-Identifier: GPL-2.0
/* The connections that the server of a generation has open.
 *
 * The kernel does not report which listener a connection was accepted from. It was accepted by a
 * process of the server, though: a connection counts for the generation whose main process is
 * the nearest one among the ancestors of a process that has it open. The nearest one, because
 * some servers start their successor, which is a generation of its own, as a child.
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
 * belongs to.
 */
static __u32 find_generation(const struct mains *mains, pid_t pid)
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

int connections_count(const struct service *service, __u32 number, int *count)
{
	struct socket_info *sockets;
	struct held_socket *held;
	struct generation info;
	struct server server;
	struct mains mains;
	__u32 owner = 0;
	int nr, i;

	*count = CONNECTIONS_UNKNOWN;
	if (generation_read(service, number, &info))
		return 0;
	generation_get_server(&info, &server);
	if (!proc_keep_alive(&server))
		return 0;
	nr = sock_diag_list_connected(&service->endpoint, &sockets);
	if (nr > 0) {
		nr = sockets_find_owners(sockets, nr, &server, &held);
		if (nr < 0) {
			free(sockets);
			return -1;
		}
		read_mains(service, &mains);
		*count = 0;
		/* those of one process are next to each other */
		for (i = 0; i < nr; i++) {
			if (!i || held[i].pid != held[i - 1].pid)
				owner = find_generation(&mains, held[i].pid);
			*count += owner == number;
		}
		free(held);
	} else if (!nr) {
		*count = 0;
	}
	free(sockets);
	return nr < 0 ? -1 : 0;
}
