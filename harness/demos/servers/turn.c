// SPDX-License-Identifier: GPL-2.0
/* turn SECONDS PORT RATE - clients of a TURN server on 127.0.0.1, RATE new ones per second
 *
 * Each client has a port of its own and sends four requests, half a second apart: Allocate,
 * two of Refresh, and a Refresh that ends the allocation. The server has to know the client
 * from the second one on. SIGTERM ends it: no more clients begin. Prints
 *	asked N lost N wrong N
 * lost: requests without a response; wrong: an error instead of success.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>

#define MAX_CLIENTS	4096
/*
 * The clients' ports, in turn: a server knows a port for some time after its allocation has
 * ended, and rejects another one. Above them are the ports of the allocations.
 */
#define FIRST_PORT	10000
#define LAST_PORT	49000
#define REQUESTS	4
#define INTERVAL_MS	500
#define PATIENCE_MS	5000

#define ALLOCATE		0x0003
#define REFRESH			0x0004
#define SUCCESS			0x0100
#define LIFETIME		0x000d
#define REQUESTED_TRANSPORT	0x0019
#define COOKIE			0x2112a442

struct message {
	unsigned short type, len;
	unsigned int cookie, id[3];
	unsigned short attribute, attribute_len;
	unsigned int value;
};

static struct client {
	int fd;			/* 0: this entry is free */
	int sent;
	int answered;		/* of the last request */
	long long since;	/* when it was sent, in ms */
} clients[MAX_CLIENTS];

static unsigned int asked, lost, wrong;
static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static unsigned short type_of(const struct client *c)
{
	return c->sent == 1 ? ALLOCATE : REFRESH;
}

static void ask(struct client *c, long long now)
{
	struct message m = { .cookie = htonl(COOKIE) };

	c->sent++;
	c->answered = 0;
	c->since = now;
	m.type = htons(type_of(c));
	m.id[0] = c - clients;
	m.id[1] = c->sent;
	m.id[2] = ++asked;
	if (c->sent != REQUESTS - 1 && c->sent != 2) {
		m.len = htons(8);
		m.attribute = htons(c->sent == 1 ? REQUESTED_TRANSPORT : LIFETIME);
		m.attribute_len = htons(4);
		m.value = c->sent == 1 ? htonl(IPPROTO_UDP << 24) : 0;
	}
	send(c->fd, &m, m.len ? 28 : 20, 0);
}

static void end(struct client *c)
{
	close(c->fd);
	memset(c, 0, sizeof(*c));
}

static void read_answer(struct client *c)
{
	struct message m;
	unsigned char text[2048];
	ssize_t len;

	while ((len = recv(c->fd, text, sizeof(text), MSG_DONTWAIT)) >= 20) {
		memcpy(&m, text, 20);
		if (m.id[0] != c - clients || m.id[1] != (unsigned int)c->sent)
			continue;
		if (ntohs(m.type) != (type_of(c) | SUCCESS)) {
			/* the class and number of ERROR-CODE, if that is first */
			fprintf(stderr, "turn: request %d: type %04x, error %d\n", c->sent,
				ntohs(m.type), len >= 28 ? 100 * text[26] + text[27] : 0);
			wrong++;
			end(c);
			return;
		}
		c->answered = 1;
	}
}

static void begin(unsigned short port, long long now)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	static unsigned short own_port = FIRST_PORT;
	struct sockaddr_in own = to;
	struct client *c = clients;

	while (c < clients + MAX_CLIENTS && c->fd)
		c++;
	if (c == clients + MAX_CLIENTS)
		return;
	c->fd = socket(AF_INET, SOCK_DGRAM, 0);
	do {
		own.sin_port = htons(own_port);
		own_port = own_port < LAST_PORT ? own_port + 1 : FIRST_PORT;
	} while (bind(c->fd, (struct sockaddr *)&own, sizeof(own)) && errno == EADDRINUSE);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to))) {
		perror("turn: connect");
		exit(1);
	}
	ask(c, now);
}

/* Returns how many clients there are. */
static int go_on(long long now)
{
	struct client *c;
	int count = 0;

	for (c = clients; c < clients + MAX_CLIENTS; c++) {
		if (!c->fd)
			continue;
		if (!c->answered)
			read_answer(c);
		if (c->fd && !c->answered && now - c->since > PATIENCE_MS) {
			lost++;
			end(c);
		} else if (c->fd && c->answered && c->sent == REQUESTS) {
			end(c);
		} else if (c->fd && c->answered && now - c->since >= INTERVAL_MS) {
			ask(c, now);
		}
		count += c->fd != 0;
	}
	return count;
}

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	long long start = now_ms(), now = start, begun = 0, rate;
	int left = 1;

	if (argc != 4) {
		fprintf(stderr, "usage: turn SECONDS PORT RATE\n");
		return 2;
	}
	rate = atoi(argv[3]);
	signal(SIGTERM, on_term);
	while (left || !stop) {
		now = now_ms();
		stop |= now - start > 1000LL * atoi(argv[1]);
		/* no burst after a stall of the machine: it would only fill queues */
		if (!stop && begun < rate * (now - start) / 1000) {
			if (begun < rate * (now - start) / 1000 - rate)
				begun = rate * (now - start) / 1000 - 1;
			begin(atoi(argv[2]), now);
			begun++;
		}
		left = go_on(now);
		nanosleep(&pause, NULL);
	}
	printf("asked %u lost %u wrong %u\n", asked, lost, wrong);
	return 0;
}
