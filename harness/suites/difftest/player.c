// SPDX-License-Identifier: GPL-2.0
/* Plays sequences of calls in a guest and writes down what each call said.
 *
 * usage: player SEQUENCES RESULTS
 *
 * SEQUENCES holds a call a line, as in the table at the end of this file, and a line
 * "sequence" before each sequence. RESULTS gets a line for each of these lines. What
 * differs between two boots of one kernel is not written down: fds, cookies and ports
 * are told by the number of the socket they belong to, and who received a packet only
 * where a program made the choice, not where the kernel's hash did.
 *
 * Nothing is carried over from one sequence to the next.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/filter.h>

#define SOCKETS		8
#define MAPS		3
#define PROGS		4
#define SOCKMAP_SLOTS	2
#define PORTS		4
#define FIRST_PORT	10000
#define SETS_OF_PORTS	13000
#define HELD		64
#define BATCH		4
#define WORDS		12
#define ENOTSUPP	524

/* What the programs are told, and what they tell. */
struct control {
	__u32 slot;		/* where a packet goes */
	__u32 heir;		/* where a connection goes whose listener has stopped */
	__u32 ran;
	__s32 result;
};

static int sockets[SOCKETS], maps[MAPS], entries[MAPS], value_sizes[MAPS], progs[PROGS];
static int sockmap, control;
static bool has_batches;
static int held[HELD], hung[HELD], held_count, hung_count;
static __u64 stopped[HELD];	/* cookies of listeners that stopped */
static unsigned int first_port = FIRST_PORT, packets;
static int migrate_sysctl;
static FILE *results;

static void die(const char *what)
{
	fprintf(stderr, "player: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(results, format, args);
	va_end(args);
}

static void say_result(int ret)
{
	say("%d", ret < 0 ? -errno : ret);
}

/* The bpf system call. */

static int sys_bpf(int cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

static int bpf_create(int type, __u32 key_size, __u32 value_size, __u32 max_entries, __u32 flags)
{
	return sys_bpf(BPF_MAP_CREATE, &(union bpf_attr){
		.map_type = type, .key_size = key_size, .value_size = value_size,
		.max_entries = max_entries, .map_flags = flags });
}

static int bpf_elem(int cmd, int map, const __u32 *key, void *value, __u64 flags)
{
	return sys_bpf(cmd, &(union bpf_attr){
		.map_fd = map, .key = (__u64)key, .value = (__u64)value, .flags = flags });
}

static void get_control(struct control *c)
{
	if (bpf_elem(BPF_MAP_LOOKUP_ELEM, control, &(__u32){ 0 }, c, 0))
		die("reading from the programs");
}

static void set_control(const struct control *c)
{
	if (bpf_elem(BPF_MAP_UPDATE_ELEM, control, &(__u32){ 0 }, (void *)c, 0))
		die("writing to the programs");
}

/* From here on the programs report on the packet that is sent next. */
static void aim(__u32 slot)
{
	struct control c;

	get_control(&c);
	c.slot = slot;
	c.ran = 0;
	c.result = 0;
	set_control(&c);
}

/* The program selects the socket in a slot of @map, and drops where there is none, so
 * that the choice never falls back to the hash.
 */
static int load(int map, int attach_type)
{
	const struct bpf_insn insns[] = {
		BPF_MOV64_REG(BPF_REG_6, BPF_REG_1),
		BPF_LD_IMM64_RAW_FULL(BPF_REG_7, BPF_PSEUDO_MAP_VALUE, 0, 0, control, 0),
		BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_7, offsetof(struct control, ran)),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, 1),
		BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_1, offsetof(struct control, ran)),
		BPF_LD_MAP_FD(BPF_REG_2, map),
		BPF_MOV64_REG(BPF_REG_3, BPF_REG_7),
		BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_6,
			    offsetof(struct sk_reuseport_md, migrating_sk)),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, 1),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, offsetof(struct control, heir)),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_6),
		BPF_MOV64_IMM(BPF_REG_4, 0),
		BPF_EMIT_CALL(BPF_FUNC_sk_select_reuseport),
		BPF_STX_MEM(BPF_W, BPF_REG_7, BPF_REG_0, offsetof(struct control, result)),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_0),
		BPF_MOV64_IMM(BPF_REG_0, SK_PASS),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_1, 0, 1),
		BPF_MOV64_IMM(BPF_REG_0, SK_DROP),
		BPF_EXIT_INSN(),
	};

	return sys_bpf(BPF_PROG_LOAD, &(union bpf_attr){
		.prog_type = BPF_PROG_TYPE_SK_REUSEPORT, .expected_attach_type = attach_type,
		.insns = (__u64)insns, .insn_cnt = sizeof(insns) / sizeof(*insns),
		.license = (__u64)"GPL" });
}

/* The words of a call. */

struct word { const char *name; int a, b, c; };

static const struct word kinds[] = {
	{ "tcp4", AF_INET, SOCK_STREAM }, { "tcp6", AF_INET6, SOCK_STREAM },
	{ "udp4", AF_INET, SOCK_DGRAM }, { "udp6", AF_INET6, SOCK_DGRAM },
	{ "unix", AF_UNIX, SOCK_STREAM }, { "unixgram", AF_UNIX, SOCK_DGRAM },
	{ "raw4", AF_INET, SOCK_RAW, IPPROTO_UDP }, { "raw6", AF_INET6, SOCK_RAW, IPPROTO_TCP },
	{ "rawmptcp4", AF_INET, SOCK_RAW, IPPROTO_MPTCP }, { "packet", AF_PACKET, SOCK_DGRAM },
	{ }
};

static const struct word places[] = {
	{ "lo4", AF_INET, false }, { "any4", AF_INET, true },
	{ "lo6", AF_INET6, false }, { "any6", AF_INET6, true },
	{ }
};

static const struct word *word(const struct word *list, const char *name)
{
	for (; list->name; list++)
		if (!strcmp(list->name, name))
			return list;
	errno = EINVAL;
	die(name);
	return NULL;
}

static int number(const char *text, int limit)
{
	int n = atoi(text);

	if (n >= 0 && n < limit)
		return n;
	errno = ERANGE;
	die(text);
	return 0;
}

static int *socket_of(const char *text)
{
	return &sockets[number(text, SOCKETS)];
}

static int map_of(const char *text)
{
	return maps[number(text, MAPS)];
}

static socklen_t address(struct sockaddr_storage *ss, const char *place, const char *port)
{
	const struct word *where = word(places, place);
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = where->a;
	/* the port sits at the same place in both */
	in->sin_port = htons(first_port + number(port, PORTS));
	if (where->a == AF_INET) {
		in->sin_addr.s_addr = htonl(where->b ? INADDR_ANY : INADDR_LOOPBACK);
		return sizeof(*in);
	}
	in6->sin6_addr = where->b ? in6addr_any : in6addr_loopback;
	return sizeof(*in6);
}

/* What is known of a socket. */

static int option(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) ? -1 : value;
}

static __u64 cookie_of(int fd)
{
	__u64 cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) ? 0 : cookie;
}

static void say_cookie(__u64 cookie)
{
	int i;

	for (i = 0; i < SOCKETS; i++) {
		if (sockets[i] >= 0 && cookie && cookie_of(sockets[i]) == cookie) {
			say("socket %d", i);
			return;
		}
	}
	for (i = 0; i < held_count; i++)
		if (cookie && cookie_of(held[i]) == cookie)
			say("child ");
	say(cookie ? "stranger" : "no cookie");
}

static bool is_in(int map, int slots, int fd)
{
	__u64 cookie, mine = cookie_of(fd);
	__u32 i;

	for (i = 0; i < (__u32)slots; i++)
		if (!bpf_elem(BPF_MAP_LOOKUP_ELEM, map, &i, &cookie, 0) && cookie == mine)
			return true;
	return false;
}

/* A listener that stops leaves its group, until it listens with SO_REUSEPORT again. */
static void remember(int fd, bool stops)
{
	__u64 cookie = cookie_of(fd);
	int i;

	for (i = 0; i < HELD - 1 && stopped[i] && stopped[i] != cookie; i++)
		;
	if (stops || stopped[i] == cookie)
		stopped[i] = stops ? cookie : ~0ULL;
}

static bool has_stopped(int fd)
{
	__u64 cookie = cookie_of(fd);
	int i;

	for (i = 0; i < HELD; i++)
		if (cookie && stopped[i] == cookie)
			return true;
	return false;
}

static bool is_listener(int fd)
{
	return option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
}

/* Facts that the rules on allowed differences refer to. */
static void say_facts(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int i;

	if (fd < 0)
		return;
	if (!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		say(info.tcpi_state == TCP_LISTEN ? " listening" : " not-listening");
	if (has_stopped(fd))
		say(" left-group");
	if (is_in(sockmap, SOCKMAP_SLOTS, fd))
		say(" in-sockmap");
	for (i = 0; i < MAPS; i++)
		if (is_in(maps[i], entries[i], fd))
			say(" in-slot");
}

/* Sockets. */

static void be_abrupt(int fd)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Accept all waiting connections, and report their listeners unless @quiet. */
static void gather(bool quiet)
{
	int i, fd;

	for (i = 0; i < SOCKETS; i++) {
		if (sockets[i] < 0 || !is_listener(sockets[i]) ||
		    option(sockets[i], SOL_SOCKET, SO_DOMAIN) == AF_UNIX)
			continue;
		while ((fd = accept4(sockets[i], NULL, NULL, SOCK_NONBLOCK)) >= 0) {
			if (!quiet)
				say("at %d ", i);
			be_abrupt(fd);
			if (held_count < HELD)
				held[held_count++] = fd;
			else
				close(fd);
		}
	}
}

/* How the program that was asked, if any was, judged. Returns whether there was one. */
static bool say_program(void)
{
	struct control c;

	get_control(&c);
	if (c.ran)
		say(" program %d", c.result);
	return c.ran;
}

static int connect_now(int fd, struct sockaddr_storage *ss, socklen_t len)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };

	if (!connect(fd, (struct sockaddr *)ss, len))
		return 0;
	if (errno != EINPROGRESS)
		return -1;
	if (poll(&ready, 1, 500) != 1)
		errno = ETIMEDOUT;
	else
		errno = option(fd, SOL_SOCKET, SO_ERROR);
	return errno ? -1 : 0;
}

static void open_call(char **arg)
{
	const struct word *kind = word(kinds, arg[1]);
	int *fd = socket_of(arg[0]);

	close_fd(fd);
	*fd = socket(kind->a, kind->b | SOCK_NONBLOCK, kind->c);
	say_result(*fd < 0 ? -1 : 0);
	be_abrupt(*fd);
}

static void reuseport_call(char **arg)
{
	int on = atoi(arg[1]);

	say_result(setsockopt(*socket_of(arg[0]), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
}

static void bind_call(char **arg)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, arg[1], arg[2]);

	say_result(bind(*socket_of(arg[0]), (struct sockaddr *)&ss, len));
}

static void listen_call(char **arg)
{
	int fd = *socket_of(arg[0]);
	int ret = listen(fd, 128);

	say_result(ret);
	if (!ret && option(fd, SOL_SOCKET, SO_REUSEPORT) == 1)
		remember(fd, false);
}

static void shutdown_call(char **arg)
{
	int fd = *socket_of(arg[0]);
	bool listened = is_listener(fd);
	int ret = shutdown(fd, atoi(arg[1]));

	say_result(ret);
	if (listened && !is_listener(fd))
		remember(fd, true);
}

static void connect_call(char **arg)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, arg[1], arg[2]);

	gather(false);
	say_result(connect_now(*socket_of(arg[0]), &ss, len));
	gather(true);
}

static void disconnect_call(char **arg)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	int fd = *socket_of(arg[0]);
	bool listened = is_listener(fd);

	say_result(connect(fd, &unspec, sizeof(unspec)));
	if (listened && !is_listener(fd))
		remember(fd, true);
}

static void close_call(char **arg)
{
	int *fd = socket_of(arg[0]);

	say_result(close(*fd));
	*fd = -1;
}

static void dup_call(char **arg)
{
	int fd = dup(*socket_of(arg[0]));
	int error = errno;

	close_fd(socket_of(arg[1]));
	*socket_of(arg[1]) = fd;
	errno = error;
	say_result(fd < 0 ? -1 : 0);
}

/* A connection that was accepted earlier gets a number. */
static void take_call(char **arg)
{
	close_fd(socket_of(arg[0]));
	if (held_count)
		*socket_of(arg[0]) = held[--held_count];
	say("%d", held_count);
}

static void gather_call(char **arg)
{
	gather(false);
}

static void sysctl_call(char **arg)
{
	char path[64];
	int fd;

	/* Whom the kernel chooses as heir, it chooses by hash. */
	if (!strcmp(arg[0], "tcp_migrate_req"))
		gather(false);
	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", arg[0]);
	fd = open(path, O_WRONLY);
	say_result(write(fd, arg[1], strlen(arg[1])) < 0 ? -1 : 0);
	close(fd);
	if (!strcmp(arg[0], "tcp_migrate_req"))
		migrate_sysctl = atoi(arg[1]);
}

/* Maps. */

/* The kernel frees a map's sockets in a work item: on one CPU, that runs as soon as no other
 * task is runnable.
 */
static int drop(int *map)
{
	int ret = close(*map);
	int error = errno;

	*map = -1;
	usleep(2000);
	errno = error;
	return ret;
}

static void map_call(char **arg)
{
	int i = number(arg[0], MAPS);

	if (maps[i] >= 0)
		drop(&maps[i]);
	value_sizes[i] = atoi(arg[2]);
	entries[i] = atoi(arg[3]);
	maps[i] = bpf_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, atoi(arg[1]),
			     value_sizes[i], entries[i], strtoul(arg[4], NULL, 0));
	say_result(maps[i] < 0 ? -1 : 0);
}

static void drop_call(char **arg)
{
	say_result(drop(&maps[number(arg[0], MAPS)]));
}

static void freeze_call(char **arg)
{
	say_result(sys_bpf(BPF_MAP_FREEZE, &(union bpf_attr){ .map_fd = map_of(arg[0]) }));
}

static int update(int map, const char *index, long long value, const char *flags)
{
	__u32 key = strtoul(index, NULL, 0);

	return bpf_elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, strtoull(flags, NULL, 0));
}

static void update_call(char **arg)
{
	int *fd = socket_of(arg[2]);

	say_result(update(map_of(arg[0]), arg[1], *fd, arg[3]));
	say_facts(*fd);
}

/* As update, with any number in the place of a socket's fd. */
static void updatefd_call(char **arg)
{
	say_result(update(map_of(arg[0]), arg[1], strtoll(arg[2], NULL, 0), arg[3]));
}

static void delete_call(char **arg)
{
	say_result(bpf_elem(BPF_MAP_DELETE_ELEM, map_of(arg[0]),
			    &(__u32){ strtoul(arg[1], NULL, 0) }, NULL, 0));
}

static void look(int cmd, int map, __u32 index, __u64 flags)
{
	__u64 cookie[2] = {};

	if (bpf_elem(cmd, map, &index, cookie, flags))
		say_result(-1);
	else
		say_cookie(cookie[0]);
}

static void lookup_call(char **arg)
{
	look(BPF_MAP_LOOKUP_ELEM, map_of(arg[0]), strtoul(arg[1], NULL, 0),
	     strtoull(arg[2], NULL, 0));
}

static void pop_call(char **arg)
{
	look(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map_of(arg[0]), strtoul(arg[1], NULL, 0), 0);
}

static void next_call(char **arg)
{
	__u32 key = strtoul(arg[1], NULL, 0), next = 0;
	int err;

	err = bpf_elem(BPF_MAP_GET_NEXT_KEY, map_of(arg[0]), *arg[1] == '-' ? NULL : &key, &next,
		       0);
	say_result(err);
	if (!err)
		say(" %u", next);
}

static void dump_call(char **arg)
{
	__u32 m, i;

	for (m = 0; m < MAPS; m++) {
		for (i = 0; i < (__u32)entries[m]; i++) {
			look(BPF_MAP_LOOKUP_ELEM, maps[m], i, 0);
			say(", ");
		}
	}
}

static void sockmap_call(char **arg)
{
	int *fd = socket_of(arg[1]);

	say_result(update(sockmap, arg[0], *fd, "0"));
	say_facts(*fd);
}

static void sockmapdel_call(char **arg)
{
	say_result(bpf_elem(BPF_MAP_DELETE_ELEM, sockmap, &(__u32){ strtoul(arg[0], NULL, 0) },
			    NULL, 0));
}

/* Batches. A kernel that has none is asked for one element after the other, which has to
 * come to the same: what precedes an error is done and counted, what follows is not.
 */

struct batch {
	__u32 map, index, count;
	__u32 keys[BATCH];
	__u64 values[BATCH];
	__u64 flags;
};

static int sys_batch(int cmd, struct batch *b)
{
	union bpf_attr attr = { .batch = {
		.map_fd = b->map, .keys = (__u64)b->keys, .values = (__u64)b->values,
		.in_batch = (__u64)&b->index, .out_batch = (__u64)&b->index,
		.count = b->count, .elem_flags = b->flags } };
	int ret = sys_bpf(cmd, &attr);

	/* not written to, where the call as such is wrong */
	b->count = ret && attr.batch.count == b->count ? 0 : attr.batch.count;
	return ret;
}

static void find_batches(void)
{
	int map = bpf_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 8, 1, 0);
	struct batch b = { .map = map, .count = 1 };

	/* the slot is empty */
	has_batches = sys_batch(BPF_MAP_DELETE_BATCH, &b) && errno != ENOTSUPP;
	close(map);
}

static void say_batch(int ret, const struct batch *b)
{
	say_result(ret);
	say(" %u", b->count);
}

/* INDEX [SOCKET], up to the first - in the place of an index. */
static void read_batch(struct batch *b, char **arg, int size, int value_size)
{
	int *values = (int *)b->values;
	int i;

	for (i = 0; i < BATCH && strcmp(arg[i * size], "-"); i++) {
		b->keys[i] = strtoul(arg[i * size], NULL, 0);
		if (size == 1)
			continue;
		if (value_size == sizeof(__u64))
			b->values[i] = *socket_of(arg[i * size + 1]);
		else
			values[i] = *socket_of(arg[i * size + 1]);
	}
	b->count = i;
}

static void batchupdate_call(char **arg)
{
	int m = number(arg[0], MAPS);
	struct batch b = { .map = maps[m], .flags = strtoull(arg[1], NULL, 0) };
	int ret, value_size = value_sizes[m];
	char *value = (char *)b.values;
	__u32 i;

	read_batch(&b, arg + 2, 2, value_size);
	if (has_batches) {
		ret = sys_batch(BPF_MAP_UPDATE_BATCH, &b);
	} else {
		for (ret = 0, i = 0; i < b.count && !ret; i++)
			ret = bpf_elem(BPF_MAP_UPDATE_ELEM, b.map, &b.keys[i],
				       value + i * value_size, b.flags);
		b.count = ret ? i - 1 : i;
	}
	say_batch(ret, &b);
	for (i = 0; i < BATCH && strcmp(arg[2 * i + 2], "-"); i++)
		say_facts(*socket_of(arg[2 * i + 3]));
}

static void batchdelete_call(char **arg)
{
	struct batch b = { .map = map_of(arg[0]) };
	int ret;
	__u32 i;

	read_batch(&b, arg + 1, 1, 0);
	if (has_batches) {
		ret = sys_batch(BPF_MAP_DELETE_BATCH, &b);
	} else {
		for (ret = 0, i = 0; i < b.count && !ret; i++)
			ret = bpf_elem(BPF_MAP_DELETE_ELEM, b.map, &b.keys[i], NULL, 0);
		b.count = ret ? i - 1 : i;
	}
	say_batch(ret, &b);
}

static void batchlookup_call(char **arg)
{
	int m = number(arg[0], MAPS);
	struct batch b = { .map = maps[m], .index = strtoul(arg[1], NULL, 0),
			   .count = number(arg[2], BATCH + 1) };
	__u32 i, done = 0;
	int ret;

	if (has_batches) {
		ret = sys_batch(BPF_MAP_LOOKUP_BATCH, &b);
	} else {
		for (ret = 0, i = b.index; done < b.count && !ret; i++) {
			b.keys[done] = i;
			if (!bpf_elem(BPF_MAP_LOOKUP_ELEM, b.map, &i, &b.values[done], 0))
				done++;
			else if (errno != ENOENT || i >= (__u32)entries[m])
				ret = -1;
		}
		b.count = done;
	}
	say_batch(ret, &b);
	for (i = 0; i < b.count; i++) {
		say(" %u ", b.keys[i]);
		say_cookie(b.values[i]);
	}
}

/* Programs and packets. */

static void attach_call(char **arg)
{
	int i = number(arg[1], PROGS);
	int sources[PROGS] = { maps[0], maps[1], maps[0], sockmap };

	if (progs[i] < 0)
		progs[i] = load(sources[i], i == 2 ? BPF_SK_REUSEPORT_SELECT_OR_MIGRATE :
				BPF_SK_REUSEPORT_SELECT);
	if (progs[i] < 0)
		say("load ");
	say_result(progs[i] < 0 ? -1 :
		   setsockopt(*socket_of(arg[0]), SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &progs[i],
			      sizeof(progs[i])));
}

static void detach_call(char **arg)
{
	say_result(setsockopt(*socket_of(arg[0]), SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &(int){ 0 },
			      sizeof(int)));
}

static void heir_call(char **arg)
{
	struct control c;

	get_control(&c);
	c.heir = strtoul(arg[0], NULL, 0);
	set_control(&c);
}

static void send_call(char **arg)
{
	unsigned int mark = ++packets, got;
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, arg[0], arg[1]);
	int fd = socket(ss.ss_family, SOCK_DGRAM, 0);
	int i, who = -1, ret;

	aim(strtoul(arg[2], NULL, 0));
	ret = sendto(fd, &mark, sizeof(mark), 0, (struct sockaddr *)&ss, len);
	say_result(ret < 0 ? -1 : 0);
	close(fd);
	for (i = 0; i < SOCKETS; i++)
		while (option(sockets[i], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_UDP &&
		       recv(sockets[i], &got, sizeof(got), MSG_DONTWAIT) == sizeof(got))
			if (got == mark && who < 0)
				who = i;
	if (who < 0)
		say(" nobody");
	if (!say_program() && who >= 0)
		say(" somebody");
	else if (who >= 0)
		say(" at %d", who);
}

static void dial(char **arg, bool wait)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, arg[0], arg[1]);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	bool chosen;

	be_abrupt(fd);
	if (!wait)
		gather(false);
	aim(strtoul(arg[2], NULL, 0));
	say_result(connect_now(fd, &ss, len));
	chosen = say_program();
	if (wait && chosen && !migrate_sysctl && hung_count < HELD) {
		hung[hung_count++] = fd;
		return;
	}
	say(" ");
	gather(!chosen);
	close(fd);
}

static void dial_call(char **arg)
{
	dial(arg, false);
}

/* As dial, and the connection is left waiting in the listener that a program chose. */
static void hang_call(char **arg)
{
	dial(arg, true);
}

static const struct call {
	const char *name;
	int args;
	void (*make)(char **arg);
} calls[] = {
	/* SOCKET is a number, 0 to 7; MAP is 0 to 2; PORT is 0 to 3; - is no INDEX */
	{ "open", 2, open_call },		/* SOCKET KIND */
	{ "reuseport", 2, reuseport_call },	/* SOCKET ON */
	{ "bind", 3, bind_call },		/* SOCKET PLACE PORT */
	{ "listen", 1, listen_call },		/* SOCKET */
	{ "shutdown", 2, shutdown_call },	/* SOCKET HOW */
	{ "connect", 3, connect_call },		/* SOCKET PLACE PORT */
	{ "disconnect", 1, disconnect_call },	/* SOCKET */
	{ "close", 1, close_call },		/* SOCKET */
	{ "dup", 2, dup_call },			/* SOCKET SOCKET */
	{ "take", 1, take_call },		/* SOCKET */
	{ "gather", 0, gather_call },
	{ "sysctl", 2, sysctl_call },		/* NAME VALUE */
	{ "map", 5, map_call },			/* MAP KEY_SIZE VALUE_SIZE ENTRIES FLAGS */
	{ "drop", 1, drop_call },		/* MAP */
	{ "freeze", 1, freeze_call },		/* MAP */
	{ "update", 4, update_call },		/* MAP INDEX SOCKET FLAGS */
	{ "updatefd", 4, updatefd_call },	/* MAP INDEX VALUE FLAGS */
	{ "delete", 2, delete_call },		/* MAP INDEX */
	{ "lookup", 3, lookup_call },		/* MAP INDEX FLAGS */
	{ "pop", 2, pop_call },			/* MAP INDEX */
	{ "next", 2, next_call },		/* MAP INDEX */
	{ "dump", 0, dump_call },
	{ "batchupdate", 10, batchupdate_call },	/* MAP FLAGS, 4 times INDEX SOCKET */
	{ "batchdelete", 5, batchdelete_call },	/* MAP, 4 times INDEX */
	{ "batchlookup", 3, batchlookup_call },	/* MAP INDEX COUNT */
	{ "sockmap", 2, sockmap_call },		/* INDEX SOCKET */
	{ "sockmapdel", 1, sockmapdel_call },	/* INDEX */
	{ "attach", 2, attach_call },		/* SOCKET PROGRAM */
	{ "detach", 1, detach_call },		/* SOCKET */
	{ "heir", 1, heir_call },		/* INDEX */
	{ "send", 3, send_call },		/* PLACE PORT INDEX */
	{ "dial", 3, dial_call },		/* PLACE PORT INDEX */
	{ "hang", 3, hang_call },		/* PLACE PORT INDEX */
	{ }
};

static void close_all(int *fds, int count)
{
	while (count--)
		close_fd(&fds[count]);
}

static void start_sequence(void)
{
	static int sequences;

	close_all(sockets, SOCKETS);
	close_all(hung, hung_count);
	close_all(held, held_count);
	close_all(progs, PROGS);
	close_all(maps, MAPS);
	close_fd(&sockmap);
	hung_count = 0;
	held_count = 0;
	memset(entries, 0, sizeof(entries));
	memset(stopped, 0, sizeof(stopped));
	set_control(&(struct control){});
	if (migrate_sysctl)
		sysctl_call((char *[]){ "tcp_migrate_req", "0" });
	sockmap = bpf_create(BPF_MAP_TYPE_SOCKMAP, 4, 8, SOCKMAP_SLOTS, 0);
	if (sockmap < 0)
		die("creating a sockmap");
	first_port = FIRST_PORT + sequences++ % SETS_OF_PORTS * PORTS;
}

static void play(char *line)
{
	const struct call *call = calls;
	char *arg[WORDS] = {}, *name;
	int n = 0;

	name = strtok(line, " \t\n");
	if (!name)
		return;
	if (!strcmp(name, "sequence")) {
		start_sequence();
		say("sequence\n");
		return;
	}
	while (n < WORDS - 1 && (arg[n] = strtok(NULL, " \t\n")))
		n++;
	while (call->name && strcmp(call->name, name))
		call++;
	errno = EINVAL;
	if (!call->name || n != call->args)
		die(name);
	call->make(arg);
	say("\n");
}

int main(int argc, char **argv)
{
	FILE *sequences;
	char line[256];

	if (argc != 3) {
		fprintf(stderr, "usage: player SEQUENCES RESULTS\n");
		return 2;
	}
	sequences = fopen(argv[1], "r");
	results = fopen(argv[2], "w");
	if (!sequences || !results)
		die("opening the files");
	memset(sockets, -1, sizeof(sockets));
	memset(maps, -1, sizeof(maps));
	memset(progs, -1, sizeof(progs));
	sockmap = -1;
	control = bpf_create(BPF_MAP_TYPE_ARRAY, 4, sizeof(struct control), 1, 0);
	if (control < 0)
		die("creating a map for the programs");
	find_batches();
	/* clients' ports and the sequences' ports are apart */
	sysctl_call((char *[]){ "ip_local_port_range", "2000 9999" });
	say("\n");
	while (fgets(line, sizeof(line), sequences))
		play(line);
	if (fclose(results))
		die("writing the results");
	return 0;
}
