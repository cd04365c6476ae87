// SPDX-License-Identifier: GPL-2.0
/* Processes, as /proc reports them. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proc.h"

int proc_read(pid_t pid, struct process *process)
{
	char path[64], text[1024], state, *open, *close;
	unsigned long long started;
	size_t len;
	FILE *file;
	int parent, session;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';

	/* the name may contain parentheses: the last one ends it */
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close ||
	    sscanf(close + 1,
		   " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
		   "%llu",
		   &state, &parent, &session, &started) != 4 ||
	    state == 'Z' || state == 'X') {
		errno = ESRCH;
		return -1;
	}
	*process = (struct process){
		.pid = pid,
		.parent = parent,
		.session = session,
		.started = started,
	};
	len = close - open - 1;
	if (len >= sizeof(process->comm))
		len = sizeof(process->comm) - 1;
	memcpy(process->comm, open + 1, len);
	while (len--)
		if (!isprint((unsigned char)process->comm[len]))
			process->comm[len] = '?';
	return 0;
}

static int compare_pids(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int compare_age(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	if (x->in_tree != y->in_tree)
		return y->in_tree - x->in_tree;
	if (x->started != y->started)
		return x->started < y->started ? -1 : 1;
	return compare_pids(a, b);
}

/* Mark the descendants of the marked processes. */
static void mark_descendants(struct process *all, int count)
{
	bool changed = true;
	int i;

	while (changed) {
		changed = false;
		for (i = 0; i < count; i++) {
			struct process key = { .pid = all[i].parent }, *parent;

			if (all[i].in_tree)
				continue;
			parent = bsearch(&key, all, count, sizeof(key), compare_pids);
			if (!parent || !parent->in_tree)
				continue;
			all[i].in_tree = true;
			changed = true;
		}
	}
}

static bool is_main(const struct server *server, pid_t pid)
{
	int i;

	for (i = 0; i < server->nr; i++)
		if (server->list[i].pid == pid)
			return true;
	return false;
}

int proc_trees(const struct server *server, struct process **list, int *nr_all)
{
	struct process *all = NULL, *larger, one;
	int count = 0, space = 0, i;
	struct dirent *entry;
	DIR *proc;

	*list = NULL;
	proc = opendir("/proc");
	if (!proc)
		return fail("cannot read /proc (%s): mount it", strerror(errno));
	while ((entry = readdir(proc))) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    proc_read(atoi(entry->d_name), &one))
			continue;
		if (count == space) {
			space = 2 * space + 64;
			larger = realloc(all, space * sizeof(*all));
			if (!larger) {
				free(all);
				closedir(proc);
				return fail("out of memory");
			}
			all = larger;
		}
		one.in_tree = !server || is_main(server, one.pid);
		all[count++] = one;
	}
	closedir(proc);

	qsort(all, count, sizeof(*all), compare_pids);
	mark_descendants(all, count);
	qsort(all, count, sizeof(*all), compare_age);
	for (i = 0; i < count && all[i].in_tree; i++)
		;
	*list = all;
	if (nr_all)
		*nr_all = count;
	return i;
}

int proc_tree(pid_t root, struct process **list)
{
	struct server server = { .nr = 1, .list[0].pid = root };

	return proc_trees(root ? &server : NULL, list, NULL);
}

__u64 proc_netns(const char *pid)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
	return stat(path, &st) ? 0 : st.st_ino;
}

/* -- Orphans ------------------------------------------------------------------------ */

/* A worker whose parent has exited, as after a double fork, is a child of init, and no process
 * tree tells whose it was. It is still in the cgroup of its server, but so may be other servers:
 * all that were started from one login session, in one container, or by the reload of one unit,
 * and the next generation is often among those. So a process in another cgroup is of no server
 * here, and one in the same cgroup has to show that it descends from it, by one of these:
 *
 *  - The server leads its session. Only descendants of the leader are in a session.
 *  - It has the random bytes of the server. The kernel gives 16 of them to each program that
 *    is executed, and only fork() hands them on. This is not asked if the server itself was
 *    forked from a program that still runs: then it may be the server's sibling.
 *  - It has the server's REUSEPORTCTL_GENERATION. restart gives that to the server that it
 *    starts, and another number to the next one.
 *
 * What these require, to read the memory of a process, pidfd_getfd() requires as well.
 */
#define GENERATION	"REUSEPORTCTL_GENERATION="

/* Read from a file of a process. Return how many bytes. */
static size_t read_file(pid_t pid, const char *name, void *data, size_t size, off_t offset)
{
	ssize_t some = 0;
	char path[64];
	size_t len = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (len < size &&
	       (some = pread(fd, (char *)data + len, size - len, offset + len)) > 0)
		len += some;
	close(fd);
	return len;
}

static bool has_same_cgroups(pid_t a, pid_t b)
{
	char one[4096], two[4096];
	size_t len = read_file(a, "cgroup", one, sizeof(one), 0);

	return len < sizeof(one) && read_file(b, "cgroup", two, sizeof(two), 0) == len &&
	       !memcmp(one, two, len);
}

/* Return false if they cannot be read. */
static bool read_random(pid_t pid, __u8 random[16])
{
	unsigned long auxv[128];
	size_t count = read_file(pid, "auxv", auxv, sizeof(auxv), 0) / sizeof(*auxv), i;

	for (i = 0; i + 1 < count; i += 2)
		if (auxv[i] == AT_RANDOM)
			return read_file(pid, "mem", random, 16, auxv[i + 1]) == 16;
	return false;
}

static bool has_same_random(pid_t a, pid_t b)
{
	__u8 one[16], two[16];

	return read_random(a, one) && read_random(b, two) && !memcmp(one, two, sizeof(one));
}

/* The number of the generation in the environment, or 0. */
static unsigned long read_generation(pid_t pid)
{
	static char environment[1 << 18];
	char *variable = environment;
	size_t len;

	len = read_file(pid, "environ", environment, sizeof(environment) - 1, 0);
	environment[len] = '\0';
	for (; variable < environment + len; variable += strlen(variable) + 1)
		if (!strncmp(variable, GENERATION, strlen(GENERATION)))
			return strtoul(variable + strlen(GENERATION), NULL, 10);
	return 0;
}

bool proc_is_orphan_of(pid_t pid, const struct process *server)
{
	struct process process;
	unsigned long number;

	if (proc_read(pid, &process) || !has_same_cgroups(pid, server->pid))
		return false;
	if (process.session == server->pid)
		return true;
	if (has_same_random(pid, server->pid) && !has_same_random(server->parent, server->pid))
		return true;
	number = read_generation(server->pid);
	return number && read_generation(pid) == number;
}

bool proc_is_orphan_of_any(pid_t pid, const struct server *server)
{
	int i;

	for (i = 0; i < server->nr; i++)
		if (proc_is_orphan_of(pid, &server->list[i]))
			return true;
	return false;
}

/* -- Identity ----------------------------------------------------------------------- */

bool proc_is_alive(pid_t pid, __u64 started)
{
	struct process process;

	return !proc_read(pid, &process) && process.started == started;
}

int proc_keep_alive(struct server *server)
{
	struct process process;
	int kept = 0, i;

	for (i = 0; i < server->nr; i++)
		if (!proc_read(server->list[i].pid, &process) &&
		    process.started == server->list[i].started)
			server->list[kept++] = process;
	server->nr = kept;
	return kept;
}

const char *proc_format_server(const struct server *server, char *text)
{
	int others = server->nr - 1, len;

	len = snprintf(text, SERVER_LEN, "%s(%d)", server->list[0].comm, server->list[0].pid);
	if (others > 0)
		snprintf(text + len, SERVER_LEN - len, " and %d other process%s", others,
			 others == 1 ? "" : "es");
	return text;
}

void proc_print_server(const struct server *server)
{
	jsonw_uint_field(json, "pid", server->list[0].pid);
	jsonw_string_field(json, "comm", server->list[0].comm);
	proc_print_pids(server);
}

void proc_print_pids(const struct server *server)
{
	int i;

	jsonw_name(json, "pids");
	jsonw_start_array(json);
	for (i = 0; i < server->nr; i++)
		jsonw_uint(json, server->list[i].pid);
	jsonw_end_array(json);
}

int proc_signal(pid_t pid, __u64 started, int signal)
{
	int pidfd, err;

	pidfd = syscall(__NR_pidfd_open, pid, 0);
	if (pidfd < 0)
		return -1;
	/* the pidfd cannot change its process any more: look which one it is */
	errno = ESRCH;
	err = proc_is_alive(pid, started) ?
		      syscall(__NR_pidfd_send_signal, pidfd, signal, NULL, 0) :
		      -1;
	close(pidfd);
	return err;
}

int proc_write_pid(const char *path, pid_t pid)
{
	char unfinished[PATH_MAX];
	int fd, err = 0;

	if (snprintf(unfinished, sizeof(unfinished), "%s.XXXXXX", path) >= (int)sizeof(unfinished))
		return fail("the name of the PID file %s is too long", path);
	fd = mkostemp(unfinished, O_CLOEXEC);
	if (fd >= 0) {
		if (fchmod(fd, 0644) || dprintf(fd, "%d\n", pid) < 0 || rename(unfinished, path))
			err = errno;
		close(fd);
		if (!err)
			return 0;
		unlink(unfinished);
	} else {
		err = errno;
	}
	return fail("cannot write the PID file %s (%s)", path, strerror(err));
}

static const struct {
	const char *name;
	int number;
} stop_signals[] = {
	{ "TERM", SIGTERM },   { "QUIT", SIGQUIT }, { "INT", SIGINT },
	{ "HUP", SIGHUP },     { "USR1", SIGUSR1 }, { "USR2", SIGUSR2 },
	{ "WINCH", SIGWINCH }, { "KILL", SIGKILL },
};

const char *proc_signal_name(int signal)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(stop_signals); i++)
		if (stop_signals[i].number == signal)
			return stop_signals[i].name;
	return "?";
}

/* The number of the signal that the first @len characters of @text name, or 0. */
static int find_signal(const char *text, int len)
{
	char word[16], *end;
	unsigned int i;
	long number;

	if (len >= (int)sizeof(word))
		return 0;
	sprintf(word, "%.*s", len, text);
	number = strtol(word, &end, 10);
	if (*end || end == word)
		number = 0;
	if (!strncasecmp(word, "SIG", 3))
		memmove(word, word + 3, len - 2);
	for (i = 0; i < ARRAY_SIZE(stop_signals); i++)
		if (!strcasecmp(word, stop_signals[i].name) || number == stop_signals[i].number)
			return stop_signals[i].number;
	return 0;
}

int proc_parse_signals(const char *text, struct signals *signals)
{
	int len, signal, last = 0;
	const char *word = text;

	*signals = (struct signals){};
	for (;; word += len + 1) {
		len = strcspn(word, ",");
		signal = find_signal(word, len);
		if (!signal)
			return fail("\"%.*s\" is not a signal that stops a server: use one of "
				    STOP_SIGNALS ", or several that are sent in turn, such as "
				    "TERM,KILL", len, word);
		if (last == SIGKILL)
			return fail("--kill %s: no signal can follow KILL", text);
		if (signals->nr == MAX_SIGNALS)
			return fail("--kill takes up to %d signals", MAX_SIGNALS);
		sprintf(signals->text + strlen(signals->text), "%s%s", signals->nr ? "," : "",
			proc_signal_name(signal));
		signals->list[signals->nr++] = signal;
		last = signal;
		if (!word[len])
			return 0;
	}
}

bool proc_ignores(pid_t pid, int signal)
{
	unsigned long long ignored = 0, caught = 0, mask = 1ULL << (signal - 1);
	char path[64], line[256], *last;
	bool is_init = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file || signal == SIGKILL) {
		if (file)
			fclose(file);
		return false;
	}
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "SigIgn: %llx", &ignored);
		sscanf(line, "SigCgt: %llx", &caught);
		/* its PID in each namespace, the innermost last */
		last = strncmp(line, "NSpid:", 6) ? NULL : strrchr(line, '\t');
		if (last)
			is_init = atoi(last) == 1;
	}
	fclose(file);
	/* WINCH has no effect unless it is handled */
	return ignored & mask || (!(caught & mask) && (is_init || signal == SIGWINCH));
}
