// SPDX-License-Identifier: GPL-2.0
/* restart: start the new server, wait, switch, drain, stop the old one.
 *
 * The new server is a child of ours, or its child is, if it makes itself a daemon: as a
 * subreaper we adopt what it leaves behind. Up to the switch we can end all of it, and do
 * if it fails to come up, so that nothing has changed. If we are killed instead, it goes
 * on running, and gets nothing: show names it, and switch --pid makes use of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "server.h"

static volatile sig_atomic_t interrupted;
static pid_t child; /* 0: has ended, as daemons do */

static void on_signal(int signal)
{
	interrupted = signal;
}

static void handle(void (*handler)(int))
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = handler };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

/* How many there are below us. */
static int descendants(struct process **tree)
{
	return proc_tree(getpid(), tree) - 1;
}

static bool has_failed(void)
{
	struct process *tree;
	int status, left;

	if (interrupted)
		return fail("interrupted");
	if (!child || waitpid(child, &status, WNOHANG) != child)
		return false;
	child = 0;
	if (WIFSIGNALED(status))
		return fail("the new server died of signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		return fail("the new server ended with status %d", WEXITSTATUS(status));
	left = descendants(&tree);
	free(tree);
	return left < 1 ? fail("the new server has ended") : false;
}

static int start(char **command, const char *number)
{
	int ready[2], err = 0;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) || pipe2(ready, O_CLOEXEC))
		return fail("cannot start %s (%s)", command[0], strerror(errno));
	fflush(stdout);
	handle(on_signal);
	child = fork();
	if (!child) {
		handle(SIG_DFL);
		setsid();
		setenv("REUSEPORTCTL_GENERATION", number, 1);
		execvp(command[0], command);
		err = errno;
		if (write(ready[1], &err, sizeof(err)) < 0)
			err = 0;
		_exit(127);
	}
	close(ready[1]);
	if (child < 0)
		err = errno;
	else if (read(ready[0], &err, sizeof(err)) != sizeof(err))
		err = 0;
	close(ready[0]);
	if (!err)
		return 0;
	if (child > 0)
		waitpid(child, NULL, 0);
	child = 0;
	return fail("cannot start %s (%s)", command[0], strerror(err));
}

static void end_all(int signal)
{
	struct process *tree;
	int count, i;

	count = descendants(&tree);
	for (i = 1; i <= count; i++)
		proc_signal(tree[i].pid, tree[i].started, signal);
	free(tree);
}

/* Nothing shall have changed: end what we have started. */
static void kill_new_server(void)
{
	__u64 end = now_ms() + 5000;
	struct process *tree;
	int count;

	end_all(SIGTERM);
	do {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		count = descendants(&tree);
		free(tree);
		if (count > 0)
			sleep_ms(20);
	} while (count > 0 && now_ms() < end);
	end_all(SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* The process that stands for the new server: our child that this one descends from. */
static int find_server(pid_t pid, struct process *server)
{
	while (!proc_read(pid, server)) {
		if (server->parent == getpid())
			return 0;
		pid = server->parent;
	}
	return fail("the new server has ended");
}

/* systemd watches the main process of a unit. With NotifyAccess=exec it may be told of
 * another one by us, whom it has started to reload the unit.
 */
static void notify(pid_t pid)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	char text[32];
	int fd, len;

	if (!path || strlen(path) >= sizeof(to.sun_path))
		return;
	strcpy(to.sun_path, path);
	if (*path == '@')
		to.sun_path[0] = '\0';
	len = snprintf(text, sizeof(text), "MAINPID=%d\n", pid);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, text, len, 0, (struct sockaddr *)&to,
			     offsetof(struct sockaddr_un, sun_path) + strlen(path)) < 0)
		say("systemd was not told of process %d (%s)", pid, strerror(errno));
	if (fd >= 0)
		close(fd);
}

#define MAX_SERVICES 16

struct plan {
	const char *names[MAX_SERVICES];
	int nr_services;
	char **command;
	struct process old; /* pid 0: whoever the generation was made of */
	__u32 old_pid;
	__u32 wanted;
	const char *kill_by;
	int signal;
	__u64 idle;
	__u64 timeout;
	__u64 drain_timeout;
	__u64 settle;
};

/* One of the services that the server has. */
struct switch_target {
	struct service service;
	struct held_socket *sockets;
	int count;
	__u32 old_gen, new_gen;
	struct process old;
};

static int find_new_sockets(struct switch_target *targets, const struct plan *plan)
{
	__u32 other_gen;
	int i;

	for (i = 0; i < plan->nr_services; i++) {
		targets[i].count = server_wait(&targets[i].service, getpid(), plan->command[0],
					     plan->wanted, plan->timeout, &targets[i].sockets,
					     &other_gen, has_failed);
		if (targets[i].count < 0)
			return -1;
		if (!targets[i].count)
			return fail("%s has inherited the sockets of generation %u, and no others: "
				    "there is nothing to switch",
				    plan->command[0], other_gen);
	}
	return server_settle(getpid(), plan->command[0], plan->settle, has_failed);
}

/* All or none. */
static int switch_all(struct switch_target *targets, int count, const struct process *server)
{
	int prepared, switched, i, err = 0;

	for (prepared = 0; prepared < count && !err; prepared++)
		err = server_prepare(&targets[prepared].service, targets[prepared].sockets,
				     targets[prepared].count, server, false, &targets[prepared].new_gen);
	for (switched = 0; switched < count && !err; switched++)
		err = generation_switch(&targets[switched].service, targets[switched].new_gen);
	if (!err)
		return 0;
	for (i = 0; i < switched; i++)
		generation_switch(&targets[i].service, targets[i].old_gen);
	for (i = 0; i < prepared; i++)
		if (targets[i].new_gen)
			generation_drop(&targets[i].service, targets[i].new_gen);
	return err;
}

/* What the new server is told. Where it matters is in ids, so a service that has none does
 * not count, but if there is no other.
 */
static __u32 next_generation(const struct switch_target *targets, int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (targets[i].service.config.steering.mode == UDP_ID)
			return generation_next(&targets[i].service);
	return generation_next(&targets[0].service);
}

/* A server is told one number, and puts it into the ids of all its services. */
static int check_numbers(const struct switch_target *targets, const struct plan *plan)
{
	__u32 told = next_generation(targets, plan->nr_services), number;
	int i;

	if (!told)
		return -1;
	for (i = 0; i < plan->nr_services; i++) {
		number = generation_next(&targets[i].service);
		if (!number)
			return -1;
		if (targets[i].service.config.steering.mode == UDP_ID && number != told)
			return fail("generation %u comes next in service %s, and generation %u in "
				    "another one that is steered by ids: the new server can be "
				    "told one number only. Restart them one by one",
				    number, plan->names[i], told);
	}
	return 0;
}

/* The commands that do what take_down() does. */
static void describe_rest(const struct switch_target *targets, const struct plan *plan, char *text,
			  size_t size)
{
	size_t len = 0;
	int i;

	/* there is room: names and numbers are short */
	for (i = 0; i < plan->nr_services; i++) {
		if (i)
			len += snprintf(text + len, size - len, " && ");
		len += describe_drain(text + len, size - len, plan->names[i], targets[i].old_gen,
				      plan->idle);
	}
	if (plan->old_pid)
		snprintf(text + len, size - len, " && kill -%s %u", plan->kill_by, plan->old_pid);
	else
		snprintf(text + len, size - len, " --kill %s", plan->kill_by);
}

/* With the locks held: from nothing to the switch, or back to nothing. */
static int bring_up(struct switch_target *targets, const struct plan *plan)
{
	char resume_cmd[MAX_SENTENCE - 512], number[16];
	struct process server;
	int err, i;

	snprintf(number, sizeof(number), "%u", next_generation(targets, plan->nr_services));
	err = start(plan->command, number);
	if (!err) {
		err = find_new_sockets(targets, plan) ||
		      find_server(targets[0].sockets[0].pid, &server) || has_failed() ||
		      switch_all(targets, plan->nr_services, &server);
		if (err)
			kill_new_server();
	}
	for (i = 0; i < plan->nr_services; i++) {
		free(targets[i].sockets);
		if (err)
			say("nothing has changed: service %s goes on with generation %u",
			    plan->names[i], targets[i].old_gen);
	}
	if (err)
		return -1;
	handle(SIG_DFL);
	notify(server.pid);
	for (i = 0; i < plan->nr_services; i++)
		say("service %s: switched to generation %u, %s(%d) with %d socket%s",
		    plan->names[i], targets[i].new_gen, server.comm, server.pid, targets[i].count,
		    targets[i].count == 1 ? "" : "s");
	/* while it was switched; from here on a signal ends us */
	if (interrupted) {
		describe_rest(targets, plan, resume_cmd, sizeof(resume_cmd));
		return fail("interrupted after the switch: the old server goes on running; to "
			    "stop it: %s",
			    resume_cmd);
	}
	return 0;
}

/* The old server has to be out of work in all its services before it is told to stop. */
static int take_down(struct switch_target *targets, const struct plan *plan)
{
	__u64 end = now_ms() + plan->drain_timeout;
	char resume_cmd[MAX_SENTENCE - 512];
	int i, err = 0;

	describe_rest(targets, plan, resume_cmd, sizeof(resume_cmd));

	for (i = 0; i < plan->nr_services && !err; i++)
		err = server_drain(&targets[i].service, targets[i].old_gen,
				   plan->idle == UINT64_MAX ? default_idle(&targets[i].service) :
							      plan->idle,
				   end, resume_cmd);
	for (i = 0; i < plan->nr_services && !err; i++)
		err = service_lock(&targets[i].service) ||
		      server_find(&targets[i].service, targets[i].old_gen,
				  plan->old_pid ? &plan->old : NULL, &targets[i].old);
	for (i = 0; i < plan->nr_services && !err; i++)
		if (!i || targets[i].old.pid != targets[i - 1].old.pid)
			err = server_stop(&targets[i].old, plan->signal);
	for (i = 0; i < plan->nr_services; i++)
		service_unlock(&targets[i].service);
	for (i = 0; i < plan->nr_services && !err; i++) {
		err = server_await_end(&targets[i].service, targets[i].old_gen, &targets[i].old,
				       plan->signal, end, resume_cmd);
		if (!err)
			say("generation %u of service %s has stopped", targets[i].old_gen,
			    plan->names[i]);
	}
	return err;
}

static int parse(struct arguments *args, struct plan *plan)
{
	int i;

	for (i = 0; i < args->argc && strcmp(args->argv[i], "--"); i++)
		;
	if (i + 1 >= args->argc)
		return fail("restart what? Give the command that starts the server behind --");
	plan->command = args->argv + i + 1;
	args->argc = i;
	if (take_number(args, "--old", &plan->old_pid, INT32_MAX) ||
	    take_number(args, "--wait", &plan->wanted, MAX_SLOTS) ||
	    take_duration(args, "--idle", &plan->idle) ||
	    take_duration(args, "--timeout", &plan->timeout) ||
	    take_duration(args, "--drain-timeout", &plan->drain_timeout) ||
	    take_duration(args, "--settle", &plan->settle) ||
	    take_option(args, "--kill", &plan->kill_by))
		return -1;
	do {
		if (take_name(args, &plan->names[plan->nr_services++]))
			return -1;
	} while (args->argc && plan->nr_services < MAX_SERVICES);
	plan->signal = parse_signal(plan->kill_by);
	return plan->signal < 0 ? -1 : args_end(args);
}

int do_restart(struct arguments *args)
{
	struct plan plan = {
		.kill_by = "TERM",
		.idle = UINT64_MAX,
		.timeout = 30000,
		.drain_timeout = DRAIN_MS,
	};
	struct switch_target targets[MAX_SERVICES] = {};
	int opened, err = 0, i;

	if (parse(args, &plan))
		return -1;
	for (opened = 0; opened < plan.nr_services; opened++) {
		struct service *service = &targets[opened].service;

		err = service_open(service, plan.names[opened], true);
		if (err)
			break;
		targets[opened].old_gen = service->now.current;
		err = require_netns(service) ||
		      (plan.old_pid &&
		       server_read(plan.old_pid, service->config.netns, &plan.old));
		if (err)
			plan.nr_services = opened;
	}
	if (!err)
		err = check_numbers(targets, &plan);
	for (i = 0; i < opened && !err && dry_run; i++) {
		const struct service *service = &targets[i].service;

		say("would start %s, switch service %s to it as generation %u, and drain "
		    "and stop generation %u",
		    plan.command[0], plan.names[i], generation_next(service),
		    service->now.current);
	}
	if (!err && !dry_run) {
		err = bring_up(targets, &plan);
		for (i = 0; i < opened; i++)
			service_unlock(&targets[i].service);
		if (!err)
			err = take_down(targets, &plan);
	}
	for (i = 0; i < opened; i++)
		service_close(&targets[i].service);
	return err ? -1 : 0;
}
