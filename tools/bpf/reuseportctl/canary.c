// SPDX-License-Identifier: GPL-2.0
/* Trying a new generation with a share of new traffic.
 *
 * The generation is filled like any other. One write to the state gives it a share, another one
 * all new traffic or none. A command that is killed in between leaves a canary, which show lists
 * and reuseportctl promote or abort ends. No lock is held while a step lasts: these two commands
 * may run at any time, and are noticed.
 *
 * If the server that is tried dies, the program finds its slots empty and selects the next older
 * generation with sockets, which is the current one, before anything here has noticed.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "canary.h"
#include "interrupt.h"

#define STEP_MS		20	/* between two looks */
#define LOCK_MS		5000	/* that another command may have the lock */

/* -- Shares ----------------------------------------------------------------------------- */

int canary_parse_share(const char *text, __u32 *share)
{
	double percent;
	char *end;

	percent = strtod(text, &end);
	if (end == text || strcmp(*end == '%' ? end + 1 : end, "") ||
	    !(percent >= 0.001 && percent <= 100))
		return fail("%s is no share: it is a percentage from 0.001 to 100, such as 5%%",
			    text);
	*share = percent / 100 * 4294967296.0 - 1;
	return 0;
}

int canary_add_steps(const char *text, struct canary *canary)
{
	char *copy = strdup(text), *rest = copy, *word;
	const int before = canary->nr_steps;
	int err = copy ? 0 : fail("out of memory");
	__u32 share, last;

	while (!err && (word = strsep(&rest, ","))) {
		last = canary->nr_steps ? canary->steps[canary->nr_steps - 1] : 0;
		if (canary_parse_share(word, &share))
			err = -1;
		else if (word == copy && before && share == last)
			; /* --steps begins with the share of --canary */
		else if (canary->nr_steps && share <= last)
			err = fail("--steps: each share has to be larger than the one before, as "
				   "in 5,25,50,100");
		else if (canary->nr_steps == MAX_STEPS)
			err = fail("--steps takes %d shares at most", MAX_STEPS);
		else
			canary->steps[canary->nr_steps++] = share;
	}
	free(copy);
	return err;
}

const char *canary_format_share(__u32 share, char *text)
{
	snprintf(text, SHARE_LEN, "%.4g %%", (share + 1.0) / 4294967296.0 * 100);
	return text;
}

__u32 canary_share_ppm(__u32 share)
{
	return (share + 1.0) / 4294967296.0 * 1e6 + 0.5;
}

/* -- Beginning and ending ----------------------------------------------------------------- */

int canary_require_none(const struct service *service, const char *then)
{
	if (!service->now.canary)
		return 0;
	return fail("generation %u of service %s is a canary: end that with reuseportctl promote "
		    "%s or reuseportctl abort %s, then %s",
		    service->now.canary, service->name, service->name, service->name, then);
}

int canary_set(struct service *service, __u32 number, __u32 share)
{
	char text[SHARE_LEN];

	if (generation_set_canary(service, number, share))
		return -1;
	say("service %s: generation %u gets %s of new traffic, generation %u the rest",
	    service->name, number, canary_format_share(share, text), service->now.current);
	return 0;
}

int canary_abort(struct service *service)
{
	return generation_set_canary(service, 0, 0);
}

/* -- Looking at the canary ------------------------------------------------------------------ */

struct load {
	__u32 queue;		/* the longest of one socket */
	__u32 drops;
	__u64 packets, flows;
	int sockets;
};

static int read_load(const struct service *service, __u32 number, struct load *load)
{
	struct counter counters[MAX_SLOTS];
	struct socket_info *sockets;
	__u64 cookies[MAX_SLOTS];
	struct generation info;
	int count, i;
	__u32 slot;

	*load = (struct load){};
	if (generation_read(service, number, &info))
		return 0;
	load->sockets = generation_read_cookies(service, &info, cookies);
	if (generation_read_counters(service, &info, counters))
		return -1;
	count = sock_diag_list(&service->endpoint, &sockets);
	if (count < 0)
		return -1;
	for (slot = 0; slot < info.slots; slot++) {
		load->packets += counters[slot].packets;
		load->flows += counters[slot].flows;
		for (i = 0; i < count; i++) {
			if (!cookies[slot] || sockets[i].cookie != cookies[slot])
				continue;
			load->drops += sockets[i].drops;
			if (sockets[i].queue > load->queue)
				load->queue = sockets[i].queue;
		}
	}
	free(sockets);
	return 0;
}

static int check_load(const struct canary_target *target, __u32 max_queue)
{
	const struct service *service = target->service;
	bool is_udp = service->config.protocol == IPPROTO_UDP;
	struct load load;

	if (!generation_has_sockets(service, target->number))
		return fail("the new server has no socket of service %s any more, most likely "
			    "because it has exited",
			    service->name);
	if (!max_queue)
		return 0;
	if (read_load(service, target->number, &load))
		return -1;
	if (load.queue > max_queue)
		return fail("%u %s wait at a socket of the new server, more than --max-queue %u "
			    "allows",
			    load.queue, is_udp ? "bytes" : "connections", max_queue);
	/* of a listener with TCP_DEFER_ACCEPT the kernel counts drops that are none */
	if (is_udp && load.drops != target->began_drops)
		return fail("sockets of the new server dropped %u datagrams, most likely because "
			    "their queues were full",
			    load.drops - target->began_drops);
	return 0;
}

/* -- The check ---------------------------------------------------------------------------- */

static pid_t check_pid;		/* 0: it does not run */
static __u64 next_check;	/* when it is to run again */

bool canary_is_check(pid_t pid)
{
	return check_pid && pid == check_pid;
}

static void print_load(json_writer_t *writer, const char *name, const struct service *service,
		       __u32 number)
{
	struct load load;

	if (read_load(service, number, &load))
		drop_errors();
	jsonw_name(writer, name);
	jsonw_start_object(writer);
	jsonw_uint_field(writer, "generation", number);
	jsonw_uint_field(writer, "sockets", load.sockets);
	jsonw_uint_field(writer, "packets", load.packets);
	jsonw_uint_field(writer, "new_flows", load.flows);
	jsonw_uint_field(writer, "queue", load.queue);
	jsonw_uint_field(writer, "drops", load.drops);
	jsonw_end_object(writer);
}

/* What the check finds in its environment */
static void set_environment(const struct canary_target *target)
{
	const struct service *service = target->service;
	const __u32 numbers[] = { service->now.current, target->number };
	static const char *const names[] = { "OLD_", "" };
	char name[64], text[32], *document;
	struct generation info;
	json_writer_t *writer;
	FILE *stream;
	size_t size;
	int i;

	setenv("REUSEPORTCTL_SERVICE", service->name, 1);
	for (i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "REUSEPORTCTL_%sGENERATION", names[i]);
		snprintf(text, sizeof(text), "%u", numbers[i]);
		setenv(name, text, 1);
		if (generation_read(service, numbers[i], &info))
			continue;
		snprintf(name, sizeof(name), "REUSEPORTCTL_%sPID", names[i]);
		snprintf(text, sizeof(text), "%u", info.pid);
		setenv(name, text, 1);
	}
	stream = open_memstream(&document, &size);
	writer = stream ? jsonw_new(stream) : NULL;
	if (!writer)
		return;
	jsonw_start_object(writer);
	print_load(writer, "canary", service, target->number);
	print_load(writer, "current", service, service->now.current);
	jsonw_end_object(writer);
	jsonw_destroy(&writer);
	fclose(stream);
	setenv("REUSEPORTCTL_COUNTERS", document, 1);
}

/* It is a process group of its own, so that all of it can be ended. What it prints goes to stderr:
 * stdout has what the command was asked for.
 */
static int start_check(const struct canary_target *target, const char *command)
{
	fflush(stdout);
	check_pid = fork();
	if (check_pid < 0) {
		check_pid = 0;
		return fail("cannot run the check (%s)", strerror(errno));
	}
	if (check_pid) {
		setpgid(check_pid, check_pid);
		return 0;
	}
	setpgid(0, 0);
	interrupt_release();
	dup2(STDERR_FILENO, STDOUT_FILENO);
	set_environment(target);
	execl("/bin/sh", "sh", "-c", command, NULL);
	_exit(127);
}

static void end_check(void)
{
	if (!check_pid)
		return;
	kill(-check_pid, SIGKILL);
	waitpid(check_pid, NULL, 0);
	check_pid = 0;
}

/* Run it if it is time to. Return 1 while it runs. */
static int look_at_check(const struct canary_target *target, const struct canary *canary)
{
	int status;

	if (!canary->check)
		return 0;
	if (!check_pid) {
		if (now_ms() < next_check)
			return 0;
		next_check = now_ms() + canary->every;
		return start_check(target, canary->check) ? -1 : 1;
	}
	if (waitpid(check_pid, &status, WNOHANG) != check_pid)
		return 1;
	check_pid = 0;
	if (WIFSIGNALED(status))
		return fail("the check was killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status) ? fail("the check failed with status %d", WEXITSTATUS(status)) :
				     0;
}

/* -- The steps ---------------------------------------------------------------------------- */

/* Another command may hold a lock for a moment. */
static int lock_patiently(struct service *service)
{
	__u64 end = now_ms() + LOCK_MS;

	while (service_lock(service)) {
		if (now_ms() >= end || service_check_exists(service))
			return -1;
		drop_errors();
		sleep_ms(1);
	}
	return 0;
}

static void unlock_all(struct canary_target *targets, int count)
{
	int i;

	for (i = 0; i < count; i++)
		service_unlock(targets[i].service);
}

static int lock_all(struct canary_target *targets, int count)
{
	int i;

	for (i = 0; i < count; i++) {
		if (!lock_patiently(targets[i].service))
			continue;
		unlock_all(targets, i);
		return -1;
	}
	return 0;
}

/* Has another command ended it? Return 1 if it is promoted, -1 if it is aborted. */
static int find_verdict(const struct canary_target *targets, int count)
{
	const struct service *service;
	int i;

	for (i = 0; i < count; i++) {
		service = targets[i].service;
		if (service->now.current == targets[i].number)
			return 1;
		if (service->now.canary != targets[i].number)
			return fail("another command has ended the canary of service %s",
				    service->name);
	}
	return 0;
}

/* With all locks held. If it fails in one service, the caller ends the canary in all. */
static int begin_step(struct canary_target *targets, int count, __u32 share)
{
	int err = 0, i;

	for (i = 0; i < count && !err; i++)
		err = canary_set(targets[i].service, targets[i].number, share);
	return err;
}

/* Return 1 if it was promoted, -1 if it has failed. */
static int watch_step(struct canary_target *targets, int count, const struct canary *canary)
{
	__u64 end = now_ms() + canary->duration, now;
	int verdict = 0, running = 0, i;

	next_check = 0;
	do {
		if (canary->is_over && canary->is_over())
			return -1;
		for (i = 0; i < count; i++)
			if (service_read_state(targets[i].service) ||
			    check_load(&targets[i], canary->max_queue))
				return -1;
		verdict = find_verdict(targets, count);
		if (verdict)
			return verdict;
		running = look_at_check(targets, canary);
		if (running < 0)
			return -1;
		now = now_ms();
		progress("watching generation %u of service %s: %.1f s left",
			 targets->number, targets->service->name,
			 now < end ? (end - now) / 1e3 : 0);
		sleep_ms(STEP_MS);
	} while (now < end || running);
	return 0;
}

void canary_end(struct canary_target *targets, int count)
{
	char reason[MAX_SENTENCE];
	struct service *service;
	int i;

	/* trying to lock drops what is recorded */
	take_error(reason);
	for (i = 0; i < count; i++) {
		service = targets[i].service;
		if (!lock_patiently(service) && service->now.canary == targets[i].number)
			canary_abort(service);
	}
	fail("%s", reason);
}

int canary_run(struct canary_target *targets, int count, const struct canary *canary)
{
	int verdict = 0, step, i;
	struct load load;

	for (i = 0; i < count && !verdict; i++) {
		verdict = read_load(targets[i].service, targets[i].number, &load);
		targets[i].began_drops = load.drops;
	}
	for (step = 0; step < canary->nr_steps && !verdict; step++) {
		/* up to the first step the caller holds the locks, and there is no canary */
		if (step)
			verdict = lock_all(targets, count) ? -1 : find_verdict(targets, count);
		if (!verdict)
			verdict = begin_step(targets, count, canary->steps[step]);
		unlock_all(targets, count);
		if (!verdict)
			verdict = watch_step(targets, count, canary);
	}
	if (verdict >= 0)
		verdict = lock_all(targets, count) ? -1 : find_verdict(targets, count);
	if (verdict < 0)
		canary_end(targets, count);
	end_check();
	return verdict < 0 ? -1 : 0;
}
