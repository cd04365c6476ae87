// SPDX-License-Identifier: GPL-2.0
/* What a shell cannot do for programs that it tests:
 *
 * sockets open PORT COUNT COMMAND...	run COMMAND with COUNT bound sockets of a group of UDP
 *					sockets as file descriptors 10, 11, ...
 * sockets send PORT ID			send the header of a NetFlow datagram, version 9
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#define FIRST_FD	10

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1;

	if (argc < 4)
		return 2;
	address.sin_port = htons(atoi(argv[2]));
	if (!strcmp(argv[1], "send")) {
		struct {
			uint16_t version, count;
			uint32_t uptime, seconds, sequence, id;
		} header = { .version = htons(9), .id = htonl(atoi(argv[3])) };
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		if (sendto(fd, &header, sizeof(header), 0, (void *)&address, sizeof(address)) < 0)
			return fail("send");
		return 0;
	}
	for (int i = 0; i < atoi(argv[3]); i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
		    bind(fd, (void *)&address, sizeof(address)) || dup2(fd, FIRST_FD + i) < 0)
			return fail("open");
		close(fd);
	}
	execvp(argv[4], argv + 4);
	return fail(argv[4]);
}
