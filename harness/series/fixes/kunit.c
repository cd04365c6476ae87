// SPDX-License-Identifier: GPL-2.0
/* What no system call can arrange. check-fixes appends this file to net/core/sock_reuseport.c. */
#include <kunit/test.h>
#include <linux/net.h>

/* A listener loses its group just before it stops: nothing happens. */
static void stop_without_a_group(struct kunit *test)
{
	struct socket *sock;

	KUNIT_ASSERT_EQ(test, 0, sock_create_kern(&init_net, AF_INET, SOCK_STREAM, 0, &sock));
	reuseport_stop_listen_sock(sock->sk);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(sock->sk->sk_reuseport_cb));
	sock_release(sock);
}

static struct kunit_case fixes_cases[] = {
	KUNIT_CASE(stop_without_a_group),
	{}
};

static struct kunit_suite fixes_suite = {
	.name = "fixes",
	.test_cases = fixes_cases,
};
kunit_test_suite(fixes_suite);
