// SPDX-License-Identifier: GPL-2.0
/* Waiting until a generation has no work left, and until it has ended.
 *
 * A generation that is not the current one gets nothing new. What it may still have:
 * connections that wait to be accepted, datagrams that wait to be read, and datagrams of
 * known peers. The first two are what sock_diag reports as the queue of the socket; the
 * program notes when it last selected a slot.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drain.h"

/* How often to look. Time alone does not count, looks do as well: while the machine stalls,
 * time passes in which neither a peer nor the server could do anything.
 */
#define STEP_MS		50
#define MAX_LOOKS	20
#define COUNT_MS	1000	/* between two counts of connections, which read /proc */
#define CLOSE_MS	3000	/* that children may take longer than their parent */

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
	struct counter counters[MAX_SLOTS];
	__u64 cookies[MAX_SLOTS];
	struct generation info;
	__u64 switched;
	__u32 slot;
	int count;

	memset(backlog, 0, sizeof(*backlog));
	if (service_read_state(service))
		return -1;
	if (generation_read(service, number, &info))
		return 0;
	memcpy(backlog->comm, info.comm, sizeof(backlog->comm));
	backlog->pid = info.pid;
	backlog->nr_sockets = generation_read_cookies(service, &info, cookies);
	/* those that it has connected are in no slot */
	if (!backlog->nr_sockets && service->config.protocol != IPPROTO_UDP)
		return 0;

	count = sock_diag_list(&service->endpoint, &sockets);
	if (count < 0)
		return -1;
	backlog->queued = count_queued(sockets, count, cookies, info.slots);
	free(sockets);
	if (generation_read_counters(service, &info, counters))
		return -1;
	for (slot = 0; slot < info.slots; slot++)
		if (counters[slot].seen > backlog->seen)
			backlog->seen = counters[slot].seen;
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

int drain_describe(char *text, size_t size, const struct service *service,
		   const struct drain *drain, bool kill)
{
	char idle[32] = "", by[80] = "", after[32] = "", file[256] = "";

	if (drain->idle != IDLE_DEFAULT)
		snprintf(idle, sizeof(idle), " --idle %gs", drain->idle / 1e3);
	if (kill && drain->signals.nr)
		snprintf(by, sizeof(by), " --kill %s", drain->signals.text);
	if (kill && drain->signals.nr > 1 && drain->kill_after != KILL_AFTER_DEFAULT_MS)
		snprintf(after, sizeof(after), " --kill-after %gs", drain->kill_after / 1e3);
	if (kill && drain->pid_file)
		snprintf(file, sizeof(file), " --pid-file %s", drain->pid_file);
	return snprintf(text, size, "reuseportctl drain %s --generation %u%s%s%s%s", service->name,
			drain->number, idle, by, after, file);
}

__u32 drain_choose(const struct service *service)
{
	__u32 number;

	for_each_generation(service, number)
		if (number != service->now.current && generation_has_sockets(service, number))
			return number;
	return 0;
}

int drain_check_pid_file(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	char dir[PATH_MAX] = ".";

	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path + 1), path);
	if (path && access(dir, W_OK))
		return fail("--pid-file: no file can be made in %s (%s)", dir, strerror(errno));
	return 0;
}

int drain_write_pid(const struct service *service, const struct drain *drain)
{
	struct generation info;

	if (!drain->pid_file || generation_read(service, service->now.current, &info))
		return 0;
	return proc_write_pid(drain->pid_file, info.pid);
}

/* What the time of silence began with. Version 1.0 noted no time of the switch. */
static const char *last_event(const struct backlog *backlog, char *text, size_t size)
{
	if (!backlog->seen)
		return "no packet counted";
	snprintf(text, size, "%s %.1f s ago", backlog->is_switch ? "switched" : "last packet",
		 backlog->silent / 1e3);
	return text;
}

/* "12 connections open, ", or nothing if that is not known */
static const char *describe_connections(const struct service *service, int count, char *text)
{
	*text = '\0';
	if (count > 0 && service->config.protocol == IPPROTO_UDP)
		sprintf(text, "%d connected to a peer, ", count);
	else if (count >= 0 && service->config.protocol == IPPROTO_TCP)
		sprintf(text, "%d connection%s open, ", count, count == 1 ? "" : "s");
	return text;
}

int drain_wait(struct service *service, const struct drain *drain)
{
	bool is_udp = service->config.protocol == IPPROTO_UDP;
	const char *unit = is_udp ? "bytes" : "connections";
	__u64 begin = now_ms(), seen = 0, counted = 0, idle = drain_idle(service, drain->idle);
	__u32 looks = idle / STEP_MS, quiet = 0;
	int connected = CONNECTIONS_UNKNOWN;
	struct backlog backlog;
	bool is_idle, is_late;
	char text[64], event[40];

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
		if (!backlog.nr_sockets && is_udp && now_ms() - counted >= COUNT_MS) {
			if (connections_count(service, drain->number, &connected))
				return -1;
			counted = now_ms();
		}
		if (!backlog.nr_sockets && connected <= 0)
			/* detach empties the maps too, and then the server still serves */
			return service_check_exists(service);
		quiet = backlog.queued || backlog.seen != seen ? 0 : quiet + 1;
		seen = backlog.seen;
		/* at least twice: a handshake may have ended in between */
		is_idle = quiet > looks && quiet > 1 && backlog.silent >= idle;
		/* accepted connections are the server's business, before and after its signal */
		if (is_idle && !is_udp)
			return 0;
		is_late = now_ms() >= drain->end;
		if ((is_idle && connected <= 0) || is_late || now_ms() - counted >= COUNT_MS) {
			if (connections_count(service, drain->number, &connected))
				return -1;
			counted = now_ms();
		}
		if (is_idle && connected <= 0)
			return 0;
		if (is_late && is_idle)
			return fail("generation %u of service %s is still in use after %.1f s: "
				    "%s(%d) has %d socket%s connected to a peer (ss -unp lists "
				    "them); to continue waiting: %s",
				    drain->number, service->name, (now_ms() - begin) / 1e3,
				    backlog.comm, backlog.pid, connected,
				    connected == 1 ? "" : "s", drain->resume_cmd);
		describe_connections(service, connected, text);
		if (is_late)
			return fail("generation %u of service %s is still in use after %.1f s: "
				    "%llu %s queued, %s%s. %s(%u) continues to "
				    "serve it, and generation %u gets new traffic; to continue "
				    "waiting: %s",
				    drain->number, service->name, (now_ms() - begin) / 1e3,
				    backlog.queued, unit, text,
				    last_event(&backlog, event, sizeof(event)), backlog.comm,
				    backlog.pid, service->now.current, drain->resume_cmd);
		progress("generation %u of service %s: %d sockets, %llu %s queued, %s%s "
			 "(idle: %.1f s)",
			 drain->number, service->name, backlog.nr_sockets, backlog.queued, unit,
			 text, last_event(&backlog, event, sizeof(event)), idle / 1e3);
		sleep_ms(STEP_MS);
	}
}

/* -- Stopping ----------------------------------------------------------------------------- */

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
static int fail_left(const struct drain_target *target, int nr)
{
	char holders[256];

	if (list_holders(target->service, target->number, holders, sizeof(holders)))
		return -1;
	return fail("process %d has ended, but %d socket%s of generation %u of service %s %s open: "
		    "%s%s",
		    target->process.pid, nr, nr == 1 ? "" : "s", target->number,
		    target->service->name, nr == 1 ? "is" : "are",
		    *holders ? "stop the processes that have them, " :
			       "the processes that have them are not visible here, run this in "
			       "their PID namespace, or that of the host",
		    holders);
}

/* Does a process, or one that it has started, have sockets of the generation, and none of the
 * current one?
 */
static bool has_sockets(const struct drain_target *target, pid_t pid)
{
	const struct service *service = target->service;
	struct held_socket *sockets;
	struct member *members;
	int count, nr_members, old = 0, current = 0, i;
	__u32 number;

	count = sockets_find(&service->endpoint, pid, &sockets);
	if (count < 0)
		return false;
	nr_members = generation_members(service, &members);
	for (i = 0; i < count && nr_members > 0; i++) {
		number = member_find(members, nr_members, sockets[i].info.cookie);
		old += number == target->number;
		current += number == service->now.current;
	}
	free(members);
	free(sockets);
	return old && !current;
}

/* Send a signal to the process, or, once that has ended, to those of its descendants that have
 * left sockets of the generation open. The lock is held.
 */
static int send_signal(const struct drain_target *target, int signal)
{
	const struct process *process;
	int i;

	if (!target->process.pid || proc_is_alive(target->process.pid, target->process.started))
		return server_stop(&target->process, signal);
	for (i = 0; i < target->nr_tree; i++) {
		process = &target->tree[i];
		if (has_sockets(target, process->pid) && server_stop(process, signal))
			return -1;
	}
	drop_errors();
	return 0;
}

struct stop {
	struct drain_target *targets;
	int count;
	const struct process *known;
	const struct drain *drain;
	int nr_sent;		/* signals so far */
	__u64 sent;		/* when the last one was */
};

static const char *last_signal(const struct stop *stop)
{
	return proc_signal_name(stop->drain->signals.list[stop->nr_sent - 1]);
}

/* The one that follows, or NULL */
static const char *next_signal(const struct stop *stop)
{
	const struct signals *signals = &stop->drain->signals;

	return stop->nr_sent < signals->nr ? proc_signal_name(signals->list[stop->nr_sent]) : NULL;
}

static bool is_first_of(const struct stop *stop, int index)
{
	int i;

	for (i = 0; i < index; i++)
		if (stop->targets[i].process.pid == stop->targets[index].process.pid)
			return false;
	return true;
}

/* Find what is to get the next signal, with the locks held. */
static int find_target(const struct stop *stop, struct drain_target *target)
{
	if (server_find(target->service, target->number, target->index, stop->known,
			&target->process))
		return -1;
	if (target->tree || !target->process.pid)
		return 0;
	target->nr_tree = proc_tree(target->process.pid, &target->tree);
	return target->nr_tree < 0 ? -1 : 0;
}

/* The next signal, unless the server serves the current generation again. */
static int send_next(struct stop *stop, bool *signalled)
{
	int signal = stop->drain->signals.list[stop->nr_sent], i, err = 0;

	for (i = 0; i < stop->count && !err; i++)
		err = service_lock(stop->targets[i].service) ||
		      find_target(stop, &stop->targets[i]);
	if (!err && stop->drain->is_over && stop->drain->is_over())
		err = -1;
	*signalled |= !err;
	for (i = 0; i < stop->count && !err; i++) {
		const struct process *process = &stop->targets[i].process;

		if (!is_first_of(stop, i))
			continue;
		if (stop->nr_sent && process->pid &&
		    proc_is_alive(process->pid, process->started))
			say("service %s: process %d has not ended %.1f s after %s, sending %s",
			    stop->targets[i].service->name, process->pid,
			    (now_ms() - stop->sent) / 1e3, last_signal(stop), next_signal(stop));
		err = send_signal(&stop->targets[i], signal);
		if (!err && process->pid && proc_ignores(process->pid, signal))
			say("service %s: process %d ignores %s", stop->targets[i].service->name,
			    process->pid, proc_signal_name(signal));
	}
	for (i = 0; i < stop->count; i++)
		service_unlock(stop->targets[i].service);
	stop->nr_sent++;
	stop->sent = now_ms();
	return err ? -1 : 0;
}

/* Why a process has not ended, as far as that can be seen. */
static const char *describe_delay(const struct stop *stop, const struct drain_target *target,
				  int connections, char *text)
{
	int signal = stop->drain->signals.list[stop->nr_sent - 1];

	if (proc_ignores(target->process.pid, signal))
		sprintf(text, "it ignores %s, --kill %s,KILL would end it", last_signal(stop),
			last_signal(stop));
	else if (connections > 0)
		sprintf(text, "it has %d connection%s open", connections,
			connections == 1 ? "" : "s");
	else
		strcpy(text, "it may have connections to serve");
	return text;
}

/* Wait until the process has ended. Return 1 if it has not when the next signal is due. */
static int wait_for_process(const struct stop *stop, const struct drain_target *target)
{
	const struct process *process = &target->process;
	const struct drain *drain = stop->drain;
	struct service *service = target->service;
	int connections = CONNECTIONS_UNKNOWN;
	char text[128], next[64] = "";
	__u64 counted = 0, now;

	while (process->pid && proc_is_alive(process->pid, process->started)) {
		now = now_ms();
		if (service_read_state(service))
			return -1;
		if (now - counted >= COUNT_MS || now >= drain->end) {
			if (connections_count(service, target->number, &connections))
				return -1;
			counted = now;
		}
		if (now >= drain->end)
			return fail("process %d of generation %u of service %s is still running "
				    "%.1f s after %s: %s. "
				    "Generation %u gets new traffic; to send the signal again and "
				    "continue waiting: %s",
				    process->pid, target->number, service->name,
				    (now - stop->sent) / 1e3, last_signal(stop),
				    describe_delay(stop, target, connections, text),
				    service->now.current, drain->resume_cmd);
		if (next_signal(stop)) {
			if (now >= stop->sent + drain->kill_after)
				return 1;
			sprintf(next, ", %s follows in %.1f s", next_signal(stop),
				(stop->sent + drain->kill_after - now) / 1e3);
		}
		progress("generation %u of service %s: %ssent %s to process %d %.1f s ago, waiting "
			 "for its end%s",
			 target->number, service->name,
			 describe_connections(service, connections, text), last_signal(stop),
			 process->pid, (now - stop->sent) / 1e3, next);
		sleep_ms(20);
	}
	return 0;
}

/* Kill those that a killed process has left: it could not stop them. */
static int kill_left(const struct drain_target *target)
{
	struct service *service = target->service;
	int err = 0;

	if (service_lock(service)) {
		/* another command holds it: the next try is soon */
		drop_errors();
		return 0;
	}
	if (service->now.current != target->number)
		err = send_signal(target, SIGKILL);
	service_unlock(service);
	return err;
}

/* The same for the sockets of the generation, which its children may have. */
static int wait_for_sockets(const struct stop *stop, const struct drain_target *target)
{
	bool is_killed = stop->drain->signals.list[stop->nr_sent - 1] == SIGKILL;
	__u64 end = now_ms() + CLOSE_MS;
	int nr;

	while ((nr = generation_nr_sockets(target->service, target->number))) {
		if (now_ms() >= end)
			return next_signal(stop) ? 1 : fail_left(target, nr);
		if (is_killed && kill_left(target))
			return -1;
		progress("generation %u of service %s: process %d has ended, waiting for %d "
			 "socket%s that %s open",
			 target->number, target->service->name, target->process.pid, nr,
			 nr == 1 ? "" : "s", nr == 1 ? "is" : "are");
		sleep_ms(20);
	}
	return service_check_exists(target->service);
}

void drain_add_targets(struct drain_target *targets, int *count, struct service *service,
		       __u32 number, bool known)
{
	struct server server = { .nr = 1 };
	struct generation info;
	int i;

	if (!known && !generation_read(service, number, &info))
		generation_get_server(&info, &server);
	for (i = 0; i < server.nr; i++)
		targets[(*count)++] = (struct drain_target){
			.service = service,
			.number = number,
			.index = i,
		};
}

int drain_stop(struct drain_target *targets, int count, const struct process *known,
	       const struct drain *drain, bool *signalled)
{
	struct stop stop = {
		.targets = targets,
		.count = count,
		.known = known,
		.drain = drain,
	};
	int err = 1, i;

	while (err == 1) {
		err = send_next(&stop, signalled);
		for (i = 0; i < count && !err; i++)
			err = wait_for_process(&stop, &targets[i]);
		for (i = 0; i < count && !err; i++)
			err = wait_for_sockets(&stop, &targets[i]);
	}
	for (i = 0; i < count; i++)
		free(targets[i].tree);
	return err;
}
