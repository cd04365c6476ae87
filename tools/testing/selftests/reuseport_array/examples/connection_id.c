// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "example_connection_id.skel.h"

/* Open the socket of the worker whose connection ids begin with @slot. */
int open_worker(struct example_connection_id *skel, __u32 slot,
		const struct sockaddr *address, socklen_t len)
{
	int program = bpf_program__fd(skel->progs.select_by_connection_id);
	int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int workers = bpf_map__fd(skel->maps.workers);
	__u64 value = fd;
	int one = 1, err;

	if (fd < 0)
		return -errno;

	/* bind() makes the group, or joins it: nothing else works before. The group has
	 * one program, whichever of its sockets attaches it; the same again is harmless.
	 */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind(fd, address, len) ||
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)) ||
	    bpf_map_update_elem(workers, &slot, &value, BPF_NOEXIST)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
