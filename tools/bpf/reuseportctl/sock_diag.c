// SPDX-License-Identifier: GPL-2.0
/* Listeners, bound UDP sockets and connections, as sock_diag reports them. */
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

#ifndef SO_DETACH_REUSEPORT_BPF
#define SO_DETACH_REUSEPORT_BPF 68
#endif

struct socket_list {
	const struct endpoint *endpoint;
	bool connected;
	struct socket_info *list;
	int count, space;
};

static __u64 cookie_of(const struct inet_diag_msg *msg)
{
	return (__u64)msg->id.idiag_cookie[1] << 32 | msg->id.idiag_cookie[0];
}

/* A listener of MPTCP is reported twice: its first subflow as a TCP socket, and itself. Both
 * have the inode of the fd. The cookie of the fd, and in a map, is that of the MPTCP socket.
 */
static int set_mptcp_cookie(struct socket_list *all, const struct nlmsghdr *nlh)
{
	const struct inet_diag_msg *msg = NLMSG_DATA(nlh);
	int i;

	for (i = 0; i < all->count; i++)
		if (all->list[i].inode == msg->idiag_inode && msg->idiag_inode)
			all->list[i].cookie = cookie_of(msg);
	return 0;
}

static int add_socket(struct socket_list *all, const struct nlmsghdr *nlh)
{
	const struct inet_diag_msg *msg = NLMSG_DATA(nlh);
	int len = nlh->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));
	struct rtattr *attr = (struct rtattr *)(msg + 1);
	struct endpoint at = {
		.protocol = all->endpoint->protocol,
		.family = msg->idiag_family,
		.port = msg->id.idiag_sport,
		.interface = msg->id.idiag_if,
	};
	struct socket_info *larger, *socket;

	memcpy(at.address, msg->id.idiag_src, at.family == AF_INET ? 4 : 16);
	if (all->endpoint->port && !endpoint_is_equal(all->endpoint, &at) &&
	    !(all->connected && endpoint_is_wildcard(all->endpoint) &&
	      (!all->endpoint->interface || all->endpoint->interface == at.interface)))
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
		.cookie = cookie_of(msg),
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

static __u32 states(__u32 protocol, bool connected)
{
	/* a connected UDP socket is established */
	if (protocol == IPPROTO_UDP)
		return 1 << (connected ? TCP_ESTABLISHED : TCP_CLOSE);
	if (!connected)
		return 1 << TCP_LISTEN;
	/* a process may also have a connection open that one side or both have ended */
	return 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT | 1 << TCP_FIN_WAIT1 |
	       1 << TCP_FIN_WAIT2 | 1 << TCP_LAST_ACK | 1 << TCP_CLOSING;
}

/* Hand the sockets of a protocol to @add. Return an errno. */
static int dump(int nl, struct socket_list *all, __u32 protocol,
		int (*add)(struct socket_list *all, const struct nlmsghdr *nlh))
{
	struct {
		struct nlmsghdr nlh;
		struct inet_diag_req_v2 req;
		struct rtattr attr;	/* sdiag_protocol is too small for IPPROTO_MPTCP */
		__u32 protocol;
	} request = {
		.nlh = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.req = {
			.sdiag_family = all->endpoint->family,
			.sdiag_protocol = protocol,
			.idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1),
			.idiag_states = states(protocol, all->connected),
			.id.idiag_sport = all->endpoint->port,
		},
		.attr = {
			.rta_len = RTA_LENGTH(sizeof(protocol)),
			.rta_type = INET_DIAG_REQ_PROTOCOL,
		},
		.protocol = protocol,
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
			err = add(all, nlh);
			if (err)
				return err;
		}
	}
}

bool is_mptcp_steered(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP), none = -1, err;

	if (fd < 0)
		return false;
	/* options that concern the program of the group are supported by the same kernels */
	err = setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof(none)) ? errno : 0;
	close(fd);
	return err != EOPNOTSUPP;
}

static int list_sockets(const struct endpoint *endpoint, bool connected, struct socket_info **list)
{
	struct socket_list all = { .endpoint = endpoint, .connected = connected };
	int nl, err;

	*list = NULL;
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	err = nl < 0 ? errno : dump(nl, &all, endpoint->protocol, add_socket);
	if (!err && endpoint->protocol == IPPROTO_TCP && all.count && is_mptcp_steered())
		err = dump(nl, &all, IPPROTO_MPTCP, set_mptcp_cookie);
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

int sock_diag_list(const struct endpoint *endpoint, struct socket_info **list)
{
	return list_sockets(endpoint, false, list);
}

int sock_diag_list_connected(const struct endpoint *endpoint, struct socket_info **list)
{
	return list_sockets(endpoint, true, list);
}
