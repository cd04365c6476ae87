// SPDX-License-Identifier: GPL-2.0
/* What the kernel tells of sockets, by way of sock_diag. */
#include <arpa/inet.h>
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

int parse_endpoint(const char *text, struct endpoint *endpoint)
{
	const char *colon = strrchr(text, ':'), *end = colon;
	char address[INET6_ADDRSTRLEN + 1];
	unsigned long port;
	char *rest;

	if (!colon)
		goto wrong;
	port = strtoul(colon + 1, &rest, 10);
	if (*rest || !port || port > 65535)
		goto wrong;
	endpoint->port = htons(port);

	endpoint->family = AF_INET;
	if (*text == '[') {
		endpoint->family = AF_INET6;
		text++;
		end = colon - 1;
		if (end < text || *end != ']')
			goto wrong;
	}
	if ((size_t)(end - text) >= sizeof(address))
		goto wrong;
	memcpy(address, text, end - text);
	address[end - text] = '\0';
	memset(endpoint->address, 0, sizeof(endpoint->address));
	if (inet_pton(endpoint->family, address, endpoint->address) == 1)
		return 0;
wrong:
	return fail("\"%s\" is no address and port: write 192.0.2.1:80 or [2001:db8::1]:80, with "
		    "0.0.0.0 or [::] for a server that is bound to all", text);
}

const char *format_endpoint(const struct endpoint *endpoint, char *text)
{
	char address[INET6_ADDRSTRLEN];

	inet_ntop(endpoint->family, endpoint->address, address, sizeof(address));
	sprintf(text, endpoint->family == AF_INET ? "%s:%u" : "[%s]:%u", address,
		ntohs(endpoint->port));
	return text;
}

struct collection {
	const struct endpoint *endpoint;
	struct endpoint_socket *list;
	int count, space;
};

static int add_socket(struct collection *all, const struct nlmsghdr *nlh)
{
	const struct inet_diag_msg *msg = NLMSG_DATA(nlh);
	int len = nlh->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));
	const struct endpoint *endpoint = all->endpoint;
	struct rtattr *attr = (struct rtattr *)(msg + 1);
	struct endpoint_socket *larger, *socket;

	if (msg->id.idiag_sport != endpoint->port || msg->idiag_family != endpoint->family ||
	    memcmp(msg->id.idiag_src, endpoint->address, endpoint->family == AF_INET ? 4 : 16))
		return 0;
	if (all->count == all->space) {
		all->space = 2 * all->space + 16;
		larger = realloc(all->list, all->space * sizeof(*larger));
		if (!larger)
			return ENOMEM;
		all->list = larger;
	}
	socket = &all->list[all->count++];
	*socket = (struct endpoint_socket){
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
static int dump(int nl, struct collection *all)
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
			/* UDP: not those that are connected to one peer */
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

int sock_diag_sockets(const struct endpoint *endpoint, struct endpoint_socket **list)
{
	struct collection all = { .endpoint = endpoint };
	int nl, err;

	*list = NULL;
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	err = nl < 0 ? errno : dump(nl, &all);
	if (nl >= 0)
		close(nl);
	if (err) {
		free(all.list);
		return fail("the kernel does not tell of its sockets (%s): it needs "
			    "CONFIG_INET_DIAG, and CONFIG_INET_UDP_DIAG for UDP (modprobe "
			    "inet_diag udp_diag)",
			    strerror(err));
	}
	*list = all.list;
	return all.count;
}
