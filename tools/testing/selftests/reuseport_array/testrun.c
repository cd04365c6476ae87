// SPDX-License-Identifier: GPL-2.0
/* BPF_PROG_RUN of SK_REUSEPORT programs: a packet goes in, verdict and socket come out. */
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include "common.h"
#include "packet.h"
#include "testrun.skel.h"

#define SERVERS	3
#define NO_SLOT	UINT32_MAX
#define HASH	0x12345678

/* A group, a program that is not attached to it, and a packet. */
FIXTURE(run)
{
	int servers[SERVERS];
	struct testrun *skel;
	int prog;
	int map;
	struct frame frame;
	struct sk_reuseport_md in;
	struct sk_reuseport_md out;
	struct bpf_test_run_opts opts;
};

FIXTURE_VARIANT(run)
{
	struct kind kind;
};

ADD_KINDS(run);

FIXTURE_SETUP(run)
{
	int i;

	enter_netns(_metadata);
	self->skel = testrun__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->prog = bpf_program__fd(self->skel->progs.select);
	self->map = bpf_map__fd(self->skel->maps.sockets);
	for (i = 0; i < SERVERS; i++) {
		self->servers[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(self->map, i, self->servers[i], BPF_ANY));
	}

	make_frame(&self->frame, client_family(&variant->kind), variant->kind.type, PORT, 0,
		   "12345678", 8);
	self->in = (struct sk_reuseport_md){ .hash = HASH, .sk_fd = self->servers[0] };
	self->opts = (struct bpf_test_run_opts){
		.sz = sizeof(self->opts),
		.data_in = self->frame.bytes,
		.data_size_in = self->frame.len,
		.ctx_in = &self->in,
		.ctx_size_in = sizeof(self->in),
		.ctx_out = &self->out,
		.ctx_size_out = sizeof(self->out),
	};
}

FIXTURE_TEARDOWN(run)
{
	testrun__destroy(self->skel);
}

/* One run. What the last one left in the output is gone before it. */
static int run(FIXTURE_DATA(run) *self)
{
	memset(&self->out, 0xff, sizeof(self->out));
	self->opts.ctx_size_out = sizeof(self->out);
	self->opts.retval = ~0;
	self->opts.duration = ~0;
	return bpf_prog_test_run_opts(self->prog, &self->opts);
}

/* A run that fails has not run the program. */
#define EXPECT_RUN_FAILS(err) do {					\
	__u64 __runs = self->skel->bss->runs;				\
									\
	EXPECT_EQ(err, run(self));					\
	EXPECT_EQ(__runs, self->skel->bss->runs);			\
} while (0)

/* The verdict and the cookie of the socket in the slot that the program selects. */
TEST_F(run, selected_socket)
{
	int i;

	for (i = 0; i < SERVERS; i++) {
		self->skel->data->slot = i;
		ASSERT_EQ(0, run(self));
		EXPECT_EQ(SK_PASS, self->opts.retval);
		EXPECT_EQ(cookie_of(self->servers[i]), self->out.cookie);
		EXPECT_EQ(sizeof(self->out), self->opts.ctx_size_out);
	}
}

/* The cookie is made by the run if the socket has none yet: one never gets 0 for it. */
TEST_F(run, makes_the_cookie)
{
	self->skel->data->slot = 1;
	ASSERT_EQ(0, run(self));
	EXPECT_NE(0, self->out.cookie);
	EXPECT_EQ(self->out.cookie, cookie_of(self->servers[1]));
}

/* A program that selects nothing leaves the choice to the kernel: cookie 0. */
TEST_F(run, no_selection)
{
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(SK_PASS, self->opts.retval);
	EXPECT_EQ(0, self->out.cookie);
}

/* A program that drops the packet has selected nothing, whatever it did before. */
TEST_F(run, drop)
{
	self->skel->data->slot = 1;
	self->skel->data->verdict = SK_DROP;
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(SK_DROP, self->opts.retval);
	EXPECT_EQ(0, self->out.cookie);
}

/* bpf_sk_select_reuseport() fails as it does for a packet. */
TEST_F(run, selection_fails)
{
	int other = new_server_at(_metadata, &variant->kind, OTHER_PORT);

	self->skel->data->slot = SLOTS - 1;
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(-ENOENT, self->skel->bss->result);
	EXPECT_EQ(0, self->out.cookie);

	ASSERT_EQ(0, put(self->map, SLOTS - 1, other, BPF_ANY));
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(-EBADFD, self->skel->bss->result);
	EXPECT_EQ(0, self->out.cookie);

	/* to the group of that socket the packet may go */
	self->in.sk_fd = other;
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(0, self->skel->bss->result);
	EXPECT_EQ(cookie_of(other), self->out.cookie);
}

/* Each field of the context, each header, the socket: as for a packet that arrives. */
TEST_F(run, what_the_program_sees)
{
	bool is_ipv4 = client_family(&variant->kind) == AF_INET;
	bool is_tcp = variant->kind.type == SOCK_STREAM;

	self->in.sk_fd = self->servers[2];
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(1, self->skel->bss->runs);
	EXPECT_EQ(self->frame.len - self->frame.transport, self->skel->bss->len);
	EXPECT_EQ(self->skel->bss->len, self->skel->bss->linear);
	EXPECT_EQ(htons(is_ipv4 ? ETH_P_IP : ETH_P_IPV6), self->skel->bss->eth_protocol);
	EXPECT_EQ(is_tcp ? IPPROTO_TCP : IPPROTO_UDP, self->skel->bss->ip_protocol);
	EXPECT_EQ(variant->kind.dual, self->skel->bss->bind_inany);
	EXPECT_EQ(HASH, self->skel->bss->hash);

	EXPECT_EQ(eth_header(&self->frame)->h_proto, self->skel->bss->eth_type);
	EXPECT_EQ(self->frame.bytes[ETH_HLEN], self->skel->bss->first_of_network);
	EXPECT_EQ(htons(PORT), self->skel->bss->dest);
	EXPECT_EQ(htons(PORT), self->skel->bss->dest_by_helper);

	EXPECT_EQ(cookie_of(self->servers[2]), self->skel->bss->cookie);
	EXPECT_EQ(variant->kind.family, self->skel->bss->family);
	EXPECT_EQ(PORT, self->skel->bss->port);
	EXPECT_FALSE(self->skel->bss->migrates);
}

/* Options of IPv4 and extension headers of IPv6 precede the data that a program sees. */
TEST_F(run, options)
{
	struct frame *frame = &self->frame;
	__u8 *network = frame->bytes + ETH_HLEN;
	__u32 len = frame->len - frame->transport;
	__u8 *transport = frame->bytes + frame->transport;

	memmove(transport + 8, transport, len);
	memset(transport, 0, 8);
	if (client_family(&variant->kind) == AF_INET) {
		network[0] += 2;
	} else {
		transport[0] = ipv6_header(frame)->nexthdr;
		ipv6_header(frame)->nexthdr = IPPROTO_DSTOPTS;
	}
	self->opts.data_size_in += 8;
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(len, self->skel->bss->len);
	EXPECT_EQ(htons(PORT), self->skel->bss->dest);
}

/* The longest packet there is. */
TEST_F(run, longest_packet)
{
	static __u8 packet[ETH_HLEN + UINT16_MAX + 1];

	memcpy(packet, self->frame.bytes, self->frame.len);
	self->opts.data_in = packet;
	self->opts.data_size_in = sizeof(packet) - 1;
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(sizeof(packet) - 1 - self->frame.transport, self->skel->bss->len);
	EXPECT_EQ(self->skel->bss->len, self->skel->bss->linear);

	self->opts.data_size_in++;
	EXPECT_RUN_FAILS(-EINVAL);
}

/* A counter in /proc/net/netstat, which has a line of names before each line of values. */
static long read_counter(struct __test_metadata *_metadata, const char *name)
{
	char names[16384], values[16384], *n, *v, *more_names, *more_values;
	FILE *file = fopen("/proc/net/netstat", "r");
	long value = -1;

	ASSERT_NE(NULL, file);
	while (fgets(names, sizeof(names), file) && fgets(values, sizeof(values), file)) {
		n = strtok_r(names, " ", &more_names);
		v = strtok_r(values, " ", &more_values);
		while (n && v) {
			if (!strcmp(n, name))
				value = atol(v);
			n = strtok_r(NULL, " ", &more_names);
			v = strtok_r(NULL, " ", &more_values);
		}
	}
	fclose(file);
	return value;
}

/* Nothing arrives, the group keeps its own program, which is not run, and its members. */
TEST_F(run, leaves_the_group_alone)
{
	struct testrun *attached = testrun__open_and_load();
	long failures;

	ASSERT_NE(NULL, attached);
	attach(_metadata, self->servers[0], attached->progs.select);
	failures = read_counter(_metadata, "TCPMigrateReqFailure");
	EXPECT_LE(0, failures);

	self->skel->data->slot = 1;
	self->opts.repeat = 100;
	ASSERT_EQ(0, run(self));
	self->skel->data->verdict = SK_DROP;
	ASSERT_EQ(0, run(self));

	EXPECT_TRUE(nothing_arrived(self->servers, SERVERS));
	EXPECT_EQ(0, attached->bss->runs);
	EXPECT_EQ(failures, read_counter(_metadata, "TCPMigrateReqFailure"));
	EXPECT_TRUE(holds(self->map, 1, self->servers[1]));

	ASSERT_EQ(0, put(bpf_map__fd(attached->maps.sockets), 0,
			 new_server(_metadata, &variant->kind), BPF_ANY));
	self->skel->bss->runs = 0;
	close(send_from(client_family(&variant->kind), variant->kind.type, PORT, 1));
	EXPECT_LT(0, attached->bss->runs);
	EXPECT_EQ(0, self->skel->bss->runs);
	testrun__destroy(attached);
}

/* The program may be the one that is attached, of course. */
TEST_F(run, attached_program)
{
	attach(_metadata, self->servers[0], self->skel->progs.select);
	self->skel->data->slot = 2;
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(cookie_of(self->servers[2]), self->out.cookie);
	EXPECT_TRUE(nothing_arrived(self->servers, SERVERS));
}

/* A run is repeated as often as asked for, once if not asked; the mean time comes back. */
TEST_F(run, repeat)
{
	self->skel->data->slot = 1;
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(1, self->skel->bss->runs);

	self->skel->bss->runs = 0;
	self->opts.repeat = 100000;
	ASSERT_EQ(0, run(self));
	EXPECT_EQ(100000, self->skel->bss->runs);
	EXPECT_EQ(cookie_of(self->servers[1]), self->out.cookie);
	EXPECT_NE(~0U, self->opts.duration);
	TH_LOG("%u ns a run", self->opts.duration);
}

/* Thousands of packets, each another one and with a call of its own. */
TEST_F(run, many_packets)
{
	struct timespec start, end;
	double seconds;
	__u32 i, slot;

	if (variant->kind.type == SOCK_STREAM)
		SKIP(return, "a SYN has no payload that names a slot");

	self->skel->bss->slot_from_payload = true;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 0; i < 5000; i++) {
		slot = i % (SERVERS + 1);
		make_frame(&self->frame, client_family(&variant->kind), variant->kind.type, PORT,
			   i, &slot, sizeof(slot));
		self->opts.data_size_in = self->frame.len;
		ASSERT_EQ(0, run(self));
		ASSERT_EQ(slot < SERVERS ? cookie_of(self->servers[slot]) : 0, self->out.cookie);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = end.tv_sec - start.tv_sec + (end.tv_nsec - start.tv_nsec) / 1e9;
	EXPECT_EQ(5000, self->skel->bss->runs);
	TH_LOG("%.0f packets a second", 5000 / seconds);
}

static void ignore_signal(int signal)
{
}

/* A signal ends a run that has long to go. */
TEST_F(run, interrupted)
{
	struct itimerval soon = { .it_interval.tv_usec = 10000, .it_value.tv_usec = 10000 };
	struct sigaction action = { .sa_handler = ignore_signal };

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
	self->opts.repeat = INT32_MAX;
	EXPECT_EQ(-EINTR, run(self));
}

static void *run_in_thread(void *arg)
{
	return (void *)(long)run(arg);
}

static __u64 count_runs(FIXTURE_DATA(run) *self)
{
	return __atomic_load_n(&self->skel->bss->runs, __ATOMIC_RELAXED);
}

/* Wait until the program has run some more. */
static bool goes_on(FIXTURE_DATA(run) *self)
{
	__u64 runs = count_runs(self);

	return EVENTUALLY(count_runs(self) > runs + 100);
}

/* The socket that names the group leaves it, as it does without being closed. */
static void leave_group(struct __test_metadata *_metadata, const struct kind *kind, int fd)
{
	if (kind->type == SOCK_STREAM) {
		ASSERT_EQ(0, shutdown(fd, SHUT_RDWR));
		return;
	}
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
}

/* Members come and go while the program runs; without its own socket the run ends. */
TEST_F(run, changing_group)
{
	pthread_t thread;
	void *err;
	int i;

	self->skel->data->slot = 1;
	self->opts.repeat = INT32_MAX;
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_in_thread, self));
	ASSERT_TRUE(goes_on(self));
	for (i = 0; i < 200; i++) {
		close(self->servers[1]);
		self->servers[1] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(self->map, 1, self->servers[1], BPF_NOEXIST));
	}
	ASSERT_TRUE(goes_on(self));

	leave_group(_metadata, &variant->kind, self->servers[0]);
	ASSERT_EQ(0, pthread_join(thread, &err));
	EXPECT_EQ(-EINVAL, (long)err);
}

/* The call itself keeps the socket: its fd may be closed meanwhile. */
TEST_F(run, closed_meanwhile)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	pthread_t thread;
	void *err;

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	self->skel->data->slot = 0;
	self->opts.repeat = INT32_MAX;
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_in_thread, self));
	ASSERT_TRUE(goes_on(self));
	close(self->servers[0]);
	EXPECT_TRUE(goes_on(self));
	EXPECT_FALSE(is_empty(self->map, 0));

	ASSERT_EQ(0, pthread_kill(thread, SIGALRM));
	ASSERT_EQ(0, pthread_join(thread, &err));
	EXPECT_EQ(-EINTR, (long)err);
	EXPECT_TRUE(EVENTUALLY(is_empty(self->map, 0)));
}

/* What the call does not take. */
TEST_F(run, bad_attributes)
{
	__u8 room[64];

	self->opts.flags = BPF_F_TEST_RUN_ON_CPU;
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.flags = 0;
	self->opts.cpu = 1;
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.cpu = 0;
	self->opts.batch_size = 1;
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.batch_size = 0;
	self->opts.data_out = room;
	self->opts.data_size_out = sizeof(room);
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.data_out = NULL;
	self->opts.data_size_out = 0;
	EXPECT_EQ(0, run(self));
}

/* What can be wrong with the size of the context, and what is not wrong. */
TEST_F(run, context_size)
{
	struct {
		struct sk_reuseport_md md;
		__u64 more;
	} wide = { self->in };

	/* one that ends before the field that names the group */
	self->opts.ctx_size_in = offsetof(struct sk_reuseport_md, sk_fd);
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.ctx_size_in = offsetof(struct sk_reuseport_md, sk_fd) + 7;
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.ctx_size_in = offsetof(struct sk_reuseport_md, migrating_sk);
	EXPECT_EQ(0, run(self));

	/* one of a later kernel, whose new fields say nothing, or something */
	self->opts.ctx_in = &wide;
	self->opts.ctx_size_in = sizeof(wide);
	EXPECT_EQ(0, run(self));
	wide.more = 1ULL << 63;
	EXPECT_RUN_FAILS(-E2BIG);

	/* none at all */
	self->opts.ctx_in = NULL;
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.ctx_size_in = 0;
	EXPECT_RUN_FAILS(-EINVAL);
}

/* What does not fit into the output is cut off, and the caller gets to know. */
TEST_F(run, output_size)
{
	self->opts.ctx_out = NULL;
	self->opts.ctx_size_out = 0;
	EXPECT_EQ(0, bpf_prog_test_run_opts(self->prog, &self->opts));
	EXPECT_EQ(SK_PASS, self->opts.retval);

	self->opts.ctx_out = &self->out;
	self->opts.ctx_size_out = offsetof(struct sk_reuseport_md, sk);
	EXPECT_EQ(-ENOSPC, bpf_prog_test_run_opts(self->prog, &self->opts));
	EXPECT_EQ(sizeof(self->out), self->opts.ctx_size_out);
}

/* The fields that packet and group decide cannot be given. */
TEST_F(run, derived_fields)
{
	struct sk_reuseport_md good = self->in;
	char here;

	self->in.data = &here;
	EXPECT_RUN_FAILS(-EINVAL);
	self->in = good;
	self->in.data_end = &here;
	EXPECT_RUN_FAILS(-EINVAL);
	self->in = good;
	self->in.len = 1;
	EXPECT_RUN_FAILS(-EINVAL);
	self->in = good;
	self->in.eth_protocol = eth_header(&self->frame)->h_proto;
	EXPECT_RUN_FAILS(-EINVAL);
	self->in = good;
	self->in.ip_protocol = IPPROTO_UDP;
	EXPECT_RUN_FAILS(-EINVAL);
	self->in = good;
	self->in.bind_inany = 1;
	EXPECT_RUN_FAILS(-EINVAL);
	self->in = good;
	EXPECT_EQ(0, run(self));
}

/* Numbers that are no fd, and files that are no socket. */
TEST_F(run, no_socket)
{
	int closed = dup(self->servers[0]), ends[2], i;
	const __u64 numbers[] = {
		closed, INT32_MAX, -1, -2, INT32_MIN, 1ULL << 31, 1ULL << 32 | self->servers[0],
		1ULL << 63 | self->servers[0],
	};

	close(closed);
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		self->in.sk_fd = numbers[i];
		EXPECT_RUN_FAILS(-EINVAL);
	}

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	self->in.sk_fd = ends[0];
	EXPECT_RUN_FAILS(-EINVAL);
	self->in.sk_fd = epoll_create1(EPOLL_CLOEXEC);
	EXPECT_RUN_FAILS(-EINVAL);
	self->in.sk_fd = self->map;
	EXPECT_RUN_FAILS(-EINVAL);
	self->in.sk_fd = self->prog;
	EXPECT_RUN_FAILS(-EINVAL);
}

/* Sockets that are in no group. */
TEST_F(run, no_group)
{
	int fd = open_socket(_metadata, &variant->kind);

	self->in.sk_fd = fd;
	EXPECT_RUN_FAILS(-EINVAL);
	bind_to(_metadata, &variant->kind, fd, OTHER_PORT);
	start_listening(_metadata, &variant->kind, fd);
	EXPECT_RUN_FAILS(-EINVAL);

	self->in.sk_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	EXPECT_RUN_FAILS(-EINVAL);
	self->in.sk_fd = socket(variant->kind.family, SOCK_RAW | SOCK_CLOEXEC,
				variant->kind.type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
	EXPECT_RUN_FAILS(-EINVAL);

	leave_group(_metadata, &variant->kind, self->servers[0]);
	self->in.sk_fd = self->servers[0];
	EXPECT_RUN_FAILS(-EINVAL);
}

/* UDP-Lite has groups as well, but no program of this type. */
TEST_F(run, udplite)
{
	struct kind kind = variant->kind;
	bool is_ipv4 = client_family(&kind) == AF_INET;

	kind.type = SOCK_DGRAM;
	kind.protocol = IPPROTO_UDPLITE;
	self->in.sk_fd = socket(kind.family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDPLITE);
	if ((int)self->in.sk_fd < 0)
		SKIP(return, "no UDP-Lite in this kernel");

	close(self->in.sk_fd);
	self->in.sk_fd = new_server(_metadata, &kind);
	make_frame(&self->frame, client_family(&kind), SOCK_DGRAM, PORT, 0, "12345678", 8);
	if (is_ipv4)
		ipv4_header(&self->frame)->protocol = IPPROTO_UDPLITE;
	else
		ipv6_header(&self->frame)->nexthdr = IPPROTO_UDPLITE;
	self->opts.data_size_in = self->frame.len;
	EXPECT_RUN_FAILS(-EINVAL);
}

/* The fd 0 is an fd like any other. */
TEST_F(run, fd_zero)
{
	int input = dup(0);

	ASSERT_EQ(0, dup2(self->servers[1], 0));
	self->in.sk_fd = 0;
	EXPECT_EQ(0, run(self));
	EXPECT_EQ(cookie_of(self->servers[1]), self->skel->bss->cookie);
	if (input >= 0)
		dup2(input, 0);
	else
		close(0);
}

/* A packet cut short anywhere before the end of its transport header. */
TEST_F(run, short_packet)
{
	__u32 header = variant->kind.type == SOCK_STREAM ? sizeof(struct tcphdr) :
							   sizeof(struct udphdr);
	__u32 enough = self->frame.transport + header, len;

	/* From long to short: what is cut off may still be in the memory of the next copy. */
	for (len = enough; len-- > 0;) {
		self->opts.data_size_in = len;
		EXPECT_RUN_FAILS(-EINVAL);
	}
	self->opts.data_size_in = enough;
	EXPECT_EQ(0, run(self));
	EXPECT_EQ(header, self->skel->bss->len);
}

/* Headers of packets that never get to such a group. */
TEST_F(run, wrong_packet)
{
	int family = client_family(&variant->kind);
	bool is_tcp = variant->kind.type == SOCK_STREAM;
	struct frame good = self->frame;

	eth_header(&self->frame)->h_proto = htons(ETH_P_ARP);
	EXPECT_RUN_FAILS(-EINVAL);
	eth_header(&self->frame)->h_proto = htons(ETH_P_8021Q);
	EXPECT_RUN_FAILS(-EINVAL);
	self->frame = good;

	make_frame(&self->frame, family, is_tcp ? SOCK_DGRAM : SOCK_STREAM, PORT, 0, "12345678",
		   8);
	self->opts.data_size_in = self->frame.len;
	EXPECT_RUN_FAILS(-EINVAL);
	self->opts.data_size_in = good.len;
	self->frame = good;

	if (family == AF_INET) {
		ipv4_header(&self->frame)->protocol = IPPROTO_ICMP;
		EXPECT_RUN_FAILS(-EINVAL);
		self->frame = good;
		ipv4_header(&self->frame)->ihl = 4;
		EXPECT_RUN_FAILS(-EINVAL);
		ipv4_header(&self->frame)->ihl = 15;
		EXPECT_RUN_FAILS(-EINVAL);
		self->frame = good;
		/* the first fragment, and another */
		ipv4_header(&self->frame)->frag_off = htons(0x2000);
		EXPECT_RUN_FAILS(-EINVAL);
		ipv4_header(&self->frame)->frag_off = htons(100);
		EXPECT_RUN_FAILS(-EINVAL);
		/* "don't fragment" is no fragment */
		ipv4_header(&self->frame)->frag_off = htons(0x4000);
	} else {
		ipv6_header(&self->frame)->nexthdr = IPPROTO_ICMPV6;
		EXPECT_RUN_FAILS(-EINVAL);
		ipv6_header(&self->frame)->nexthdr = IPPROTO_NONE;
		EXPECT_RUN_FAILS(-EINVAL);
		/* options that are longer than the packet, and a fragment */
		ipv6_header(&self->frame)->nexthdr = IPPROTO_HOPOPTS;
		self->frame.bytes[self->frame.transport] = ipv6_header(&good)->nexthdr;
		self->frame.bytes[self->frame.transport + 1] = 0xff;
		EXPECT_RUN_FAILS(-EINVAL);
		ipv6_header(&self->frame)->nexthdr = IPPROTO_FRAGMENT;
		memcpy(self->frame.bytes + self->frame.transport + 8,
		       good.bytes + good.transport, good.len - good.transport);
		self->opts.data_size_in = good.len + 8;
		self->frame.bytes[self->frame.transport + 1] = 0;
		self->frame.bytes[self->frame.transport + 2] = 0;
		self->frame.bytes[self->frame.transport + 3] = 1;
		EXPECT_RUN_FAILS(-EINVAL);
		self->opts.data_size_in = good.len;
		self->frame = good;
	}
	EXPECT_EQ(0, run(self));
}

/* A packet of the family that the group's sockets do not take; a dual one takes both. */
TEST_F(run, other_family)
{
	int other = client_family(&variant->kind) == AF_INET ? AF_INET6 : AF_INET;

	make_frame(&self->frame, other, variant->kind.type, PORT, 0, "12345678", 8);
	self->opts.data_size_in = self->frame.len;
	if (variant->kind.dual) {
		EXPECT_EQ(0, run(self));
		return;
	}
	EXPECT_RUN_FAILS(-EINVAL);
}

/* Memory that cannot be read. */
TEST_F(run, bad_pointers)
{
	self->opts.data_in = NULL;
	EXPECT_RUN_FAILS(-EFAULT);
	self->opts.data_in = self->frame.bytes;
	self->opts.ctx_in = (void *)1;
	EXPECT_RUN_FAILS(-EFAULT);
	self->opts.ctx_in = &self->in;
	self->opts.ctx_out = (void *)1;
	EXPECT_EQ(-EFAULT, run(self));
}

/* A program that is told where waiting connections migrate to. */
FIXTURE(migration)
{
	int servers[2];
	int client;
	int child;
	struct testrun *skel;
	int prog;
	struct frame frame;
	struct sk_reuseport_md in;
	struct sk_reuseport_md out;
	struct bpf_test_run_opts opts;
};

FIXTURE_VARIANT(migration)
{
	struct kind kind;
};

ADD_TCP_KINDS(migration);

FIXTURE_SETUP(migration)
{
	int i;

	enter_netns(_metadata);
	self->skel = testrun__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->prog = bpf_program__fd(self->skel->progs.select_or_migrate);
	self->servers[0] = new_server(_metadata, &variant->kind);
	self->client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, 1);
	ASSERT_LE(0, self->client);
	self->child = accept(self->servers[0], NULL, NULL);
	ASSERT_LE(0, self->child);
	self->servers[1] = new_server(_metadata, &variant->kind);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, put(bpf_map__fd(self->skel->maps.sockets), i, self->servers[i],
				 BPF_ANY));

	make_frame(&self->frame, client_family(&variant->kind), SOCK_STREAM, PORT, 0, NULL, 0);
	self->in = (struct sk_reuseport_md){
		.hash = HASH, .sk_fd = self->servers[0], .migrating_sk_fd = self->child,
	};
	self->opts = (struct bpf_test_run_opts){
		.sz = sizeof(self->opts),
		.ctx_in = &self->in,
		.ctx_size_in = sizeof(self->in),
		.ctx_out = &self->out,
		.ctx_size_out = sizeof(self->out),
	};
}

FIXTURE_TEARDOWN(migration)
{
	testrun__destroy(self->skel);
}

static int migrate(FIXTURE_DATA(migration) *self)
{
	memset(&self->out, 0xff, sizeof(self->out));
	self->opts.ctx_size_out = sizeof(self->out);
	self->opts.retval = ~0;
	return bpf_prog_test_run_opts(self->prog, &self->opts);
}

#define EXPECT_MIGRATION_FAILS(err) do {				\
	__u64 __runs = self->skel->bss->runs;				\
									\
	EXPECT_EQ(err, migrate(self));					\
	EXPECT_EQ(__runs, self->skel->bss->runs);			\
} while (0)

/* A connection that waits to be accepted migrates without a packet. */
TEST_F(migration, established)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	self->skel->data->slot = 1;
	ASSERT_EQ(0, migrate(self));
	EXPECT_EQ(SK_PASS, self->opts.retval);
	EXPECT_EQ(cookie_of(self->servers[1]), self->out.cookie);
	EXPECT_TRUE(self->skel->bss->migrates);
	EXPECT_EQ(0, self->skel->bss->len);
	EXPECT_EQ(0, self->skel->bss->linear);
	EXPECT_EQ(0, self->skel->bss->eth_protocol);
	EXPECT_EQ(IPPROTO_TCP, self->skel->bss->ip_protocol);

	ASSERT_EQ(0, getsockname(self->client, (struct sockaddr *)&ss, &len));
	EXPECT_EQ(variant->kind.family, self->skel->bss->peer_family);
	EXPECT_EQ(((struct sockaddr_in *)&ss)->sin_port, self->skel->bss->peer_port);
}

/* One that is not established yet migrates with its last ACK, which the program sees. */
TEST_F(migration, with_a_packet)
{
	self->opts.data_in = self->frame.bytes;
	self->opts.data_size_in = self->frame.len;
	ASSERT_EQ(0, migrate(self));
	EXPECT_TRUE(self->skel->bss->migrates);
	EXPECT_EQ(sizeof(struct tcphdr), self->skel->bss->len);
	EXPECT_EQ(htons(PORT), self->skel->bss->dest);

	self->opts.data_size_in--;
	EXPECT_MIGRATION_FAILS(-EINVAL);
}

/* Without such a connection the same program selects for a packet, so there is one. */
TEST_F(migration, no_connection)
{
	self->in.migrating_sk_fd = 0;
	EXPECT_MIGRATION_FAILS(-EINVAL);
	self->opts.data_in = self->frame.bytes;
	self->opts.data_size_in = self->frame.len;
	ASSERT_EQ(0, migrate(self));
	EXPECT_FALSE(self->skel->bss->migrates);
}

/* A program of the other kind is never told. */
TEST_F(migration, wrong_program)
{
	self->prog = bpf_program__fd(self->skel->progs.select);
	EXPECT_MIGRATION_FAILS(-EINVAL);
}

/* What is no connection of TCP, or not one that such a listener has. */
TEST_F(migration, wrong_socket)
{
	struct kind other = {
		.family = variant->kind.family == AF_INET ? AF_INET6 : AF_INET,
		.type = SOCK_STREAM,
	};
	struct kind udp = { .family = variant->kind.family, .type = SOCK_DGRAM };
	int ends[2], fd, listener;

	self->in.migrating_sk_fd = -1;
	EXPECT_MIGRATION_FAILS(-EINVAL);
	self->in.migrating_sk_fd = 1ULL << 32 | self->child;
	EXPECT_MIGRATION_FAILS(-EINVAL);
	self->in.migrating_sk_fd = self->prog;
	EXPECT_MIGRATION_FAILS(-EINVAL);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	self->in.migrating_sk_fd = ends[0];
	EXPECT_MIGRATION_FAILS(-EINVAL);

	/* sockets of TCP that are not connected */
	self->in.migrating_sk_fd = self->servers[1];
	EXPECT_MIGRATION_FAILS(-EINVAL);
	self->in.migrating_sk_fd = open_socket(_metadata, &variant->kind);
	EXPECT_MIGRATION_FAILS(-EINVAL);

	/* connected ones of UDP, and of the other family */
	fd = open_socket(_metadata, &udp);
	ASSERT_EQ(0, connect_to(fd, udp.family, PORT));
	self->in.migrating_sk_fd = fd;
	EXPECT_MIGRATION_FAILS(-EINVAL);
	listener = new_server_at(_metadata, &other, OTHER_PORT);
	ASSERT_LE(0, send_from(other.family, SOCK_STREAM, OTHER_PORT, 2));
	self->in.migrating_sk_fd = accept(listener, NULL, NULL);
	EXPECT_MIGRATION_FAILS(-EINVAL);

	/* a group of UDP has no connections */
	self->in.sk_fd = new_server(_metadata, &udp);
	self->in.migrating_sk_fd = self->child;
	EXPECT_MIGRATION_FAILS(-EINVAL);

	self->in.sk_fd = self->servers[0];
	EXPECT_EQ(0, migrate(self));
}

/* A listener that was shut down and still has its group asks for its connections. */
TEST_F(migration, closed_listener)
{
	ASSERT_EQ(0, write_file("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
	ASSERT_EQ(0, shutdown(self->servers[0], SHUT_RDWR));
	self->skel->data->slot = 1;
	ASSERT_EQ(0, migrate(self));
	EXPECT_EQ(cookie_of(self->servers[1]), self->out.cookie);
}

TEST_HARNESS_MAIN
