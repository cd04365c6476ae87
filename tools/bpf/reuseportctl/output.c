// SPDX-License-Identifier: GPL-2.0
/* Where the output of a new server goes.
 *
 * A server that is started from a shell or a script inherits stdout and stderr, and so does the
 * new server here: a terminal shows why it does not start, and what a unit of systemd starts
 * writes to the journal. Not so if ours is a pipe, as in "restart ... | cat", $(restart ...) or
 * ssh HOST restart ...: the reader waits for the end of the pipe, which the server would keep
 * open for as long as it runs. It then writes to where the old server writes; if that is known
 * to be of no use to it, to the journal, and to nothing if there is none.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "output.h"

#define JOURNAL "/run/systemd/journal/stdout"

int output_check(const char *where)
{
	static const char *const words[] = { "inherit", "old", "journal", "null" };
	unsigned int i;

	for (i = 0; where && i < ARRAY_SIZE(words); i++)
		if (!strcmp(where, words[i]))
			return 0;
	if (!where || strchr(where, '/'))
		return 0;
	return fail("--output takes inherit, old, journal, null or a file, not \"%s\": a file "
		    "has a slash in its name, such as ./%s",
		    where, where);
}

static bool is_journal(int fd)
{
	struct sockaddr_un peer = {};
	socklen_t len = sizeof(peer);

	return !getpeername(fd, (struct sockaddr *)&peer, &len) && peer.sun_family == AF_UNIX &&
	       !strcmp(peer.sun_path, JOURNAL);
}

/* Does somebody wait for the end of it? */
static bool has_reader(int fd)
{
	struct stat st;

	return !fstat(fd, &st) &&
	       (S_ISFIFO(st.st_mode) || (S_ISSOCK(st.st_mode) && !is_journal(fd)));
}

/* The journal gives a stream of its own to each client. */
static int open_journal(const char *name)
{
	struct sockaddr_un journal = { .sun_family = AF_UNIX, .sun_path = JOURNAL };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), len;
	const char *base = strrchr(name, '/');
	char head[128];

	if (fd < 0)
		return -1;
	/* its name, no unit, priority "info" unless a line says otherwise, and no forwarding */
	len = snprintf(head, sizeof(head), "%.64s\n\n6\n1\n0\n0\n0\n", base ? base + 1 : name);
	if (!connect(fd, (struct sockaddr *)&journal, sizeof(journal)) &&
	    send(fd, head, len, MSG_NOSIGNAL) == len)
		return fd;
	close(fd);
	return -1;
}

/* Duplicate stdout or stderr of the old server. */
static int dup_old(pid_t old, int number)
{
	int pidfd = syscall(__NR_pidfd_open, old, 0), fd;

	if (pidfd < 0)
		return -1;
	fd = syscall(__NR_pidfd_getfd, pidfd, number, 0);
	close(pidfd);
	return fd;
}

/* A file, or a pipe or socket that is read, and not for the end of this command. */
static bool is_useful(int fd)
{
	struct pollfd poll_fd = { fd, POLLOUT, 0 };
	struct stat st, ours;
	int i;

	if (fstat(fd, &st) || S_ISCHR(st.st_mode))
		return false;
	if (S_ISREG(st.st_mode))
		return true;
	for (i = 1; i <= 2; i++)
		if (!fstat(i, &ours) && ours.st_dev == st.st_dev && ours.st_ino == st.st_ino)
			return false;
	return poll(&poll_fd, 1, 0) >= 0 && !(poll_fd.revents & (POLLERR | POLLHUP));
}

/* Replace a pipe. */
static int choose(pid_t old, int number, const char *name, struct output *output)
{
	char *chosen = output->chosen[number - 1];
	int fd = dup_old(old, number);

	sprintf(chosen, "goes to that of process %d", old);
	if (fd >= 0 && is_useful(fd))
		return fd;
	if (fd >= 0)
		close(fd);
	strcpy(chosen, "goes to the journal");
	fd = open_journal(name);
	if (fd >= 0)
		return fd;
	strcpy(chosen, "is discarded");
	output->is_discarded = true;
	fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	return fd < 0 ? fail("cannot open /dev/null (%s)", strerror(errno)) : fd;
}

static int open_one(const char *where, pid_t old, int number, const char *name,
		    struct output *output)
{
	int fd;

	if (!where)
		return choose(old, number, name, output);
	if (!strcmp(where, "old") && !old)
		return fail("--output old: the old server has ended: use another --output");
	if (!strcmp(where, "old")) {
		fd = dup_old(old, number);
		if (fd < 0)
			fail("--output old: cannot duplicate file descriptor %d of process %d "
			     "(%s): use another --output",
			     number, old, strerror(errno));
	} else if (!strcmp(where, "journal")) {
		fd = open_journal(name);
		if (fd < 0)
			fail("--output journal: cannot connect to %s (%s): is systemd-journald "
			     "running?",
			     JOURNAL, strerror(errno));
	} else {
		if (!strcmp(where, "null"))
			where = "/dev/null";
		fd = open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
		if (fd < 0)
			fail("--output: cannot open %s (%s)", where, strerror(errno));
	}
	return fd;
}

int output_open(const char *where, pid_t old, const char *name, struct output *output)
{
	int i;

	*output = (struct output){ .fds = { -1, -1 } };
	if (where && !strcmp(where, "inherit"))
		return 0;
	for (i = 0; i < 2; i++) {
		if (!where && !has_reader(i + 1))
			continue;
		output->fds[i] = open_one(where, old, i + 1, name, output);
		if (output->fds[i] >= 0)
			continue;
		output_close(output);
		return -1;
	}
	return 0;
}

void output_use(const struct output *output)
{
	int i;

	for (i = 0; i < 2; i++)
		if (output->fds[i] >= 0)
			dup2(output->fds[i], i + 1);
}

void output_close(const struct output *output)
{
	int i;

	for (i = 0; i < 2; i++)
		if (output->fds[i] >= 0)
			close(output->fds[i]);
}
