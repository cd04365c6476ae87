// SPDX-License-Identifier: GPL-2.0
/* The cost of a packet to a group: a UDP datagram, or a TCP SYN.
 *
 * A sample is one write() on a loopback device, with all that the receiving side does
 * before the call returns. There is no route to the source address of the SYN, so its
 * request socket is created and, because no reply can be sent, freed again.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "common.h"

#define PORT		1024

/* A datagram says generation 1, slot 0, to who looks for an id in it. */
static const unsigned char datagram[8] = { 0, 1, 0, 0 };

struct syn {
	struct iphdr ip;
	struct tcphdr tcp;
};

static u32 add_words(u32 sum, const void *data, size_t size)
{
	for (const uint16_t *word = data; size; size -= 2)
		sum += *word++;
	return sum;
}

static uint16_t fold(u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static struct syn make_syn(int port)
{
	struct syn syn = {
		.ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = htons(sizeof(syn)),
			.ttl = 64,
			.protocol = IPPROTO_TCP,
			.saddr = htonl(0x0a090909),
			.daddr = htonl(INADDR_LOOPBACK),
		},
		.tcp = {
			.source = htons(CLIENT_PORT),
			.dest = htons(port),
			.doff = 5,
			.syn = 1,
			.window = htons(65535),
		},
	};
	u32 sum = add_words(htons(IPPROTO_TCP) + htons(sizeof(syn.tcp)), &syn.ip.saddr, 8);

	syn.tcp.check = fold(add_words(sum, &syn.tcp, sizeof(syn.tcp)));
	return syn;
}

int client_open(int type, int from, int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(from),
	};
	int client;

	if (type == SOCK_STREAM) {
		client = must(socket(AF_INET, SOCK_RAW, IPPROTO_RAW));
	} else {
		client = must(socket(AF_INET, SOCK_DGRAM, 0));
		must(bind(client, (void *)&address, sizeof(address)));
	}
	address.sin_port = htons(port);
	must(connect(client, (void *)&address, sizeof(address)));
	return client;
}

/* Socket @index of the group, or any (-1), gets a packet. */
void expect(const int *group, int index, bool stream, const char *row)
{
	char data[64];

	for (int i = 0; i < GROUP; i++) {
		int fd;

		if (index >= 0 && i != index)
			continue;
		if (!stream) {
			if (read(group[i], data, sizeof(data)) > 0)
				return;
			continue;
		}
		fd = accept(group[i], NULL, NULL);
		if (fd >= 0) {
			close(fd);
			return;
		}
	}
	die("%s: the packet did not go where it should", row);
}

/* A whole connection, to see that a SYN goes where it should. */
static void expect_connection(const int *group, int port, int index, const char *row)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(port),
	};
	int client = must(socket(AF_INET, SOCK_STREAM, 0));

	must(connect(client, (void *)&address, sizeof(address)));
	expect(group, index, true, row);
	close(client);
}

void measure_packets(int type, u32 size, const int *group, int port, int index,
		     const char *what, const char *map, const void *packet, u32 len)
{
	bool stream = type == SOCK_STREAM;
	int client = client_open(type, CLIENT_PORT, port);
	struct series s = {};
	char row[32];

	snprintf(row, sizeof(row), "%s-%s", stream ? "syn" : "udp", what);
	if (stream)
		expect_connection(group, port, index, row);
	settle();
	for (int i = -WARM_UP; i < SAMPLES; i++) {
		long sent = MEASURE(&s, call3(__NR_write, client, (long)packet, len));
		if (sent < 0)
			die("%s: cannot send: %s", row, strerror(-sent));
		if (!stream)
			expect(group, index, false, row);
		if (i < 0)
			s.count = 0;
	}
	report(&s, row, map, size, 1);
	close(client);
}

static void measure(int type, u32 size, const int *group, int port, int index,
		    const char *what, const char *map)
{
	if (type == SOCK_STREAM) {
		struct syn syn = make_syn(port);

		measure_packets(type, size, group, port, index, what, map, &syn, sizeof(syn));
	} else {
		measure_packets(type, size, group, port, index, what, map, datagram,
				sizeof(datagram));
	}
}

static void attach(int listener, int program)
{
	must(setsockopt(listener, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program,
			sizeof(program)));
	close(program);
}

/* @size sockets, in groups of GROUP; the packets go to one in the middle. */
void bench_select(int type, u32 size)
{
	int *sockets = sockets_open(type, size, PORT);
	u32 slot = size / 2 + 5, first = slot / GROUP * GROUP;
	int port = PORT + slot / GROUP, index = slot - first;
	const int *group = sockets + first;
	int map, outer;

	measure(type, size, group, port, -1, "hash", "-");
	attach(group[0], program_pass());
	measure(type, size, group, port, -1, "pass", "-");

	map = map_create(REUSEPORT, size);
	map_fill(map, sockets, size);
	attach(group[0], program_select(map, slot));
	measure(type, size, group, port, index, "select", "map");
	outer = map_create_outer(map);
	attach(group[0], program_select_nested(outer, slot));
	measure(type, size, group, port, index, "nested", "map");
	map_clear(map, size);
	close(outer);
	close(map);

	for (int type_of_map = SOCKMAP; type_of_map; ) {
		map = map_create(type_of_map, size);
		map_fill(map, sockets, size);
		attach(group[0], program_select(map, slot));
		measure(type, size, group, port, index, "select", map_name(type_of_map));
		map_clear(map, size);
		close(map);
		settle();
		type_of_map = type_of_map == SOCKMAP ? SOCKHASH : 0;
	}
	sockets_close(sockets, size);
}

/* While the link that it returns is open, @program runs for packets of this network namespace. */
static int attach_lookup(int program)
{
	int netns = must(open("/proc/self/ns/net", O_RDONLY));
	union bpf_attr attr = {
		.link_create = {
			.prog_fd = program,
			.target_fd = netns,
			.attach_type = BPF_SK_LOOKUP,
		},
	};
	int link = must(call_bpf(BPF_LINK_CREATE, &attr, ATTR_SIZE(link_create)));

	close(program);
	close(netns);
	return link;
}

static void measure_lookup(int type, int map_type, const int *sockets, u32 size)
{
	const char *what = map_type ? "lookup" : "lookup-pass";
	const char *name = map_type ? map_name(map_type) : "-";
	int map = map_type ? map_create(map_type, size) : -1, program, link;
	u32 slot = size / 2 + 5, first = slot / GROUP * GROUP;
	char row[32];

	if (map_type)
		map_fill(map, sockets, size);
	program = program_lookup(map, slot);
	if (program < 0) {
		snprintf(row, sizeof(row), "%s-%s", type == SOCK_STREAM ? "syn" : "udp", what);
		skip(row, name, size);
	} else {
		link = attach_lookup(program);
		measure(type, size, sockets + first, PORT + slot / GROUP,
			map_type ? (int)(slot - first) : -1, what, name);
		close(link);
	}
	if (map_type) {
		map_clear(map, size);
		close(map);
	}
	settle();
}

/* A program of type SK_LOOKUP looks a socket up, assigns and releases it. */
void bench_lookup(u32 size)
{
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		int *sockets = sockets_open(type, size, PORT);

		measure_lookup(type, 0, sockets, size);
		measure_lookup(type, REUSEPORT, sockets, size);
		measure_lookup(type, SOCKMAP, sockets, size);
		measure_lookup(type, SOCKHASH, sockets, size);
		sockets_close(sockets, size);
	}
}

/* Each datagram is the first of its peer. */
static void measure_new(u32 size, const int *group, const char *mode)
{
	struct series s = {};

	settle();
	for (int i = -WARM_UP; i < SAMPLES; i++) {
		int client = client_open(SOCK_DGRAM, CLIENT_PORT - WARM_UP - 1 - i, PORT);

		MEASURE(&s, call3(__NR_write, client, (long)datagram, sizeof(datagram)));
		expect(group, -1, false, mode);
		close(client);
		if (i < 0)
			s.count = 0;
	}
	report(&s, "udp-new-service", mode, size, 1);
}

/* reuseportctl makes a service of the group that this process has, with its program. */
void bench_service(int type, u32 size)
{
	static const char *const modes[] = { "none", "flow", "id:0:4" };
	bool stream = type == SOCK_STREAM;
	int *sockets = sockets_open(type, GROUP, PORT);
	char command[128];

	for (int i = 0; i < (stream ? 1 : 3); i++) {
		snprintf(command, sizeof(command),
			 "reuseportctl attach bench %s 127.0.0.1:%d --pid %d --hold %s %s "
			 ">/dev/null",
			 stream ? "tcp" : "udp", PORT, getpid(), stream ? "" : "--udp",
			 stream ? "" : modes[i]);
		if (system(command))
			die("this failed: %s", command);
		measure(type, size, sockets, PORT, -1, "service", stream ? "-" : modes[i]);
		if (!stream)
			measure_new(size, sockets, modes[i]);
		if (system("reuseportctl detach bench >/dev/null"))
			die("reuseportctl does not detach");
	}
	sockets_close(sockets, GROUP);
}
