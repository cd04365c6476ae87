// SPDX-License-Identifier: GPL-2.0
/* MPTCP listeners. Packets find the first subflow of such a listener, which user space has no
 * fd of: the slot holds that subflow, and the cookie that is read is that of the fd.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "common.h"
#include "packet.h"
#include "steer.skel.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif

#define SERVERS	4

FIXTURE(mptcp)
{
	struct kind kind;
	int servers[SERVERS];
	struct steer *skel;
	int map;
};

FIXTURE_VARIANT(mptcp)
{
	int family;
	bool dual;
	int client_protocol;
};

FIXTURE_VARIANT_ADD(mptcp, ipv4_mptcp_client) { AF_INET, false, IPPROTO_MPTCP };
FIXTURE_VARIANT_ADD(mptcp, ipv6_mptcp_client) { AF_INET6, false, IPPROTO_MPTCP };
FIXTURE_VARIANT_ADD(mptcp, dual_mptcp_client) { AF_INET6, true, IPPROTO_MPTCP };
FIXTURE_VARIANT_ADD(mptcp, ipv4_tcp_client) { AF_INET, false, IPPROTO_TCP };
FIXTURE_VARIANT_ADD(mptcp, ipv6_tcp_client) { AF_INET6, false, IPPROTO_TCP };
FIXTURE_VARIANT_ADD(mptcp, dual_tcp_client) { AF_INET6, true, IPPROTO_TCP };

static bool has_mptcp(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);

	return fd >= 0 && !close(fd);
}

FIXTURE_SETUP(mptcp)
{
	int i;

	enter_netns(_metadata);
	/* a kernel without the map fails, whatever else it lacks */
	close(new_map(_metadata));
	if (!has_mptcp())
		SKIP(return, "no MPTCP in this kernel");

	self->kind = (struct kind){ variant->family, SOCK_STREAM, variant->dual, IPPROTO_MPTCP };
	self->skel = steer__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < SERVERS; i++)
		self->servers[i] = new_server(_metadata, &self->kind);
}

FIXTURE_TEARDOWN(mptcp)
{
	steer__destroy(self->skel);
}

static void fill(struct __test_metadata *_metadata, FIXTURE_DATA(mptcp) *self)
{
	int i;

	for (i = 0; i < SERVERS; i++)
		ASSERT_EQ(0, put(self->map, i, self->servers[i], BPF_ANY));
}

static int protocol_of(int fd)
{
	socklen_t len = sizeof(int);
	int protocol = 0;

	getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len);
	return protocol;
}

/* Connect by the protocol of the variant, and send a number. */
static int send_number(const FIXTURE_VARIANT(mptcp) *variant, __u32 number)
{
	int family = variant->dual ? AF_INET : variant->family;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, variant->client_protocol);
	int err;

	if (fd < 0)
		return -errno;
	err = connect_to(fd, family, PORT);
	if (!err && send(fd, &number, sizeof(number), MSG_NOSIGNAL) != sizeof(number))
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* A connection of the client's protocol, and a number by it, have arrived at this server.
 * Return the connection.
 */
static int expect_number(struct __test_metadata *_metadata,
			 const FIXTURE_VARIANT(mptcp) *variant, int server, __u32 number)
{
	struct pollfd ready = { .fd = server, .events = POLLIN };
	__u32 got = ~number;
	int child;

	ASSERT_EQ(1, poll(&ready, 1, PATIENCE_MS));
	child = accept(server, NULL, NULL);
	ASSERT_LE(0, child);
	EXPECT_EQ(variant->client_protocol, protocol_of(child));
	ready.fd = child;
	ASSERT_EQ(1, poll(&ready, 1, PATIENCE_MS));
	EXPECT_EQ(sizeof(got), recv(child, &got, sizeof(got), 0));
	EXPECT_EQ(number, got);
	return child;
}

/* A new connection arrives at this server, and works in both directions. */
static void expect_connection(struct __test_metadata *_metadata,
			      const FIXTURE_VARIANT(mptcp) *variant, int server, __u32 number)
{
	int client = send_number(variant, number), child;
	struct pollfd ready = { .fd = client, .events = POLLIN };
	__u32 got = ~number;

	ASSERT_LE(0, client);
	child = expect_number(_metadata, variant, server, number);
	EXPECT_EQ(sizeof(number), send(child, &number, sizeof(number), MSG_NOSIGNAL));
	ASSERT_EQ(1, poll(&ready, 1, PATIENCE_MS));
	EXPECT_EQ(sizeof(got), recv(client, &got, sizeof(got), 0));
	EXPECT_EQ(number, got);
	close(child);
	close(client);
}

/* A program selects MPTCP listeners for clients of MPTCP and of TCP. */
TEST_F(mptcp, select)
{
	int i, round;

	fill(_metadata, self);
	attach(_metadata, self->servers[0], self->skel->progs.select_slot);
	for (round = 0; round < 2; round++) {
		for (i = SERVERS - 1; i >= 0; i--) {
			self->skel->bss->slot = i;
			expect_connection(_metadata, variant, self->servers[i], i);
			EXPECT_EQ(0, self->skel->bss->result);
		}
	}
	EXPECT_TRUE(nothing_arrived(self->servers, SERVERS));
}

/* The program is attached by the fd of any of them, and a client sees what it decides. */
TEST_F(mptcp, attach)
{
	attach(_metadata, self->servers[2], self->skel->progs.select_slot);
	EXPECT_EQ(-ECONNREFUSED, send_number(variant, 1));
	EXPECT_LT(0, self->skel->bss->runs);
	EXPECT_EQ(-ENOENT, self->skel->bss->result);
}

/* Without the program it is the kernel that chooses again. */
TEST_F(mptcp, detach)
{
	int none = -1, i;
	__u32 runs;

	for (i = 1; i < SERVERS; i++)
		close(self->servers[i]);
	attach(_metadata, self->servers[0], self->skel->progs.select_slot);
	ASSERT_EQ(0, setsockopt(self->servers[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none,
				sizeof(none)));
	runs = self->skel->bss->runs;
	expect_connection(_metadata, variant, self->servers[0], 5);
	EXPECT_EQ(runs, self->skel->bss->runs);

	EXPECT_EQ(-1, setsockopt(self->servers[0], SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none,
				 sizeof(none)));
	EXPECT_EQ(ENOENT, errno);
}

static int try_attach(int fd, int prog)
{
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &prog, sizeof(prog)) ?
	       -errno : 0;
}

/* Attaching fails as it does for TCP. */
TEST_F(mptcp, attach_fails)
{
	int prog = bpf_program__fd(self->skel->progs.select_slot), none = -1, client, child;
	int fd = open_socket(_metadata, &self->kind);

	EXPECT_EQ(-EBADF, try_attach(self->servers[0], -1));
	EXPECT_EQ(-EINVAL, try_attach(self->servers[0], self->map));
	EXPECT_EQ(-1, setsockopt(self->servers[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &prog, 2));
	EXPECT_EQ(EINVAL, errno);

	/* without SO_REUSEPORT there is no group */
	EXPECT_EQ(-EINVAL, try_attach(fd, prog));
	EXPECT_EQ(-1, setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof(none)));
	EXPECT_EQ(EINVAL, errno);

	client = send_number(variant, 1);
	ASSERT_LE(0, client);
	if (variant->client_protocol == IPPROTO_MPTCP)
		EXPECT_EQ(-EINVAL, try_attach(client, prog));
	receive(_metadata, &self->kind, self->servers, SERVERS, (__u32 *)&child);
}

/* A lookup returns the cookie of the fd, whichever of the two is read first. */
TEST_F(mptcp, cookie)
{
	__u64 cookies[SERVERS] = {}, own;
	__u32 keys[SERVERS], next, n = SERVERS;
	int i, j;

	fill(_metadata, self);
	for (i = 0; i < SERVERS; i++) {
		if (i % 2)
			own = cookie_of(self->servers[i]);
		ASSERT_EQ(0, get(self->map, i, &cookies[i]));
		if (!(i % 2))
			own = cookie_of(self->servers[i]);
		EXPECT_NE(0, own);
		EXPECT_EQ(own, cookies[i]);
		for (j = 0; j < i; j++)
			EXPECT_NE(cookies[j], cookies[i]);
	}

	memset(cookies, 0, sizeof(cookies));
	EXPECT_EQ(0, bpf_map_lookup_batch(self->map, NULL, &next, keys, cookies, &n, NULL));
	ASSERT_EQ(SERVERS, n);
	for (i = 0; i < SERVERS; i++)
		EXPECT_EQ(cookie_of(self->servers[keys[i]]), cookies[i]);
}

/* BPF_PROG_RUN takes the fd of an MPTCP listener, and tells the cookie of one. */
TEST_F(mptcp, run)
{
	int prog = bpf_program__fd(self->skel->progs.select_slot), i;
	struct frame frame;
	__u64 cookie;

	fill(_metadata, self);
	make_frame(&frame, variant->dual ? AF_INET : variant->family, SOCK_STREAM, PORT, 0, NULL,
		   0);
	for (i = 0; i < SERVERS; i++) {
		self->skel->bss->slot = i;
		EXPECT_EQ(SK_PASS, run_with_packet(prog, self->servers[SERVERS - 1 - i], 0, 0,
						   &frame, &cookie));
		EXPECT_EQ(cookie_of(self->servers[i]), cookie);
	}
	EXPECT_EQ(-EINVAL, run_with_packet(prog, open_socket(_metadata, &self->kind), 0, 0, &frame,
					   &cookie));
}

/* An MPTCP socket is a listener like one of TCP: what it lacks, it is told. */
TEST_F(mptcp, update)
{
	int fd = open_socket(_metadata, &self->kind);

	/* a socket without a subflow, one that has it, one that is bound, a listener */
	EXPECT_EQ(-ENOENT, put(self->map, 0, fd, BPF_EXIST));
	EXPECT_EQ(-EINVAL, put(self->map, 0, fd, BPF_ANY));
	set_reuseport(_metadata, fd, 1);
	EXPECT_EQ(-EINVAL, put(self->map, 0, fd, BPF_ANY));
	bind_to(_metadata, &self->kind, fd, PORT);
	EXPECT_EQ(-EINVAL, put(self->map, 0, fd, BPF_ANY));
	EXPECT_TRUE(is_empty(self->map, 0));
	start_listening(_metadata, &self->kind, fd);
	EXPECT_EQ(-ENOENT, put(self->map, 0, fd, BPF_EXIST));
	EXPECT_EQ(0, put(self->map, 0, fd, BPF_NOEXIST));

	EXPECT_EQ(-EBUSY, put(self->map, 0, fd, BPF_ANY));
	EXPECT_EQ(-EBUSY, put(self->map, 1, fd, BPF_ANY));
	EXPECT_EQ(-EEXIST, put(self->map, 0, self->servers[1], BPF_NOEXIST));

	/* replaced, and free at once */
	EXPECT_EQ(0, put(self->map, 0, self->servers[1], BPF_EXIST));
	EXPECT_EQ(0, put(self->map, 1, fd, BPF_ANY));
	EXPECT_TRUE(holds(self->map, 0, self->servers[1]));
	EXPECT_TRUE(holds(self->map, 1, fd));
	EXPECT_EQ(0, del(self->map, 1));
	EXPECT_EQ(0, put(self->map, 2, fd, BPF_ANY));
}

/* A listener without SO_REUSEPORT is in no group. */
TEST_F(mptcp, no_reuseport)
{
	int fd = open_socket(_metadata, &self->kind);

	bind_to(_metadata, &self->kind, fd, OTHER_PORT);
	start_listening(_metadata, &self->kind, fd);
	EXPECT_EQ(-EINVAL, put(self->map, 0, fd, BPF_ANY));
	set_reuseport(_metadata, fd, 1);
	EXPECT_EQ(-EINVAL, put(self->map, 0, fd, BPF_ANY));
}

/* Neither end of a connection can be added. */
TEST_F(mptcp, connected)
{
	struct pollfd ready = { .fd = self->servers[0], .events = POLLIN };
	int client, child, i;

	for (i = 1; i < SERVERS; i++)
		close(self->servers[i]);
	client = send_number(variant, 1);
	ASSERT_LE(0, client);
	ASSERT_EQ(1, poll(&ready, 1, PATIENCE_MS));
	child = accept(self->servers[0], NULL, NULL);
	ASSERT_LE(0, child);
	EXPECT_EQ(-EINVAL, put(self->map, 0, client, BPF_ANY));
	EXPECT_EQ(-EINVAL, put(self->map, 0, child, BPF_ANY));
	EXPECT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));
	EXPECT_EQ(-EINVAL, put(self->map, 1, child, BPF_ANY));
}

/* A server of TCP and its successor of MPTCP are one group. */
TEST_F(mptcp, beside_tcp)
{
	struct kind tcp = { variant->family, SOCK_STREAM, variant->dual };
	int fd = new_server(_metadata, &tcp);

	ASSERT_EQ(0, put(self->map, 0, fd, BPF_ANY));
	ASSERT_EQ(0, put(self->map, 1, self->servers[0], BPF_ANY));
	attach(_metadata, fd, self->skel->progs.select_slot);
	EXPECT_TRUE(holds(self->map, 0, fd));
	EXPECT_TRUE(holds(self->map, 1, self->servers[0]));

	self->skel->bss->slot = 1;
	expect_connection(_metadata, variant, self->servers[0], 1);
	self->skel->bss->slot = 0;
	ASSERT_LE(0, send_number(variant, 2));
	EXPECT_TRUE(nothing_arrived(self->servers, SERVERS));
	EXPECT_FALSE(nothing_arrived(&fd, 1));
}

/* The leaver was in slot 0, its neighbour is in slot 1 and stays. */
static void expect_left(struct __test_metadata *_metadata, FIXTURE_DATA(mptcp) *self)
{
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_EQ(-ENOENT, del(self->map, 0));
	EXPECT_EQ(-ENOENT, put(self->map, 0, self->servers[2], BPF_EXIST));
	EXPECT_EQ(0, put(self->map, 0, self->servers[2], BPF_NOEXIST));
	EXPECT_TRUE(holds(self->map, 1, self->servers[1]));
}

static void fill_two(struct __test_metadata *_metadata, FIXTURE_DATA(mptcp) *self)
{
	ASSERT_EQ(0, put(self->map, 0, self->servers[0], BPF_ANY));
	ASSERT_EQ(0, put(self->map, 1, self->servers[1], BPF_ANY));
}

/* close() of the last fd empties the slot before it returns. */
TEST_F(mptcp, close)
{
	int again;

	fill_two(_metadata, self);
	again = dup(self->servers[0]);
	ASSERT_LE(0, again);
	close(self->servers[0]);
	EXPECT_TRUE(holds(self->map, 0, again));
	close(again);
	expect_left(_metadata, self);
}

/* So does the end of the process. */
TEST_F(mptcp, exit)
{
	int status, ready[2];
	pid_t child;
	char c;

	ASSERT_EQ(0, put(self->map, 1, self->servers[1], BPF_ANY));
	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		c = put(self->map, 0, new_server(_metadata, &self->kind), BPF_NOEXIST);
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(0, c);
	EXPECT_FALSE(is_empty(self->map, 0));
	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	expect_left(_metadata, self);
}

/* shutdown() of a listener for reading, with connections waiting or without. */
TEST_F(mptcp, shutdown)
{
	fill_two(_metadata, self);
	ASSERT_EQ(0, shutdown(self->servers[0], SHUT_WR));
	EXPECT_TRUE(holds(self->map, 0, self->servers[0]));

	attach(_metadata, self->servers[1], self->skel->progs.select_slot);
	ASSERT_LE(0, send_number(variant, 1));
	EXPECT_FALSE(nothing_arrived(self->servers, 1));
	ASSERT_EQ(0, shutdown(self->servers[0], SHUT_RD));
	expect_left(_metadata, self);
}

/* With migration on a stopped listener stays in its group, but not in its slot. Connections
 * of TCP that wait at it go to the heir; those of MPTCP are reset.
 */
TEST_F(mptcp, shutdown_with_migration)
{
	bool is_tcp = variant->client_protocol == IPPROTO_TCP;
	struct pollfd answer = { .events = POLLIN };
	char c;

	ASSERT_EQ(0, write_file("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
	fill_two(_metadata, self);
	attach(_metadata, self->servers[1], self->skel->progs.select_or_migrate);
	self->skel->bss->heir = 1;
	answer.fd = send_number(variant, 1);
	ASSERT_LE(0, answer.fd);
	ASSERT_EQ(0, shutdown(self->servers[0], SHUT_RDWR));
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->servers[0], BPF_ANY));
	expect_left(_metadata, self);
	self->skel->bss->slot = 1;
	if (is_tcp) {
		expect_number(_metadata, variant, self->servers[1], 1);
	} else {
		EXPECT_TRUE(nothing_arrived(self->servers + 1, SERVERS - 1));
		ASSERT_EQ(1, poll(&answer, 1, PATIENCE_MS));
		EXPECT_EQ(-1, recv(answer.fd, &c, 1, 0));
		EXPECT_EQ(ECONNRESET, errno);
	}
	expect_connection(_metadata, variant, self->servers[1], 2);
}

/* connect() to AF_UNSPEC, after which the listener listens, and is added, again. */
TEST_F(mptcp, disconnect)
{
	fill_two(_metadata, self);
	ASSERT_EQ(0, disconnect(self->servers[0]));
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->servers[0], BPF_ANY));
	start_listening(_metadata, &self->kind, self->servers[0]);
	EXPECT_TRUE(is_empty(self->map, 0));
	EXPECT_EQ(0, put(self->map, 0, self->servers[0], BPF_NOEXIST));
	EXPECT_TRUE(holds(self->map, 0, self->servers[0]));

	attach(_metadata, self->servers[1], self->skel->progs.select_slot);
	expect_connection(_metadata, variant, self->servers[0], 3);
	ASSERT_EQ(0, disconnect(self->servers[0]));
	expect_left(_metadata, self);
}

/* What has arrived at a listener stays there when another takes its slot. */
TEST_F(mptcp, replaced_keeps_what_has_arrived)
{
	fill_two(_metadata, self);
	attach(_metadata, self->servers[1], self->skel->progs.select_slot);
	ASSERT_LE(0, send_number(variant, 77));
	ASSERT_EQ(0, put(self->map, 0, self->servers[2], BPF_EXIST));
	expect_connection(_metadata, variant, self->servers[2], 78);
	expect_number(_metadata, variant, self->servers[0], 77);
}

/* When the map is gone its listeners serve, and go into another map. */
TEST_F(mptcp, map_is_freed)
{
	int map = new_map(_metadata), other = new_map(_metadata), i;

	for (i = 0; i < SERVERS; i++)
		ASSERT_EQ(0, put(map, i, self->servers[i], BPF_ANY));
	close(map);
	for (i = 0; i < SERVERS; i++)
		EXPECT_TRUE(EVENTUALLY(!put(other, i, self->servers[i], BPF_ANY)));
	for (i = 1; i < SERVERS; i++)
		close(self->servers[i]);
	expect_connection(_metadata, variant, self->servers[0], 9);
}

/* bpftool finds all of them by their cookies, with the process that has them. */
TEST_F(mptcp, bpftool)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	char line[65536], text[64], *at;
	int found = 0, pids = 0;
	FILE *output;

	fill(_metadata, self);
	ASSERT_EQ(0, bpf_map_get_info_by_fd(self->map, &info, &len));
	snprintf(text, sizeof(text), "exec %s -j map dump id %u", getenv("BPFTOOL") ?: "bpftool",
		 info.id);
	output = popen(text, "r");
	ASSERT_NE(NULL, output);
	ASSERT_NE(NULL, fgets(line, sizeof(line), output));
	EXPECT_EQ(0, pclose(output));

	snprintf(text, sizeof(text), "\"pids\":[{\"pid\":%d,", getpid());
	for (at = line; (at = strstr(at, "\"found\":true,\"protocol\":\"mptcp\",")); at++)
		found++;
	for (at = line; (at = strstr(at, text)); at++)
		pids++;
	EXPECT_EQ(SERVERS, found);
	EXPECT_EQ(SERVERS, pids) {
		TH_LOG("%s", line);
	}
}

struct reader {
	int map;
	int prog;
	int member;
	struct frame frame;
	bool stop;
	__u64 seen;
};

/* Look at the sockets in the map, in each way that there is. */
static void *read_cookies(void *arg)
{
	__u64 cookies[SLOTS], cookie;
	__u32 keys[SLOTS], next, n;
	struct reader *reader = arg;

	while (!__atomic_load_n(&reader->stop, __ATOMIC_RELAXED)) {
		if (!get(reader->map, 0, &cookie))
			reader->seen++;
		n = SLOTS;
		bpf_map_lookup_batch(reader->map, NULL, &next, keys, cookies, &n, NULL);
		reader->seen += n;
		run_with_packet(reader->prog, reader->member, 0, 0, &reader->frame, &cookie);
	}
	return NULL;
}

/* Cookies are read while the listeners that have them, and their subflows, go. */
TEST_F(mptcp, read_while_closing)
{
	struct reader reader = {
		.map = self->map,
		.prog = bpf_program__fd(self->skel->progs.select_slot),
		.member = self->servers[1],
	};
	pthread_t thread;
	int fd, i;

	make_frame(&reader.frame, variant->dual ? AF_INET : variant->family, SOCK_STREAM, PORT, 0,
		   NULL, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_cookies, &reader));
	for (i = 0; i < 300; i++) {
		fd = new_server(_metadata, &self->kind);
		EXPECT_EQ(0, put(self->map, 0, fd, BPF_NOEXIST));
		if (i % 3 == 1)
			shutdown(fd, SHUT_RDWR);
		else if (i % 3 == 2)
			disconnect(fd);
		close(fd);
		EXPECT_TRUE(is_empty(self->map, 0));
	}
	__atomic_store_n(&reader.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

/* Sockets that have the number of the protocol, and nothing else of MPTCP. */
FIXTURE(looks_like_mptcp)
{
	int map;
	int fd;
};

FIXTURE_VARIANT(looks_like_mptcp)
{
	int family;
	int type;
};

FIXTURE_VARIANT_ADD(looks_like_mptcp, raw4) { AF_INET, SOCK_RAW };
FIXTURE_VARIANT_ADD(looks_like_mptcp, raw6) { AF_INET6, SOCK_RAW };

FIXTURE_SETUP(looks_like_mptcp)
{
	enter_netns(_metadata);
	self->map = new_map(_metadata);
	self->fd = socket(variant->family, variant->type | SOCK_CLOEXEC, IPPROTO_MPTCP);
	if (self->fd < 0)
		SKIP(return, "no such sockets in this kernel");
}

FIXTURE_TEARDOWN(looks_like_mptcp)
{
}

/* They are rejected, whatever has been done to them. */
TEST_F(looks_like_mptcp, update)
{
	struct kind kind = { variant->family, variant->type };
	int one = 1;

	EXPECT_EQ(IPPROTO_MPTCP, protocol_of(self->fd));
	EXPECT_EQ(-ENOTSUPP, put(self->map, 0, self->fd, BPF_ANY));
	setsockopt(self->fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	bind_to(_metadata, &kind, self->fd, PORT);
	listen(self->fd, 1);
	EXPECT_EQ(-ENOTSUPP, put(self->map, 0, self->fd, BPF_ANY));
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* BPF_PROG_RUN does not take them either. */
TEST_F(looks_like_mptcp, run)
{
	struct steer *skel = steer__open_and_load();
	struct frame frame;
	__u64 cookie;

	ASSERT_NE(NULL, skel);
	make_frame(&frame, variant->family, SOCK_STREAM, PORT, 0, NULL, 0);
	EXPECT_EQ(-EINVAL, run_with_packet(bpf_program__fd(skel->progs.select_slot), self->fd, 0,
					   0, &frame, &cookie));
	steer__destroy(skel);
}

TEST_HARNESS_MAIN
