// SPDX-License-Identifier: GPL-2.0
/* Which sockets a process has, and how to get hold of them.
 *
 * sock_diag names the sockets at an endpoint with their inodes, /proc/PID/fd the inodes
 * that a process has open, and pidfd_getfd() makes one of its file descriptors ours. In
 * between the process may close it, and open another under the same number. So the
 * cookie, which the kernel gives no second socket, is compared with that of what we got.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "sockets.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif

static int compare_inodes(const void *a, const void *b)
{
	const struct held_socket *x = a, *y = b;

	return (x->info.inode > y->info.inode) - (x->info.inode < y->info.inode);
}

static int compare_rank(const void *a, const void *b)
{
	const struct held_socket *x = a, *y = b;

	if (!x->pid != !y->pid)
		return !x->pid - !y->pid;
	return x->rank - y->rank;
}

static int compare_numbers(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* The file descriptors of a process, as they are numbered. */
static int read_fds(pid_t pid, int **fds)
{
	int count = 0, space = 0, *larger;
	struct dirent *entry;
	char path[64];
	DIR *dir;

	*fds = NULL;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (count == space) {
			space = 2 * space + 64;
			larger = realloc(*fds, space * sizeof(**fds));
			if (!larger)
				break;
			*fds = larger;
		}
		(*fds)[count++] = atoi(entry->d_name);
	}
	closedir(dir);
	if (count)
		qsort(*fds, count, sizeof(**fds), compare_numbers);
	return count;
}

static void look_into(const struct process *process, struct held_socket *list, int count,
		      int *found)
{
	struct held_socket like = {}, *socket;
	int *fds, nr_fds, i;
	char path[64], link[64];
	ssize_t len;

	nr_fds = read_fds(process->pid, &fds);
	for (i = 0; i < nr_fds && *found < count; i++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", process->pid, fds[i]);
		len = readlink(path, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = '\0';
		if (sscanf(link, "socket:[%u]", &like.info.inode) != 1)
			continue;
		socket = bsearch(&like, list, count, sizeof(like), compare_inodes);
		if (!socket || socket->pid)
			continue;
		socket->pid = process->pid;
		socket->fd = fds[i];
		memcpy(socket->comm, process->comm, sizeof(socket->comm));
		socket->rank = (*found)++;
	}
	free(fds);
}

int find_sockets(const struct endpoint *endpoint, pid_t root, struct held_socket **list)
{
	struct endpoint_socket *sockets;
	struct process *tree;
	int count, nr, found = 0, i;

	*list = NULL;
	count = sock_diag_sockets(endpoint, &sockets);
	if (count < 0)
		return -1;
	nr = proc_tree(root, &tree);
	if (nr < 0) {
		free(sockets);
		return -1;
	}
	*list = calloc(count + 1, sizeof(**list));
	if (!*list) {
		free(sockets);
		free(tree);
		return fail("out of memory");
	}
	for (i = 0; i < count; i++)
		(*list)[i].info = sockets[i];
	qsort(*list, count, sizeof(**list), compare_inodes);
	for (i = 0; i < nr; i++)
		look_into(&tree[i], *list, count, &found);
	qsort(*list, count, sizeof(**list), compare_rank);
	free(sockets);
	free(tree);
	return root ? found : count;
}

int try_socket(const struct held_socket *held)
{
	int pidfd, fd, protocol = 0, err = 0;
	socklen_t len = sizeof(protocol);
	__u64 cookie = 0;

	pidfd = syscall(__NR_pidfd_open, held->pid, 0);
	if (pidfd < 0)
		return -1;
	fd = syscall(__NR_pidfd_getfd, pidfd, held->fd, 0);
	err = errno;
	close(pidfd);
	if (fd < 0) {
		errno = err;
		return -1;
	}
	/* sock_diag tells of the TCP socket beneath it, the fd is of the one above */
	if (!getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) &&
	    protocol == IPPROTO_MPTCP) {
		close(fd);
		errno = EPROTOTYPE;
		return -1;
	}
	len = sizeof(cookie);
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) || cookie != held->info.cookie) {
		close(fd);
		errno = ESTALE;
		return -1;
	}
	return fd;
}

int take_socket(const struct held_socket *held)
{
	int fd = try_socket(held);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ESRCH:
		return fail("process %d is gone: has the server just stopped?", held->pid);
	case EPERM:
		return fail("may not take socket %d of process %d: it needs CAP_SYS_PTRACE (run as "
			    "root; a container may forbid pidfd_getfd)",
			    held->fd, held->pid);
	case ENOSYS:
		return fail("this kernel has no pidfd_getfd(): it needs Linux 5.6, and 5.10 for "
			    "the rest");
	case EPROTOTYPE:
		return fail("socket %d of process %d is one of MPTCP, which no program can steer: "
			    "have the server listen by plain TCP (Go: GODEBUG=multipathtcp=0)",
			    held->fd, held->pid);
	case ESTALE:
		return fail("process %d has replaced its socket %d meanwhile: try again", held->pid,
			    held->fd);
	}
	return fail("cannot take socket %d of process %d (%s): did it just close it? Try again",
		    held->fd, held->pid, strerror(errno));
}
