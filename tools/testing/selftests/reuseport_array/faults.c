// SPDX-License-Identifier: GPL-2.0
/* Failing allocations, a process killed during a call, a full memory cgroup. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define KMEMLEAK	DEBUGFS "kmemleak"

/* Select the allocations that fail, and restore the defaults. */
static const struct {
	const char *path, *all, *usual;
} knobs[] = {
	{ DEBUGFS "failslab/ignore-gfp-wait", "N", "Y" },
	{ DEBUGFS "failslab/verbose", "0", "2" },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N", "Y" },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N", "Y" },
	{ DEBUGFS "fail_page_alloc/min-order", "0", "1" },
	{ DEBUGFS "fail_page_alloc/verbose", "0", "2" },
};

/* A call, which returns 0 or -errno, a check of the state after it, and a function that
 * undoes a successful one.
 */
struct trial {
	struct __test_metadata *meta;
	const struct kind *kind;
	int (*call)(struct trial *trial);
	void (*check)(struct trial *trial, int err);
	void (*undo)(struct trial *trial);
	int expected;		/* error of a call that fails */
	__u32 entries;
	int map;
	int fd;
	int *crowd;
};

static const struct kind kinds[] = {
	{ AF_INET, SOCK_STREAM },
	{ AF_INET6, SOCK_STREAM },
	{ AF_INET, SOCK_DGRAM },
	{ AF_INET6, SOCK_DGRAM },
};

FIXTURE(faults)
{
	struct trial trial;
	int nth;
};

FIXTURE_SETUP(faults)
{
	unsigned int i;

	self->nth = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (self->nth < 0)
		SKIP(return, "no /proc/self/fail-nth: needs CONFIG_FAULT_INJECTION");
	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		if (write_file(knobs[i].path, knobs[i].all))
			SKIP(return, "no %s: needs debugfs, FAILSLAB, FAIL_PAGE_ALLOC",
			     knobs[i].path);

	enter_netns(_metadata);
	self->trial.meta = _metadata;
	self->trial.expected = -ENOMEM;
	self->trial.map = new_map(_metadata);
}

FIXTURE_TEARDOWN(faults)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		write_file(knobs[i].path, knobs[i].usual);
}

static void set_nth(struct __test_metadata *_metadata, int fd, int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", nth);
	ASSERT_EQ(strlen(text), pwrite(fd, text, strlen(text), 0));
}

/* Returns true if there was an nth allocation, which then failed. */
static bool was_reached(struct __test_metadata *_metadata, int fd)
{
	char text[16] = {};

	ASSERT_LT(0, pread(fd, text, sizeof(text) - 1, 0));
	return !atoi(text);
}

static int call_with_fault(struct __test_metadata *_metadata, int fd, struct trial *trial,
			   int nth, bool *reached)
{
	int err;

	set_nth(_metadata, fd, nth);
	err = trial->call(trial);
	*reached = was_reached(_metadata, fd);
	set_nth(_metadata, fd, 0);
	if (trial->check)
		trial->check(trial, err);
	return err;
}

/* Repeat the call with its 1st, 2nd, ... allocation failing, until it has no further one. It
 * returns the expected error or succeeds, and after an error the next call succeeds. Which
 * allocation is the nth varies with the state of the allocator, so do this several times.
 */
static void fail_each(struct __test_metadata *_metadata, int fd, struct trial *trial)
{
	int nth, round, calls = 0, errors = 0, err;
	bool reached, unused;

	for (round = 0; round < 3; round++) {
		nth = 0;
		do {
			err = call_with_fault(_metadata, fd, trial, ++nth, &reached);
			calls += reached;
			if (err) {
				errors++;
				EXPECT_TRUE(reached);
				EXPECT_EQ(trial->expected, err);
				ASSERT_EQ(0, call_with_fault(_metadata, fd, trial, 0, &unused));
			}
			trial->undo(trial);
		} while (reached);
	}

	TH_LOG("%d allocations failed, and %d calls with them", calls, errors);
	EXPECT_LT(0, errors);
}

static int call_create(struct trial *trial)
{
	trial->fd = create_map(sizeof(__u64), trial->entries, 0);
	return trial->fd < 0 ? trial->fd : 0;
}

static void undo_create(struct trial *trial)
{
	close(trial->fd);
}

/* A map that fits into a page, and one that needs many pages. */
TEST_F(faults, create)
{
	struct trial *trial = &self->trial;

	trial->call = call_create;
	trial->undo = undo_create;
	trial->entries = SLOTS;
	fail_each(_metadata, self->nth, trial);
	trial->entries = 1 << 16;
	fail_each(_metadata, self->nth, trial);
}

static int call_update(struct trial *trial)
{
	return put(trial->map, 0, trial->fd, BPF_NOEXIST);
}

static void check_update(struct trial *trial, int err)
{
	struct __test_metadata *_metadata = trial->meta;

	EXPECT_EQ(!err, holds(trial->map, 0, trial->fd));
	EXPECT_EQ(!!err, is_empty(trial->map, 0));
}

static void undo_update(struct trial *trial)
{
	del(trial->map, 0);
}

TEST_F(faults, update)
{
	struct trial *trial = &self->trial;
	unsigned int i;

	trial->call = call_update;
	trial->check = check_update;
	trial->undo = undo_update;
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		trial->fd = new_server(_metadata, &kinds[i]);
		fail_each(_metadata, self->nth, trial);
		close(trial->fd);
	}
}

static int call_listen(struct trial *trial)
{
	return listen(trial->fd, 1) ? -errno : 0;
}

/* After a failed bind() or listen() the socket is in no group. */
static void check_listen(struct trial *trial, int err)
{
	struct __test_metadata *_metadata = trial->meta;

	EXPECT_EQ(err ? -EINVAL : 0, put(trial->map, 0, trial->fd, BPF_ANY));
}

static void undo_listen(struct trial *trial)
{
	struct __test_metadata *_metadata = trial->meta;

	EXPECT_EQ(0, shutdown(trial->fd, SHUT_RDWR));
	EXPECT_TRUE(is_empty(trial->map, 0));
}

static void fail_each_listen(struct __test_metadata *_metadata, FIXTURE_DATA(faults) *self)
{
	struct trial *trial = &self->trial;
	unsigned int i;

	trial->call = call_listen;
	trial->check = check_listen;
	trial->undo = undo_listen;
	for (i = 0; i < ARRAY_SIZE(kinds) && kinds[i].type == SOCK_STREAM; i++) {
		trial->fd = open_socket(_metadata, &kinds[i]);
		set_reuseport(_metadata, trial->fd, 1);
		bind_to(_metadata, &kinds[i], trial->fd, PORT);
		fail_each(_metadata, self->nth, trial);
		close(trial->fd);
	}
}

TEST_F(faults, listen)
{
	fail_each_listen(_metadata, self);
}

/* With migration, a listener that listens again moves from its group to a new one. */
TEST_F(faults, listen_again)
{
	ASSERT_EQ(0, write_file("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
	fail_each_listen(_metadata, self);
}

static void open_unbound(struct trial *trial)
{
	struct __test_metadata *_metadata = trial->meta;

	trial->fd = open_socket(_metadata, trial->kind);
	set_reuseport(_metadata, trial->fd, 1);
}

static void undo_bind(struct trial *trial)
{
	struct __test_metadata *_metadata = trial->meta;

	close(trial->fd);
	EXPECT_TRUE(is_empty(trial->map, 0));
	open_unbound(trial);
}

/* A group has space for 128 sockets; the next one makes it grow. */
#define CROWD		128

static void gather(struct trial *trial)
{
	struct __test_metadata *_metadata = trial->meta;
	int i;

	for (i = 0; i < CROWD; i++) {
		trial->crowd[i] = new_server(_metadata, trial->kind);
		ASSERT_EQ(0, put(trial->map, i, trial->crowd[i], BPF_NOEXIST));
	}
	trial->fd = open_socket(_metadata, trial->kind);
	set_reuseport(_metadata, trial->fd, 1);
	if (trial->kind->type == SOCK_STREAM)
		bind_to(_metadata, trial->kind, trial->fd, PORT);
}

static int call_join(struct trial *trial)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, trial->kind->family, false, PORT);
	int err;

	if (trial->kind->type == SOCK_STREAM)
		err = listen(trial->fd, 1);
	else
		err = bind(trial->fd, (struct sockaddr *)&ss, len);
	return err ? -errno : 0;
}

/* Whether growing failed or not, all earlier members are still in the group. */
static void check_join(struct trial *trial, int err)
{
	struct __test_metadata *_metadata = trial->meta;
	int i;

	for (i = 0; i < CROWD; i++)
		EXPECT_TRUE(holds(trial->map, i, trial->crowd[i]));
	EXPECT_EQ(err ? -EINVAL : 0, put(trial->map, CROWD, trial->fd, BPF_ANY));
}

/* A group that has grown does not shrink: start with a new one. */
static void undo_join(struct trial *trial)
{
	struct __test_metadata *_metadata = trial->meta;
	int i;

	close(trial->fd);
	for (i = 0; i < CROWD; i++)
		close(trial->crowd[i]);
	for (i = 0; i <= CROWD; i++)
		EXPECT_TRUE(is_empty(trial->map, i));
	gather(trial);
}

/* bind() creates a UDP group. */
TEST_F(faults, bind)
{
	struct trial *trial = &self->trial;
	unsigned int i;

	trial->call = call_join;
	trial->check = check_listen;
	trial->undo = undo_bind;
	/* bind() of UDP returns EADDRINUSE for every failure */
	trial->expected = -EADDRINUSE;
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].type != SOCK_DGRAM)
			continue;
		trial->kind = &kinds[i];
		open_unbound(trial);
		fail_each(_metadata, self->nth, trial);
		close(trial->fd);
	}
}

TEST_F(faults, group_that_grows)
{
	struct trial *trial = &self->trial;
	int crowd[CROWD], j;
	unsigned int i;

	trial->call = call_join;
	trial->check = check_join;
	trial->undo = undo_join;
	trial->crowd = crowd;
	trial->map = create_map(sizeof(__u64), CROWD + 1, 0);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		trial->kind = &kinds[i];
		trial->expected = kinds[i].type == SOCK_STREAM ? -ENOMEM : -EADDRINUSE;
		gather(trial);
		fail_each(_metadata, self->nth, trial);
		close(trial->fd);
		for (j = 0; j < CROWD; j++)
			close(crowd[j]);
	}
}

/* A process that is killed while it fills a map leaves the map empty. */
TEST(kill_while_filling)
{
	const struct rlimit files = { 20000, 20000 };
	const __u32 entries = 8192, some = 100;
	const struct kind *kind = &kinds[2];
	int map, status, round;
	pid_t child;
	__u32 i;

	enter_netns(_metadata);
	map = create_map(sizeof(__u64), entries, 0);
	ASSERT_LE(0, map);

	for (round = 0; round < 5; round++) {
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			setrlimit(RLIMIT_NOFILE, &files);
			for (i = 0; i < entries; i++)
				put(map, i, new_server_at(_metadata, kind, PORT + i / 64), BPF_ANY);
			_exit(0);
		}

		ASSERT_TRUE(EVENTUALLY(!is_empty(map, some * (round + 1))));
		ASSERT_EQ(0, kill(child, SIGKILL));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		for (i = 0; i < entries; i++)
			ASSERT_TRUE(is_empty(map, i));
	}
}

/* Memory cgroups. */

#define CGROUPS		"/sys/fs/cgroup"
#define CGROUP		CGROUPS "/reuseport_array_test"
#define MEGABYTE	(1024 * 1024)

static long read_number(const char *path)
{
	FILE *file = fopen(path, "r");
	long number = -1;

	if (file) {
		if (fscanf(file, "%ld", &number) != 1)
			number = -1;
		fclose(file);
	}
	return number;
}

FIXTURE(cgroup)
{
};

FIXTURE_SETUP(cgroup)
{
	if (write_file(CGROUPS "/cgroup.subtree_control", "+memory"))
		SKIP(return, "no memory controller at " CGROUPS);
	ASSERT_EQ(0, mkdir(CGROUP, 0755));
	ASSERT_EQ(0, write_file(CGROUP "/cgroup.procs", "0"));
}

FIXTURE_TEARDOWN(cgroup)
{
	write_file(CGROUPS "/cgroup.procs", "0");
	EVENTUALLY(!rmdir(CGROUP));
}

/* A map is charged to the cgroup that created it, until the map is freed. */
TEST_F(cgroup, memory_is_charged)
{
	const long size = 8 * MEGABYTE;
	long before, with;
	int map;

	before = read_number(CGROUP "/memory.current");
	map = create_map(sizeof(__u64), size / sizeof(void *), 0);
	ASSERT_LE(0, map);
	with = read_number(CGROUP "/memory.current");
	TH_LOG("memory.current: %ld, with a map of %ld bytes %ld", before, size, with);
	/* each CPU has some pages charged in advance */
	EXPECT_LT(size - size / 8, with - before);
	EXPECT_GT(size + size / 8, with - before);

	close(map);
	EXPECT_TRUE(EVENTUALLY(read_number(CGROUP "/memory.current") < before + size / 8));
}

/* A map above the limit fails, and a smaller one can still be created. */
TEST_F(cgroup, memory_is_limited)
{
	long before;
	int map;

	ASSERT_EQ(0, write_file(CGROUP "/memory.max", "8388608"));
	before = read_number(CGROUP "/memory.current");
	EXPECT_EQ(-ENOMEM, create_map(sizeof(__u64), 16 * MEGABYTE / sizeof(void *), 0));
	EXPECT_TRUE(EVENTUALLY(read_number(CGROUP "/memory.current") < before + MEGABYTE));

	map = create_map(sizeof(__u64), 2 * MEGABYTE / sizeof(void *), 0);
	EXPECT_LE(0, map);
	close(map);
	EXPECT_EQ(0, write_file(CGROUP "/memory.max", "max"));
}

/* The last test: none of the above has leaked memory. */
FIXTURE(kmemleak)
{
};

FIXTURE_SETUP(kmemleak)
{
}

FIXTURE_TEARDOWN(kmemleak)
{
}

TEST_F(kmemleak, nothing_leaks)
{
	char line[256];
	int lines = 0;
	FILE *file;

	if (write_file(KMEMLEAK, "scan"))
		SKIP(return, "no " KMEMLEAK ": needs debugfs, CONFIG_DEBUG_KMEMLEAK");

	/* kmemleak reports objects that are 5 s old and were unreferenced in two scans */
	sleep(6);
	EXPECT_EQ(0, write_file(KMEMLEAK, "scan"));
	EXPECT_EQ(0, write_file(KMEMLEAK, "scan"));
	file = fopen(KMEMLEAK, "r");
	ASSERT_NE(NULL, file);
	while (fgets(line, sizeof(line), file))
		if (lines++ < 40)
			TH_LOG("%s", line);
	EXPECT_EQ(0, lines);
	fclose(file);
}

TEST_HARNESS_MAIN
