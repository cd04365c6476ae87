// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "example_spread.skel.h"

/* Open the listener of one worker. When the worker exits its slot is emptied. */
int open_listener(struct example_spread *skel, __u32 slot,
		  const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int program = bpf_program__fd(skel->progs.select_any);
	int listeners = bpf_map__fd(skel->maps.listeners);
	__u64 value = fd;
	int one = 1, err;

	if (fd < 0)
		return -errno;

	/* A TCP socket is in the group from listen() on, not from bind() on. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind(fd, address, len) ||
	    listen(fd, SOMAXCONN) ||
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)) ||
	    bpf_map_update_elem(listeners, &slot, &value, BPF_NOEXIST)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
