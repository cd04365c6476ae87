// SPDX-License-Identifier: GPL-2.0
/*
 * server DIR - one generation of a server
 *
 * Four worker processes, each with a TCP listener and a UDP socket of its own,
 * all on one port. "ready" and the time appear on stdout as soon as all of them
 * are there. SIGTERM asks it to drain and exit.
 *
 * It knows nothing of maps. To be restarted it does no more than any server that
 * runs under reuseportctl: it sets SO_REUSEPORT, and, as its UDP peers are known
 * by ids, it puts into each id the number of its generation, which it is told in
 * REUSEPORTCTL_GENERATION, and the worker's. Without the variable it is the first.
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
	 * Give us a connection only when its request is there, as web servers
	 * ask for. Until then, one round trip, it waits in the listener.
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

	/* The worker alone has them now, so they close when it closes them. */
	close(tcp);
	close(udp);
	return pid;
}

int main(int argc, char **argv)
{
	const char *told = getenv("REUSEPORTCTL_GENERATION");
	__u32 generation = told ? atoi(told) : 1;
	pid_t pids[WORKERS];
	int sig, status;
	sigset_t set;

	if (argc != 2 || generation < 1 || generation > UINT16_MAX)
		die("usage: [REUSEPORTCTL_GENERATION=NUMBER] server DIR (it counts from 1)");

	/* Blocked here and in the workers: both take signals when it suits them. */
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
