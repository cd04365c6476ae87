// SPDX-License-Identifier: GPL-2.0
/* Each way a socket leaves its slot, and operations after which it stays. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <net/if.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include "common.h"

/* The socket in slot 0 leaves; its neighbour in slot 1, of the same group, stays. */
struct slots {
	int map;
	int leaver;
	int neighbour;
};

static void setup_slots(struct __test_metadata *_metadata, struct slots *slots,
			const struct kind *kind)
{
	enter_netns(_metadata);
	slots->map = new_map(_metadata);
	slots->leaver = new_server(_metadata, kind);
	slots->neighbour = new_server(_metadata, kind);
	ASSERT_EQ(0, put(slots->map, 0, slots->leaver, BPF_ANY));
	ASSERT_EQ(0, put(slots->map, 1, slots->neighbour, BPF_ANY));
}

static void expect_left(struct __test_metadata *_metadata, const struct slots *slots,
			const struct kind *kind)
{
	int successor = new_server(_metadata, kind);

	EXPECT_TRUE(is_empty(slots->map, 0));
	EXPECT_EQ(-ENOENT, del(slots->map, 0));
	EXPECT_EQ(-ENOENT, put(slots->map, 0, successor, BPF_EXIST));
	EXPECT_EQ(0, put(slots->map, 0, successor, BPF_NOEXIST));
	EXPECT_TRUE(holds(slots->map, 1, slots->neighbour));
}

static void expect_stayed(struct __test_metadata *_metadata, const struct slots *slots, int fd)
{
	EXPECT_TRUE(holds(slots->map, 0, fd));
	EXPECT_TRUE(holds(slots->map, 1, slots->neighbour));
	EXPECT_EQ(-EBUSY, put(slots->map, 2, fd, BPF_ANY));
}

/* For TCP and UDP alike. */
FIXTURE(leave)
{
	struct slots slots;
};

FIXTURE_VARIANT(leave)
{
	struct kind kind;
};

ADD_KINDS(leave);

FIXTURE_SETUP(leave)
{
	setup_slots(_metadata, &self->slots, &variant->kind);
}

FIXTURE_TEARDOWN(leave)
{
}

/* close() empties the slot before it returns. */
TEST_F(leave, close)
{
	close(self->slots.leaver);
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* With several fds of a socket, close() of the last one counts. */
TEST_F(leave, close_of_a_duplicate)
{
	int again = dup(self->slots.leaver);

	ASSERT_LE(0, again);
	close(self->slots.leaver);
	expect_stayed(_metadata, &self->slots, again);
	close(again);
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* A forked process holds the socket until it exits. */
TEST_F(leave, exit_of_a_forked_process)
{
	int status, go[2];
	pid_t child;
	char c;

	ASSERT_EQ(0, pipe2(go, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		close(go[1]);
		_exit(read(go[0], &c, 1));
	}

	close(self->slots.leaver);
	EXPECT_FALSE(is_empty(self->slots.map, 0));
	close(go[1]);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* A process that is killed takes its sockets out of the map. */
TEST_F(leave, kill)
{
	int status, ready[2];
	pid_t child;
	char c;

	close(self->slots.leaver);
	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		c = put(self->slots.map, 0, new_server(_metadata, &variant->kind), BPF_NOEXIST);
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(1);
	}

	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(0, c);
	EXPECT_FALSE(is_empty(self->slots.map, 0));
	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* A socket in flight in a unix socket is still open. */
TEST_F(leave, close_of_a_passed_socket)
{
	char space[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = space,
		.msg_controllen = sizeof(space),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &self->slots.leaver, sizeof(int));
	ASSERT_EQ(1, sendmsg(pair[0], &msg, 0));

	close(self->slots.leaver);
	EXPECT_FALSE(is_empty(self->slots.map, 0));
	/* it cannot be received any more */
	close(pair[0]);
	close(pair[1]);
	expect_left(_metadata, &self->slots, &variant->kind);
}

struct waiter {
	int fd;
	int type;
	pid_t tid;
	int err;
	pthread_t thread;
};

/* Wait for a connection or a datagram that does not come, until a signal does. */
static void *wait_for_a_client(void *argument)
{
	struct waiter *waiter = argument;
	char c;

	__atomic_store_n(&waiter->tid, gettid(), __ATOMIC_RELEASE);
	if (waiter->type == SOCK_STREAM)
		waiter->err = accept(waiter->fd, NULL, NULL) < 0 ? -errno : 0;
	else
		waiter->err = recv(waiter->fd, &c, 1, 0) < 0 ? -errno : 0;
	return NULL;
}

static bool sleeps(struct waiter *waiter)
{
	pid_t tid = __atomic_load_n(&waiter->tid, __ATOMIC_ACQUIRE);
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	file = tid ? fopen(path, "r") : NULL;
	if (!file)
		return false;
	/* the name of the program is in parentheses */
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(file);
	return state == 'S';
}

static void do_nothing(int signal)
{
}

/* A thread that waits in accept() or recv() holds the socket after its fd is closed. */
TEST_F(leave, close_under_a_waiting_thread)
{
	struct sigaction wake = { .sa_handler = do_nothing };
	struct waiter waiter = { .fd = self->slots.leaver, .type = variant->kind.type };
	__u64 held, cookie = cookie_of(self->slots.leaver);

	ASSERT_EQ(0, sigaction(SIGUSR1, &wake, NULL));
	ASSERT_EQ(0, pthread_create(&waiter.thread, NULL, wait_for_a_client, &waiter));
	ASSERT_TRUE(EVENTUALLY(sleeps(&waiter)));

	close(self->slots.leaver);
	ASSERT_EQ(0, get(self->slots.map, 0, &held));
	EXPECT_EQ(cookie, held);

	ASSERT_EQ(0, pthread_kill(waiter.thread, SIGUSR1));
	ASSERT_EQ(0, pthread_join(waiter.thread, NULL));
	EXPECT_EQ(-EINTR, waiter.err);
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* Closing a socket that was deleted from the map does not affect others. */
TEST_F(leave, close_after_delete)
{
	int successor = new_server(_metadata, &variant->kind);

	ASSERT_EQ(0, del(self->slots.map, 0));
	ASSERT_EQ(0, put(self->slots.map, 0, successor, BPF_NOEXIST));
	close(self->slots.leaver);
	expect_stayed(_metadata, &self->slots, successor);
}

/* How many packets it has dropped. */
static __u32 drops(int fd)
{
	__u32 memory[SK_MEMINFO_VARS] = {};
	socklen_t len = sizeof(memory);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &len);
	return memory[SK_MEMINFO_DROPS];
}

/* Destroy a socket like ss -K. Returns 0 or a negative error. The kernel looks for the
 * socket by its address, so it must be the only one there.
 */
static int destroy(struct __test_metadata *_metadata, const struct kind *kind, int fd)
{
	struct {
		struct nlmsghdr nlh;
		struct inet_diag_req_v2 req;
	} request = {
		.nlh.nlmsg_len = sizeof(request),
		.nlh.nlmsg_type = SOCK_DESTROY,
		.nlh.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		.req.sdiag_family = kind->family,
		.req.sdiag_protocol = kind->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP,
		.req.idiag_states = ~0,
	};
	struct {
		struct nlmsghdr nlh;
		struct nlmsgerr err;
	} answer;
	int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct inet_diag_sockid *id = &request.req.id;
	struct sockaddr_storage ss;
	__u64 cookie = cookie_of(fd);
	socklen_t len = sizeof(ss);

	ASSERT_EQ(0, getsockname(fd, (struct sockaddr *)&ss, &len));
	if (kind->family == AF_INET)
		memcpy(id->idiag_src, &((struct sockaddr_in *)&ss)->sin_addr, 4);
	else
		memcpy(id->idiag_src, &((struct sockaddr_in6 *)&ss)->sin6_addr, 16);
	/* at the same offset for both families */
	id->idiag_sport = ((struct sockaddr_in *)&ss)->sin_port;
	id->idiag_cookie[0] = cookie;
	id->idiag_cookie[1] = cookie >> 32;
	ASSERT_LE(0, nl);
	ASSERT_EQ(sizeof(request), send(nl, &request, sizeof(request), 0));
	ASSERT_LE(sizeof(answer), recv(nl, &answer, sizeof(answer), MSG_TRUNC));
	close(nl);
	return answer.err.error;
}

/* For listeners. */
FIXTURE(listener)
{
	struct slots slots;
};

FIXTURE_VARIANT(listener)
{
	struct kind kind;
};

ADD_TCP_KINDS(listener);

FIXTURE_SETUP(listener)
{
	setup_slots(_metadata, &self->slots, &variant->kind);
}

FIXTURE_TEARDOWN(listener)
{
}

/* A listener that is shut down for reading no longer listens: it leaves. */
TEST_F(listener, shutdown_of_reading)
{
	ASSERT_EQ(0, shutdown(self->slots.leaver, SHUT_RD));
	EXPECT_EQ(-EINVAL, put(self->slots.map, 2, self->slots.leaver, BPF_ANY));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* So does one that is shut down altogether. */
TEST_F(listener, shutdown_of_both)
{
	ASSERT_EQ(0, shutdown(self->slots.leaver, SHUT_RDWR));
	EXPECT_EQ(-EINVAL, put(self->slots.map, 2, self->slots.leaver, BPF_ANY));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* A listener that is shut down for writing stays: it still listens. */
TEST_F(listener, shutdown_of_writing)
{
	ASSERT_EQ(0, shutdown(self->slots.leaver, SHUT_WR));
	expect_stayed(_metadata, &self->slots, self->slots.leaver);
}

/* connect() to AF_UNSPEC ends listening. */
TEST_F(listener, disconnect)
{
	ASSERT_EQ(0, disconnect(self->slots.leaver));
	EXPECT_EQ(-EINVAL, put(self->slots.map, 2, self->slots.leaver, BPF_ANY));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* A listener destroyed through sock_diag leaves its slot although its fd is open. */
TEST_F(listener, destroyed)
{
	close(self->slots.neighbour);
	ASSERT_EQ(0, destroy(_metadata, &variant->kind, self->slots.leaver));
	EXPECT_TRUE(is_empty(self->slots.map, 0));
	EXPECT_EQ(-EINVAL, put(self->slots.map, 2, self->slots.leaver, BPF_ANY));
}

/* A listener that listens again is not back in its slot, but can be added. */
TEST_F(listener, listen_again)
{
	ASSERT_EQ(0, shutdown(self->slots.leaver, SHUT_RDWR));
	ASSERT_EQ(0, listen(self->slots.leaver, 1));
	EXPECT_TRUE(is_empty(self->slots.map, 0));
	EXPECT_EQ(-ENOENT, put(self->slots.map, 0, self->slots.leaver, BPF_EXIST));
	EXPECT_EQ(0, put(self->slots.map, 2, self->slots.leaver, BPF_NOEXIST));
	EXPECT_TRUE(holds(self->slots.map, 2, self->slots.leaver));
	EXPECT_TRUE(is_empty(self->slots.map, 0));
}

/* listen() on a listener only changes its backlog. */
TEST_F(listener, listen_twice)
{
	ASSERT_EQ(0, listen(self->slots.leaver, 7));
	expect_stayed(_metadata, &self->slots, self->slots.leaver);
}

/* A connection that becomes a listener itself can be added, and leaves without its parent. */
TEST_F(listener, connection_that_listens)
{
	int client, child, map = new_map(_metadata);

	close(self->slots.neighbour);
	client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, 1);
	ASSERT_LE(0, client);
	child = accept(self->slots.leaver, NULL, NULL);
	ASSERT_LE(0, child);
	ASSERT_EQ(0, disconnect(child));
	set_reuseport(_metadata, child, 1);
	bind_to(_metadata, &variant->kind, child, OTHER_PORT);
	start_listening(_metadata, &variant->kind, child);
	EXPECT_EQ(0, put(map, 3, child, BPF_NOEXIST));
	EXPECT_TRUE(holds(map, 3, child));
	close(child);
	close(client);
	EXPECT_TRUE(is_empty(map, 3));
	EXPECT_TRUE(holds(self->slots.map, 0, self->slots.leaver));
}

/* A connection accepted from a listener in the map is not in the map. */
TEST_F(listener, accept)
{
	int client, child;

	close(self->slots.neighbour);
	ASSERT_TRUE(is_empty(self->slots.map, 1));
	client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, 1);
	ASSERT_LE(0, client);
	child = accept(self->slots.leaver, NULL, NULL);
	ASSERT_LE(0, child);

	EXPECT_FALSE(holds(self->slots.map, 0, child));
	EXPECT_EQ(-EINVAL, put(self->slots.map, 1, child, BPF_ANY));
	close(child);
	EXPECT_TRUE(holds(self->slots.map, 0, self->slots.leaver));
	close(client);
	EXPECT_TRUE(holds(self->slots.map, 0, self->slots.leaver));
}

/* If the kernel cannot create a connection's socket, the listener keeps its slot and its
 * group. Here the memory limit is too low for a copy of the listener's filter.
 */
TEST_F(listener, child_that_fails)
{
	static const char optmem_max[] = "/proc/sys/net/core/optmem_max";
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, ~0U);
	struct sock_fprog filter = { .len = 1, .filter = &all };
	int client;

	close(self->slots.neighbour);
	ASSERT_EQ(0, setsockopt(self->slots.leaver, SOL_SOCKET, SO_ATTACH_FILTER, &filter,
				sizeof(filter)));
	if (write_file(optmem_max, "1"))
		SKIP(return, "no optmem_max in a network namespace before Linux 6.8");
	client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, 1);
	ASSERT_LE(0, client);
	ASSERT_TRUE(EVENTUALLY(drops(self->slots.leaver)));

	EXPECT_TRUE(holds(self->slots.map, 0, self->slots.leaver));
	EXPECT_EQ(-EBUSY, put(self->slots.map, 1, self->slots.leaver, BPF_ANY));

	/* The client retransmits its data, and then the socket can be created. */
	ASSERT_EQ(0, write_file(optmem_max, "131072"));
	ASSERT_LE(0, accept(self->slots.leaver, NULL, NULL));
}

/* A child that outlives its listener does not keep it in the map. */
TEST_F(listener, close_before_child)
{
	int client, child;

	close(self->slots.neighbour);
	client = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, 1);
	ASSERT_LE(0, client);
	child = accept(self->slots.leaver, NULL, NULL);
	ASSERT_LE(0, child);

	close(self->slots.leaver);
	EXPECT_TRUE(is_empty(self->slots.map, 0));
	close(child);
	EXPECT_TRUE(is_empty(self->slots.map, 0));
}

/* A listener with connections waiting to be accepted leaves as well. */
TEST_F(listener, close_with_waiting_connections)
{
	int clients[3], i;

	close(self->slots.neighbour);
	for (i = 0; i < ARRAY_SIZE(clients); i++) {
		clients[i] = send_from(client_family(&variant->kind), SOCK_STREAM, PORT, i);
		ASSERT_LE(0, clients[i]);
	}
	close(self->slots.leaver);
	EXPECT_TRUE(is_empty(self->slots.map, 0));
}

/* For UDP. */
FIXTURE(datagram)
{
	struct slots slots;
};

FIXTURE_VARIANT(datagram)
{
	struct kind kind;
};

ADD_UDP_KINDS(datagram);

FIXTURE_SETUP(datagram)
{
	setup_slots(_metadata, &self->slots, &variant->kind);
}

FIXTURE_TEARDOWN(datagram)
{
}

/* shutdown() does not unbind a UDP socket. */
TEST_F(datagram, shutdown)
{
	EXPECT_EQ(-1, shutdown(self->slots.leaver, SHUT_RDWR));
	EXPECT_EQ(ENOTCONN, errno);
	expect_stayed(_metadata, &self->slots, self->slots.leaver);
}

/* connect() takes a wildcard-bound socket out of its group; since Linux 6.13 any socket. */
TEST_F(datagram, connect)
{
	ASSERT_EQ(0, connect_to(self->slots.leaver, variant->kind.family, OTHER_PORT));
	if (!variant->kind.dual && !connected_socket_leaves()) {
		expect_stayed(_metadata, &self->slots, self->slots.leaver);
		return;
	}
	EXPECT_EQ(-EINVAL, put(self->slots.map, 2, self->slots.leaver, BPF_ANY));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* connect() to AF_UNSPEC has no effect on a socket bound to an address and a port. */
TEST_F(datagram, disconnect)
{
	ASSERT_EQ(0, disconnect(self->slots.leaver));
	if (!variant->kind.dual) {
		expect_stayed(_metadata, &self->slots, self->slots.leaver);
		return;
	}
	EXPECT_EQ(-EINVAL, put(self->slots.map, 2, self->slots.leaver, BPF_ANY));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* Destroying it through sock_diag has the same effect as connect() to AF_UNSPEC. */
TEST_F(datagram, destroyed)
{
	int fd = open_socket(_metadata, &variant->kind);

	close(self->slots.neighbour);
	ASSERT_EQ(0, destroy(_metadata, &variant->kind, self->slots.leaver));
	EXPECT_EQ(!variant->kind.dual, holds(self->slots.map, 0, self->slots.leaver));

	set_reuseport(_metadata, fd, 1);
	bind_to(_metadata, &variant->kind, fd, 0);
	ASSERT_EQ(0, put(self->slots.map, 2, fd, BPF_ANY));
	ASSERT_EQ(0, destroy(_metadata, &variant->kind, fd));
	EXPECT_TRUE(is_empty(self->slots.map, 2));
}

/* Binding it to a device makes it leave, even if there is only one device. */
TEST_F(datagram, bind_to_device)
{
	ASSERT_EQ(0, setsockopt(self->slots.leaver, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	EXPECT_EQ(-EINVAL, put(self->slots.map, 2, self->slots.leaver, BPF_ANY));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* So does binding by index, even to the device it is bound to already. */
TEST_F(datagram, bind_to_the_same_device)
{
	int fd = open_socket(_metadata, &variant->kind), lo = if_nametoindex("lo");

	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &lo, sizeof(lo)));
	set_reuseport(_metadata, fd, 1);
	bind_to(_metadata, &variant->kind, fd, PORT);
	ASSERT_EQ(0, del(self->slots.map, 0));
	ASSERT_EQ(0, put(self->slots.map, 0, fd, BPF_ANY));
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &lo, sizeof(lo)));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* connect() to AF_UNSPEC unbinds a port that the kernel chose, so the socket leaves. */
TEST_F(datagram, disconnect_from_a_port_of_no_choice)
{
	int fd = open_socket(_metadata, &variant->kind);

	set_reuseport(_metadata, fd, 1);
	bind_to(_metadata, &variant->kind, fd, 0);
	ASSERT_EQ(0, del(self->slots.map, 0));
	ASSERT_EQ(0, put(self->slots.map, 0, fd, BPF_ANY));
	ASSERT_EQ(0, disconnect(fd));
	EXPECT_EQ(-EINVAL, put(self->slots.map, 2, fd, BPF_ANY));
	expect_left(_metadata, &self->slots, &variant->kind);
}

/* A socket that left by connect() can be closed without further effect. */
TEST_F(datagram, close_after_disconnect)
{
	int fd = open_socket(_metadata, &variant->kind);

	set_reuseport(_metadata, fd, 1);
	bind_to(_metadata, &variant->kind, fd, 0);
	ASSERT_EQ(0, put(self->slots.map, 2, fd, BPF_ANY));
	ASSERT_EQ(0, disconnect(fd));
	ASSERT_EQ(0, del(self->slots.map, 0));
	ASSERT_EQ(0, put(self->slots.map, 2, self->slots.leaver, BPF_NOEXIST));
	close(fd);
	EXPECT_TRUE(holds(self->slots.map, 2, self->slots.leaver));
	EXPECT_TRUE(holds(self->slots.map, 1, self->slots.neighbour));
}

TEST_HARNESS_MAIN
