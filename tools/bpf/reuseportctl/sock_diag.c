// SPDX-License-Identifier: GPL-2.0
/* Listeners and bound UDP sockets, as sock_diag reports them. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "sock_diag.h"

struct socket_list {
	const struct endpoint *endpoint;
	struct socket_info *list;
	int count, space;
};

static int add_socket(struct socket_list *all, const struct nlmsghdr *nlh)
{
	const struct inet_diag_msg *msg = NLMSG_DATA(nlh);
	int len = nlh->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));
	struct rtattr *attr = (struct rtattr *)(msg + 1);
	struct endpoint at = {
		.protocol = all->endpoint->protocol,
		.family = msg->idiag_family,
		.port = msg->id.idiag_sport,
	};
	struct socket_info *larger, *socket;

	memcpy(at.address, msg->id.idiag_src, at.family == AF_INET ? 4 : 16);
	if (all->endpoint->port && !endpoint_is_equal(all->endpoint, &at))
		return 0;
	if (all->count == all->space) {
		all->space = 2 * all->space + 16;
		larger = realloc(all->list, all->space * sizeof(*larger));
		if (!larger)
			return ENOMEM;
		all->list = larger;
	}
	socket = &all->list[all->count++];
	*socket = (struct socket_info){
		.at = at,
		.cookie = (__u64)msg->id.idiag_cookie[1] << 32 | msg->id.idiag_cookie[0],
		.inode = msg->idiag_inode,
		.uid = msg->idiag_uid,
		.interface = msg->id.idiag_if,
		.queue = msg->idiag_rqueue,
	};
	for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
		if (attr->rta_type == INET_DIAG_SKMEMINFO &&
		    RTA_PAYLOAD(attr) > SK_MEMINFO_DROPS * sizeof(__u32))
			socket->drops = ((__u32 *)RTA_DATA(attr))[SK_MEMINFO_DROPS];
		if (attr->rta_type == INET_DIAG_SKV6ONLY)
			socket->v6only = *(__u8 *)RTA_DATA(attr);
	}
	return 0;
}

/* Return an errno. */
static int dump(int nl, struct socket_list *all)
{
	struct {
		struct nlmsghdr nlh;
		struct inet_diag_req_v2 req;
	} request = {
		.nlh = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.req = {
			.sdiag_family = all->endpoint->family,
			.sdiag_protocol = all->endpoint->protocol,
			.idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1),
			/* UDP: a connected socket is established, and does not count */
			.idiag_states = all->endpoint->protocol == IPPROTO_TCP ? 1 << TCP_LISTEN
									       : 1 << TCP_CLOSE,
			.id.idiag_sport = all->endpoint->port,
		},
	};
	static __u32 answer[8192];
	struct nlmsghdr *nlh;
	unsigned int left;
	int len, err;

	if (send(nl, &request, sizeof(request), 0) != sizeof(request))
		return errno;
	for (;;) {
		len = recv(nl, answer, sizeof(answer), 0);
		if (len <= 0)
			return len ? errno : EPROTO;
		left = len;
		for (nlh = (void *)answer; NLMSG_OK(nlh, left); nlh = NLMSG_NEXT(nlh, left)) {
			if (nlh->nlmsg_type == NLMSG_DONE)
				return 0;
			if (nlh->nlmsg_type == NLMSG_ERROR)
				return -((struct nlmsgerr *)NLMSG_DATA(nlh))->error;
			err = add_socket(all, nlh);
			if (err)
				return err;
		}
	}
}

int sock_diag_list(const struct endpoint *endpoint, struct socket_info **list)
{
	struct socket_list all = { .endpoint = endpoint };
	int nl, err;

	*list = NULL;
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	err = nl < 0 ? errno : dump(nl, &all);
	if (nl >= 0)
		close(nl);
	if (err) {
		free(all.list);
		return fail("cannot list sockets by sock_diag (%s): the kernel needs "
			    "CONFIG_INET_DIAG, and CONFIG_INET_UDP_DIAG for UDP (modprobe "
			    "inet_diag udp_diag)",
			    strerror(err));
	}
	*list = all.list;
	return all.count;
}
