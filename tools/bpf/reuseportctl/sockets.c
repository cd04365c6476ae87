// SPDX-License-Identifier: GPL-2.0
/* Which process has which socket, and duplicating a socket of another process.
 *
 * sock_diag reports sockets with their inodes, /proc/PID/fd shows the inodes that a process
 * has open, and pidfd_getfd() duplicates one of its file descriptors. In between, the process
 * may close that and open another file under the same number. So the cookie, which no two
 * sockets share, is compared with that of the duplicate.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "sockets.h"

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

/* The file descriptors of a process, in numeric order. */
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

/* Note @process as the owner of those sockets of @list that it has open. */
static void find_owned(const struct process *process, struct held_socket *list, int count,
		       int *found)
{
	struct held_socket key = {}, *socket;
	char path[64], link[64];
	int *fds, nr_fds, i;
	ssize_t len;

	nr_fds = read_fds(process->pid, &fds);
	for (i = 0; i < nr_fds && *found < count; i++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", process->pid, fds[i]);
		len = readlink(path, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = '\0';
		if (sscanf(link, "socket:[%u]", &key.info.inode) != 1)
			continue;
		socket = bsearch(&key, list, count, sizeof(key), compare_inodes);
		if (!socket || socket->pid)
			continue;
		socket->pid = process->pid;
		socket->fd = fds[i];
		memcpy(socket->comm, process->comm, sizeof(socket->comm));
		socket->rank = (*found)++;
	}
	free(fds);
}

int sockets_find_owners(const struct socket_info *sockets, int count,
			const struct server *server, struct held_socket **list)
{
	struct process *tree;
	int nr, found = 0, i;

	*list = calloc(count + 1, sizeof(**list));
	if (!*list)
		return fail("out of memory");
	nr = proc_trees(server, &tree, NULL);
	if (nr < 0) {
		free(*list);
		*list = NULL;
		return -1;
	}
	for (i = 0; i < count; i++)
		(*list)[i].info = sockets[i];
	qsort(*list, count, sizeof(**list), compare_inodes);
	for (i = 0; i < nr; i++)
		find_owned(&tree[i], *list, count, &found);
	qsort(*list, count, sizeof(**list), compare_rank);
	free(tree);
	return server ? found : count;
}

int sockets_find_of(const struct endpoint *endpoint, const struct server *server,
		    struct held_socket **list)
{
	struct socket_info *sockets;
	int count;

	*list = NULL;
	count = sock_diag_list(endpoint, &sockets);
	if (count < 0)
		return -1;
	count = sockets_find_owners(sockets, count, server, list);
	free(sockets);
	return count;
}

int sockets_find_beside(const struct endpoint *endpoint, const struct server *server,
			struct held_socket **list)
{
	struct socket_info *sockets;
	struct process *all;
	int count, first, nr, found = 0, i;

	*list = NULL;
	count = sock_diag_list(endpoint, &sockets);
	if (count < 0)
		return -1;
	first = proc_trees(server, &all, &nr);
	if (first < 0) {
		free(sockets);
		return -1;
	}
	*list = calloc(count + 1, sizeof(**list));
	for (i = 0; i < count && *list; i++)
		(*list)[i].info = sockets[i];
	free(sockets);
	if (!*list) {
		free(all);
		return fail("out of memory");
	}
	qsort(*list, count, sizeof(**list), compare_inodes);
	for (i = first; i < nr; i++)
		find_owned(&all[i], *list, count, &found);
	qsort(*list, count, sizeof(**list), compare_rank);
	free(all);
	return found;
}

int sockets_find(const struct endpoint *endpoint, pid_t root, struct held_socket **list)
{
	struct server server = { .nr = 1, .list[0].pid = root };

	return sockets_find_of(endpoint, root ? &server : NULL, list);
}

int sockets_find_all(const struct server *server, struct held_socket **list)
{
	static const __u32 protocols[] = { IPPROTO_TCP, IPPROTO_UDP };
	static const __u32 families[] = { AF_INET, AF_INET6 };
	struct socket_info *all = NULL, *some, *larger;
	int count = 0, nr = 0;
	unsigned int i;

	*list = NULL;
	for (i = 0; i < 4 && nr >= 0; i++) {
		struct endpoint any = {
			.protocol = protocols[i / 2],
			.family = families[i % 2],
		};

		nr = sock_diag_list(&any, &some);
		if (nr <= 0)
			continue;
		larger = realloc(all, (count + nr) * sizeof(*all));
		if (larger) {
			all = larger;
			memcpy(all + count, some, nr * sizeof(*all));
			count += nr;
		} else {
			nr = fail("out of memory");
		}
		free(some);
	}
	if (nr >= 0)
		count = sockets_find_owners(all, count, server, list);
	free(all);
	return nr < 0 ? -1 : count;
}

int socket_try_dup(const struct held_socket *held)
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
	if (!getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) &&
	    protocol == IPPROTO_MPTCP && !is_mptcp_steered()) {
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

int socket_dup(const struct held_socket *held)
{
	int fd = socket_try_dup(held);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ESRCH:
		return fail("process %d has exited: has the server just stopped?", held->pid);
	case EPERM:
		return fail("cannot duplicate socket %d of process %d (Operation not permitted): "
			    "run this as root, with CAP_SYS_PTRACE; a container may forbid "
			    "pidfd_getfd",
			    held->fd, held->pid);
	case ENOSYS:
		return fail("this kernel has no pidfd_getfd(): Linux 5.10 or later is required");
	case EPROTOTYPE:
		return fail("socket %d of process %d is an MPTCP socket, which this kernel cannot "
			    "steer: have the server listen on plain TCP (Go: "
			    "GODEBUG=multipathtcp=0)",
			    held->fd, held->pid);
	case ESTALE:
		return fail("process %d has just replaced its socket %d: try again", held->pid,
			    held->fd);
	}
	return fail("cannot duplicate socket %d of process %d (%s): if it has just been closed, "
		    "try again",
		    held->fd, held->pid, strerror(errno));
}

int socket_read_options(const struct held_socket *held, struct socket_options *options)
{
	socklen_t len = sizeof(int);
	int fd, err;

	*options = (struct socket_options){};
	fd = held->pid ? socket_try_dup(held) : -1;
	if (fd < 0)
		return -1;
	err = getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &options->reuseport, &len);
	if (!err && held->info.at.protocol == IPPROTO_TCP)
		getsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &options->defer_accept, &len);
	close(fd);
	return err;
}

int socket_require_reuseport(const struct held_socket *held, int fd)
{
	socklen_t len = sizeof(int);
	int reuseport = 0;

	getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, &len);
	if (reuseport)
		return 0;
	return fail("socket %d of process %d (%s) has no SO_REUSEPORT: have the server set it "
		    "before bind() and leave it set (nginx: listen ... reuseport; a "
		    "socket unit of systemd: ReusePort=yes)",
		    held->fd, held->pid, held->comm);
}
