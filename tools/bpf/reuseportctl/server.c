// SPDX-License-Identifier: GPL-2.0
/* The processes that make up a generation, before and after they are one. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "group.h"
#include "server.h"

const char *protocol_name(__u32 protocol)
{
	return protocol == IPPROTO_TCP ? "tcp" : "udp";
}

int server_read(pid_t pid, __u64 netns, struct process *process)
{
	char text[16];
	__u64 there;

	if (proc_read(pid, process))
		return fail("there is no process %d: has the server stopped?", pid);
	if (!netns)
		netns = proc_netns("self");
	snprintf(text, sizeof(text), "%d", pid);
	there = proc_netns(text);
	if (!there)
		return fail("cannot see the network namespace of process %d (%s): run this as root",
			    pid, strerror(errno));
	if (there != netns)
		return fail("process %d (%s) is in another network namespace: run this there, with "
			    "nsenter --net=/proc/%d/ns/net reuseportctl ...",
			    pid, process->comm, pid);
	return 0;
}

int server_sockets(const struct service *service, pid_t pid, struct held_socket **list,
		   __u32 *other_gen)
{
	int count, members, i, fresh = 0;
	struct member *taken;
	__u32 number;

	*other_gen = 0;
	count = find_sockets(&service->endpoint, pid, list);
	if (count < 0)
		return -1;
	members = generation_members(service, &taken);
	if (members < 0)
		return -1;
	for (i = 0; i < count; i++) {
		number = member_find(taken, members, (*list)[i].info.cookie);
		if (number)
			*other_gen = number;
		else
			(*list)[fresh++] = (*list)[i];
	}
	free(taken);
	return fresh;
}

int check_reuseport(const struct held_socket *sockets, int count)
{
	socklen_t len = sizeof(int);
	int i, fd, reuseport = 0;

	for (i = 0; i < count; i++) {
		fd = take_socket(&sockets[i]);
		if (fd < 0)
			return -1;
		getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, &len);
		close(fd);
		if (!reuseport)
			return fail("socket %d of process %d (%s) has no SO_REUSEPORT: have the "
				    "server set it before bind() (nginx: listen ... reuseport)",
				    sockets[i].fd, sockets[i].pid, sockets[i].comm);
	}
	return 0;
}

int server_wait(const struct service *service, pid_t pid, const char *who, __u32 wanted,
		__u64 timeout, struct held_socket **list, __u32 *other_gen, bool (*is_over)(void))
{
	__u64 end = now_ms() + timeout;
	struct generation current;
	int count, before = -1;
	char text[64];

	if (!wanted)
		wanted = generation_read(service, service->now.current, &current) ? 1 :
										    current.slots;
	for (;;) {
		if (is_over && is_over())
			return -1;
		count = server_sockets(service, pid, list, other_gen);
		if (count < 0)
			return -1;
		/* as many as there have to be, and not just about to become more */
		if (count >= (int)wanted && count == before)
			return count;
		if (!count && *other_gen)
			return 0;
		before = count;
		free(*list);
		*list = NULL;
		if (!is_over && kill(pid, 0) && errno == ESRCH)
			return fail("%s has ended before it had its sockets", who);
		if (now_ms() >= end)
			return fail("%s has %d of %u sockets at %s %s after %.1f s: %s", who, count,
				    wanted, protocol_name(service->config.protocol),
				    format_endpoint(&service->endpoint, text), timeout / 1e3,
				    count ? "if these are all, say so with --wait" :
					    "does it bind and listen there, with SO_REUSEPORT?");
		progress("waiting for the sockets of %s: %d of %u", who, count, wanted);
		sleep_ms(count >= (int)wanted ? 20 : 50);
	}
}

int server_settle(pid_t pid, const char *who, __u64 settle, bool (*is_over)(void))
{
	__u64 end = now_ms() + settle;

	while (now_ms() < end) {
		if (is_over && is_over())
			return -1;
		if (!is_over && kill(pid, 0) && errno == ESRCH)
			return fail("%s has ended before it was switched to", who);
		progress("%s has its sockets, and %.1f s more to settle", who,
			 (end - now_ms()) / 1e3);
		sleep_ms(20);
	}
	return 0;
}

int server_prepare(struct service *service, const struct held_socket *sockets, int count,
		   const struct process *server, bool force, __u32 *number)
{
	if (!force && group_check_prog(service, &service->endpoint, &sockets[0].info))
		return -1;
	return generation_fill(service, sockets, count, server, number);
}
