// SPDX-License-Identifier: GPL-2.0
/* Many concurrent calls for the same two slots and the same two sockets. The program
 * stress covers all operations; this one has few, with as much contention as possible.
 */
#include <pthread.h>

#include "common.h"

#define ROUNDS	2000	/* of each thread */

FIXTURE(contend) {
	int maps[2];
	int servers[2];
	__u64 cookies[2];
};

FIXTURE_VARIANT(contend) {
	struct kind kind;
};

FIXTURE_VARIANT_ADD(contend, tcp4) { .kind = { AF_INET, SOCK_STREAM } };
FIXTURE_VARIANT_ADD(contend, udp6) { .kind = { AF_INET6, SOCK_DGRAM } };

FIXTURE_SETUP(contend)
{
	enter_netns(_metadata);
	for (int i = 0; i < 2; i++) {
		self->maps[i] = new_map(_metadata);
		self->servers[i] = new_server(_metadata, &variant->kind);
		self->cookies[i] = cookie_of(self->servers[i]);
	}
}

FIXTURE_TEARDOWN(contend)
{
}

struct worker {
	FIXTURE_DATA(contend) *self;
	const struct kind *kind;
	int map;
	bool leaving;	/* another thread takes the sockets out of their groups */
	void *(*work)(void *worker);
	const char *failed;
	pthread_t thread;
};

static void run(struct __test_metadata *_metadata, struct worker *workers, int n)
{
	for (int i = 0; i < n; i++)
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, workers[i].work,
					    &workers[i]));
	for (int i = 0; i < n; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
		EXPECT_EQ(NULL, workers[i].failed) {
			TH_LOG("%s failed", workers[i].failed);
		}
	}
}

static void expect(struct worker *worker, bool good, const char *what)
{
	if (!good)
		worker->failed = what;
}

/* Fill a slot, replace its socket, empty it; another slot may hold the socket. */
static void *change(void *argument)
{
	struct worker *worker = argument;
	int map = worker->map, err;

	for (int i = 0; i < ROUNDS && !worker->failed; i++) {
		err = put(map, 0, worker->self->servers[i & 1], BPF_ANY);
		expect(worker, !err || err == -EBUSY ||
		       (err == -EINVAL && worker->leaving), "update");
		err = put(map, 0, worker->self->servers[~i & 1], BPF_EXIST);
		expect(worker, !err || err == -EBUSY || err == -ENOENT ||
		       (err == -EINVAL && worker->leaving), "replace");
		if (i & 2)
			continue;
		err = del(map, 0);
		expect(worker, !err || err == -ENOENT, "delete");
	}
	return NULL;
}

static void *look(void *argument)
{
	struct worker *worker = argument;
	__u64 cookie;
	int err;

	for (int i = 0; i < 2 * ROUNDS && !worker->failed; i++) {
		err = get(worker->self->maps[i & 1], 0, &cookie);
		expect(worker, err == -ENOENT ||
		       (!err && (cookie == worker->self->cookies[0] ||
				 cookie == worker->self->cookies[1])), "lookup");
	}
	return NULL;
}

/* A socket that is added to two maps at once is in one; readers see it or an empty slot. */
TEST_F(contend, two_maps_want_the_same_sockets)
{
	struct worker workers[] = {
		{ .self = self, .map = self->maps[0], .work = change },
		{ .self = self, .map = self->maps[1], .work = change },
		{ .self = self, .work = look },
	};
	int held[2] = {};
	__u64 cookie;

	run(_metadata, workers, ARRAY_SIZE(workers));

	for (int i = 0; i < 2; i++)
		if (!get(self->maps[i], 0, &cookie))
			held[cookie == self->cookies[1]]++;
	EXPECT_GE(1, held[0]);
	EXPECT_GE(1, held[1]);

	/* A socket can be added if and only if it is in no slot. */
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(held[i] ? -EBUSY : 0,
			  put(self->maps[0], 1 + i, self->servers[i], BPF_ANY));
}

static int leave(const struct kind *kind, int fd)
{
	return kind->type == SOCK_STREAM ? shutdown(fd, SHUT_RDWR) : disconnect(fd);
}

/* The kernel chooses the port of UDP sockets, or disconnect() would have no effect. */
static int join(const struct kind *kind, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, kind->family, false, 0);

	return kind->type == SOCK_STREAM ? listen(fd, 8) : bind(fd, (struct sockaddr *)&ss, len);
}

/* Leave the group and join again. A socket outside its group is in no slot, even if an
 * update has just checked it.
 */
static void *come_and_go(void *argument)
{
	struct worker *worker = argument;
	__u64 cookie;

	for (int i = 0; i < ROUNDS && !worker->failed; i++) {
		int fd = worker->self->servers[i & 1];

		expect(worker, !leave(worker->kind, fd), "leave");
		if (i & 2)
			sched_yield();
		for (int m = 0; m < 2; m++)
			expect(worker, get(worker->self->maps[m], 0, &cookie) ||
			       cookie != worker->self->cookies[i & 1], "lookup of one that left");
		expect(worker, !join(worker->kind, fd), "join");
	}
	return NULL;
}

/* A socket that leaves its group during an update does not stay in the slot. */
TEST_F(contend, sockets_leave_while_they_are_put)
{
	struct worker workers[] = {
		{ .self = self, .map = self->maps[0], .leaving = true, .work = change },
		{ .self = self, .map = self->maps[1], .leaving = true, .work = change },
		{ .self = self, .kind = &variant->kind, .work = come_and_go },
	};

	for (int i = 0; i < 2 && variant->kind.type == SOCK_DGRAM; i++) {
		close(self->servers[i]);
		self->servers[i] = new_server_at(_metadata, &variant->kind, 0);
		self->cookies[i] = cookie_of(self->servers[i]);
	}
	run(_metadata, workers, ARRAY_SIZE(workers));

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, leave(&variant->kind, self->servers[i]));
	for (int i = 0; i < 2; i++)
		EXPECT_TRUE(is_empty(self->maps[i], 0));
}

TEST_HARNESS_MAIN
