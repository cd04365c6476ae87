// SPDX-License-Identifier: GPL-2.0
/* Stress test: threads fill, empty, iterate, swap and free maps, while the sockets are
 * opened, shut down, rebound, inherited by processes that die, and receive packets that a
 * program steers.
 *
 * usage: stress [--seed NUMBER] [--ops NUMBER] [--threads NUMBER]
 *
 * A *server* is an entry of a fixed table, with a socket or without. A thread locks the
 * server that it works with: no other thread can put it into a map or close it until then.
 * Any thread may delete it from a map, replace it, or free its map.
 *
 * A *place* is an fd that stands for one map after the other.
 *
 * Checked at any time:
 *  - A locked server is in at most one slot, and in none after it has left its group.
 *  - A cookie in a slot is that of an open socket. The socket may have been closed since,
 *    but then a second lookup does not return the cookie.
 *  - A packet names its destination group, and arrives there or nowhere.
 *  - Calls fail only with errors that the state explains.
 * Checked while all threads are paused:
 *  - A server in a slot is busy; a server in no slot can be put into a map.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../kselftest.h"
#include "stress.h"
#include "stress.skel.h"

#define SERVERS		96
#define STRAY		GROUPS	/* its own group, at a port that the kernel chose */
#define CLIENTS		8	/* connections that a thread keeps open */
#define MAX_THREADS	64
#define REST		10000	/* operations between two pauses */
#define PATIENCE_MS	30000

struct server {
	pthread_mutex_t held;
	atomic_ullong cookie;	/* 0 when there is no socket, and not before it is closed */
	int fd;
	int home;		/* its group */
	int group;		/* the one that it is in now: home, STRAY, or -1 */
	bool bound;		/* in no group, but still bound to its port */
	bool left;		/* a group */
};

enum kind {
	PUT, REPLACE, DELETE, LOOKUP, WALK, OPEN, CLOSE, LEAVE, RETURN, CONNECT, SEND, RECEIVE,
	SWAP, DROP, MOVE, PROGRAM, MIGRATION, FORK, KINDS
};

static const char * const kind_names[KINDS] = {
	"put", "replace", "delete", "lookup", "walk", "open", "close", "leave", "return",
	"connect", "send", "receive", "swap", "drop", "move", "program", "migration", "fork",
};

struct worker {
	pthread_t thread;
	__u64 random;
	__u64 tried[KINDS];
	__u64 done[KINDS];
	int clients[CLIENTS];
	unsigned int next_client;
};

static struct server servers[SERVERS];
static struct worker workers[MAX_THREADS];
static int places[PLACES + 1];	/* the last one belongs to the program and is not freed */
static int spare;		/* a map for probing whether sockets are busy */
static struct stress *skel;

static __u64 seed = 1, total = 100000;
static unsigned int threads = 4;
static atomic_bool failed;
static pthread_barrier_t barrier;

/* A forked process has all sockets until it has closed them. No other thread may open or
 * close one until then.
 */
static pthread_rwlock_t fds_lock = PTHREAD_RWLOCK_INITIALIZER;

static __thread struct worker *me;

#define fail(fmt, ...) do {							\
	if (!atomic_exchange(&failed, true))					\
		ksft_print_msg("VIOLATED at line %d: " fmt "; repeat with --seed %llu "	\
			       "--ops %llu --threads %u\n", __LINE__, ##__VA_ARGS__,	\
			       seed, total, threads);				\
} while (0)

#define eventually(condition) ({						\
	int __tries = PATIENCE_MS;						\
										\
	while (!(condition) && --__tries)					\
		usleep(1000);							\
	__tries > 0;								\
})

/* xorshift64* */
static __u32 pick(__u32 below)
{
	me->random ^= me->random >> 12;
	me->random ^= me->random << 25;
	me->random ^= me->random >> 27;
	return (me->random * 0x2545f4914f6cdd1dULL >> 32) % below;
}

static void count(enum kind kind, bool done)
{
	me->tried[kind]++;
	me->done[kind] += done;
}

/* Maps. */

static int new_map(void)
{
	return bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "stress", sizeof(__u32),
			      sizeof(__u64), ENTRIES, NULL);
}

static int put(int map, __u32 index, int fd, __u64 flags)
{
	__u64 value = fd;

	return bpf_map_update_elem(map, &index, &value, flags);
}

static int get(int map, __u32 index, __u64 *cookie)
{
	return bpf_map_lookup_elem(map, &index, cookie);
}

static int pick_map(void)
{
	return places[pick(PLACES + 1)];
}

static __u32 pick_index(void)
{
	return pick(SLOTS) * STRIDE;
}

/* A slot that the program tries for a socket of this kind. */
static __u32 pick_index_for(int home)
{
	return (pick(SLOTS / FLAVOURS) * FLAVOURS + home % FLAVOURS) * STRIDE;
}

static struct server *server_of(__u64 cookie)
{
	int i;

	for (i = 0; i < SERVERS; i++)
		if (servers[i].cookie == cookie)
			return &servers[i];
	return NULL;
}

/* Check a cookie that was just read from a slot. */
static void check_seen(int map, __u32 index, __u64 cookie)
{
	__u64 again;

	if (!server_of(cookie) && !get(map, index, &again) && again == cookie)
		fail("slot %u holds cookie %llu, whose socket is closed", index, cookie);
}

/* Count the slots with a server, which the caller has locked. */
static void check_held(const struct server *server)
{
	int map, slot, found = 0, most = server->group >= 0;
	__u64 cookie;

	for (map = 0; map <= PLACES; map++)
		for (slot = 0; slot < SLOTS; slot++)
			found += !get(places[map], slot * STRIDE, &cookie) &&
				 cookie == server->cookie;
	if (found > most)
		fail("%d slots hold a socket of group %d", found, server->group);
}

/* Servers. */

static bool is_tcp(int home)
{
	return home & 1;
}

static socklen_t fill_address(struct sockaddr_in6 *in6, int home, __u16 port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)in6;

	memset(in6, 0, sizeof(*in6));
	if (home & 2) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		in6->sin6_addr = in6addr_loopback;
		return sizeof(*in6);
	}

	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*in);
}

static int open_socket(int home, int flags)
{
	return socket(home & 2 ? AF_INET6 : AF_INET,
		      (is_tcp(home) ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | flags, 0);
}

static int disconnect(int fd)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	return connect(fd, &unspec, sizeof(unspec));
}

static struct server *try_hold(struct server *server)
{
	return server && !pthread_mutex_trylock(&server->held) ? server : NULL;
}

static struct server *hold_any(void)
{
	struct server *server;

	do {
		server = try_hold(&servers[pick(SERVERS)]);
	} while (!server);
	return server;
}

static void release(struct server *server)
{
	pthread_mutex_unlock(&server->held);
}

static void close_server(struct server *server)
{
	pthread_rwlock_rdlock(&fds_lock);
	close(server->fd);
	server->fd = -1;
	pthread_rwlock_unlock(&fds_lock);
	server->cookie = 0;
	server->group = -1;
}

/* Join a group: the server's own, or one at a port that the kernel chooses. */
static bool join_group(struct server *server)
{
	bool stray = !server->bound && !pick(3);
	struct sockaddr_in6 address;
	socklen_t len = fill_address(&address, server->home, stray ? 0 : PORT + server->home);

	if ((!server->bound && bind(server->fd, (struct sockaddr *)&address, len)) ||
	    (is_tcp(server->home) && listen(server->fd, 8))) {
		/* a socket that has not completely left its group cannot join again */
		if (errno != EADDRINUSE || !server->left)
			fail("joining group %d: %s", server->home, strerror(errno));
		close_server(server);
		return false;
	}
	server->group = stray ? STRAY : server->home;
	return true;
}

static bool open_server(struct server *server)
{
	socklen_t len = sizeof(__u64);
	__u64 cookie = 0;
	int one = 1;

	pthread_rwlock_rdlock(&fds_lock);
	server->fd = open_socket(server->home, SOCK_NONBLOCK);
	pthread_rwlock_unlock(&fds_lock);
	if (server->fd < 0 ||
	    setsockopt(server->fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    getsockopt(server->fd, SOL_SOCKET, SO_COOKIE, &cookie, &len)) {
		fail("socket: %s", strerror(errno));
		return false;
	}
	server->cookie = cookie;
	server->bound = false;
	server->left = false;
	return join_group(server);
}

/* Leave the group but stay open. A UDP socket bound to an explicit port stays. */
static void leave_group(struct server *server)
{
	struct sockaddr_in6 peer;
	socklen_t len = fill_address(&peer, server->home, PORT + server->home);
	int err = 0;

	if (!is_tcp(server->home))
		err = connect(server->fd, (struct sockaddr *)&peer, len);
	if (is_tcp(server->home) && pick(2))
		err = shutdown(server->fd, pick(2) ? SHUT_RD : SHUT_RDWR);
	else if (!err)
		err = disconnect(server->fd);
	if (err)
		fail("leaving group %d: %s", server->group, strerror(errno));

	/* only an explicit port is kept */
	server->bound = server->group == server->home;
	server->left = true;
	if (is_tcp(server->home) || !server->bound)
		server->group = -1;
}

/* Returns whether the server is in the slot now. */
static bool put_server(const struct server *server, __u64 flags)
{
	__u32 index = pick(4) ? pick_index_for(server->home) : pick_index();
	int err = put(pick_map(), index, server->fd, flags);

	switch (err) {
	case 0:
	case -EBUSY:
		if (server->group < 0)
			fail("a socket of no group: %d", err);
		break;
	case -EINVAL:
		if (server->group >= 0)
			fail("a socket of group %d is refused", server->group);
		break;
	case -EEXIST:
		if (flags != BPF_NOEXIST)
			fail("EEXIST with flags %llu", flags);
		break;
	case -ENOENT:
		if (flags != BPF_EXIST)
			fail("ENOENT with flags %llu", flags);
		break;
	default:
		fail("update: %s", strerror(-err));
	}
	if (!err && !pick(4))
		check_held(server);
	return !err;
}

/* Operations. */

static void do_put(enum kind kind, __u64 flags)
{
	struct server *server = hold_any();

	if (server->fd < 0)
		count(OPEN, open_server(server));
	else
		count(kind, put_server(server, flags));
	release(server);
}

static void do_delete(void)
{
	__u32 index = pick_index();
	int err = bpf_map_delete_elem(pick_map(), &index);

	if (err && err != -ENOENT)
		fail("delete: %s", strerror(-err));
	count(DELETE, !err);
}

static bool look_up(int map, __u32 index)
{
	__u64 cookie;
	int err = get(map, index, &cookie);

	if (!err)
		check_seen(map, index, cookie);
	else if (err != -ENOENT)
		fail("lookup: %s", strerror(-err));
	return !err;
}

static void do_walk(void)
{
	__u32 index = pick_index() - pick(4), next;
	int map = pick_map(), steps = 8, err;
	bool found = false;

	/* any invalid index stands for the beginning */
	while (steps--) {
		err = bpf_map_get_next_key(map, &index, &next);
		if (err || next != (index < ENTRIES ? index + 1 : 0)) {
			fail("key after %u: %u, %s", index, next, strerror(-err));
			break;
		}
		found |= look_up(map, next);
		index = next;
	}
	count(WALK, found);
}

static void do_close(void)
{
	struct server *server = hold_any();
	bool open = server->fd >= 0;

	if (open)
		close_server(server);
	count(CLOSE, open);
	release(server);
}

/* One leaves its group, one comes back, or one does both. */
static void do_leave(void)
{
	struct server *server = hold_any();

	if (server->group >= 0) {
		leave_group(server);
		count(LEAVE, server->group < 0);
		if (!pick(4))
			check_held(server);
		if (!pick(4))
			put_server(server, BPF_ANY);
	}
	if (server->fd < 0)
		count(OPEN, open_server(server));
	else if (server->group < 0 && pick(2))
		count(RETURN, join_group(server));
	release(server);
}

/* Half of the packets go to the port of a group, the others are assigned to a socket of it. */
static __u16 pick_port(void)
{
	return pick(2) ? PORT : FRONT;
}

/* One of this worker's connections, each of which replaces an older one. */
static void do_connect(void)
{
	int *client = &me->clients[me->next_client++ % CLIENTS];
	int group = pick(GROUPS / 2) * 2 + 1;
	struct linger reset = { .l_onoff = 1 };
	struct sockaddr_in6 address;
	socklen_t len = fill_address(&address, group, pick_port() + group);

	if (*client >= 0)
		close(*client);
	*client = open_socket(group, SOCK_NONBLOCK);
	setsockopt(*client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (connect(*client, (struct sockaddr *)&address, len) && errno != EINPROGRESS &&
	    errno != ECONNREFUSED)
		fail("connect: %s", strerror(errno));
	count(CONNECT, send(*client, &group, sizeof(group), MSG_NOSIGNAL) > 0);
}

static void do_send(void)
{
	int group = pick(GROUPS / 2) * 2;
	struct sockaddr_in6 address;
	socklen_t len = fill_address(&address, group, pick_port() + group);
	int client = open_socket(group, SOCK_NONBLOCK);

	count(SEND, sendto(client, &group, sizeof(group), 0, (struct sockaddr *)&address,
			   len) > 0);
	close(client);
}

static void check_packet(const struct server *server, int group)
{
	if (group != server->group)
		fail("a packet for group %d reached group %d", group, server->group);
}

static void do_receive(void)
{
	struct server *server = hold_any();
	struct linger reset = { .l_onoff = 1 };
	int fd, group, turns = 64, got = 0;

	/* bounded, because other threads send */
	if (server->fd < 0 || server->group < 0) {
		/* nothing can be in its queue */
	} else if (is_tcp(server->home)) {
		while (turns--) {
			fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
			if (fd < 0)
				break;
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			if (recv(fd, &group, sizeof(group), 0) == sizeof(group)) {
				check_packet(server, group);
				got++;
			}
			close(fd);
		}
	} else {
		while (turns-- && recv(server->fd, &group, sizeof(group), 0) == sizeof(group)) {
			check_packet(server, group);
			got++;
		}
	}
	count(RECEIVE, got);
	release(server);
}

static void do_swap(void)
{
	__u32 index = pick(PLACES);
	int err = bpf_map_update_elem(bpf_map__fd(skel->maps.stress_outer), &index,
				      &places[pick(PLACES)], BPF_ANY);

	if (err)
		fail("swap: %s", strerror(-err));
	count(SWAP, !err);
}

/* Lock a listener that is in a map. */
static struct server *hold_listener(int map)
{
	struct server *server;
	__u64 cookie;
	int slot;

	for (slot = 0; slot < SLOTS; slot++) {
		if (get(map, slot * STRIDE, &cookie))
			continue;
		server = try_hold(server_of(cookie));
		if (server && server->group >= 0 && is_tcp(server->home))
			return server;
		if (server)
			release(server);
	}
	return NULL;
}

/* Close the map of a place, and move one of its sockets to another map while it is freed. */
static void do_drop(void)
{
	int place = places[pick(PLACES)], map = new_map();
	struct server *server = hold_listener(place);

	if (map < 0)
		fail("create: %s", strerror(-map));
	count(DROP, dup3(map, place, O_CLOEXEC) == place);
	close(map);
	if (!server)
		return;

	/* freeing starts later */
	usleep(pick(2000));
	leave_group(server);
	if (join_group(server)) {
		count(MOVE, put_server(server, BPF_ANY));
		check_held(server);
	}
	release(server);
}

static void do_program(void)
{
	int prog = bpf_program__fd(skel->progs.steer), option = SO_ATTACH_REUSEPORT_EBPF;
	struct server *server = hold_any();

	if (!pick(8))
		option = SO_DETACH_REUSEPORT_BPF;
	count(PROGRAM, server->fd >= 0 &&
	      !setsockopt(server->fd, SOL_SOCKET, option, &prog, sizeof(prog)));
	release(server);
}

static void do_migration(void)
{
	int fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC);

	count(MIGRATION, write(fd, pick(2) ? "1" : "0", 1) == 1);
	close(fd);
}

#define HEIRS	4

/* Run in the forked process, with the sockets that only it has now. */
static __noreturn void inherit(struct server **heirs, int ready)
{
	int i, j;

	for (i = 0; i < SERVERS; i++) {
		for (j = 0; j < HEIRS && heirs[j] != &servers[i]; j++)
			;
		if (j == HEIRS && servers[i].fd >= 0)
			close(servers[i].fd);
	}
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (i = 0; i < 4 * HEIRS; i++)
		if (heirs[i % HEIRS])
			put_server(heirs[i % HEIRS], BPF_ANY);
	_exit(failed);
}

static void do_fork(void)
{
	struct server *heirs[HEIRS] = {};
	int i, status, ready[2];
	bool murder = pick(2);
	pid_t child;
	char c;

	for (i = 0; i < HEIRS; i++) {
		heirs[i] = try_hold(&servers[pick(SERVERS)]);
		if (heirs[i] && heirs[i]->fd < 0) {
			release(heirs[i]);
			heirs[i] = NULL;
		}
	}
	if (pipe2(ready, O_CLOEXEC)) {
		fail("pipe: %s", strerror(errno));
		return;
	}

	pthread_rwlock_wrlock(&fds_lock);
	child = fork();
	if (!child)
		inherit(heirs, ready[1]);
	close(ready[1]);
	if (child < 0 || read(ready[0], &c, 1) != 1)
		fail("fork: %s", strerror(errno));
	pthread_rwlock_unlock(&fds_lock);
	close(ready[0]);

	pthread_rwlock_rdlock(&fds_lock);
	for (i = 0; i < HEIRS; i++) {
		if (!heirs[i])
			continue;
		close(heirs[i]->fd);
		heirs[i]->fd = -1;
	}
	pthread_rwlock_unlock(&fds_lock);
	if (murder)
		kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child ||
	    !((WIFEXITED(status) && !WEXITSTATUS(status)) ||
	      (murder && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)))
		fail("a forked process: status %#x", status);
	for (i = 0; i < HEIRS; i++) {
		if (!heirs[i])
			continue;
		heirs[i]->cookie = 0;
		heirs[i]->group = -1;
		release(heirs[i]);
	}
	count(FORK, true);
}

static void do_something(void)
{
	switch (pick(200)) {
	case 0 ... 39:
		return do_put(PUT, pick(4) ? BPF_ANY : BPF_NOEXIST);
	case 40 ... 54:
		return do_put(REPLACE, BPF_EXIST);
	case 55 ... 62:
		return do_delete();
	case 63 ... 99:
		return count(LOOKUP, look_up(pick_map(), pick_index()));
	case 100 ... 104:
		return do_walk();
	case 105 ... 119:
		return do_close();
	case 120 ... 134:
		return do_leave();
	case 135 ... 154:
		return do_connect();
	case 155 ... 174:
		return do_send();
	case 175 ... 193:
		return do_receive();
	case 194:
		return do_drop();
	case 195 ... 196:
		return pick(4) ? do_program() : do_swap();
	case 197:
		return pick(4) ? do_program() : do_migration();
	case 198:
		return pick(8) ? do_receive() : do_fork();
	default:
		return do_swap();
	}
}

/* Pauses: no server is locked. */

/* The maps of this program, including those that only the outer map references. */
static int all_maps(int *maps, int room)
{
	struct bpf_map_info info;
	__u32 id = 0, len;
	int fd, n = 0;

	while (n < room && !bpf_map_get_next_id(id, &id)) {
		fd = bpf_map_get_fd_by_id(id);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		if (!bpf_map_get_info_by_fd(fd, &info, &len) &&
		    info.type == BPF_MAP_TYPE_REUSEPORT_SOCKARRAY &&
		    !strncmp(info.name, "stress", 6))
			maps[n++] = fd;
		else
			close(fd);
	}
	return n;
}

static bool maps_are_gone(void)
{
	int map;

	if (!all_maps(&map, 1))
		return true;
	close(map);
	return false;
}

static int slots_taken(__u32 step, int *taken)
{
	int maps[64], n = all_maps(maps, 64), total_taken = 0;
	struct server *server;
	__u64 cookie;
	__u32 index;

	while (n--) {
		for (index = 0; index < ENTRIES; index += step) {
			if (get(maps[n], index, &cookie))
				continue;
			total_taken++;
			server = server_of(cookie);
			if (!server)
				fail("at rest a slot holds cookie %llu, of no socket", cookie);
			else if (taken[server - servers]++)
				fail("at rest cookie %llu is in two slots", cookie);
		}
		close(maps[n]);
	}
	return total_taken;
}

static void check_at_rest(void)
{
	int i, err, want, tries, taken[SERVERS] = {};
	const struct server *server;
	__u32 zero = 0;

	slots_taken(STRIDE, taken);
	for (i = 0; i < SERVERS && !failed; i++) {
		server = &servers[i];
		if (server->group < 0 && taken[i])
			fail("at rest a socket of no group is in a slot");
		if (server->fd < 0)
			continue;

		want = server->group < 0 ? -EINVAL : taken[i] ? -EBUSY : 0;
		err = put(spare, 0, server->fd, BPF_ANY);
		/* a closed map releases its sockets when it is freed */
		for (tries = PATIENCE_MS; err == -EBUSY && !want && tries; tries--) {
			usleep(1000);
			err = put(spare, 0, server->fd, BPF_ANY);
		}
		if (err != want)
			fail("at rest a socket in %d slots: %d, expected %d", taken[i], err, want);
		if (!err)
			bpf_map_delete_elem(spare, &zero);
	}
}

static void *work(void *arg)
{
	__u64 share = total / threads, i;

	me = arg;
	for (i = 0; i < share; i++) {
		if (!failed)
			do_something();
		if (i % (REST / threads) && i + 1 < share)
			continue;
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD && !failed)
			check_at_rest();
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

/* The final checks. */

#define CACHES	4

struct memory {
	char sockets[512];
	long objects[CACHES];	/* -1: this kernel does not say */
};

static void measure(struct memory *memory)
{
	static const char * const caches[CACHES] = { "TCP", "TCPv6", "UDP", "UDPv6" };
	static const char * const stats[] = { "/proc/net/sockstat", "/proc/net/sockstat6" };
	char line[256], path[64];
	unsigned int i;
	FILE *file;

	memset(memory, 0, sizeof(*memory));
	for (i = 0; i < ARRAY_SIZE(stats); i++) {
		file = fopen(stats[i], "r");
		while (file && fgets(line, sizeof(line), file)) {
			/* the number of pages includes those cached per CPU */
			line[strcspn(line, "\n")] = 0;
			if (strstr(line, " mem "))
				*strstr(line, " mem ") = 0;
			if (!strncmp(line, "TCP", 3) || !strncmp(line, "UDP", 3)) {
				strcat(memory->sockets, line);
				strcat(memory->sockets, "; ");
			}
		}
		if (file)
			fclose(file);
	}

	for (i = 0; i < CACHES; i++) {
		memory->objects[i] = -1;
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", caches[i]);
		file = fopen(path, "w");
		if (file) {
			fputs("1", file);
			fclose(file);
		}
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/objects", caches[i]);
		file = fopen(path, "r");
		if (file) {
			if (fscanf(file, "%ld", &memory->objects[i]) != 1)
				memory->objects[i] = -1;
			fclose(file);
		}
	}
}

static bool same_memory(const struct memory *before, struct memory *after)
{
	int i;

	measure(after);
	for (i = 0; i < CACHES; i++)
		if (after->objects[i] > before->objects[i])
			return false;
	return !strcmp(before->sockets, after->sockets);
}

static void print_memory(const char *when, const struct memory *memory)
{
	ksft_print_msg("%s: %s%ld TCP, %ld TCPv6, %ld UDP, %ld UDPv6 objects\n", when,
		       memory->sockets, memory->objects[0], memory->objects[1],
		       memory->objects[2], memory->objects[3]);
}

static bool tell_kmemleak(const char *what)
{
	int fd = open("/sys/kernel/debug/kmemleak", O_WRONLY | O_CLOEXEC);
	bool told = fd >= 0 && write(fd, what, strlen(what)) > 0;

	if (fd >= 0)
		close(fd);
	return told;
}

static void check_kmemleak(void)
{
	char line[256];
	int lines = 0;
	FILE *file;

	if (!tell_kmemleak("scan")) {
		ksft_test_result_skip("kmemleak: not in this kernel, or debugfs not mounted\n");
		return;
	}
	/* kmemleak reports objects that are 5 s old and were unreferenced in two scans */
	sleep(6);
	tell_kmemleak("scan");
	tell_kmemleak("scan");
	file = fopen("/sys/kernel/debug/kmemleak", "r");
	while (file && fgets(line, sizeof(line), file))
		if (lines++ < 40)
			ksft_print_msg("%s", line);
	if (file)
		fclose(file);
	ksft_test_result(!lines, "kmemleak\n");
}

static void setup(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	__u32 i;
	int fd;

	if (unshare(CLONE_NEWNET))
		ksft_exit_skip("a network namespace: %s\n", strerror(errno));
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		ksft_exit_fail_msg("lo: %s\n", strerror(errno));
	close(fd);
	tell_kmemleak("clear");

	for (i = 0; i < SERVERS; i++) {
		pthread_mutex_init(&servers[i].held, NULL);
		servers[i].fd = -1;
		servers[i].home = i % GROUPS;
		servers[i].group = -1;
	}
}

static void setup_maps(void)
{
	int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	__u32 i;

	skel = stress__open_and_load();
	if (!skel)
		ksft_exit_fail_msg("the programs do not load: %s\n", strerror(errno));
	skel->links.assign = bpf_program__attach_netns(skel->progs.assign, netns);
	if (!skel->links.assign)
		ksft_exit_fail_msg("assigning sockets to packets: %s\n", strerror(errno));
	close(netns);
	places[PLACES] = bpf_map__fd(skel->maps.stress_direct);
	spare = new_map();
	for (i = 0; i < PLACES; i++) {
		places[i] = new_map();
		if (places[i] < 0 || spare < 0)
			ksft_exit_fail_msg("a map: %s\n", strerror(-places[i]));
		bpf_map_update_elem(bpf_map__fd(skel->maps.stress_outer), &i, &places[i], BPF_ANY);
	}
}

static void run(void)
{
	unsigned int i, c;

	pthread_barrier_init(&barrier, NULL, threads);
	for (i = 0; i < threads; i++) {
		/* the state of the generator must not be 0 */
		workers[i].random = (seed * MAX_THREADS + i) * 0x9e3779b97f4a7c15ULL | 1;
		memset(workers[i].clients, -1, sizeof(workers[i].clients));
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			ksft_exit_fail_msg("a thread: %s\n", strerror(errno));
	}
	for (i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		for (c = 0; c < CLIENTS; c++)
			if (workers[i].clients[c] >= 0)
				close(workers[i].clients[c]);
	}
}

/* Check that every kind of operation, and steering, succeeded at least once. */
static bool print_counts(void)
{
	bool all = skel->bss->selected && skel->bss->refused && skel->bss->assigned;
	__u64 tried, done, sum = 0;
	unsigned int i, k;

	for (k = 0; k < KINDS; k++) {
		tried = 0;
		done = 0;
		for (i = 0; i < threads; i++) {
			tried += workers[i].tried[k];
			done += workers[i].done[k];
		}
		sum += tried;
		all &= !!done;
		ksft_print_msg("%-10s %9llu, %9llu with effect\n", kind_names[k], tried, done);
	}
	ksft_print_msg("%-10s %9llu; selected %llu, assigned %llu, migrated %llu, none %llu\n",
		       "operations", sum, skel->bss->selected, skel->bss->assigned,
		       skel->bss->migrated, skel->bss->refused);
	return all;
}

/* The number of operations that includes all kinds, even the rarest. */
#define ENOUGH	20000

static __u64 parse(const char *text)
{
	char *end;
	__u64 n = strtoull(text, &end, 0);

	if (*end || end == text)
		ksft_exit_fail_msg("%s is not a number\n", text);
	return n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "ops", required_argument, NULL, 'o' },
		{ "threads", required_argument, NULL, 't' },
		{}
	};
	int option, taken[SERVERS] = {};
	struct memory before, after;
	unsigned int i;
	bool same, all;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			seed = parse(optarg);
			break;
		case 'o':
			total = parse(optarg);
			break;
		case 't':
			threads = parse(optarg);
			break;
		default:
			ksft_exit_fail_msg("usage: %s [--seed N] [--ops N] [--threads N]\n",
					   argv[0]);
		}
	}
	if (!threads || threads > MAX_THREADS)
		ksft_exit_fail_msg("--threads is 1 to %d\n", MAX_THREADS);

	setvbuf(stdout, NULL, _IOLBF, 0);
	ksft_print_header();
	ksft_set_plan(6);
	setup();
	measure(&before);
	setup_maps();

	ksft_print_msg("seed %llu, %llu operations, %u threads\n", seed, total, threads);
	run();
	all = print_counts();
	ksft_test_result(!failed, "operations\n");
	if (total < ENOUGH)
		ksft_test_result_skip("all kinds of operations: too few to say\n");
	else
		ksft_test_result(all, "all kinds of operations\n");

	for (i = 0; i < SERVERS; i++)
		if (servers[i].fd >= 0)
			close_server(&servers[i]);
	ksft_test_result(!slots_taken(1, taken), "slots are empty\n");

	for (i = 0; i < PLACES; i++)
		close(places[i]);
	close(spare);
	stress__destroy(skel);
	ksft_test_result(eventually(maps_are_gone()), "maps are gone\n");

	same = eventually(same_memory(&before, &after));
	print_memory("before", &before);
	print_memory("after", &after);
	ksft_test_result(same, "memory of sockets\n");
	check_kmemleak();
	ksft_finished();
}
