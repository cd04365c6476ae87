// SPDX-License-Identifier: GPL-2.0
/* Waiting until a generation has no work left, and until it has ended.
 *
 * A generation that is not the current one gets nothing new. What it may still have:
 * connections that wait to be accepted, datagrams that wait to be read, and datagrams of
 * known peers. The first two are what sock_diag reports as the queue of the socket; the
 * program notes when it last selected a slot.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drain.h"

/* How often to look. Time alone does not count, looks do as well: while the machine stalls,
 * time passes in which neither a peer nor the server could do anything.
 */
#define STEP_MS		50
#define MAX_LOOKS	20

struct backlog {
	int nr_sockets;
	__u64 queued;
	__u64 seen;	/* CLOCK_MONOTONIC of the last packet, ns; or of the switch, if later */
	bool is_switch;
	__u64 silent;	/* ms since then */
	char comm[16];
	__u32 pid;
};

static __u64 count_queued(const struct socket_info *sockets, int count, const __u64 *cookies,
			  __u32 slots)
{
	__u64 queued = 0;
	__u32 slot;
	int i;

	for (slot = 0; slot < slots; slot++)
		for (i = 0; i < count && cookies[slot]; i++)
			if (sockets[i].cookie == cookies[slot])
				queued += sockets[i].queue;
	return queued;
}

static int read_backlog(struct service *service, __u32 number, struct backlog *backlog)
{
	struct socket_info *sockets;
	__u64 switched;
	__u64 cookies[MAX_SLOTS];
	struct generation info;
	struct counter counter;
	__u32 slot;
	int count;

	memset(backlog, 0, sizeof(*backlog));
	if (service_read_state(service))
		return -1;
	if (generation_read(service, number, &info))
		return 0;
	backlog->nr_sockets = generation_read_cookies(service, &info, cookies);
	if (!backlog->nr_sockets)
		return 0;
	memcpy(backlog->comm, info.comm, sizeof(backlog->comm));
	backlog->pid = info.pid;

	count = sock_diag_list(&service->endpoint, &sockets);
	if (count < 0)
		return -1;
	backlog->queued = count_queued(sockets, count, cookies, info.slots);
	free(sockets);
	for (slot = 0; slot < info.slots; slot++) {
		if (generation_read_counter(service, number, slot, &counter))
			return -1;
		if (counter.seen > backlog->seen)
			backlog->seen = counter.seen;
	}
	/* while the service was open, nothing was counted */
	switched = (__u64)service->now.switched << TICK_SHIFT;
	backlog->is_switch = backlog->seen <= switched;
	if (backlog->is_switch)
		backlog->seen = switched;
	backlog->silent = now_ms() - backlog->seen / 1000000;
	return 0;
}

/* A known peer may be silent for a while; other packets are not part of anything. */
__u64 drain_idle(const struct service *service, __u64 idle)
{
	if (idle != IDLE_DEFAULT)
		return idle;
	return service->config.steering.mode == UDP_NONE ? 1000 : 30000;
}

int drain_describe(char *text, size_t size, const char *name, __u32 number, __u64 idle)
{
	char option[32] = "";

	if (idle != IDLE_DEFAULT)
		snprintf(option, sizeof(option), " --idle %gs", idle / 1e3);
	return snprintf(text, size, "reuseportctl drain %s --generation %u%s", name, number,
			option);
}

__u32 drain_choose(const struct service *service)
{
	const __u32 *number = service->now.generations;
	int i;

	for (i = 0; i < MAX_GENERATIONS; i++)
		if (number[i] != service->now.current && generation_nr_sockets(service, number[i]))
			return number[i];
	return 0;
}

/* How many UDP sockets the server of the generation has connected to peers at the address: a
 * server of DTLS or of tunnels has one for each. No program selects them.
 */
static int count_connected(const struct service *service, __u32 number)
{
	struct socket_info *sockets;
	struct held_socket *held;
	struct generation info;
	int count;

	if (service->config.protocol != IPPROTO_UDP || generation_read(service, number, &info) ||
	    !proc_is_alive(info.pid, info.started))
		return 0;
	count = sock_diag_list_connected(&service->endpoint, &sockets);
	if (count > 0) {
		count = sockets_find_owners(sockets, count, info.pid, &held);
		if (count >= 0)
			free(held);
	}
	free(sockets);
	return count;
}

static const char *last_event(const struct backlog *backlog)
{
	return backlog->is_switch ? "switched" : "last packet";
}

int drain_wait(struct service *service, const struct drain *drain)
{
	const char *unit = service->config.protocol == IPPROTO_TCP ? "connections" : "bytes";
	__u64 begin = now_ms(), seen = 0, idle = drain_idle(service, drain->idle);
	__u32 looks = idle / STEP_MS, quiet = 0;
	int connected = 0;
	struct backlog backlog;

	if (looks > MAX_LOOKS)
		looks = MAX_LOOKS;

	for (;;) {
		if (drain->is_over && drain->is_over())
			return -1;
		if (read_backlog(service, drain->number, &backlog))
			return -1;
		if (service->now.current == drain->number)
			return fail("generation %u of service %s is the current one and gets new "
				    "traffic: switch first",
				    drain->number, service->name);
		if (!backlog.nr_sockets)
			/* detach empties the maps too, and then the server still serves */
			return service_check_exists(service);
		quiet = backlog.queued || backlog.seen != seen ? 0 : quiet + 1;
		seen = backlog.seen;
		/* at least twice: a handshake may have ended in between */
		if (quiet > looks && quiet > 1 && backlog.silent >= idle) {
			connected = count_connected(service, drain->number);
			if (connected <= 0)
				return connected;
		}
		if (now_ms() >= drain->end && connected)
			return fail("generation %u of service %s is still in use after %.1f s: "
				    "%s(%d) has %d socket%s connected to a peer (ss -unp lists "
				    "them); to continue waiting: %s",
				    drain->number, service->name, (now_ms() - begin) / 1e3,
				    backlog.comm, backlog.pid, connected,
				    connected == 1 ? "" : "s", drain->resume_cmd);
		if (now_ms() >= drain->end)
			return fail("generation %u of service %s is still in use after %.1f s: "
				    "%llu %s queued, %s %.1f s ago. %s(%u) continues to "
				    "serve it, and generation %u gets new traffic; to continue "
				    "waiting: %s",
				    drain->number, service->name, (now_ms() - begin) / 1e3,
				    backlog.queued, unit, last_event(&backlog),
				    backlog.silent / 1e3, backlog.comm,
				    backlog.pid, service->now.current, drain->resume_cmd);
		if (connected)
			progress("generation %u: %d sockets, and %d connected to a peer",
				 drain->number, backlog.nr_sockets, connected);
		else
			progress("generation %u: %d sockets, %llu %s queued, %s %.1f s ago "
				 "(idle: %.1f s)",
				 drain->number, backlog.nr_sockets, backlog.queued, unit,
				 last_event(&backlog), backlog.silent / 1e3, idle / 1e3);
		sleep_ms(STEP_MS);
	}
}

/* List the processes that have sockets of a generation, as far as they are visible. */
static int list_holders(const struct service *service, __u32 number, char *text, size_t size)
{
	struct held_socket *sockets;
	__u64 cookies[MAX_SLOTS];
	struct generation info;
	int count, len = 0, i;
	pid_t last = 0;
	__u32 slot;

	*text = '\0';
	if (generation_read(service, number, &info))
		return 0;
	generation_read_cookies(service, &info, cookies);
	count = sockets_find(&service->endpoint, 0, &sockets);
	if (count < 0)
		return -1;
	for (i = 0; i < count; i++) {
		for (slot = 0; slot < info.slots; slot++)
			if (cookies[slot] == sockets[i].info.cookie)
				break;
		/* those of one process are next to each other */
		if (slot == info.slots || !sockets[i].pid || sockets[i].pid == last)
			continue;
		last = sockets[i].pid;
		if (len + 32 >= (int)size) {
			strcpy(text + len, ", ...");
			break;
		}
		len += sprintf(text + len, "%s%s(%d)", len ? ", " : "", sockets[i].comm, last);
	}
	free(sockets);
	return 0;
}

/* A process that has ended does not always take its sockets along: it may have left children
 * that have them, or it may run after all, under another number in its PID namespace.
 */
static int check_closed(struct service *service, __u32 number, const struct process *process)
{
	/* its children may end a moment later */
	__u64 end = now_ms() + 3000;
	char holders[256];
	int nr;

	while ((nr = generation_nr_sockets(service, number)) && now_ms() < end)
		sleep_ms(20);
	if (!nr)
		return service_check_exists(service);
	if (list_holders(service, number, holders, sizeof(holders)))
		return -1;
	return fail("process %d has ended, but %d socket%s of generation %u of service %s %s open: "
		    "%s%s",
		    process->pid, nr, nr == 1 ? "" : "s", number, service->name,
		    nr == 1 ? "is" : "are",
		    *holders ? "stop the processes that have them, " :
			       "the processes that have them are not visible here, run this in "
			       "their PID namespace, or that of the host",
		    holders);
}

int drain_wait_end(struct service *service, const struct drain *drain,
		   const struct process *process, int signal)
{
	__u64 begin = now_ms();

	while (process->pid && proc_is_alive(process->pid, process->started)) {
		if (service_read_state(service))
			return -1;
		if (now_ms() >= drain->end)
			return fail("process %d of generation %u of service %s is still running "
				    "%.1f s after signal %d: it may have connections to serve. "
				    "Generation %u gets new traffic; to send the signal again and "
				    "continue waiting: %s",
				    process->pid, drain->number, service->name,
				    (now_ms() - begin) / 1e3, signal, service->now.current,
				    drain->resume_cmd);
		progress("waiting for process %d to end", process->pid);
		sleep_ms(20);
	}
	return check_closed(service, drain->number, process);
}
