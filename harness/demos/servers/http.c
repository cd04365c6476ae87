// SPDX-License-Identifier: GPL-2.0
/* http SECONDS PORT FILE - request a page from an HTTP server on 127.0.0.1, each time over
 * a new connection, in four processes, and compare it with FILE. SIGTERM ends it early.
 * Prints
 *	asked N refused N reset N silent N wrong N
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PROCESSES	4
#define PATIENCE_S	10

static struct {
	unsigned int asked, refused, reset, silent, wrong;
} *sum;

static pid_t pids[PROCESSES];

static void on_term(int signal)
{
	int i;

	for (i = 0; i < PROCESSES; i++)
		kill(pids[i], signal);
}

static void count_error(int err, const char *when, size_t got)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	fprintf(stderr, "http: %ld.%03ld: %s in %s, after %zu bytes\n", (long)now.tv_sec,
		now.tv_nsec / 1000000, strerror(err), when, got);
	if (err == ECONNREFUSED)
		__sync_fetch_and_add(&sum->refused, 1);
	else if (err == EAGAIN || err == ETIMEDOUT || err == EINPROGRESS)
		__sync_fetch_and_add(&sum->silent, 1);
	else
		__sync_fetch_and_add(&sum->reset, 1);
}

static void ask(unsigned short port, const char *page, size_t len)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct timeval patience = { PATIENCE_S, 0 };
	size_t got = 0;
	char text[65536], *body;
	ssize_t n;
	int fd;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	__sync_fetch_and_add(&sum->asked, 1);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		count_error(errno, "connect", 0);
		close(fd);
		return;
	}
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0) {
		count_error(errno, "send", 0);
		close(fd);
		return;
	}
	while ((n = recv(fd, text + got, sizeof(text) - 1 - got, 0)) > 0)
		got += n;
	if (n < 0) {
		count_error(errno, "recv", got);
	} else {
		text[got] = '\0';
		body = strstr(text, "\r\n\r\n");
		if (strncmp(text, "HTTP/1.1 200", 12) || !body ||
		    got - (body + 4 - text) != len || memcmp(body + 4, page, len))
			__sync_fetch_and_add(&sum->wrong, 1);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	static char page[32768];
	sigset_t set;
	time_t end;
	size_t len;
	FILE *file;
	int i;

	if (argc != 4) {
		fprintf(stderr, "usage: http SECONDS PORT FILE\n");
		return 2;
	}
	file = fopen(argv[3], "r");
	if (!file) {
		perror(argv[3]);
		return 2;
	}
	len = fread(page, 1, sizeof(page), file);
	fclose(file);
	sum = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	end = time(NULL) + atoi(argv[1]);
	/* SIGTERM takes effect between two requests, not during one */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		do {
			ask(atoi(argv[2]), page, len);
		} while (time(NULL) < end && sigtimedwait(&set, NULL, &pause) < 0);
		_exit(0);
	}
	signal(SIGTERM, on_term);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	printf("asked %u refused %u reset %u silent %u wrong %u\n", sum->asked, sum->refused,
	       sum->reset, sum->silent, sum->wrong);
	return 0;
}
