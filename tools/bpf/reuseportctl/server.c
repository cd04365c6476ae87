// SPDX-License-Identifier: GPL-2.0
/* The processes of a generation, before it is one and when it ends. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "server.h"

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
		return fail("cannot read the network namespace of process %d (%s): run this as "
			    "root",
			    pid, strerror(errno));
	if (there != netns)
		return fail("process %d (%s) is in another network namespace: run this there, with "
			    "nsenter --net=/proc/%d/ns/net reuseportctl ...",
			    pid, process->comm, pid);
	return 0;
}

int server_read_all(const __u32 *pids, int count, __u64 netns, struct server *server)
{
	int i;

	*server = (struct server){};
	for (i = 0; i < count; i++)
		if (server_read(pids[i], netns, &server->list[server->nr++]))
			return -1;
	return 0;
}

int server_require_reuseport(const struct held_socket *sockets, int count)
{
	int i, fd, err;

	for (i = 0; i < count; i++) {
		fd = socket_dup(&sockets[i]);
		if (fd < 0)
			return -1;
		err = socket_require_reuseport(&sockets[i], fd);
		close(fd);
		if (err)
			return -1;
	}
	return 0;
}

/* -- Processes that have the same sockets -------------------------------------------- */

static bool has_cookie(const struct held_socket *sockets, int count, __u64 cookie)
{
	int i;

	for (i = 0; i < count && sockets[i].info.cookie != cookie; i++)
		;
	return i < count;
}

bool server_is_shared(const struct endpoint *endpoint, const struct server *server,
		      const struct held_socket *sockets, int count, struct held_socket *holder)
{
	bool found = false;
	struct held_socket *list;
	int tries, nr, i;

	/* a reuseportctl that runs at the same time has a duplicate for a moment */
	for (tries = 0; tries < 3; tries++) {
		if (tries)
			sleep_ms(50);
		found = false;
		nr = sockets_find_beside(endpoint, server, &list);
		for (i = 0; i < nr && !found; i++) {
			/* workers that the server has lost are its own */
			found = list[i].pid && has_cookie(sockets, count, list[i].info.cookie) &&
				!proc_is_orphan_of_any(list[i].pid, server);
			*holder = list[i];
		}
		if (nr >= 0)
			free(list);
		if (!found)
			return false;
	}
	return true;
}

/* All sockets of a generation, in any process. */
static int find_generation_sockets(const struct service *service, __u32 number,
				   struct held_socket **list)
{
	int count, nr_members, i, nr = 0;
	struct member *members;

	count = sockets_find_of(&service->endpoint, NULL, list);
	if (count < 0)
		return -1;
	nr_members = generation_members(service, &members);
	for (i = 0; i < count && nr_members > 0; i++)
		if (member_find(members, nr_members, (*list)[i].info.cookie) == number)
			(*list)[nr++] = (*list)[i];
	free(members);
	return nr_members < 0 ? -1 : nr;
}

int server_check_holders(const struct service *service, __u32 number, bool ended)
{
	struct held_socket *sockets, holder;
	struct generation info;
	struct server server;
	bool is_shared;
	int count, nr;

	if (generation_read(service, number, &info))
		return 0;
	generation_get_server(&info, &server);
	if (!proc_keep_alive(&server) && !ended)
		return 0;
	count = find_generation_sockets(service, number, &sockets);
	if (count < 0)
		return -1;
	is_shared = server_is_shared(&service->endpoint, &server, sockets, count, &holder);
	free(sockets);
	/* it may have ended just now, and its children have another parent */
	nr = server.nr;
	if (!is_shared || (proc_keep_alive(&server) < nr && !ended))
		return 0;
	if (holder.pid == 1)
		return fail("%s(1) also has sockets of generation %u of service %s, most likely "
			    "for a socket unit, and keeps them open when the server stops: have "
			    "the server bind its sockets itself, without the unit (systemctl "
			    "list-sockets names it), and attach it again",
			    holder.comm, number, service->name);
	if (!server.nr)
		return fail("%s(%u), the main process of generation %u of service %s, has ended, "
			    "and %s(%d) has its sockets: reuseportctl switch %s --pid %d makes "
			    "that the server of the generation, which is then stopped in its place",
			    info.comm, info.pid, number, service->name, holder.comm, holder.pid,
			    service->name, holder.pid);
	return fail("%s(%d), which %s(%d) has not started, also has sockets of generation %u of "
		    "service %s, and keeps them open when that is stopped: if it has taken over "
		    "from it, reuseportctl switch %s --pid %d makes it the server of the "
		    "generation; otherwise stop it first",
		    holder.comm, holder.pid, server.list[0].comm, server.list[0].pid, number,
		    service->name, service->name, holder.pid);
}

/* -- Waiting for sockets ----------------------------------------------------------- */

/* Those sockets of @server that are in no generation; *@other_gen: the newest of the others. */
static int find_new_sockets(const struct service *service, const struct server *server,
			    struct held_socket **list, __u32 *other_gen)
{
	int count, nr_members, i, nr_new = 0;
	struct member *members;
	__u32 number;

	*other_gen = 0;
	count = sockets_find_of(&service->endpoint, server, list);
	if (count < 0)
		return -1;
	nr_members = generation_members(service, &members);
	if (nr_members < 0)
		return -1;
	for (i = 0; i < count; i++) {
		number = member_find(members, nr_members, (*list)[i].info.cookie);
		if (number > *other_gen)
			*other_gen = number;
		if (!number)
			(*list)[nr_new++] = (*list)[i];
	}
	free(members);
	return nr_new;
}

/* @before: to do what */
static int check_running(const struct server_wait *wait, const char *before)
{
	const struct process *process = wait->server->list;
	int i;

	if (interrupt_is_pending())
		return fail("interrupted");
	if (wait->is_over)
		return wait->is_over() ? -1 : 0;
	for (i = 0; i < wait->server->nr; i++, process++)
		if (!proc_is_alive(process->pid, process->started))
			return fail("%s(%d) has exited before %s", process->comm, process->pid,
				    before);
	return 0;
}

static int time_out(const struct service *service, const struct server_wait *wait, int count,
		    __u32 wanted)
{
	char text[ENDPOINT_LEN];

	return fail("%s has %d of %u sockets at %s %s after %.1f s: %s", wait->who, count, wanted,
		    protocol_name(service->config.protocol),
		    endpoint_format(&service->endpoint, text), wait->timeout / 1e3,
		    count ? "if it is to have only these, set --wait" :
			    "does it bind and listen there, with SO_REUSEPORT?");
}

/* As many as the current generation began with, or has if these are fewer: its server may have
 * more or fewer workers by now.
 */
static __u32 usual_sockets(const struct service *service)
{
	__u32 nr = generation_nr_sockets(service, service->now.current), began;
	struct generation info;

	if (!nr || generation_read(service, service->now.current, &info))
		return 1;
	began = info.began ? info.began : info.slots;
	return nr < began ? nr : began;
}

int server_wait(const struct service *service, const struct server_wait *wait,
		struct held_socket **list, __u32 *other_gen)
{
	__u64 end = now_ms() + wait->timeout;
	__u32 wanted = wait->wanted;
	int count, last = -1;

	if (!wanted)
		wanted = usual_sockets(service);
	for (;;) {
		if ((wait->is_over || interrupt_is_pending()) && check_running(wait, ""))
			return -1;
		count = find_new_sockets(service, wait->server, list, other_gen);
		if (count < 0)
			return -1;
		/* enough, and not just about to become more */
		if (count >= (int)wanted && count == last)
			return count;
		if (!count && *other_gen)
			return 0;
		last = count;
		free(*list);
		*list = NULL;
		if (check_running(wait, "it had its sockets"))
			return -1;
		if (now_ms() >= end)
			return time_out(service, wait, count, wanted);
		progress("waiting for the sockets of %s: %d of %u", wait->who, count, wanted);
		sleep_ms(count >= (int)wanted ? 20 : 50);
	}
}

int server_settle(const struct server_wait *wait)
{
	__u64 end = now_ms() + wait->settle;

	while (now_ms() < end) {
		if (check_running(wait, "the switch"))
			return -1;
		progress("%s has its sockets and %.1f s to settle", wait->who,
			 (end - now_ms()) / 1e3);
		sleep_ms(20);
	}
	return 0;
}

int server_prepare(struct service *service, const struct held_socket *sockets, int count,
		   const struct server *server, bool force, __u32 *number)
{
	if (!force && !(service->config.flags & SERVICE_FORCE) &&
	    group_check_prog(service, sockets[0].info.cookie) < 0)
		return -1;
	if (generation_check(&service->config, sockets, count))
		return -1;
	return generation_fill(service, sockets, count, server, number);
}

int server_check_prog(const struct service *service, __u32 number)
{
	struct generation info;
	__u64 cookies[MAX_SLOTS];
	__u32 i;

	if (generation_read(service, number, &info))
		return 0;
	generation_read_cookies(service, &info, cookies);
	for (i = 0; i < info.slots; i++)
		if (cookies[i])
			return group_check_prog(service, cookies[i]);
	return 0;
}

int server_replace_prog(struct service *service)
{
	struct held_socket *list;
	int count, ours = 0, i, err = 0;

	count = sockets_find(&service->endpoint, 0, &list);
	if (count < 0)
		return -1;
	for (i = 0; i < count; i++)
		if (list[i].pid && group_has_socket(&service->config, &list[i].info))
			list[ours++] = list[i];
	if (ours)
		err = group_attach_to_any(service, list, ours);
	free(list);
	return err;
}

/* -- Stopping ------------------------------------------------------------------------- */

/* Does a process descend from this command, as a new server does that it has started? */
static bool is_our_descendant(pid_t pid)
{
	struct process process;

	while (!proc_read(pid, &process)) {
		if (process.parent == getpid())
			return true;
		pid = process.parent;
	}
	return false;
}

/* Fail if the process, or one that it has started, also has sockets of the current generation:
 * a server that replaced its own workers, say, and was switched to them.
 */
static int check_not_serving(const struct service *service, const struct process *process)
{
	int count, nr_members, serving = 0, i;
	struct held_socket *sockets;
	struct member *members;

	if (!process->pid || !proc_is_alive(process->pid, process->started))
		return 0;
	count = sockets_find(&service->endpoint, process->pid, &sockets);
	if (count < 0)
		return -1;
	nr_members = generation_members(service, &members);
	for (i = 0; i < count && nr_members > 0; i++)
		if (member_find(members, nr_members, sockets[i].info.cookie) ==
			    service->now.current &&
		    !is_our_descendant(sockets[i].pid))
			serving++;
	free(members);
	free(sockets);
	if (nr_members < 0)
		return -1;
	if (!serving)
		return 0;
	return fail("process %d is not stopped: it and its children also have %d socket%s of "
		    "generation %u of service %s, the current one. Stop its old workers only, if "
		    "they do not exit by themselves",
		    process->pid, serving, serving == 1 ? "" : "s", service->now.current,
		    service->name);
}

int server_find(struct service *service, __u32 number, int index, const struct process *known,
		struct process *process)
{
	struct generation info;
	struct server server;

	/* a rollback may have come first */
	if (service->now.current == number)
		return fail("generation %u of service %s is the current one again: not stopped",
			    number, service->name);
	*process = known ? *known : (struct process){};
	if (!known && !generation_read(service, number, &info)) {
		generation_get_server(&info, &server);
		if (index < server.nr)
			*process = server.list[index];
	}
	return check_not_serving(service, process);
}

int server_stop(const struct process *process, int signal)
{
	if (!process->pid || !proc_signal(process->pid, process->started, signal) ||
	    errno == ESRCH)
		return 0;
	return fail("cannot send signal %d to process %d (%s): this needs CAP_KILL", signal,
		    process->pid, strerror(errno));
}
