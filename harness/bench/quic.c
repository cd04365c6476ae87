// SPDX-License-Identifier: GPL-2.0
/* A service of reuseportctl with --udp quic: datagrams that have the headers of QUIC version 1. The
 * service learns from its server's packets, so that each datagram runs a second program when it is
 * sent: its cost alone is a row, too.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common.h"

#define PORT		1024
#define OTHER_PORT	1025	/* has no service */
#define INITIAL		0xc0
#define HANDSHAKE	0xe0
#define SHORT		0x40
#define ID_LEN		8
#define ID		0x5a5a000000000000

struct packet {
	unsigned char bytes[64];
};

/* The client's own id has no bytes, the server's in its packets is @id. */
static struct packet make_packet(unsigned char type, bool from_server, u64 id)
{
	struct packet packet = { { type, 0, 0, 0, 1 } };
	unsigned char *at = packet.bytes + 1;

	if (type != SHORT) {
		at += 4;
		at += from_server;
		*at++ = ID_LEN;
	}
	for (int i = 0; i < ID_LEN; i++)
		at[i] = id >> (56 - 8 * i);
	return packet;
}

static void write_packet(int client, unsigned char type, u64 id)
{
	struct packet packet = make_packet(type, false, id);

	must(write(client, &packet, sizeof(packet)));
}

/* Begin a connection from @client. The server calls it @id, and the client confirms that. */
static void connect_client(const int *group, int client, u64 id)
{
	struct packet packet = make_packet(HANDSHAKE, true, id);
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char data[64];

	write_packet(client, INITIAL, ~id);
	for (int i = 0; i < GROUP; i++) {
		if (recvfrom(group[i], data, sizeof(data), 0, (void *)&from, &len) < 0)
			continue;
		must(sendto(group[i], &packet, sizeof(packet), 0, (void *)&from, len));
		write_packet(client, HANDSHAKE, id);
		expect(group, i, false, "quic");
		return;
	}
	die("no socket got the first packet");
}

static u64 cookie_of(int socket)
{
	socklen_t len = sizeof(u64);
	u64 cookie;

	must(getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &len));
	return cookie;
}

/* A new client each: its first packet, or the first one after its port has changed. */
static void measure_first(u32 size, const int *group, bool moves, const char *row)
{
	struct series s = {};

	settle();
	for (int i = -WARM_UP; i < SAMPLES; i++) {
		u64 id = ID + 1000 + i;
		int client = client_open(SOCK_DGRAM, CLIENT_PORT - WARM_UP - 1 - i, PORT);
		struct packet packet = make_packet(moves ? SHORT : INITIAL, false, id);

		if (moves) {
			connect_client(group, client, id);
			close(client);
			client = client_open(SOCK_DGRAM, CLIENT_PORT - 4 * SAMPLES - i, PORT);
		}
		MEASURE(&s, call3(__NR_write, client, (long)&packet, sizeof(packet)));
		expect(group, -1, false, row);
		close(client);
		if (i < 0)
			s.count = 0;
	}
	report(&s, row, "quic", size, 1);
}

void bench_quic(u32 size)
{
	int *sockets = sockets_open(SOCK_DGRAM, GROUP, PORT);
	int *others = sockets_open(SOCK_DGRAM, GROUP, OTHER_PORT), client;
	char command[128];
	struct packet packet;

	packet = make_packet(SHORT, false, ID);
	measure_packets(SOCK_DGRAM, size, others, OTHER_PORT, -1, "send", "-", &packet,
			sizeof(packet));
	mkdir("/cgroup", 0755);
	must(mount("none", "/cgroup", "cgroup2", 0, NULL));
	snprintf(command, sizeof(command),
		 "reuseportctl attach bench udp 127.0.0.1:%d --pid %d --udp quic >/dev/null", PORT,
		 getpid());
	if (system(command))
		die("this failed: %s", command);

	measure_packets(SOCK_DGRAM, size, others, OTHER_PORT, -1, "send", "quic", &packet,
			sizeof(packet));
	client = client_open(SOCK_DGRAM, CLIENT_PORT, PORT);
	connect_client(sockets, client, ID);
	close(client);
	measure_packets(SOCK_DGRAM, size, sockets, PORT, -1, "service", "quic", &packet,
			sizeof(packet));
	packet = make_packet(SHORT, false, cookie_of(sockets[3]));
	measure_packets(SOCK_DGRAM, size, sockets, PORT, 3, "service", "cookie", &packet,
			sizeof(packet));
	measure_first(size, sockets, false, "udp-new-service");
	measure_first(size, sockets, true, "udp-moved-service");

	if (system("reuseportctl detach bench >/dev/null"))
		die("reuseportctl does not detach");
	sockets_close(sockets, GROUP);
	sockets_close(others, GROUP);
	must(umount("/cgroup"));
}
