// SPDX-License-Identifier: GPL-2.0
/*
 * UDP connections: one begins every STAGGER_US and lasts for LIFE_US, so that at any
 * time some have just begun and some are about to end. The first datagram requests an
 * id, all others carry it.
 *
 * A connection has one datagram in flight at a time. No socket buffer can overflow, so
 * a datagram without a reply was lost by the server.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>
#include "client.h"
#include "common.h"

#define CONNS		200
#define STAGGER_US	38000
#define LIFE_US		2000000
#define INTERVAL_US	20000		/* between two datagrams of a connection */
#define TIMEOUT_US	5000000
#define NAP_US		4000		/* handle events in groups, with fewer context switches */

static struct pollfd pfds[CONNS];	/* fd is -1 while it is not open */
static struct conn {
	__u64 begin, end;
	__u64 due;			/* when to send the next datagram */
	__u64 sent_at;			/* when the latest was sent, */
	__u32 number;			/* and its number */
	struct conn_id id;
	bool under_way;
	bool hit;
} conns[CONNS];

/* The datagram in flight is done; count the result in *count. */
static void finish(unsigned int i, struct counts *c, unsigned int *count)
{
	struct conn *conn = &conns[i];

	(*count)++;
	if (count != &c->answered && !conn->hit) {
		conn->hit = true;
		c->udp_hit++;
	}
	conn->under_way = false;
}

static void ask(unsigned int i, struct counts *c, __u64 now)
{
	struct conn *conn = &conns[i];
	struct message msg = {
		.magic = htonl(MAGIC),
		.id = conn->id,
		.kind = htonl(ASK),
		.number = htonl(++conn->number),
	};

	/* Keep the phase after a delay, so that they do not all send at once. */
	while (conn->due <= now)
		conn->due += INTERVAL_US;
	c->sent++;
	conn->sent_at = now;
	conn->under_way = true;
	if (send(pfds[i].fd, &msg, sizeof(msg), 0) != sizeof(msg))
		finish(i, c, &c->lost);
}

static void receive(unsigned int i, struct counts *c)
{
	struct conn *conn = &conns[i];
	bool is_new = !conn->id.generation;
	struct message msg;
	ssize_t len;

	len = recv(pfds[i].fd, &msg, sizeof(msg), 0);
	if (!conn->under_way || (len < 0 && errno == EAGAIN))
		return;
	if (len == sizeof(msg) && msg.number != htonl(conn->number))
		return;			/* late, and already counted as lost */

	if (len < 0) {
		finish(i, c, &c->lost);	/* ICMP: there is no server */
	} else if (len == sizeof(msg) && !is_new && memcmp(&msg.id, &conn->id, sizeof(msg.id))) {
		finish(i, c, &c->misdelivered);
	} else if (len == sizeof(msg) && msg.kind == htonl(ANSWER) &&
		   msg.answer == htobe64(answer_to(conn->number))) {
		conn->id = msg.id;
		c->udp_conns += is_new;
		finish(i, c, &c->answered);
	} else {
		finish(i, c, &c->garbled);
	}
}

/* Do what is due for a connection. Returns false when it has ended. */
static bool advance(unsigned int i, struct counts *c, __u64 now)
{
	struct conn *conn = &conns[i];

	if (now < conn->begin)
		return true;
	if (conn->under_way) {
		if (now >= conn->sent_at + TIMEOUT_US)
			finish(i, c, &c->lost);
		return true;
	}
	if (now >= conn->end) {
		if (pfds[i].fd >= 0) {
			close(pfds[i].fd);
			pfds[i].fd = -1;
			c->udp_live--;
		}
		return false;
	}
	if (pfds[i].fd < 0) {
		pfds[i].fd = connect_to_server(SOCK_DGRAM, i);
		c->udp_live++;
	}
	if (now >= conn->due)
		ask(i, c, now);
	return true;
}

void udp_load(struct counts *c)
{
	__u64 t0 = now_us();
	bool busy = true;

	for (unsigned int i = 0; i < CONNS; i++) {
		pfds[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
		conns[i].begin = t0 + i * STAGGER_US;
		conns[i].due = conns[i].begin;
		conns[i].end = conns[i].begin + LIFE_US;
		conns[i].number = i << 16;	/* unique among all datagrams */
	}

	while (busy) {
		__u64 now = now_us();

		usleep(NAP_US);
		poll(pfds, CONNS, 0);
		busy = false;
		for (unsigned int i = 0; i < CONNS; i++) {
			if (pfds[i].fd >= 0 && pfds[i].revents)
				receive(i, c);
			busy |= advance(i, c, now);
		}
	}
}
