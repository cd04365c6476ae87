// SPDX-License-Identifier: GPL-2.0
/* Switch between server instances by one update of an outer map, under traffic. */
#include <pthread.h>

#include "common.h"
#include "generations.skel.h"

#define GENERATIONS	50
#define SERVERS		2
#define BURST		20

/* Shared by the test and the sending thread. */
struct traffic {
	const struct kind *kind;
	__u32 current;	/* the current generation, or the next one */
	__u32 allowed;	/* number of packets to send */
	__u32 sent;
	__u32 failed;
};

static __u32 read_once(const __u32 *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void write_once(__u32 *p, __u32 value)
{
	__atomic_store_n(p, value, __ATOMIC_SEQ_CST);
}

/* Each packet contains the generation that was current when it was sent. */
static void *send_bursts(void *arg)
{
	struct traffic *traffic = arg;
	__u32 sent;
	int fd;

	for (sent = 0; sent < GENERATIONS * BURST; write_once(&traffic->sent, ++sent)) {
		while (sent == read_once(&traffic->allowed))
			sched_yield();
		fd = send_from(client_family(traffic->kind), traffic->kind->type, PORT,
			       read_once(&traffic->current));
		if (fd < 0)
			traffic->failed++;
		else
			close(fd);
	}
	return NULL;
}

FIXTURE(generations)
{
	struct generations *skel;
	struct traffic traffic;
	pthread_t sender;
};

FIXTURE_VARIANT(generations)
{
	struct kind kind;
};

ADD_KINDS(generations);

FIXTURE_SETUP(generations)
{
	enter_netns(_metadata);
	self->skel = generations__open_and_load();
	ASSERT_NE(NULL, self->skel);
	self->traffic.kind = &variant->kind;
}

FIXTURE_TEARDOWN(generations)
{
	generations__destroy(self->skel);
}

struct generation {
	int servers[SERVERS];
	int map;
};

static struct generation new_generation(struct __test_metadata *_metadata,
					const struct kind *kind)
{
	struct generation generation = { .map = new_map(_metadata) };
	int i;

	for (i = 0; i < SERVERS; i++) {
		generation.servers[i] = new_server(_metadata, kind);
		ASSERT_EQ(0, put(generation.map, i, generation.servers[i], BPF_NOEXIST));
	}
	return generation;
}

/* Receive all packets of generation @number and check that they are for it. */
static __u32 drain(struct __test_metadata *_metadata, const struct kind *kind,
		   const struct generation *generation, __u32 number)
{
	__u32 count = 0, current;
	int i;

	for (i = 0; i < SERVERS; i++) {
		while (!nothing_arrived(&generation->servers[i], 1)) {
			receive(_metadata, kind, &generation->servers[i], 1, &current);
			/* the generation has changed between reading and sending it */
			EXPECT_LE(current, number);
			EXPECT_LE(number, current + 1);
			count++;
		}
	}
	return count;
}

/* No packet is lost, and none goes to a generation that is not current. */
TEST_F_TIMEOUT(generations, no_packet_lost, 300)
{
	int outer = bpf_map__fd(self->skel->maps.generations);
	struct traffic *traffic = &self->traffic;
	struct generation old, new;
	__u32 number, received = 0;
	int i;

	old = new_generation(_metadata, &variant->kind);
	attach(_metadata, old.servers[0], self->skel->progs.select_current);
	ASSERT_EQ(0, put4(outer, 0, old.map, BPF_ANY));
	ASSERT_EQ(0, pthread_create(&self->sender, NULL, send_bursts, traffic));

	for (number = 1; number <= GENERATIONS; number++) {
		__u32 goal = number * BURST;

		new = new_generation(_metadata, &variant->kind);
		write_once(&traffic->allowed, goal);
		/* in the middle of the burst */
		ASSERT_TRUE(EVENTUALLY(goal - read_once(&traffic->sent) < BURST - 3));
		ASSERT_EQ(0, put4(outer, 0, new.map, BPF_ANY));
		write_once(&traffic->current, number);
		ASSERT_TRUE(EVENTUALLY(read_once(&traffic->sent) == goal));
		ASSERT_EQ(0, traffic->failed);

		ASSERT_TRUE(EVENTUALLY(({
			received += drain(_metadata, &variant->kind, &old, number - 1) +
				    drain(_metadata, &variant->kind, &new, number);
			received == goal;
		})));
		for (i = 0; i < SERVERS; i++)
			close(old.servers[i]);
		close(old.map);
		old = new;
	}
	ASSERT_EQ(0, pthread_join(self->sender, NULL));
}

TEST_HARNESS_MAIN
