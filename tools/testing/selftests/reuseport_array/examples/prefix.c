// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <errno.h>

#include <bpf/bpf.h>

#include "example_prefix.skel.h"

/* Serve the first @bits bits of @address, at @port or, if that is 0, at every port. The program
 * find_group is attached to a network namespace by bpf_program__attach_netns().
 */
int serve_prefix(struct example_prefix *skel, __u16 protocol, const char *address, __u32 bits,
		 __u16 port)
{
	struct {
		__u32 prefixlen;
		__u16 protocol;
		__u16 port;
		__u32 address[4];
	} key = { .protocol = protocol, .port = port };
	__u8 served = 1;

	if (inet_pton(AF_INET, address, &key.address[3]) == 1) {
		key.address[2] = htonl(0xffff);
		bits += 96;
	} else if (inet_pton(AF_INET6, address, key.address) != 1) {
		return -EINVAL;
	}
	key.prefixlen = 8 * (sizeof(key.protocol) + sizeof(key.port)) + bits;

	return bpf_map_update_elem(bpf_map__fd(skel->maps.prefixes), &key, &served, BPF_ANY);
}
