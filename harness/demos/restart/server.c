// SPDX-License-Identifier: GPL-2.0
/*
 * server DIR - one generation of a server
 *
 * Four worker processes, each with its own TCP listener and UDP socket, all on one
 * port. When all sockets are open it prints "ready" and the time. On SIGTERM it
 * drains and exits.
 *
 * It does not use the map. Like any server that reuseportctl restarts, it sets
 * SO_REUSEPORT. Its UDP peers are identified by ids, so it also puts its generation
 * number, from REUSEPORTCTL_GENERATION, and the worker's number into each id. Without
 * the variable the number is 1.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common.h"
#include "worker.h"

static int open_socket(int type)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1;
	int fd;

	fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("cannot bind port %d: %s (another user's server on it?)", PORT,
		    strerror(errno));
	if (type == SOCK_DGRAM)
		return fd;

	/*
	 * Accept a connection only after its request has arrived, as web servers
	 * often do. Until then it waits in the listener for one round trip.
	 */
	if (setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof(one)) ||
	    listen(fd, SOMAXCONN))
		die("cannot listen: %s", strerror(errno));
	return fd;
}

static pid_t start_worker(struct conn_id id, const char *dir)
{
	int tcp = open_socket(SOCK_STREAM);
	int udp = open_socket(SOCK_DGRAM);
	pid_t pid;

	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		worker(id, tcp, udp, dir);
		exit(0);
	}

	/* Only the worker holds them now, so its close() is the last. */
	close(tcp);
	close(udp);
	return pid;
}

int main(int argc, char **argv)
{
	const char *number = getenv("REUSEPORTCTL_GENERATION");
	__u32 generation = number ? atoi(number) : 1;
	pid_t pids[WORKERS];
	int sig, status;
	sigset_t set;

	if (argc != 2 || generation < 1 || generation > UINT16_MAX)
		die("usage: [REUSEPORTCTL_GENERATION=NUMBER] server DIR (NUMBER starts at 1)");

	/* Blocked here and in the workers, which read signals from fds. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);

	for (int i = 0; i < WORKERS; i++) {
		struct conn_id id = { htons(generation), htons(i) };

		pids[i] = start_worker(id, argv[1]);
	}

	printf("ready %.3f\n", now_us() / 1e6);
	fflush(stdout);

	sigwait(&set, &sig);
	if (sig == SIGCHLD)
		die("generation %u: a worker died", generation);

	for (int i = 0; i < WORKERS; i++)
		kill(pids[i], SIGTERM);
	for (int i = 0; i < WORKERS; i++)
		if (waitpid(pids[i], &status, 0) < 0 || status)
			die("generation %u: worker %d failed", generation, i);
	return 0;
}
