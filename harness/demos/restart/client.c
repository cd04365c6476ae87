// SPDX-License-Identifier: GPL-2.0
/*
 * client FILE - generate load for the server and count the results
 *
 * Two processes generate the load, one for TCP and one for UDP. This one prints their
 * progress and writes the totals to FILE, one name and value per line.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "client.h"
#include "common.h"

int connect_to_server(int type, unsigned int source)
{
	/* Several addresses: the ports of one would be used up by TIME_WAIT. */
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + source % 16),
	};
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1;
	int fd;

	fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
	if (fd < 0)
		die("socket: %s", strerror(errno));
	/* Let connect() choose the port, since it knows the destination. */
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&from, sizeof(from)))
		die("bind: %s (is lo up?)", strerror(errno));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		die("connect: %s", strerror(errno));
	return fd;
}

static pid_t start(void (*load)(struct counts *), struct counts *counts)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		load(counts);
		exit(0);
	}
	return pid;
}

static void show(__u64 us, const struct counts *c)
{
	printf("%6.1f s %11u %8u %11u %11u %14u %6u\n", us / 1e6, c->made,
	       c->refused + c->reset + c->stuck + c->wrong, c->udp_live, c->sent,
	       c->misdelivered, c->lost);
	fflush(stdout);
}

static void write_totals(const char *path, __u64 began, const struct counts *c)
{
	FILE *f = fopen(path, "w");

	if (!f)
		die("%s: %s", path, strerror(errno));
	fprintf(f, "began %.3f\n", began / 1e6);
	fprintf(f, "made %u\nrefused %u\nreset %u\nstuck %u\nwrong %u\n",
		c->made, c->refused, c->reset, c->stuck, c->wrong);
	fprintf(f, "udp_conns %u\nudp_hit %u\n", c->udp_conns, c->udp_hit);
	fprintf(f, "sent %u\nanswered %u\nmisdelivered %u\nlost %u\ngarbled %u\n",
		c->sent, c->answered, c->misdelivered, c->lost, c->garbled);
	if (fclose(f))
		die("%s: %s (is there room?)", path, strerror(errno));
}

int main(int argc, char **argv)
{
	__u64 began = now_us(), shown = began;
	struct counts *counts;
	int running = 2;
	int status;

	if (argc != 2)
		die("usage: client FILE");
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		die("mmap: %s", strerror(errno));

	printf("           TCP made   failed    UDP open   datagrams   misdelivered   lost\n");
	fflush(stdout);
	start(tcp_load, counts);
	start(udp_load, counts);
	while (running) {
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid > 0 && status)
			die("a load failed");
		running -= pid > 0;
		if (now_us() >= shown + 1000000) {
			shown += 1000000;
			show(shown - began, counts);
		}
		usleep(20000);
	}
	show(now_us() - began, counts);
	write_totals(argv[1], began, counts);
	return 0;
}
