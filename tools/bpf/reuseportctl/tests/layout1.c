// SPDX-License-Identifier: GPL-2.0
/* Do what reuseportctl 1.0 did, with pins of layout 1.
 *
 * layout1 attach NAME tcp|udp PORT none|flow|id SERVER PID...
 * layout1 switch NAME tcp|udp PORT none|flow|id SERVER PID...
 *
 * attach makes a service NAME of the sockets that the processes PID of a SERVER have at
 * 127.0.0.1:PORT: one slot of generation 1 for each, in this order. switch makes generation 2
 * of such sockets, the current one. The ids of mode id are 4 bytes at offset 4.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "layout1.h"
#include "tests/layout1.skel.h"

#ifndef SO_ATTACH_REUSEPORT_EBPF
#define SO_ATTACH_REUSEPORT_EBPF 52
#endif

#define SLOTS	64
#define MAX_FD	256

#define die(fmt, ...) do {							\
	fprintf(stderr, "layout1: " fmt " (%s)\n", ##__VA_ARGS__, strerror(errno));\
	exit(1);								\
} while (0)

static struct service_config config = {
	.steering.slots = SLOTS,
	.family = AF_INET,
};

static void parse(char **argv)
{
	bool udp = !strcmp(argv[2], "udp");

	config.protocol = udp ? IPPROTO_UDP : IPPROTO_TCP;
	config.address[0] = htonl(INADDR_LOOPBACK);
	config.port = htons(atoi(argv[3]));
	if (!strcmp(argv[4], "flow")) {
		config.steering.mode = UDP_FLOW;
	} else if (!strcmp(argv[4], "id")) {
		config.steering.mode = UDP_ID;
		config.steering.id_offset = 4;
		config.steering.id_len = 4;
	}
}

static __u64 read_netns(void)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st))
		die("/proc/self/ns/net");
	return st.st_ino;
}

/* Is this a listener, or a bound UDP socket, at the port? */
static bool is_wanted(int fd)
{
	int protocol = 0, listens = 0;
	struct sockaddr_in at = {};
	socklen_t len = sizeof(protocol);

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) ||
	    protocol != (int)config.protocol)
		return false;
	len = sizeof(listens);
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
	len = sizeof(at);
	return !getsockname(fd, (void *)&at, &len) && at.sin_port == config.port &&
	       (listens || protocol == IPPROTO_UDP);
}

/* The socket of this process, duplicated. */
static int take_socket(pid_t pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0), number, fd;

	if (pidfd < 0)
		die("process %d", pid);
	for (number = 3; number < MAX_FD; number++) {
		fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);
		if (fd < 0)
			continue;
		if (is_wanted(fd)) {
			close(pidfd);
			return fd;
		}
		close(fd);
	}
	die("process %d has no socket at port %d", pid, ntohs(config.port));
}

static const char *pin_path(const char *name, const char *pin)
{
	static char path[128];

	snprintf(path, sizeof(path), "/sys/fs/bpf/reuseport/%s%s%s", name, *pin ? "/" : "", pin);
	return path;
}

static void make_dir(const char *name)
{
	if (mkdir(pin_path(name, ""), 0700) && errno != EEXIST)
		die("%s", pin_path(name, ""));
}

static void pin(int fd, const char *name, const char *pin)
{
	if (bpf_obj_pin(fd, pin_path(name, pin)))
		die("%s", pin_path(name, pin));
}

static int open_pin(const char *name, const char *pin)
{
	int fd = bpf_obj_get(pin_path(name, pin));

	if (fd < 0)
		die("%s", pin_path(name, pin));
	return fd;
}

static __u64 read_started(pid_t pid)
{
	unsigned long long started = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u "
			    "%*u %*d %*d %*d %*d %*d %*d %llu", &started) != 1)
		die("%s", path);
	fclose(file);
	return started;
}

struct maps {
	int generations, about, state;
};

static void make_generation(const struct maps *maps, __u32 number, const int *fds, int count,
			    pid_t pid)
{
	struct generation info = { .number = number, .slots = count, .live = count, .pid = pid };
	struct state state = { .current = number, .newest = number };
	__u32 zero = 0, i;
	__u64 value;
	int map;

	map = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "sockets", 4, 8, count, NULL);
	if (map < 0)
		die("cannot create a map");
	for (i = 0; i < (__u32)count; i++) {
		value = fds[i];
		if (bpf_map_update_elem(map, &i, &value, BPF_NOEXIST))
			die("slot %u", i);
		info.live_slots[i] = i;
	}
	for (i = 0; i < number; i++)
		state.generations[i] = number - i;
	strcpy(info.comm, "helper");
	info.started = read_started(pid);
	info.since = time(NULL);
	if (bpf_map_update_elem(maps->generations, &number, &map, BPF_ANY) ||
	    bpf_map_update_elem(maps->about, &number, &info, BPF_ANY) ||
	    bpf_map_update_elem(maps->state, &zero, &state, BPF_ANY))
		die("cannot make generation %u", number);
}

static void attach(const char *name, const int *fds, int count, pid_t pid)
{
	struct layout1_bpf *skel = layout1_bpf__open();
	struct maps maps;
	__u32 zero = 0;
	int program;

	if (!skel)
		die("cannot open the program");
	bpf_program__set_autoload(skel->progs.steer_migrate, false);
	*(struct steering *)&skel->rodata->steering = config.steering;
	bpf_map__set_max_entries(skel->maps.counters, MAX_GENERATIONS * SLOTS);
	bpf_map__set_max_entries(skel->maps.flows, 65536);
	if (layout1_bpf__load(skel) ||
	    bpf_map_update_elem(bpf_map__fd(skel->maps.service), &zero, &config, BPF_ANY))
		die("cannot load the program");
	program = bpf_program__fd(skel->progs.steer);

	maps.generations = bpf_map__fd(skel->maps.generations);
	maps.about = bpf_map__fd(skel->maps.about);
	maps.state = bpf_map__fd(skel->maps.state);
	make_generation(&maps, 1, fds, count, pid);
	make_dir("");
	make_dir(name);
	pin(program, name, "program");
	pin(bpf_map__fd(skel->maps.generations), name, "generations");
	pin(bpf_map__fd(skel->maps.about), name, "about");
	pin(bpf_map__fd(skel->maps.state), name, "state");
	pin(bpf_map__fd(skel->maps.counters), name, "counters");
	pin(bpf_map__fd(skel->maps.flows), name, "flows");
	pin(bpf_map__fd(skel->maps.service), name, "service");
	if (setsockopt(fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)))
		die("cannot attach the program");
	layout1_bpf__destroy(skel);
}

static void switch_to(const char *name, const int *fds, int count, pid_t pid)
{
	const struct maps maps = {
		.generations = open_pin(name, "generations"),
		.about = open_pin(name, "about"),
		.state = open_pin(name, "state"),
	};

	make_generation(&maps, 2, fds, count, pid);
}

int main(int argc, char **argv)
{
	int fds[SLOTS], count = argc - 7, i;

	if (count < 1 || count > SLOTS) {
		fprintf(stderr, "layout1: see the head of layout1.c\n");
		return 2;
	}
	parse(argv + 1);
	config.netns = read_netns();
	for (i = 0; i < count; i++)
		fds[i] = take_socket(atoi(argv[7 + i]));
	if (!strcmp(argv[1], "attach"))
		attach(argv[2], fds, count, atoi(argv[6]));
	else
		switch_to(argv[2], fds, count, atoi(argv[6]));
	return 0;
}
