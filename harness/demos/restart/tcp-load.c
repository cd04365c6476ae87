// SPDX-License-Identifier: GPL-2.0
/*
 * TCP connections, started at a steady rate. Each sends one request, gets one
 * reply, and closes.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>
#include "client.h"
#include "common.h"

#define TOTAL		22000
#define START_US	430		/* one connection per */
#define ROUND_TRIP_US	5000		/* simulated, between connect() and the request */
#define TIMEOUT_US	10000000
#define NAP_US		4000		/* handle events in groups, with fewer context switches */
#define MAX_OPEN	256

/* Connection n is in slot n % MAX_OPEN; fd is -1 while the slot is free. */
static struct pollfd pfds[MAX_OPEN];
static struct {
	__u64 began;
	__u32 number;
} conns[MAX_OPEN];

static void start(__u32 n, __u64 now)
{
	unsigned int slot = n % MAX_OPEN;

	pfds[slot].fd = connect_to_server(SOCK_STREAM, n);
	conns[slot].began = now;
	conns[slot].number = n;
}

static void finish(unsigned int slot, unsigned int *count)
{
	(*count)++;
	close(pfds[slot].fd);
	pfds[slot].fd = -1;
}

static void finish_failed(unsigned int slot, struct counts *c, int error)
{
	finish(slot, error == ECONNREFUSED ? &c->refused : &c->reset);
}

/* Returns false if the handshake is not complete yet. */
static bool ask(__u32 n, struct counts *c)
{
	struct message msg = {
		.magic = htonl(MAGIC),
		.kind = htonl(ASK),
		.number = htonl(n),
	};
	unsigned int slot = n % MAX_OPEN;

	if (pfds[slot].fd < 0)
		return true;		/* has failed since */
	if (send(pfds[slot].fd, &msg, sizeof(msg), MSG_NOSIGNAL) == sizeof(msg))
		return true;
	if (errno == EAGAIN)
		return false;
	finish_failed(slot, c, errno);
	return true;
}

static void receive(unsigned int slot, struct counts *c)
{
	__u32 number = conns[slot].number;
	struct message msg;
	ssize_t len;

	len = recv(pfds[slot].fd, &msg, sizeof(msg), 0);
	if (len < 0 && errno == EAGAIN)
		return;
	if (len <= 0)			/* 0: closed, and no reply */
		finish_failed(slot, c, len ? errno : ECONNRESET);
	else if (len == sizeof(msg) && msg.kind == htonl(ANSWER) &&
		 msg.number == htonl(number) && msg.answer == htobe64(answer_to(number)))
		finish(slot, &c->made);
	else
		finish(slot, &c->wrong);
}

void tcp_load(struct counts *c)
{
	__u32 started = 0, asked = 0;
	__u64 t0 = now_us();

	for (unsigned int i = 0; i < MAX_OPEN; i++)
		pfds[i] = (struct pollfd){ .fd = -1, .events = POLLIN };

	while (c->made + c->refused + c->reset + c->stuck + c->wrong < TOTAL) {
		__u64 now = now_us();

		while (started < TOTAL && now >= t0 + (__u64)started * START_US &&
		       started - asked < MAX_OPEN && pfds[started % MAX_OPEN].fd < 0)
			start(started++, now);
		while (asked < started && now >= conns[asked % MAX_OPEN].began + ROUND_TRIP_US &&
		       ask(asked, c))
			asked++;

		usleep(NAP_US);
		poll(pfds, MAX_OPEN, 0);
		for (unsigned int i = 0; i < MAX_OPEN; i++) {
			if (pfds[i].fd < 0)
				continue;
			if (pfds[i].revents)
				receive(i, c);
			else if (now >= conns[i].began + TIMEOUT_US)
				finish(i, &c->stuck);
		}
	}
}
