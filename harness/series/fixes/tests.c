// SPDX-License-Identifier: GPL-2.0
/* What the fixes of harness/fixes change for a process: each test fails on Linux as it is and
 * passes with the fix of its name. The race of 03-free-compares has a program of its own,
 * race.c of repro-free-race, and 06-index-nospec is seen in the object code alone.
 */
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "common.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif

static const struct kind tcp = { AF_INET, SOCK_STREAM };

FIXTURE(fixes) {
	int first_netns;
	int map;
	int listener;
};

FIXTURE_SETUP(fixes)
{
	self->first_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->first_netns);
	enter_netns(_metadata);
	self->map = new_map(_metadata);
	self->listener = new_server(_metadata, &tcp);
}

FIXTURE_TEARDOWN(fixes)
{
}

/* Before Linux 6.8 there is one for all namespaces, and only the first shows it. */
static int write_optmem_max(int first_netns, const char *bytes)
{
	static const char optmem_max[] = "/proc/sys/net/core/optmem_max";
	int here, err;

	if (!access(optmem_max, W_OK))
		return write_file(optmem_max, bytes);

	here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (here < 0 || setns(first_netns, CLONE_NEWNET))
		return -errno;
	err = write_file(optmem_max, bytes);
	if (setns(here, CLONE_NEWNET))
		err = -errno;
	close(here);
	return err;
}

static void shut_down(struct __test_metadata *_metadata, int listener)
{
	ASSERT_EQ(0, shutdown(listener, SHUT_RDWR));
}

/* A program that passes every packet on. Its ID tells whether it is still loaded. */
static int load_program(struct __test_metadata *_metadata, __u32 *id)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = SK_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	int prog;

	prog = bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "pass", "GPL", code, 2, NULL);
	ASSERT_LE(0, prog);
	ASSERT_EQ(0, bpf_obj_get_info_by_fd(prog, &info, &len));
	*id = info.id;
	return prog;
}

static bool is_loaded(__u32 id)
{
	int prog = bpf_prog_get_fd_by_id(id);

	if (prog < 0)
		return false;
	close(prog);
	return true;
}

/* A connection that the kernel gives up does not take the listener out of its slot. */
TEST_F(fixes, failed_child)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, ~0U);
	struct sock_fprog filter = { .len = 1, .filter = &all };
	int client;

	ASSERT_EQ(0, put(self->map, 0, self->listener, BPF_ANY));
	ASSERT_EQ(0, setsockopt(self->listener, SOL_SOCKET, SO_ATTACH_FILTER, &filter,
				sizeof(filter)));
	ASSERT_EQ(0, write_optmem_max(self->first_netns, "1"));
	client = send_from(AF_INET, SOCK_STREAM, PORT, 1);
	ASSERT_LE(0, client);
	/* The last ACK of the handshake is gone when connect() and send() have returned. */
	EXPECT_TRUE(holds(self->map, 0, self->listener));

	ASSERT_EQ(0, write_optmem_max(self->first_netns, "131072"));
	ASSERT_LE(0, accept(self->listener, NULL, NULL));
	EXPECT_TRUE(holds(self->map, 0, self->listener));
	ASSERT_EQ(0, del(self->map, 0));
	EXPECT_EQ(0, put(self->map, 1, self->listener, BPF_ANY));
}

/* A group ends with its last socket, and its program with the group. */
TEST_F(fixes, closed_section)
{
	int off = 0, prog;
	__u32 id;

	ASSERT_EQ(0, write_file("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
	prog = load_program(_metadata, &id);
	ASSERT_EQ(0, setsockopt(self->listener, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &prog,
				sizeof(prog)));
	close(prog);

	shut_down(_metadata, self->listener);
	ASSERT_EQ(0, setsockopt(self->listener, SOL_SOCKET, SO_REUSEPORT, &off, sizeof(off)));
	start_listening(_metadata, &tcp, self->listener);
	shut_down(_metadata, self->listener);
	ASSERT_TRUE(is_loaded(id));

	close(self->listener);
	EXPECT_TRUE(EVENTUALLY(!is_loaded(id)));
}

/* A socket that has stopped listening and connects cannot be added. */
TEST_F(fixes, stopped_listener)
{
	new_server_at(_metadata, &tcp, OTHER_PORT);
	ASSERT_EQ(0, write_file("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
	shut_down(_metadata, self->listener);
	ASSERT_EQ(0, connect_to(self->listener, AF_INET, OTHER_PORT));
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->listener, BPF_ANY));
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* The same when it got its group, by a program, after it had stopped. */
TEST_F(fixes, stopped_listener_with_a_new_group)
{
	__u32 id;
	int prog;

	new_server_at(_metadata, &tcp, OTHER_PORT);
	prog = load_program(_metadata, &id);
	shut_down(_metadata, self->listener);
	ASSERT_EQ(0, setsockopt(self->listener, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &prog,
				sizeof(prog)));
	ASSERT_EQ(0, connect_to(self->listener, AF_INET, OTHER_PORT));
	EXPECT_EQ(-EINVAL, put(self->map, 0, self->listener, BPF_ANY));
	EXPECT_TRUE(is_empty(self->map, 0));
}

/* A lookup makes the cookie of a socket that has none; the kernel complains or it does not. */
TEST_F(fixes, cookie_preemption)
{
	__u64 cookie = 0;

	ASSERT_EQ(0, put(self->map, 0, self->listener, BPF_ANY));
	EXPECT_EQ(0, get(self->map, 0, &cookie));
	EXPECT_EQ(cookie_of(self->listener), cookie);
}

static int new_mptcp_socket(struct __test_metadata *_metadata)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);

	ASSERT_LE(0, fd);
	return fd;
}

static int new_mptcp_listener(struct __test_metadata *_metadata)
{
	int fd = new_mptcp_socket(_metadata);

	set_reuseport(_metadata, fd);
	bind_to(_metadata, &tcp, fd, OTHER_PORT);
	start_listening(_metadata, &tcp, fd);
	return fd;
}

/* How many MPTCP listeners sock_diag reports. */
static int count_mptcp_listeners(struct __test_metadata *_metadata)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 diag;
		struct nlattr attr;
		__u32 protocol;
	} request = {
		.header = { sizeof(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP },
		.diag = { .sdiag_family = AF_INET, .idiag_states = 1 << TCP_LISTEN },
		.attr = { NLA_HDRLEN + sizeof(__u32), INET_DIAG_REQ_PROTOCOL },
		.protocol = IPPROTO_MPTCP,
	};
	int diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	char answer[16384];
	struct nlmsghdr *h;
	int len, count = 0;

	ASSERT_LE(0, diag);
	ASSERT_EQ(sizeof(request), send(diag, &request, sizeof(request), 0));
	for (;;) {
		len = recv(diag, answer, sizeof(answer), 0);
		ASSERT_LT(0, len);
		for (h = (void *)answer; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
			ASSERT_NE(NLMSG_ERROR, h->nlmsg_type);
			if (h->nlmsg_type == NLMSG_DONE)
				goto done;
			count++;
		}
	}
done:
	close(diag);
	return count;
}

/* A dump of the MPTCP listeners of a group has all of them. */
TEST_F(fixes, mptcp_diag)
{
	int i;

	for (i = 0; i < 5; i++)
		new_mptcp_listener(_metadata);
	EXPECT_EQ(5, count_mptcp_listeners(_metadata));
}

/* A connection that its MPTCP listener closes is not accepted, without its data, by another. */
TEST_F(fixes, mptcp_migration)
{
	int first = new_mptcp_listener(_metadata);
	int client = new_mptcp_socket(_metadata);
	int second;

	ASSERT_EQ(0, write_file("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
	ASSERT_EQ(0, connect_to(client, AF_INET, OTHER_PORT));
	ASSERT_EQ(1, send(client, "1", 1, 0));
	second = new_mptcp_listener(_metadata);
	close(first);
	ASSERT_EQ(0, fcntl(second, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, accept(second, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_HARNESS_MAIN
