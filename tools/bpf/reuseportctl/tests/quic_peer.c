// SPDX-License-Identifier: GPL-2.0
/* A server and a client that exchange datagrams with the headers of QUIC version 1. Nothing is
 * encrypted: only headers are read.
 *
 * quic_peer serve [-c] [-l LEN] [-w WORKERS] ADDR PORT NAME
 *	A server of WORKERS processes (4) with a socket each. Answers contain NAME and the number
 *	of the worker, from 0. It gives each connection an id of LEN bytes (8), and in each answer
 *	another one for later.
 *	-c	ids begin with the cookie of the socket
 *
 * quic_peer load [-m] [-n] ADDR PORT CONNECTIONS
 *	Begin so many connections, print "connected", and ask on each of them, in turn, until
 *	SIGTERM; then once more. At the end it prints
 *		answers N
 *		failed N	connections without an answer within 5 s
 *		moved N		connections that another worker has answered as well
 *		by NAME N	connections that began with a server of that NAME
 *	-m	each question comes from another port
 *	-n	and each id is used for two questions only, the first from the former port
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define INITIAL		0xc0
#define HANDSHAKE	0xe0
#define SHORT		0x40
#define MAX_ID		20
#define NAME_SIZE	16
#define TRIES		25	/* of 0.2 s */

struct id {
	uint8_t len, bytes[MAX_ID];
};

/* What comes after the header of an answer. */
struct answer {
	char name[NAME_SIZE];
	struct id next;
	uint8_t padding[32];
};

static volatile sig_atomic_t term;

static void on_term(int signal)
{
	(void)signal;
	term = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "quic_peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint8_t *put_id(uint8_t *at, const struct id *id)
{
	memcpy(at, id->bytes, id->len);
	return at + id->len;
}

/* A header with these ids: @to is the receiver's, @from, of long headers only, the sender's. */
static uint8_t *put_header(uint8_t *at, uint8_t type, const struct id *to, const struct id *from)
{
	*at++ = type;
	if (type == SHORT)
		return put_id(at, to);
	at = memcpy(at, "\0\0\0\1", 4);
	at += 4;
	*at++ = to->len;
	at = put_id(at, to);
	*at++ = from->len;
	return put_id(at, from);
}

static struct id random_id(uint8_t len)
{
	struct id id = { .len = len };

	if (getrandom(id.bytes, len, 0) != len)
		die("getrandom");
	return id;
}

/* -- serve ------------------------------------------------------------------------------ */

static uint8_t id_len = 8;
static bool with_cookie;

static struct id server_id(int fd)
{
	struct id id = random_id(id_len);
	socklen_t len = sizeof(uint64_t);
	uint64_t cookie;
	int i;

	if (!with_cookie)
		return id;
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len))
		die("SO_COOKIE");
	for (i = 0; i < 8; i++)
		id.bytes[i] = cookie >> (56 - 8 * i);
	return id;
}

static void answer(int fd, const char *name)
{
	struct answer answer = { .next = server_id(fd) };
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	struct id to = {}, own = {};
	uint8_t packet[512], *at;

	if (recvfrom(fd, packet, sizeof(packet), 0, (void *)&from, &len) < 7)
		return;
	snprintf(answer.name, sizeof(answer.name), "%s", name);
	if (packet[0] == INITIAL) {
		own = server_id(fd);
	} else if (packet[0] == HANDSHAKE && packet[5] <= MAX_ID) {
		own.len = packet[5];
		memcpy(own.bytes, packet + 6, own.len);
	}
	at = put_header(packet, packet[0] == SHORT ? SHORT : HANDSHAKE, &to, &own);
	memcpy(at, &answer, sizeof(answer));
	at += sizeof(answer);
	sendto(fd, packet, at - packet, 0, (void *)&from, len);
}

static int open_socket(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		die("socket");
	if (address && (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
			bind(fd, (const void *)address, sizeof(*address))))
		die("bind");
	return fd;
}

static int serve(const struct sockaddr_in *address, int workers, const char *name)
{
	char numbered[NAME_SIZE];
	int ready[2], i, fd;
	char byte;

	if (pipe(ready))
		die("pipe");
	for (i = 0; i < workers; i++) {
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			fd = open_socket(address);
			snprintf(numbered, sizeof(numbered), "%s%d", name, i);
			if (write(ready[1], "", 1) != 1)
				die("write");
			while (1)
				answer(fd, numbered);
		}
		if (read(ready[0], &byte, 1) != 1)
			die("read");
	}
	while (!term)
		pause();
	return 0;
}

/* -- load ------------------------------------------------------------------------------- */

struct connection {
	int fd;
	struct id id, next;
	char name[NAME_SIZE];	/* of the worker that answered first */
	bool has_failed, has_moved;
};

static unsigned long answers;

/* Send a packet until there is an answer. Returns its header, or NULL. */
static const uint8_t *ask(struct connection *connection, const struct sockaddr_in *to,
			  uint8_t type, const struct id *id)
{
	struct pollfd ready = { connection->fd, POLLIN, 0 };
	static uint8_t got[512];
	uint8_t packet[512] = {}, *at;
	struct answer *answer;
	struct id none = {};
	int i;

	at = put_header(packet, type, id, &none) + 32;
	for (i = 0; i < TRIES; i++) {
		sendto(connection->fd, packet, at - packet, 0, (const void *)to, sizeof(*to));
		if (poll(&ready, 1, 200) != 1 || recv(ready.fd, got, sizeof(got), 0) < 7)
			continue;
		at = got + (got[0] == SHORT ? 1 : 7 + got[6]);
		answer = (void *)at;
		answers++;
		if (!*connection->name)
			memcpy(connection->name, answer->name, NAME_SIZE);
		else if (memcmp(connection->name, answer->name, NAME_SIZE))
			connection->has_moved = true;
		connection->next = answer->next;
		return got;
	}
	connection->has_failed = true;
	return NULL;
}

static void begin(struct connection *connection, const struct sockaddr_in *to)
{
	struct id first = random_id(8);
	const uint8_t *header;

	connection->fd = open_socket(NULL);
	header = ask(connection, to, INITIAL, &first);
	if (!header)
		return;
	connection->id.len = header[6];
	memcpy(connection->id.bytes, header + 7, header[6]);
	ask(connection, to, HANDSHAKE, &connection->id);
}

static void go_on(struct connection *connection, const struct sockaddr_in *to, bool moves,
		  bool changes_id)
{
	if (changes_id) {
		connection->id = connection->next;
		ask(connection, to, SHORT, &connection->id);
	}
	if (moves) {
		close(connection->fd);
		connection->fd = open_socket(NULL);
	}
	ask(connection, to, SHORT, &connection->id);
}

static void print_names(const struct connection *list, int count)
{
	int i, j, n;

	for (i = 0; i < count; i++) {
		for (j = 0; j < i && list[j].name[0] != list[i].name[0]; j++)
			;
		if (j < i)
			continue;
		for (n = 0; j < count; j++)
			n += list[j].name[0] == list[i].name[0];
		printf("by %c %d\n", list[i].name[0] ? list[i].name[0] : '-', n);
	}
}

static int load(const struct sockaddr_in *to, int count, bool moves, bool changes_id)
{
	struct connection *list = calloc(count, sizeof(*list));
	int failed = 0, moved = 0, i, last;

	if (!list)
		die("calloc");
	for (i = 0; i < count; i++)
		begin(&list[i], to);
	printf("connected\n");
	fflush(stdout);
	do {
		last = term;
		for (i = 0; i < count; i++)
			go_on(&list[i], to, moves, changes_id);
	} while (!last);
	for (i = 0; i < count; i++) {
		failed += list[i].has_failed;
		moved += list[i].has_moved;
	}
	printf("answers %lu\nfailed %d\nmoved %d\n", answers, failed, moved);
	print_names(list, count);
	return 0;
}

int main(int argc, char **argv)
{
	bool moves = false, changes_id = false, serves = argc > 1 && !strcmp(argv[1], "serve");
	struct sockaddr_in address = { .sin_family = AF_INET };
	int workers = 4, option;

	signal(SIGTERM, on_term);
	while ((option = getopt(argc - 1, argv + 1, "cl:mnw:")) > 0) {
		switch (option) {
		case 'c':
			with_cookie = true;
			break;
		case 'l':
			id_len = atoi(optarg);
			break;
		case 'm':
			moves = true;
			break;
		case 'n':
			changes_id = true;
			break;
		case 'w':
			workers = atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	argv += 1 + optind;
	if (argc - 1 - optind != 3 || id_len > MAX_ID ||
	    inet_pton(AF_INET, argv[0], &address.sin_addr) != 1)
		return 2;
	address.sin_port = htons(atoi(argv[1]));
	return serves ? serve(&address, workers, argv[2]) :
			load(&address, atoi(argv[2]), moves, changes_id);
}
