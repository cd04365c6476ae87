/* SPDX-License-Identifier: GPL-2.0 */
/* Common code of the tests of BPF_MAP_TYPE_REUSEPORT_SOCKARRAY.
 *
 * A *server* is a socket of the SO_REUSEPORT group of its port, a *client* a
 * socket that sends one number to such a port. Every fixture gives its tests a
 * network namespace of their own, so that ports can be constants.
 */
#ifndef __REUSEPORT_ARRAY_COMMON_H
#define __REUSEPORT_ARRAY_COMMON_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../kselftest_harness.h"

/* Emulated CPUs are slow, and a kernel with KASAN and lockdep makes them slower. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#ifndef ENOTSUPP
#define ENOTSUPP	524
#endif

#define SLOTS		8
#define PORT		4433
#define OTHER_PORT	4434
#define PATIENCE_MS	10000

/* What user space sees differs between releases: is this one Linux @major.@minor or newer? */
static inline bool kernel_is_at_least(int major, int minor)
{
	int this_major = 0, this_minor = 0;
	struct utsname name;

	uname(&name);
	if (sscanf(name.release, "%d.%d", &this_major, &this_minor) != 2)
		return false;
	return this_major > major || (this_major == major && this_minor >= minor);
}

/* connect() of a UDP socket that is bound to an address: since Linux 6.13 the socket leaves
 * its group, as one bound to a wildcard address always did.
 */
static inline bool connected_socket_leaves(void)
{
	return kernel_is_at_least(6, 13);
}

struct kind {
	int family;
	int type;
	bool dual;		/* bound to ::, for clients of both families */
	int protocol;		/* 0: the usual one of the type */
};

#define ADD_TCP_KINDS(fixture)						\
	FIXTURE_VARIANT_ADD(fixture, tcp4) { .kind = { AF_INET, SOCK_STREAM } };	\
	FIXTURE_VARIANT_ADD(fixture, tcp6) { .kind = { AF_INET6, SOCK_STREAM } };	\
	FIXTURE_VARIANT_ADD(fixture, tcp_dual) { .kind = { AF_INET6, SOCK_STREAM, true } }

#define ADD_UDP_KINDS(fixture)						\
	FIXTURE_VARIANT_ADD(fixture, udp4) { .kind = { AF_INET, SOCK_DGRAM } };	\
	FIXTURE_VARIANT_ADD(fixture, udp6) { .kind = { AF_INET6, SOCK_DGRAM } };	\
	FIXTURE_VARIANT_ADD(fixture, udp_dual) { .kind = { AF_INET6, SOCK_DGRAM, true } }

#define ADD_KINDS(fixture)						\
	ADD_TCP_KINDS(fixture);						\
	ADD_UDP_KINDS(fixture)

/* Wait until an asynchronous event has happened. */
#define EVENTUALLY(condition) ({					\
	int __tries = PATIENCE_MS;					\
									\
	while (!(condition) && --__tries)				\
		usleep(1000);						\
	__tries > 0;							\
})

static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = strlen(text);
	int err;

	if (fd < 0)
		return -errno;

	err = write(fd, text, len) == len ? 0 : -errno;
	close(fd);
	return err;
}

static inline void enter_netns(struct __test_metadata *_metadata)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	ASSERT_EQ(0, unshare(CLONE_NEWNET));

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, SIOCSIFFLAGS, &lo));
	close(fd);
}

/* Maps; values have 8 bytes unless stated otherwise. */

static inline int create_map(__u32 value_size, __u32 entries, __u32 flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);

	return bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "sockets", sizeof(__u32),
			      value_size, entries, &opts);
}

static inline int new_map(struct __test_metadata *_metadata)
{
	int map = create_map(sizeof(__u64), SLOTS, 0);

	ASSERT_LE(0, map) {
		TH_LOG("no map: %s", strerror(-map));
	}
	return map;
}

static inline int put(int map, __u32 index, int fd, __u64 flags)
{
	__u64 value = fd;

	return bpf_map_update_elem(map, &index, &value, flags);
}

/* The same for maps of fds, which have 4 bytes. */
static inline int put4(int map, __u32 index, int fd, __u64 flags)
{
	return bpf_map_update_elem(map, &index, &fd, flags);
}

static inline int get(int map, __u32 index, __u64 *cookie)
{
	return bpf_map_lookup_elem(map, &index, cookie);
}

static inline int del(int map, __u32 index)
{
	return bpf_map_delete_elem(map, &index);
}

static inline bool is_empty(int map, __u32 index)
{
	__u64 cookie;

	return get(map, index, &cookie) == -ENOENT;
}

static inline __u64 cookie_of(int fd)
{
	__u64 cookie = 0;
	socklen_t len = sizeof(cookie);

	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	return cookie;
}

static inline bool holds(int map, __u32 index, int fd)
{
	__u64 cookie;

	return !get(map, index, &cookie) && cookie && cookie == cookie_of(fd);
}

/* Servers. */

static inline socklen_t fill_address(struct sockaddr_storage *ss, int family, bool any, __u16 port)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = family;
	if (family == AF_INET) {
		in->sin_port = htons(port);
		in->sin_addr.s_addr = htonl(any ? INADDR_ANY : INADDR_LOOPBACK);
		return sizeof(*in);
	}

	in6->sin6_port = htons(port);
	in6->sin6_addr = any ? in6addr_any : in6addr_loopback;
	return sizeof(*in6);
}

static inline void bind_to(struct __test_metadata *_metadata, const struct kind *kind, int fd,
			   __u16 port)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, kind->family, kind->dual, port);

	ASSERT_EQ(0, bind(fd, (struct sockaddr *)&ss, len));
}

static inline void start_listening(struct __test_metadata *_metadata, const struct kind *kind,
				   int fd)
{
	if (kind->type == SOCK_STREAM)
		ASSERT_EQ(0, listen(fd, 128));
}

static inline void set_reuseport(struct __test_metadata *_metadata, int fd, int on)
{
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
}

static inline int open_socket(struct __test_metadata *_metadata, const struct kind *kind)
{
	int fd = socket(kind->family, kind->type | SOCK_CLOEXEC, kind->protocol);
	int v6only = !kind->dual;

	ASSERT_LE(0, fd);
	if (kind->family == AF_INET6)
		ASSERT_EQ(0, setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)));
	return fd;
}

static inline int new_server_at(struct __test_metadata *_metadata, const struct kind *kind,
				__u16 port)
{
	int fd = open_socket(_metadata, kind);

	set_reuseport(_metadata, fd, 1);
	bind_to(_metadata, kind, fd, port);
	start_listening(_metadata, kind, fd);
	return fd;
}

static inline int new_server(struct __test_metadata *_metadata, const struct kind *kind)
{
	return new_server_at(_metadata, kind, PORT);
}

static inline void attach(struct __test_metadata *_metadata, int server,
			  const struct bpf_program *prog)
{
	int fd = bpf_program__fd(prog);

	ASSERT_EQ(0, setsockopt(server, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &fd, sizeof(fd)));
}

/* Clients. For a dual-stack server they use IPv4. */

static inline int client_family(const struct kind *kind)
{
	return kind->dual ? AF_INET : kind->family;
}

static inline int connect_to(int fd, int family, __u16 port)
{
	struct sockaddr_storage ss;
	socklen_t len = fill_address(&ss, family, false, port);

	return connect(fd, (struct sockaddr *)&ss, len) ? -errno : 0;
}

static inline int disconnect(int fd)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	return connect(fd, &unspec, sizeof(unspec)) ? -errno : 0;
}

/* Send @number from a new client. Returns its fd or a negative error. */
static inline int send_from(int family, int type, __u16 port, __u32 number)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;

	err = connect_to(fd, family, port);
	if (!err && send(fd, &number, sizeof(number), MSG_NOSIGNAL) != sizeof(number))
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* Receive a number at exactly one of @servers. Returns its index. */
static inline int receive(struct __test_metadata *_metadata, const struct kind *kind,
			  const int *servers, int n, __u32 *number)
{
	struct pollfd ready[SLOTS] = {};
	int i, fd, who = -1;

	for (i = 0; i < n; i++) {
		ready[i].fd = servers[i];
		ready[i].events = POLLIN;
	}
	ASSERT_EQ(1, poll(ready, n, PATIENCE_MS));
	for (i = 0; i < n; i++)
		if (ready[i].revents)
			who = i;

	fd = servers[who];
	if (kind->type == SOCK_STREAM)
		fd = accept(fd, NULL, NULL);
	ASSERT_EQ(sizeof(*number), recv(fd, number, sizeof(*number), 0));
	if (fd != servers[who])
		close(fd);
	return who;
}

/* A number sent to PORT arrives at @servers[@who] and at no other one. */
static inline void expect_at(struct __test_metadata *_metadata, const struct kind *kind,
			     const int *servers, int n, int who, __u32 sent)
{
	int client = send_from(client_family(kind), kind->type, PORT, sent);
	__u32 got = ~sent;

	ASSERT_LE(0, client);
	EXPECT_EQ(who, receive(_metadata, kind, servers, n, &got));
	EXPECT_EQ(sent, got);
	close(client);
}

/* A number sent to PORT is rejected, and the client gets an error. */
static inline void expect_refused(struct __test_metadata *_metadata, const struct kind *kind,
				  __u32 number)
{
	int client = send_from(client_family(kind), kind->type, PORT, number);
	struct pollfd news = { .fd = client };
	socklen_t len = sizeof(int);
	int err = 0;

	if (kind->type == SOCK_STREAM) {
		EXPECT_EQ(-ECONNREFUSED, client);
		return;
	}

	ASSERT_LE(0, client);
	EXPECT_EQ(1, poll(&news, 1, PATIENCE_MS));
	EXPECT_EQ(0, getsockopt(client, SOL_SOCKET, SO_ERROR, &err, &len));
	EXPECT_EQ(ECONNREFUSED, err);
	close(client);
}

static inline bool nothing_arrived(const int *servers, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		struct pollfd ready = { .fd = servers[i], .events = POLLIN };

		if (poll(&ready, 1, 0))
			return false;
	}
	return true;
}

#endif /* __REUSEPORT_ARRAY_COMMON_H */
