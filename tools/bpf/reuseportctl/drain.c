// SPDX-License-Identifier: GPL-2.0
/* drain: wait until a generation has nothing to do any more, and stop it.
 *
 * Nothing new comes to a generation that is not the current one. What may still come:
 * connections that wait to be accepted, datagrams that wait to be read, and the datagrams
 * of those who have been with it before. The first two are what sock_diag calls the
 * socket's queue, the last is seen by the program, which notes when a slot was selected.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

/* How often to look. Looks count, not time alone: if the machine stalls, time goes by in
 * which nobody could do anything, neither a peer nor the server.
 */
#define STEP_MS 50
#define MAX_LOOKS 20

struct backlog {
	int live;
	__u64 queued;
	__u64 seen; /* CLOCK_MONOTONIC of the last packet, ns */
	__u64 silent; /* ms since then */
	char comm[16];
	__u32 pid;
};

static int read_backlog(struct service *service, __u32 number, struct backlog *backlog)
{
	struct endpoint_socket *sockets;
	__u64 cookies[MAX_SLOTS];
	struct generation about;
	struct counter counter;
	__u64 seen = 0;
	int count, i;
	__u32 slot;

	memset(backlog, 0, sizeof(*backlog));
	if (service_read_state(service))
		return -1;
	if (generation_read(service, number, &about))
		return 0;
	backlog->live = generation_cookies(service, &about, cookies);
	if (!backlog->live)
		return 0;
	memcpy(backlog->comm, about.comm, sizeof(backlog->comm));
	backlog->pid = about.pid;

	count = sock_diag_sockets(&service->endpoint, &sockets);
	if (count < 0)
		return -1;
	for (slot = 0; slot < about.slots; slot++) {
		for (i = 0; i < count && cookies[slot]; i++)
			if (sockets[i].cookie == cookies[slot])
				backlog->queued += sockets[i].queue;
		if (generation_read_counter(service, number, slot, &counter)) {
			free(sockets);
			return -1;
		}
		if (counter.seen > seen)
			seen = counter.seen;
	}
	free(sockets);
	backlog->seen = seen;
	backlog->silent = now_ms() - seen / 1000000;
	return 0;
}

/* A peer that is known may be silent for a while; others come no more. */
__u64 default_idle(const struct service *service)
{
	return service->config.steering.mode == UDP_NONE ? 1000 : 30000;
}

int describe_drain(char *text, size_t size, const char *name, __u32 number, __u64 idle)
{
	char option[32] = "";

	if (idle != UINT64_MAX)
		snprintf(option, sizeof(option), " --idle %gs", idle / 1e3);
	return snprintf(text, size, "reuseportctl drain %s --generation %u%s", name, number,
			option);
}

int server_drain(struct service *service, __u32 number, __u64 idle, __u64 end, const char *resume_cmd)
{
	const char *unit = service->config.protocol == IPPROTO_TCP ? "connections" : "bytes";
	__u64 begin = now_ms(), seen = 0;
	__u32 looks = idle / STEP_MS, quiet = 0;
	struct backlog backlog;

	if (looks > MAX_LOOKS)
		looks = MAX_LOOKS;

	for (;;) {
		if (read_backlog(service, number, &backlog))
			return -1;
		if (service->now.current == number)
			return fail("generation %u of service %s is the current one: what is new "
				    "goes there. Switch first",
				    number, service->name);
		if (!backlog.live)
			/* detach empties the maps, and the server serves on */
			return service_check_exists(service);
		quiet = backlog.queued || backlog.seen != seen ? 0 : quiet + 1;
		seen = backlog.seen;
		/* at least twice: a handshake may have ended in between */
		if (quiet > looks && quiet > 1 && backlog.silent >= idle)
			return 0;
		if (now_ms() >= end)
			return fail("generation %u of service %s is not silent after %.1f s: %llu "
				    "%s wait, the last packet came %.1f s ago. %s(%u) goes on "
				    "serving, and generation %u gets what is new; to go on "
				    "waiting: %s",
				    number, service->name, (now_ms() - begin) / 1e3,
				    backlog.queued, unit, backlog.silent / 1e3, backlog.comm,
				    backlog.pid, service->now.current, resume_cmd);
		progress("generation %u: %d sockets, %llu %s wait, last packet %.1f s ago (idle: "
			 "%.1f s)",
			 number, backlog.live, backlog.queued, unit, backlog.silent / 1e3,
			 idle / 1e3);
		sleep_ms(STEP_MS);
	}
}

int server_find(struct service *service, __u32 number, const struct process *known,
		struct process *process)
{
	struct generation about;

	/* a rollback may have come first */
	if (service->now.current == number)
		return fail("generation %u of service %s is the current one again: left alone",
			    number, service->name);
	*process = known ? *known : (struct process){};
	if (!known && !generation_read(service, number, &about))
		*process = (struct process){ .pid = about.pid, .started = about.started };
	return 0;
}

int server_stop(const struct process *process, int signal)
{
	if (!process->pid || !proc_signal(process->pid, process->started, signal) ||
	    errno == ESRCH)
		return 0;
	return fail("cannot send signal %d to process %d (%s): it needs CAP_KILL", signal,
		    process->pid, strerror(errno));
}

/* Who has the sockets of a generation, as far as that can be seen. */
static int name_holders(const struct service *service, __u32 number, char *text, size_t size)
{
	struct held_socket *sockets;
	__u64 cookies[MAX_SLOTS];
	struct generation about;
	int count, len = 0, i;
	pid_t last = 0;
	__u32 slot;

	*text = '\0';
	if (generation_read(service, number, &about))
		return 0;
	generation_cookies(service, &about, cookies);
	count = find_sockets(&service->endpoint, 0, &sockets);
	if (count < 0)
		return -1;
	for (i = 0; i < count; i++) {
		for (slot = 0; slot < about.slots; slot++)
			if (cookies[slot] == sockets[i].info.cookie)
				break;
		/* those of one process stand together */
		if (slot == about.slots || !sockets[i].pid || sockets[i].pid == last)
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

/* A process that is gone has not always taken its sockets along: it may have left children
 * that have them, or be known by its number in another PID namespace, and not be gone.
 */
static int check_closed(struct service *service, __u32 number, const struct process *process)
{
	/* its children may end a moment after it */
	__u64 end = now_ms() + 3000;
	char holders[256];
	int live;

	while ((live = generation_nr_sockets(service, number)) && now_ms() < end)
		sleep_ms(20);
	if (!live)
		return service_check_exists(service);
	if (name_holders(service, number, holders, sizeof(holders)))
		return -1;
	return fail("process %d is gone, but %d socket%s of generation %u of service %s %s open: "
		    "%s%s",
		    process->pid, live, live == 1 ? "" : "s", number, service->name,
		    live == 1 ? "is" : "are",
		    *holders ? "stop who has them, " :
			       "who has them cannot be seen from here, run this in their PID "
			       "namespace, or that of the host",
		    holders);
}

int server_await_end(struct service *service, __u32 number, const struct process *process,
		     int signal, __u64 end, const char *resume_cmd)
{
	__u64 begin = now_ms();

	while (process->pid && proc_is_alive(process->pid, process->started)) {
		if (service_read_state(service))
			return -1;
		if (now_ms() >= end)
			return fail("process %d of generation %u of service %s runs on, %.1f s "
				    "after signal %d: it may have connections to serve. Generation "
				    "%u gets what is new; to send the signal again and go on "
				    "waiting: %s",
				    process->pid, number, service->name,
				    (now_ms() - begin) / 1e3, signal, service->now.current, resume_cmd);
		progress("waiting for process %d to end", process->pid);
		sleep_ms(20);
	}
	return check_closed(service, number, process);
}
