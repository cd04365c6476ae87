// SPDX-License-Identifier: GPL-2.0
/* The output of bpftool map for this type, as root and as an unprivileged user. The
 * bpftool that runs is $BPFTOOL, or the first one in PATH.
 */
#include <grp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common.h"

#define ROOT	0
#define NOBODY	65534

FIXTURE(bpftool)
{
	char dir[64];		/* of a BPF file system */
	char pin[96];		/* of the map */
	int map;
	int servers[2];		/* in slots 1 and 5 */
	int status;		/* of the last run */
	char out[1 << 18];	/* its stdout and stderr */
};

FIXTURE_VARIANT(bpftool)
{
	struct kind kind;
};

ADD_KINDS(bpftool);

static void mount_bpffs(struct _test_data_bpftool *self, struct __test_metadata *_metadata)
{
	snprintf(self->dir, sizeof(self->dir), "/tmp/reuseport_array.XXXXXX");
	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	ASSERT_NE(NULL, mkdtemp(self->dir));
	ASSERT_EQ(0, mount("bpf", self->dir, "bpf", 0, NULL));
	snprintf(self->pin, sizeof(self->pin), "%s/sockets", self->dir);
}

/* Pin the map at a path that every user can read. */
static void pin_map(struct _test_data_bpftool *self, struct __test_metadata *_metadata, int map)
{
	unlink(self->pin);
	ASSERT_EQ(0, bpf_obj_pin(map, self->pin));
	ASSERT_EQ(0, chmod(self->pin, 0666));
	self->map = map;
}

FIXTURE_SETUP(bpftool)
{
	int i;

	enter_netns(_metadata);
	mount_bpffs(self, _metadata);
	pin_map(self, _metadata, new_map(_metadata));
	prctl(PR_SET_NAME, "some server");
	for (i = 0; i < 2; i++) {
		self->servers[i] = new_server(_metadata, &variant->kind);
		ASSERT_EQ(0, put(self->map, 1 + 4 * i, self->servers[i], BPF_ANY));
	}
}

FIXTURE_TEARDOWN(bpftool)
{
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
}

/* Run "bpftool @before pinned MAP @after". */
static void run(struct _test_data_bpftool *self, struct __test_metadata *_metadata, uid_t uid,
		const char *before, const char *after)
{
	const char *bpftool = getenv("BPFTOOL") ?: "bpftool";
	size_t len = 0;
	char command[512];
	int ends[2];
	ssize_t n;
	pid_t child;

	snprintf(command, sizeof(command), "exec %s %s pinned %s %s", bpftool, before, self->pin,
		 after);
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
			    setresuid(uid, uid, uid)))
			_exit(126);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(ends[1]);
	while ((n = read(ends[0], self->out + len, sizeof(self->out) - 1 - len)) > 0)
		len += n;
	self->out[len] = '\0';
	close(ends[0]);
	ASSERT_EQ(child, waitpid(child, &self->status, 0));
	if (WEXITSTATUS(self->status) == 127)
		TH_LOG("no bpftool: put it in PATH, or name it with BPFTOOL=");
}

#define SAYS(text) ({						\
	bool __said = strstr(self->out, text);			\
								\
	if (!__said)						\
		TH_LOG("not said: %s\n%s", text, self->out);	\
	__said;							\
})

/* The line of a slot in the table. */
struct line {
	unsigned long long cookie;
	unsigned int slot;
	char protocol[8];
	char local[80];
	char state[16];
	unsigned int rqueue;
	unsigned int drops;
	char rest[128];
};

/* Parse the line at @text. Returns false if it is not the line of a slot. */
static bool read_line(const char *text, struct line *line)
{
	char copy[256];

	snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(text, "\n"), text);
	return sscanf(copy, "%u %llu %7s %79s %15s %u %u %127[^\n]", &line->slot, &line->cookie,
		      line->protocol, line->local, line->state, &line->rqueue, &line->drops,
		      line->rest) == 8;
}

static const char *next_line(const char *text)
{
	text += strcspn(text, "\n");
	return *text ? text + 1 : text;
}

static bool line_of(const char *out, __u32 slot, struct line *line)
{
	for (; *out; out = next_line(out))
		if (read_line(out, line) && line->slot == slot)
			return true;
	return false;
}

static size_t longest_line(const char *out)
{
	size_t longest = 0;

	for (; *out; out = next_line(out))
		if (strcspn(out, "\n") > longest)
			longest = strcspn(out, "\n");
	return longest;
}

static int count(const char *text, const char *what)
{
	int n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

/* A slot's index as a key of bpftool, byte by byte, on the command line and in JSON. */
static const char *key_of(__u32 slot)
{
	const __u8 *byte = (const __u8 *)&slot;
	static char key[32];

	sprintf(key, "key %u %u %u %u", byte[0], byte[1], byte[2], byte[3]);
	return key;
}

static const char *json_key_of(__u32 slot)
{
	const __u8 *byte = (const __u8 *)&slot;
	static char key[64];

	sprintf(key, "{\"key\":[\"0x%02x\",\"0x%02x\",\"0x%02x\",\"0x%02x\"],", byte[0], byte[1],
		byte[2], byte[3]);
	return key;
}

static const char *address_of(const struct kind *kind)
{
	if (kind->family == AF_INET)
		return "127.0.0.1:4433";
	return kind->dual ? "[::]:4433" : "[::1]:4433";
}

/* One line per socket, in order, and one per range of empty slots. */
TEST_F(bpftool, dump)
{
	bool tcp = variant->kind.type == SOCK_STREAM;
	char holder[64];
	struct line line;
	int i;

	snprintf(holder, sizeof(holder), "some server(%d)", getpid());
	run(self, _metadata, ROOT, "map dump", "");
	EXPECT_EQ(0, self->status);
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(line_of(self->out, 1 + 4 * i, &line)) {
			TH_LOG("%s", self->out);
		}
		EXPECT_EQ(cookie_of(self->servers[i]), line.cookie);
		EXPECT_STREQ(tcp ? "tcp" : "udp", line.protocol);
		EXPECT_STREQ(address_of(&variant->kind), line.local);
		EXPECT_STREQ(tcp ? "listen" : "unconn", line.state);
		EXPECT_EQ(0, line.rqueue);
		EXPECT_EQ(0, line.drops);
		EXPECT_STREQ(holder, line.rest);
	}
	EXPECT_TRUE(SAYS("\n   0  (empty)\n   1  "));
	EXPECT_TRUE(SAYS("\n 2-4  (empty)\n   5  "));
	EXPECT_TRUE(SAYS("\n 6-7  (empty)\nFound 2 elements\n"));
	EXPECT_EQ(NULL, strstr(self->out, "netns"));
	EXPECT_GE(80, longest_line(self->out));
}

/* JSON has the fields that all maps have, then those of this type. */
TEST_F(bpftool, dump_json)
{
	const char *address = variant->kind.dual ? "::" : "::1";
	bool tcp = variant->kind.type == SOCK_STREAM;
	__u64 number = cookie_of(self->servers[0]);
	bool ipv4 = variant->kind.family == AF_INET;
	char value[64] = "", text[256];
	__u8 cookie[sizeof(__u64)];
	struct stat st;
	int i;

	memcpy(cookie, &number, sizeof(number));
	for (i = 0; i < sizeof(cookie); i++)
		sprintf(value + strlen(value), "%s\"0x%02x\"", i ? "," : "", cookie[i]);
	run(self, _metadata, ROOT, "-j map dump", "");
	EXPECT_EQ(0, self->status);

	snprintf(text, sizeof(text), "[%s\"value\":{\"error\":", json_key_of(0));
	EXPECT_TRUE(SAYS(text));
	EXPECT_TRUE(SAYS("{\"error\":\"No such file or directory\"},\"slot\":0},"));
	snprintf(text, sizeof(text), "%s\"value\":[\"0x", json_key_of(1));
	EXPECT_TRUE(SAYS(text));
	snprintf(text, sizeof(text), "\"value\":[%s],\"slot\":1,\"cookie\":%llu,\"found\":true,",
		 value, (unsigned long long)number);
	EXPECT_TRUE(SAYS(text));
	snprintf(text, sizeof(text), "\"found\":true,\"protocol\":\"%s\",\"family\":\"%s\",",
		 tcp ? "tcp" : "udp", ipv4 ? "inet" : "inet6");
	EXPECT_TRUE(SAYS(text));
	snprintf(text, sizeof(text), "\"local_addr\":\"%s\",\"local_port\":4433,\"state\":\"%s\",",
		 ipv4 ? "127.0.0.1" : address, tcp ? "listen" : "unconn");
	EXPECT_TRUE(SAYS(text));
	EXPECT_TRUE(SAYS(",\"rqueue\":0,\"drops\":0,\"inode\":"));

	ASSERT_EQ(0, stat("/proc/self/ns/net", &st));
	snprintf(text, sizeof(text), ",\"netns_ino\":%lu,\"pids\":[", (unsigned long)st.st_ino);
	EXPECT_TRUE(SAYS(text));
	snprintf(text, sizeof(text), "[{\"pid\":%d,\"comm\":\"some server\"}],", getpid());
	EXPECT_TRUE(SAYS(text));
	EXPECT_TRUE(SAYS("],\"pids_complete\":true}"));
	/* one element for each slot, as bpftool prints other maps */
	EXPECT_EQ(SLOTS, count(self->out, "\"key\":"));
	EXPECT_TRUE(SAYS("\"slot\":2},"));
	EXPECT_TRUE(SAYS("\"slot\":7}]"));
}

/* With "ranges" consecutive empty slots are one element. */
TEST_F(bpftool, dump_ranges_json)
{
	run(self, _metadata, ROOT, "-j map dump", "ranges");
	EXPECT_EQ(0, self->status);
	EXPECT_EQ(5, count(self->out, "\"key\":"));
	EXPECT_TRUE(SAYS("\"slot\":0,\"last_slot\":0},"));
	EXPECT_TRUE(SAYS("\"slot\":2,\"last_slot\":4}"));
	EXPECT_TRUE(SAYS("\"slot\":6,\"last_slot\":7}]"));
}

static char *without_blanks(const char *text)
{
	char *copy = strdup(text), *end = copy;

	for (; *text; text++)
		if (*text != ' ' && *text != '\t' && *text != '\n')
			*end++ = *text;
	*end = '\0';
	return copy;
}

/* JSON for the eye is the same JSON. */
TEST_F(bpftool, dump_pretty_json)
{
	char *plain, *pretty;

	run(self, _metadata, ROOT, "-j map dump", "");
	plain = without_blanks(self->out);
	run(self, _metadata, ROOT, "-p map dump", "");
	EXPECT_EQ(0, self->status);
	EXPECT_TRUE(SAYS("\n        \"slot\": 1,\n"));
	pretty = without_blanks(self->out);
	EXPECT_STREQ(plain, pretty);
	free(plain);
	free(pretty);
}

/* What waits at a socket, and what it had no room for. */
TEST_F(bpftool, queues)
{
	int size = 1, sent = 0, i;
	struct line line;

	ASSERT_EQ(0, setsockopt(self->servers[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
	close(self->servers[1]);
	for (i = 0; i < 20; i++)
		if (send_from(client_family(&variant->kind), variant->kind.type, PORT, i) >= 0)
			sent++;
	run(self, _metadata, ROOT, "map dump", "");
	ASSERT_TRUE(line_of(self->out, 1, &line));
	if (variant->kind.type == SOCK_STREAM) {
		EXPECT_EQ(sent, line.rqueue);
	} else {
		EXPECT_LT(0, line.rqueue);
		EXPECT_LT(0, line.drops);
	}
	EXPECT_TRUE(SAYS(" 2-7  (empty)\nFound 1 element\n"));
}

/* All processes that have the socket, whatever they call themselves. */
TEST_F(bpftool, processes)
{
	pid_t pids[20];
	char text[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			prctl(PR_SET_NAME, "e\033[2J\"\\v\n,l");
			pause();
		}
	}
	/* wait for the last one's name */
	ASSERT_TRUE(EVENTUALLY(({
		run(self, _metadata, ROOT, "-j map dump", "");
		snprintf(text, sizeof(text), "{\"pid\":%d,\"comm\":\"e?[2J\\\"\\\\v",
			 pids[ARRAY_SIZE(pids) - 1]);
		strstr(self->out, text);
	})));
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		snprintf(text, sizeof(text), "{\"pid\":%d,", pids[i]);
		EXPECT_TRUE(SAYS(text));
	}

	run(self, _metadata, ROOT, "map dump", "");
	EXPECT_EQ(NULL, strchr(self->out, '\033'));
	EXPECT_TRUE(SAYS(" +"));
	EXPECT_GE(80, longest_line(self->out));
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		kill(pids[i], SIGKILL);
}

/* If /proc hides processes from the user, bpftool prints a note. */
TEST_F(bpftool, dump_as_nobody)
{
	struct line line;

	run(self, _metadata, NOBODY, "map dump", "");
	EXPECT_EQ(0, self->status);
	ASSERT_TRUE(line_of(self->out, 1, &line)) {
		TH_LOG("%s", self->out);
	}
	EXPECT_EQ(cookie_of(self->servers[0]), line.cookie);
	EXPECT_STREQ(address_of(&variant->kind), line.local);
	EXPECT_STREQ("?", line.rest);
	EXPECT_TRUE(SAYS("\nProcesses that are not accessible to this user are omitted.\n"));
	EXPECT_GE(80, longest_line(self->out));

	run(self, _metadata, NOBODY, "-j map dump", "");
	EXPECT_TRUE(SAYS("\"pids\":[],\"pids_complete\":false}"));
}

/* The user's own processes are shown. */
TEST_F(bpftool, process_of_nobody)
{
	char text[64];
	pid_t child;

	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		if (!setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY)) {
			prctl(PR_SET_DUMPABLE, 1);
			prctl(PR_SET_NAME, "nobody's");
			pause();
		}
		_exit(1);
	}
	snprintf(text, sizeof(text), "nobody's(%d)\n", child);
	ASSERT_TRUE(EVENTUALLY(({
		run(self, _metadata, NOBODY, "map dump", "");
		strstr(self->out, text);
	})));
	EXPECT_TRUE(SAYS("omitted"));
	kill(child, SIGKILL);
}

/* A socket of another network namespace is found if bpftool may enter that. */
TEST_F(bpftool, other_namespace)
{
	struct line line;
	char text[64];
	struct stat st;
	int stranger;

	ASSERT_EQ(0, stat("/proc/self/ns/net", &st));
	snprintf(text, sizeof(text), "%lu", (unsigned long)st.st_ino);
	/* keep a process in the namespace */
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
	}
	enter_netns(_metadata);
	stranger = new_server(_metadata, &variant->kind);
	ASSERT_EQ(0, put(self->map, 6, stranger, BPF_ANY));

	run(self, _metadata, ROOT, "map dump", "");
	EXPECT_EQ(0, self->status);
	EXPECT_TRUE(SAYS("  netns "));
	EXPECT_EQ(3, count(self->out, address_of(&variant->kind)));
	EXPECT_EQ(2, count(self->out, text));
	EXPECT_GE(80, longest_line(self->out));

	run(self, _metadata, NOBODY, "map dump", "");
	EXPECT_EQ(0, self->status);
	EXPECT_TRUE(SAYS("\n2 of 3 sockets are not in a network namespace accessible to"));
	ASSERT_TRUE(line_of(self->out, 6, &line));
	EXPECT_EQ(cookie_of(stranger), line.cookie);
	EXPECT_FALSE(line_of(self->out, 1, &line));
	EXPECT_TRUE(SAYS("Found 3 elements"));
	run(self, _metadata, NOBODY, "-j map dump", "");
	snprintf(text, sizeof(text), "\"cookie\":%llu,\"found\":false,\"reason\":\"not in a",
		 (unsigned long long)cookie_of(self->servers[0]));
	EXPECT_TRUE(SAYS(text));
}

/* A socket that no process holds, because it is in flight in a unix socket. */
TEST_F(bpftool, in_flight)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte = 0;
	struct iovec data = { &byte, sizeof(byte) };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	struct line line;
	int pair[2];

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &self->servers[1], sizeof(int));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair));
	ASSERT_EQ(1, sendmsg(pair[0], &message, 0));
	close(self->servers[1]);

	run(self, _metadata, ROOT, "map dump", "");
	ASSERT_TRUE(line_of(self->out, 5, &line)) {
		TH_LOG("%s", self->out);
	}
	EXPECT_STREQ("?", line.rest);
	EXPECT_TRUE(SAYS("are omitted.\n"));
	run(self, _metadata, ROOT, "-j map dump", "");
	EXPECT_EQ(1, count(self->out, "\"pids\":[],\"pids_complete\":false}"));
	EXPECT_EQ(1, count(self->out, "\"pids_complete\":true}"));
}

/* With the longest addresses each socket takes two lines. */
TEST_F(bpftool, long_address)
{
	const char *text = "2001:db8:1111:2222:3333:4444:5555:6666";
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	int one = 1, fd;
	char local[64];

	if (variant->kind.family != AF_INET6)
		SKIP(return, "IPv4 has no long ones");
	fd = open_socket(_metadata, &variant->kind);
	set_reuseport(_metadata, fd, 1);
	ASSERT_EQ(0, setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one)));
	ASSERT_EQ(1, inet_pton(AF_INET6, text, &in6.sin6_addr));
	ASSERT_EQ(0, bind(fd, (struct sockaddr *)&in6, sizeof(in6)));
	start_listening(_metadata, &variant->kind, fd);
	ASSERT_EQ(0, put(self->map, 3, fd, BPF_ANY));

	run(self, _metadata, ROOT, "map dump", "");
	EXPECT_EQ(0, self->status);
	snprintf(local, sizeof(local), "[%s]:%d  ", text, PORT);
	EXPECT_TRUE(SAYS(local));
	EXPECT_EQ(3, count(self->out, "\n          0      0  some server("));
	EXPECT_GE(80, longest_line(self->out));
}

/* An empty map has one range of empty slots. */
TEST_F(bpftool, empty)
{
	close(self->servers[0]);
	close(self->servers[1]);
	run(self, _metadata, ROOT, "map dump", "");
	EXPECT_EQ(0, self->status);
	EXPECT_STREQ(" 0-7  (empty)\nFound 0 elements\n", self->out);
	run(self, _metadata, ROOT, "-j map dump", "ranges");
	EXPECT_TRUE(SAYS("\"slot\":0,\"last_slot\":7}]"));
}

/* Without sock_diag bpftool prints the cookies and names the missing options. */
TEST_F(bpftool, no_sock_diag)
{
	struct line line;
	char text[64];
	int i;

	run(self, _metadata, ROOT, "map dump", "");
	EXPECT_EQ(0, self->status);
	if (line_of(self->out, 1, &line))
		SKIP(return, "this kernel has CONFIG_INET_DIAG");
	EXPECT_TRUE(SAYS("2 of 2 sockets are not reported by sock_diag: it needs\n"));
	EXPECT_TRUE(SAYS("CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG (No such file"));
	EXPECT_TRUE(SAYS("\n 2-4  (empty)\n   5  "));
	EXPECT_GE(80, longest_line(self->out));
	run(self, _metadata, ROOT, "-j map dump", "");
	EXPECT_EQ(0, self->status);
	for (i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "\"cookie\":%llu,\"found\":false,\"reason\":\"not rep",
			 (unsigned long long)cookie_of(self->servers[i]));
		EXPECT_TRUE(SAYS(text));
	}
}

/* With values of 4 bytes bpftool prints the reason. */
TEST_F(bpftool, values_of_4_bytes)
{
	pin_map(self, _metadata, create_map(sizeof(__u32), SLOTS, 0));
	run(self, _metadata, ROOT, "map dump", "");
	EXPECT_EQ(0, self->status);
	EXPECT_TRUE(SAYS("Cannot read the map: values of 4 bytes are too small for cookies"));
	EXPECT_TRUE(SAYS(": create the map with \"value 8\".\n"));
	run(self, _metadata, ROOT, "-j map dump", "");
	EXPECT_EQ(0, self->status);
	EXPECT_TRUE(SAYS("\"value\":{\"error\":\"No space left on device\"},\"slot\":0,"));
	EXPECT_EQ(SLOTS, count(self->out, "\"reason\":\"values of 4 bytes"));
	run(self, _metadata, ROOT, "-j map dump", "ranges");
	EXPECT_TRUE(SAYS("\"slot\":0,\"last_slot\":7,\"reason\":\"values of 4 bytes"));
	run(self, _metadata, ROOT, "map show", "");
	EXPECT_TRUE(SAYS("max_entries 8  filled_slots ?  memlock"));
	run(self, _metadata, ROOT, "-j map show", "");
	EXPECT_EQ(NULL, strstr(self->out, "filled"));
}

/* The number of filled slots. */
TEST_F(bpftool, show)
{
	run(self, _metadata, ROOT, "map show", "");
	EXPECT_EQ(0, self->status);
	EXPECT_TRUE(SAYS("key 4B  value 8B  max_entries 8  filled_slots 2  memlock"));
	close(self->servers[0]);
	run(self, _metadata, ROOT, "-j map show", "");
	EXPECT_TRUE(SAYS("\"max_entries\":8,\"filled_slots\":1,\"bytes_memlock\""));
}

/* Put a socket of another process into a slot. */
TEST_F(bpftool, update)
{
	__u64 cookie, got = 0;
	char after[96];
	int ready[2];
	pid_t child;

	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		int fd = new_server(_metadata, &variant->kind);

		cookie = cookie_of(fd);
		dup2(fd, 77);
		close(fd);
		if (write(ready[1], &cookie, sizeof(cookie)) == sizeof(cookie))
			pause();
		_exit(1);
	}
	ASSERT_EQ(sizeof(cookie), read(ready[0], &cookie, sizeof(cookie)));
	snprintf(after, sizeof(after), "%s value pid %d fd 77 noexist", key_of(3), child);

	run(self, _metadata, ROOT, "map update", after);
	EXPECT_EQ(0, self->status);
	EXPECT_STREQ("", self->out);
	run(self, _metadata, ROOT, "map dump", "");
	snprintf(after, sizeof(after), "(%d)", child);
	EXPECT_TRUE(SAYS(after));

	/* exactly that socket */
	EXPECT_EQ(0, get(self->map, 3, &got));
	EXPECT_EQ(cookie, got);
	snprintf(after, sizeof(after), "%s value pid %d fd 77", key_of(4), child);
	run(self, _metadata, ROOT, "map update", after);
	EXPECT_NE(0, self->status);
	EXPECT_TRUE(SAYS("the socket is already in a slot"));

	/* bpftool holds no reference: the socket is closed with the process */
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_TRUE(is_empty(self->map, 3));
}

/* Each error is reported. */
TEST_F(bpftool, update_refused)
{
	char after[96];
	int pair[2];

	snprintf(after, sizeof(after), "%s value pid %d fd 4000", key_of(3),
		 getpid());
	run(self, _metadata, ROOT, "map update", after);
	EXPECT_NE(0, self->status);
	EXPECT_TRUE(SAYS("Bad file descriptor"));

	snprintf(after, sizeof(after), "%s value pid 4194303 fd 1", key_of(3));
	run(self, _metadata, ROOT, "map update", after);
	EXPECT_NE(0, self->status);
	EXPECT_TRUE(SAYS("can't open process 4194303"));

	snprintf(after, sizeof(after), "%s value pid 1", key_of(3));
	run(self, _metadata, ROOT, "map update", after);
	EXPECT_NE(0, self->status);
	EXPECT_TRUE(SAYS("expected pid PID fd FD"));

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	snprintf(after, sizeof(after), "%s value pid %d fd %d", key_of(3), getpid(),
		 pair[0]);
	run(self, _metadata, ROOT, "map update", after);
	EXPECT_NE(0, self->status);
	EXPECT_TRUE(SAYS("neither a TCP nor a UDP socket"));

	snprintf(after, sizeof(after), "%s value pid %d fd %d", key_of(3), getpid(),
		 open_socket(_metadata, &variant->kind));
	run(self, _metadata, ROOT, "map update", after);
	EXPECT_NE(0, self->status);
	EXPECT_TRUE(SAYS("not a socket in a SO_REUSEPORT group"));

	snprintf(after, sizeof(after), "%s value pid %d fd %d", key_of(SLOTS), getpid(),
		 new_server(_metadata, &variant->kind));
	run(self, _metadata, ROOT, "map update", after);
	EXPECT_NE(0, self->status);
	EXPECT_TRUE(SAYS("the key is not below max_entries"));

	snprintf(after, sizeof(after), "%s value pid %d fd %d", key_of(3), getpid(),
		 new_server(_metadata, &variant->kind));
	run(self, _metadata, NOBODY, "map update", after);
	EXPECT_NE(0, self->status);
	EXPECT_TRUE(SAYS("Operation not permitted"));
	EXPECT_TRUE(is_empty(self->map, 3));
}

#define THOUSAND	1000

/* A thousand sockets are a thousand lines that fit a terminal. */
TEST_F(bpftool, thousand)
{
	struct rlimit limit = { THOUSAND + 100, THOUSAND + 100 };
	struct line line;
	const char *text;
	__u32 lines = 0;
	int i;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	pin_map(self, _metadata, create_map(sizeof(__u64), 10 * THOUSAND, 0));
	for (i = 0; i < THOUSAND; i++)
		ASSERT_EQ(0, put(self->map, 3 * i, new_server_at(_metadata, &variant->kind,
								 PORT + i % 100), BPF_ANY));
	run(self, _metadata, ROOT, "map dump", "");
	EXPECT_EQ(0, self->status);
	/* the widest range determines the column */
	EXPECT_TRUE(SAYS("\n2995-2996  (empty)\n     2997  "));
	EXPECT_TRUE(SAYS("2998-9999  (empty)\nFound 1000 elements"));
	EXPECT_GE(80, longest_line(self->out));
	for (text = self->out; *text; text = next_line(text))
		if (read_line(text, &line))
			EXPECT_EQ(3 * lines++, line.slot);
	EXPECT_EQ(THOUSAND, lines);
}

TEST_HARNESS_MAIN
