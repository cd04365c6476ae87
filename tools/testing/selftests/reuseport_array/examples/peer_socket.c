// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* Open a socket at @address, where the server's other sockets are bound, that is
 * connected to @peer. It is never put into the map, so no program selects it.
 */
int open_peer_socket(const struct sockaddr *address, const struct sockaddr *peer,
		     socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int one = 1, err;

	if (fd < 0)
		return -errno;

	/* Between bind() and connect() the socket is an unconnected member of the
	 * group: a program that returns SK_PASS without a selection could let it
	 * receive datagrams of anyone.
	 */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind(fd, address, len) ||
	    connect(fd, peer, len)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
