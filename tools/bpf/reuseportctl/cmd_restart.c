// SPDX-License-Identifier: GPL-2.0
/* restart: start the new server, wait for it, switch, drain and stop the old one. With a canary
 * the new server gets a share first, and is drained and stopped if it fails.
 *
 * The new server is a child of ours, or its child is, if it daemonizes: as a subreaper we
 * adopt what it leaves behind. Up to the switch we can stop all of it, and do so if it fails
 * to start, so that nothing has changed. If we are killed instead, it goes on running and gets
 * nothing: show lists its sockets, and switch --pid switches to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "args.h"
#include "canary.h"
#include "drain.h"
#include "hold.h"
#include "interrupt.h"
#include "output.h"
#include "service.h"

static pid_t child; /* 0: has exited, as the parent of a daemon does */

/* Our descendants, behind ourselves in *@tree. Return how many. */
static int find_descendants(struct process **tree)
{
	return proc_tree(getpid(), tree) - 1;
}

/* Record how the child of ours that is the server, or has started it, has ended, if that is no
 * success.
 */
static int check_status(int status)
{
	if (WIFSIGNALED(status))
		return fail("the new server was killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		return fail("the new server exited with status %d", WEXITSTATUS(status));
	return 0;
}

/* Record why the new server has failed, if it has. */
static bool has_failed(void)
{
	struct process *tree;
	siginfo_t ended = {};
	int status, left;

	if (interrupt_is_pending())
		return fail("interrupted");
	if (child) {
		if (waitpid(child, &status, WNOHANG) != child)
			return false;
		child = 0;
		if (check_status(status))
			return true;
	}
	/* a daemon; what it leaves behind is ours to wait for, but not the check of a canary */
	while (!waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) && ended.si_pid &&
	       !canary_is_check(ended.si_pid))
		waitpid(ended.si_pid, NULL, WNOHANG);
	left = find_descendants(&tree);
	free(tree);
	return left < 1 ? fail("the new server has exited") : false;
}

/* Let the new server believe that it attaches a program of its own: it would replace that of the
 * service before the switch. The filter is for the system call of this architecture; another
 * one, such as that of a 32-bit server, passes, and the server is then rejected.
 */
static void keep_prog(void)
{
#if defined(__x86_64__) || defined(__aarch64__) || defined(__s390x__)
#if defined(__x86_64__)
	const __u32 arch = AUDIT_ARCH_X86_64, low = 0;
#elif defined(__aarch64__)
	const __u32 arch = AUDIT_ARCH_AARCH64, low = 0;
#else
	const __u32 arch = AUDIT_ARCH_S390X, low = 4;	/* big-endian */
#endif
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 8),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_setsockopt, 0, 6),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + low),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_SOCKET, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]) + low),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_ATTACH_REUSEPORT_CBPF, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_ATTACH_REUSEPORT_EBPF, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	/* needs CAP_SYS_ADMIN, as all commands do */
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
#endif
}

static int start(char **command, const char *number, bool force, const struct output *output)
{
	int ready[2], err = 0;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) || pipe2(ready, O_CLOEXEC))
		return fail("cannot start %s (%s)", command[0], strerror(errno));
	fflush(stdout);
	child = fork();
	if (!child) {
		interrupt_release();
		setsid();
		output_use(output);
		setenv("REUSEPORTCTL_GENERATION", number, 1);
		if (force)
			keep_prog();
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

static void signal_all(int signal)
{
	struct process *tree;
	int count, i;

	count = find_descendants(&tree);
	for (i = 1; i <= count; i++)
		proc_signal(tree[i].pid, tree[i].started, signal);
	free(tree);
}

/* Stop what we have started, so that nothing has changed. */
static void kill_new_server(void)
{
	__u64 end = now_ms() + 5000;
	struct process *tree;
	int count;

	signal_all(SIGTERM);
	do {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		count = find_descendants(&tree);
		free(tree);
		if (count > 0)
			sleep_ms(20);
	} while (count > 0 && now_ms() < end);
	signal_all(SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* The main process of the new server: the child of ours that this one descends from. */
static int find_server(pid_t pid, struct process *server)
{
	while (!proc_read(pid, server)) {
		if (server->parent == getpid())
			return 0;
		pid = server->parent;
	}
	return fail("the new server has exited");
}

/* systemd watches the main process of a unit. With NotifyAccess=exec we may tell it another
 * one, as it has started us to reload the unit.
 */
static void notify_systemd(pid_t pid)
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
		say("cannot tell systemd the main process %d (%s)", pid, strerror(errno));
	if (fd >= 0)
		close(fd);
}

#define MAX_SERVICES 16

struct plan {
	char **command;
	__u32 old_pid;
	struct process old; /* pid 0: the main process of the generation */
	const char *output_to;
	struct output output;
	struct drain drain;
	__u64 drain_timeout;
	bool force;
	struct server self;	/* whose descendants the new server is */
	struct server_wait wait;
	struct canary canary;
	bool canary_failed;
	int nr_services;
};

/* One of the services of the server. */
struct switch_target {
	struct service service;
	struct held_socket *sockets;
	int count;
	__u32 old_gen, new_gen;
	__u32 drain_gen;	/* old_gen, or new_gen if that was a canary that has failed */
	struct hold hold;
};

/* -- What is to be done, found out before anything is --------------------------------- */

/* The generation that the new server is told. It matters in ids, so a service that is steered
 * by ids takes precedence.
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
			return fail("the next generation is %u in service %s, and %u in another "
				    "service that is steered by ids, but the new server can be "
				    "told only one number: restart them one by one",
				    number, targets[i].service.name, told);
	}
	return 0;
}

/* The lock that this command holds would be "of another reuseportctl". */
static int check_distinct(const struct arguments *args)
{
	int i, j;

	for (i = 0; i < args->nr_words; i++)
		for (j = 0; j < i; j++)
			if (!strcmp(args->words[i], args->words[j]))
				return fail("service %s is named twice: name each service once",
					    args->words[i]);
	return 0;
}

static int read_canary(const struct arguments *args, struct canary *canary)
{
	static const char *const needs_canary[] = { "--for", "--check", "--every", "--max-queue" };
	const char *share = args_text(args, "--canary"), *steps = args_text(args, "--steps");
	unsigned int i;

	canary->check = args_text(args, "--check");
	canary->duration = args_number(args, "--for", CANARY_FOR_MS);
	canary->every = args_number(args, "--every", CANARY_EVERY_MS);
	canary->max_queue = args_number(args, "--max-queue", 0);
	canary->is_over = has_failed;
	if (args_text(args, "--every") && !canary->check)
		return fail("--every is the time between two runs of --check COMMAND");
	if (share && canary_parse_share(share, &canary->steps[0]))
		return -1;
	canary->nr_steps = !!share;
	if (steps && canary_add_steps(steps, canary))
		return -1;
	for (i = 0; i < ARRAY_SIZE(needs_canary) && !canary->nr_steps; i++)
		if (args_text(args, needs_canary[i]))
			return fail("%s is for a canary: --canary 5%%, for instance, or --steps",
				    needs_canary[i]);
	return 0;
}

static int read_args(const struct arguments *args, struct plan *plan)
{
	const char *kill_by = args_text(args, "--kill");

	if (args_require_name(args) || check_distinct(args))
		return -1;
	if (!args->rest || !*args->rest)
		return fail("restart takes the command that starts the server: reuseportctl "
			    "restart %s -- COMMAND...",
			    args->words[0]);
	plan->command = args->rest;
	plan->old_pid = args_number(args, "--old", 0);
	plan->drain.idle = args_number(args, "--idle", IDLE_DEFAULT);
	plan->drain.pid_file = args_text(args, "--pid-file");
	plan->drain.kill_after = args_number(args, "--kill-after", KILL_AFTER_DEFAULT_MS);
	plan->drain_timeout = args_number(args, "--drain-timeout", DRAIN_DEFAULT_MS);
	plan->self = (struct server){ .nr = 1, .list[0].pid = getpid() };
	plan->wait = (struct server_wait){
		.server = &plan->self,
		.who = plan->command[0],
		.wanted = args_number(args, "--wait", 0),
		.timeout = args_number(args, "--timeout", 30000),
		.settle = args_number(args, "--settle", 0),
		.is_over = has_failed,
	};
	plan->force = args_flag(args, "--force");
	plan->output_to = args_text(args, "--output");
	if (read_canary(args, &plan->canary) || drain_check_pid_file(plan->drain.pid_file) ||
	    proc_parse_signals(kill_by ? kill_by : "TERM", &plan->drain.signals) ||
	    output_check(plan->output_to))
		return -1;
	if (args_text(args, "--kill-after") && plan->drain.signals.nr < 2)
		return fail("--kill-after is the time between two signals of --kill: --kill "
			    "TERM,KILL, for instance");
	return 0;
}

/* The generation that serves: the current one, or if that has no socket any more the newest
 * that has some, which the program falls back to. Sockets that are in no generation serve too
 * if none has any; then it is not clear what to replace.
 */
static int find_serving(const struct service *service, __u32 *number)
{
	struct held_socket *sockets;
	int count;

	*number = service->now.current;
	/* its server may have replaced all workers while the service was open */
	if (generation_nr_sockets(service, *number) || hold_nr_joined(service) > 0)
		return 0;
	if (drain_choose(service)) {
		*number = drain_choose(service);
		return 0;
	}
	count = sockets_find(&service->endpoint, 0, &sockets);
	if (count > 0 && sockets[0].pid)
		fail("no generation of service %s has a socket any more, but process %d (%s) "
		     "serves at its address: reuseportctl switch %s --pid %d makes it the current "
		     "one, which a restart then replaces",
		     service->name, sockets[0].pid, sockets[0].comm, service->name,
		     sockets[0].pid);
	else if (count > 0)
		fail("no generation of service %s has a socket any more, but a process that is "
		     "not visible here serves at its address: run this in its PID namespace, or "
		     "that of the host",
		     service->name);
	if (count >= 0)
		free(sockets);
	return count ? -1 : 0;
}

/* Open and lock all services. plan->nr_services is how many are open. */
static int open_targets(const struct arguments *args, struct plan *plan,
			struct switch_target *targets)
{
	int i;

	for (i = 0; i < args->nr_words; i++) {
		struct service *service = &targets[i].service;

		if (service_open_locked(service, args->words[i]))
			return -1;
		plan->nr_services++;
		plan->force |= service->config.flags & SERVICE_FORCE;
		if (require_netns(service) || canary_require_none(service, "restart") ||
		    find_serving(service, &targets[i].old_gen) ||
		    (!plan->force && server_check_prog(service, targets[i].old_gen) < 0) ||
		    (!plan->old_pid && server_check_holders(service, targets[i].old_gen, true)) ||
		    (plan->old_pid &&
		     server_read(plan->old_pid, service->config.netns, &plan->old)))
			return -1;
		targets[i].drain_gen = targets[i].old_gen;
	}
	return check_numbers(targets, plan);
}

/* What execvp() would find, without the contents of the file. */
static int check_command(const char *command)
{
	const char *path = getenv("PATH"), *end;
	int err = ENOENT, len;
	char file[PATH_MAX];
	struct stat st;

	if (strchr(command, '/'))
		path = "";
	else if (!path)
		path = "/bin:/usr/bin";
	for (;; path = end + 1) {
		end = strchrnul(path, ':');
		len = end - path;
		snprintf(file, sizeof(file), "%.*s%s%s", len, path, len ? "/" : "", command);
		if (!access(file, X_OK) && !stat(file, &st) && S_ISREG(st.st_mode))
			return 0;
		/* one that cannot be run counts only if there is no other */
		if (!access(file, F_OK))
			err = EACCES;
		if (!*end)
			return fail("cannot start %s (%s)", command, strerror(err));
	}
}

/* @server: NULL on a dry run */
static void print_json(const struct switch_target *targets, const struct plan *plan,
		       const struct process *server)
{
	int i;

	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", !server);
	jsonw_name(json, "services");
	jsonw_start_array(json);
	for (i = 0; i < plan->nr_services; i++) {
		jsonw_start_object(json);
		jsonw_string_field(json, "service", targets[i].service.name);
		jsonw_uint_field(json, "old_generation", targets[i].old_gen);
		jsonw_uint_field(json, "generation",
				 server ? targets[i].new_gen :
					  generation_next(&targets[i].service));
		if (server)
			jsonw_uint_field(json, "sockets", targets[i].count);
		jsonw_end_object(json);
	}
	jsonw_end_array(json);
	if (server) {
		jsonw_uint_field(json, "pid", server->pid);
		jsonw_string_field(json, "comm", server->comm);
	}
	jsonw_end_object(json);
}

static void print_plan(const struct switch_target *targets, const struct plan *plan)
{
	int i;

	for (i = 0; i < plan->nr_services; i++) {
		const struct service *service = &targets[i].service;
		char share[SHARE_LEN], steps[96] = "";

		if (plan->canary.nr_steps)
			snprintf(steps, sizeof(steps), "try it with %s of new traffic first, ",
				 canary_format_share(plan->canary.steps[0], share));
		say("would start %s, %sswitch service %s to it as generation %u, and drain and "
		    "stop generation %u",
		    plan->command[0], steps, service->name, generation_next(service),
		    targets[i].old_gen);
	}
	if (json)
		print_json(targets, plan, NULL);
}

/* Write the commands that drain and stop what is to be drained. */
static void describe_rest(const struct switch_target *targets, const struct plan *plan, char *text,
			  size_t size)
{
	const struct signals *signals = &plan->drain.signals;
	struct drain drain = plan->drain;
	size_t len = 0;
	int i;

	/* there is room: names and numbers are short */
	for (i = 0; i < plan->nr_services && len < size; i++) {
		if (i)
			len += snprintf(text + len, size - len, " && ");
		drain.number = targets[i].drain_gen;
		len += drain_describe(text + len, size - len, &targets[i].service, &drain,
				      !plan->old_pid && i == plan->nr_services - 1);
	}
	if (plan->old_pid && len < size)
		snprintf(text + len, size - len, " && kill -%s %u",
			 proc_signal_name(signals->list[0]), plan->old_pid);
}

/* -- Starting and switching -------------------------------------------------------------- */

static int wait_for_sockets(struct switch_target *targets, const struct plan *plan)
{
	__u32 other_gen;
	int i;

	for (i = 0; i < plan->nr_services; i++) {
		targets[i].count = server_wait(&targets[i].service, &plan->wait,
					       &targets[i].sockets, &other_gen);
		if (targets[i].count < 0)
			return -1;
		if (!targets[i].count)
			return fail("%s has taken over the sockets of generation %u, and has no "
				    "others, so there is nothing to switch to: restart it by its "
				    "own means, and run reuseportctl switch %s --pid PID then",
				    plan->command[0], other_gen, targets[i].service.name);
	}
	return server_settle(&plan->wait);
}

static void drop_all(struct switch_target *targets, int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (targets[i].new_gen)
			generation_drop(&targets[i].service, targets[i].new_gen);
}

static void free_sockets(struct switch_target *targets, int count)
{
	int i;

	for (i = 0; i < count; i++) {
		free(targets[i].sockets);
		targets[i].sockets = NULL;
	}
}

/* All or none. */
static int prepare_all(struct switch_target *targets, int count, const struct process *process,
		       bool force)
{
	const struct server server = { .nr = 1, .list[0] = *process };
	int prepared, err = 0;

	for (prepared = 0; prepared < count && !err; prepared++)
		err = server_prepare(&targets[prepared].service, targets[prepared].sockets,
				     targets[prepared].count, &server, force,
				     &targets[prepared].new_gen);
	if (err)
		drop_all(targets, prepared);
	return err;
}

/* All or none. */
static int switch_all(struct switch_target *targets, int count)
{
	int switched, i, err = 0;
	struct state held;

	for (switched = 0; switched < count && !err; switched++)
		err = generation_switch(&targets[switched].service, targets[switched].new_gen);
	for (i = 0; i < switched && err; i++) {
		/* the new server still runs, and must not get anything */
		held = targets[i].hold.state;
		held.open = 0;
		generation_restore(&targets[i].service, &held);
	}
	return err;
}

/* -- A canary ------------------------------------------------------------------------------ */

/* To the switch, or to services whose current generation gets all new traffic again. */
static int try_canary(struct switch_target *targets, const struct plan *plan)
{
	struct canary_target tried[MAX_SERVICES];
	int i;

	for (i = 0; i < plan->nr_services; i++)
		tried[i] = (struct canary_target){
			.service = &targets[i].service,
			.number = targets[i].new_gen,
		};
	if (canary_run(tried, plan->nr_services, &plan->canary))
		return -1;
	if (!switch_all(targets, plan->nr_services))
		return 0;
	canary_end(tried, plan->nr_services);
	return -1;
}

/* -- Putting back --------------------------------------------------------------------------- */

/* Put everything back, or print what could not be. */
static void undo_all(struct switch_target *targets, int count)
{
	int i;

	for (i = 0; i < count; i++)
		hold_undo(&targets[i].service, &targets[i].hold);
}

/* With the locks held: from nothing to generations that are filled, or back to nothing. */
static int start_and_prepare(struct switch_target *targets, const struct plan *plan,
			     struct process *server)
{
	char number[16];
	int err;

	if (interrupt_is_pending())
		return fail("interrupted");
	snprintf(number, sizeof(number), "%u", next_generation(targets, plan->nr_services));
	err = start(plan->command, number, plan->force, &plan->output);
	output_close(&plan->output);
	if (err)
		return -1;
	for (;;) {
		pid_t parent = child;

		if (wait_for_sockets(targets, plan) || has_failed())
			break;
		if (!find_server(targets[0].sockets[0].pid, server) &&
		    !prepare_all(targets, plan->nr_services, server, plan->force))
			return 0;
		/* the parent of a daemon may exit when its sockets are found: look again */
		if (!parent || has_failed() || child)
			break;
		drop_errors();
		free_sockets(targets, plan->nr_services);
	}
	kill_new_server();
	return -1;
}

static int bring_up(struct switch_target *targets, struct plan *plan, struct process *server)
{
	char resume_cmd[MAX_SENTENCE - 512];
	int err, i;

	err = start_and_prepare(targets, plan, server);
	free_sockets(targets, plan->nr_services);
	if (!err && plan->canary.nr_steps) {
		err = try_canary(targets, plan);
		plan->canary_failed = err;
	} else if (!err) {
		err = switch_all(targets, plan->nr_services);
		if (err) {
			drop_all(targets, plan->nr_services);
			kill_new_server();
		}
	}
	if (plan->canary_failed)
		report_errors();
	else if (err)
		undo_all(targets, plan->nr_services);
	if (err && plan->output.is_discarded)
		say("what the new server printed was discarded: --output inherit, or a file, shows "
		    "it");
	if (err)
		return -1;
	interrupt_release();
	notify_systemd(server->pid);
	/* it is too late to fail: take_down() writes it again */
	if (drain_write_pid(&targets[0].service, &plan->drain))
		drop_errors();
	for (i = 0; i < plan->nr_services; i++)
		say("service %s: switched to generation %u, %s(%d) with %d socket%s",
		    targets[i].service.name, targets[i].new_gen, server->comm, server->pid,
		    targets[i].count, targets[i].count == 1 ? "" : "s");
	/* a signal that came during the switch; from here on one ends us */
	if (interrupt_is_pending()) {
		describe_rest(targets, plan, resume_cmd, sizeof(resume_cmd));
		return fail("interrupted after the switch: the old server is still running; to "
			    "stop it: %s",
			    resume_cmd);
	}
	return 0;
}

/* -- Draining and stopping ------------------------------------------------------------------ */

/* What has_new_failed() looks at, and whether it was so. */
static const struct switch_target *watched;
static int nr_watched;
static bool new_failed;

/* Has the new server lost its sockets in one of its services? Most often it has exited. */
static bool has_new_failed(void)
{
	int i;

	for (i = 0; i < nr_watched; i++) {
		const struct service *service = &watched[i].service;

		if (generation_nr_sockets(service, watched[i].new_gen))
			continue;
		/* detach empties all maps */
		if (service_check_exists(service))
			return true;
		new_failed = true;
		return fail("the new server has no socket of service %s any more, most likely "
			    "because it has exited",
			    service->name);
	}
	return false;
}

/* The new server has failed while the old one still serves: that is the current one again. */
static void switch_back(struct switch_target *targets, const struct plan *plan)
{
	struct generation info;
	int i, err = 0;

	report_errors();
	for (i = 0; i < plan->nr_services && !err; i++) {
		struct service *service = &targets[i].service;

		err = service_lock(service);
		/* another command may have switched meanwhile */
		if (!err && service->now.current == targets[i].new_gen)
			err = generation_switch(service, targets[i].old_gen) || hold_end(service);
		if (!err && service->now.current == targets[i].old_gen)
			say("service %s: back to generation %u, which was not stopped",
			    service->name, targets[i].old_gen);
	}
	if (!err && !generation_read(&targets[0].service, targets[0].old_gen, &info)) {
		notify_systemd(plan->old_pid ? plan->old_pid : info.pid);
		if (drain_write_pid(&targets[0].service, &plan->drain))
			report_errors();
	}
	for (i = 0; i < plan->nr_services; i++)
		service_unlock(&targets[i].service);
}

/* A server must be drained in all its services before it gets the signal. */
static int drain_and_stop(struct switch_target *targets, const struct plan *plan,
			  bool (*is_over)(void), bool *signalled)
{
	struct drain_target stops[MAX_SERVICES * MAX_PROCESSES];
	char resume_cmd[MAX_SENTENCE - 512];
	struct drain drain = plan->drain;
	int i, count = 0, err = 0;

	describe_rest(targets, plan, resume_cmd, sizeof(resume_cmd));
	drain.end = now_ms() + plan->drain_timeout;
	drain.resume_cmd = resume_cmd;
	drain.is_over = is_over;
	for (i = 0; i < plan->nr_services && !err; i++) {
		drain.number = targets[i].drain_gen;
		err = drain_wait(&targets[i].service, &drain);
	}
	if (err)
		return err;
	for (i = 0; i < plan->nr_services; i++)
		drain_add_targets(stops, &count, &targets[i].service, targets[i].drain_gen,
				  plan->old_pid);
	err = drain_stop(stops, count, plan->old_pid ? &plan->old : NULL, &drain, signalled);
	for (i = 0; i < plan->nr_services && !err; i++)
		say("generation %u of service %s has stopped", targets[i].drain_gen,
		    targets[i].service.name);
	return err;
}

static int take_down(struct switch_target *targets, const struct plan *plan)
{
	bool signalled = false;
	int err;

	watched = targets;
	nr_watched = plan->nr_services;
	err = drain_and_stop(targets, plan, has_new_failed, &signalled);
	if (err && new_failed && !signalled)
		switch_back(targets, plan);
	/* servers remove their PID file when they exit, also if it is the new one's by now */
	return err ? err : drain_write_pid(&targets[0].service, &plan->drain);
}

/* From here on a server that binds gets nothing before the switch. */
static int hold_all(struct switch_target *targets, int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (hold_begin(&targets[i].service, &targets[i].hold))
			return -1;
	return 0;
}

/* The old generations have ended: the services are open again, if they may be. */
static int open_all(struct switch_target *targets, int count)
{
	int i, err = 0;

	for (i = 0; i < count; i++) {
		if (service_lock(&targets[i].service) || hold_end(&targets[i].service))
			err = -1;
		service_unlock(&targets[i].service);
	}
	return err;
}

/* Let a canary that has failed finish what it has, and stop it. */
static void end_canary(struct switch_target *targets, struct plan *plan)
{
	bool signalled = false;
	int i;

	ui_set_status(STATUS_CANARY);
	/* from here on a signal ends us, and the server goes on */
	interrupt_release();
	plan->old_pid = 0;
	plan->drain.pid_file = NULL;
	for (i = 0; i < plan->nr_services; i++) {
		struct switch_target *target = &targets[i];

		if (target->service.now.canary == target->new_gen) {
			say("service %s: generation %u still gets its share, and is not stopped: "
			    "reuseportctl abort %s ends that",
			    target->service.name, target->new_gen, target->service.name);
			return;
		}
		target->drain_gen = target->new_gen;
		say("service %s: generation %u gets all new traffic again; generation %u is "
		    "drained and stopped",
		    target->service.name, target->service.now.current, target->new_gen);
	}
	if (drain_and_stop(targets, plan, NULL, &signalled))
		return;
	kill_new_server();
	open_all(targets, plan->nr_services);
}

static void report_output(const struct plan *plan)
{
	static const char *const names[] = { "stdout", "stderr" };
	const char (*chosen)[sizeof(plan->output.chosen[0])] = plan->output.chosen;
	bool same = !strcmp(chosen[0], chosen[1]);
	int i;

	for (i = same; i < 2; i++)
		if (*chosen[i])
			say("%s of %s %s, because that of this command is a pipe; --output sets "
			    "another destination",
			    same ? "the output" : names[i], plan->command[0], chosen[i]);
}

static int open_output(const struct switch_target *targets, struct plan *plan)
{
	struct generation info = {};
	pid_t old = plan->old_pid;

	if (!old && !generation_read(&targets[0].service, targets[0].old_gen, &info) &&
	    proc_is_alive(info.pid, info.started))
		old = info.pid;
	if (output_open(plan->output_to, old, plan->command[0], &plan->output))
		return -1;
	report_output(plan);
	return 0;
}

static int run(struct switch_target *targets, struct plan *plan)
{
	struct process server;
	int err, i;

	if (open_output(targets, plan))
		return -1;
	err = hold_all(targets, plan->nr_services);
	if (err)
		undo_all(targets, plan->nr_services);
	else
		err = bring_up(targets, plan, &server);
	for (i = 0; i < plan->nr_services; i++)
		service_unlock(&targets[i].service);
	if (plan->canary_failed)
		end_canary(targets, plan);
	if (err || take_down(targets, plan) || open_all(targets, plan->nr_services))
		return -1;
	if (json)
		print_json(targets, plan, &server);
	return 0;
}

int cmd_restart(const struct arguments *args)
{
	struct switch_target targets[MAX_SERVICES] = {};
	struct plan plan = {};
	int err, i;

	if (read_args(args, &plan))
		return -1;
	/* up to the switch a signal does not end us, but undoes what was done */
	if (!args->dry_run)
		interrupt_catch();
	err = open_targets(args, &plan, targets);
	if (!err && args->dry_run)
		err = check_command(plan.command[0]);
	if (!err && args->dry_run)
		print_plan(targets, &plan);
	else if (!err)
		err = run(targets, &plan);
	for (i = 0; i < plan.nr_services; i++)
		service_close(&targets[i].service);
	return err ? -1 : 0;
}
