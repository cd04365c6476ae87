// SPDX-License-Identifier: GPL-2.0
/*
 * One worker process: serve requests, and on SIGTERM drain and exit.
 */
#include <arpa/inet.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common.h"
#include "worker.h"

/*
 * A worker is drained after QUIET_POLLS polls without input. This must be longer than
 * the pauses of a client. Polls are counted rather than time, because clients cannot
 * send while the machine is stalled.
 */
#define POLL_MS		25
#define QUIET_POLLS	20
/* Drain timeout after SIGTERM: without a map the input never stops. */
#define DRAIN_US	5000000

#define BATCH		64	/* requests per socket and turn */

#define BIN_US		50000
#define BINS		4096
#define ARRIVALS	32768		/* more than the client's connections */

static struct conn_id me;
static int ep, term, listener, udp;
static unsigned int open_conns;		/* accepted and not answered yet */
static unsigned int accepted;
static bool draining;

/* Arrival times of new connections, TCP and UDP, to compare with the switch */
static __u64 arrivals[ARRIVALS];
static unsigned int arrived;

/* Datagrams per BIN_US since first_bin: ours, and those with another worker's id. */
static unsigned int ours[BINS], foreign[BINS];
static __u64 first_bin;
static unsigned int bin;

static void set_bin(void)
{
	__u64 n = now_us() / BIN_US - first_bin;

	bin = n < BINS ? n : BINS - 1;
}

static void count_arrival(void)
{
	if (arrived < ARRIVALS)
		arrivals[arrived++] = now_us();
}

static bool is_request(const struct message *msg, ssize_t len)
{
	return len == sizeof(*msg) && msg->magic == htonl(MAGIC) && msg->kind == htonl(ASK);
}

static void make_answer(struct message *msg)
{
	msg->kind = htonl(ANSWER);
	msg->id = me;
	msg->answer = htobe64(answer_to(ntohl(msg->number)));
}

static void watch(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		die("epoll: %s", strerror(errno));
}

/* One request, one reply. Returns false if the request has not arrived yet. */
static bool serve_connection(int fd)
{
	struct message msg;
	ssize_t len;

	len = recv(fd, &msg, sizeof(msg), 0);
	if (len < 0 && errno == EAGAIN)
		return false;
	if (is_request(&msg, len)) {
		make_answer(&msg);
		send(fd, &msg, sizeof(msg), MSG_NOSIGNAL);
	}
	close(fd);
	open_conns--;
	return true;
}

/* The next two functions return true if there may be more input. */
static bool serve_datagrams(void)
{
	for (int i = 0; i < BATCH; i++) {
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		struct message msg;
		ssize_t len;

		len = recvfrom(udp, &msg, sizeof(msg), 0, (struct sockaddr *)&from, &from_len);
		if (len < 0)
			return false;
		if (!is_request(&msg, len))
			continue;

		if (msg.id.generation && memcmp(&msg.id, &me, sizeof(me))) {
			/* The connection of another worker: we do not have its state. */
			foreign[bin]++;
			msg.kind = htonl(NOT_MINE);
			msg.id = me;
		} else {
			if (!msg.id.generation)
				count_arrival();
			ours[bin]++;
			make_answer(&msg);	/* gives a new client its id */
		}
		sendto(udp, &msg, sizeof(msg), 0, (struct sockaddr *)&from, from_len);
	}
	return true;
}

static bool accept_connections(void)
{
	for (int i = 0; i < BATCH; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return false;
		accepted++;
		count_arrival();
		open_conns++;
		if (!serve_connection(fd))
			watch(fd);
	}
	return true;
}

/* Returns false if there was no input for timeout_ms. */
static bool serve_once(int timeout_ms)
{
	struct signalfd_siginfo info;
	struct epoll_event ev[BATCH];
	int n = epoll_wait(ep, ev, BATCH, timeout_ms);

	set_bin();
	for (int i = 0; i < n; i++) {
		int fd = ev[i].data.fd;

		if (fd == udp)
			serve_datagrams();
		else if (fd == listener)
			accept_connections();
		else if (fd == term)
			draining = read(term, &info, sizeof(info)) > 0;
		else
			serve_connection(fd);
	}
	return n > 0;
}

/*
 * Continue to serve. With reuseportctl no new connection arrives after SIGTERM.
 * Without it they arrive as before: those that are in the listener, in the handshake
 * or waiting for accept(), are reset when it closes, and UDP peers with an id of
 * this worker use that id until they finish.
 */
static void drain(void)
{
	__u64 end = now_us() + DRAIN_US;

	for (int quiet = 0; quiet < QUIET_POLLS && now_us() < end; quiet++)
		if (serve_once(POLL_MS) || open_conns)
			quiet = 0;

	/* After a drain timeout: serve what is in the queues now. */
	while (accept_connections() || serve_datagrams())
		;
	close(listener);
	close(udp);
	for (int i = 0; i < QUIET_POLLS && open_conns; i++)
		serve_once(POLL_MS);
}

static void write_counts(const char *dir)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/worker-%u-%u", dir, ntohs(me.generation),
		 ntohs(me.worker));
	f = fopen(path, "w");
	if (!f)
		die("%s: %s", path, strerror(errno));
	fprintf(f, "tcp %u\n", accepted);
	for (unsigned int i = 0; i < arrived; i++)
		fprintf(f, "new %.3f\n", arrivals[i] / 1e6);
	for (int i = 0; i < BINS; i++)
		if (ours[i] || foreign[i])
			fprintf(f, "udp %.2f %u %u\n", (first_bin + i) * (BIN_US / 1e6),
				ours[i], foreign[i]);
	if (fclose(f))
		die("%s: %s (is there room?)", path, strerror(errno));
}

void worker(struct conn_id id, int tcp_fd, int udp_fd, const char *dir)
{
	sigset_t set;

	me = id;
	listener = tcp_fd;
	udp = udp_fd;
	first_bin = now_us() / BIN_US;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	term = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (term < 0 || ep < 0)
		die("signalfd, epoll: %s", strerror(errno));
	watch(term);
	watch(listener);
	watch(udp);

	while (!draining)
		serve_once(-1);
	drain();
	write_counts(dir);
}
