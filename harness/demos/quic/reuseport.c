// SPDX-License-Identifier: GPL-2.0
/* A library to preload: bind() sets SO_REUSEPORT first, for a server that never does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>

int bind(int fd, const struct sockaddr *address, socklen_t len)
{
	int (*next)(int fd, const struct sockaddr *address, socklen_t len) =
		dlsym(RTLD_NEXT, "bind");
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	return next(fd, address, len);
}
