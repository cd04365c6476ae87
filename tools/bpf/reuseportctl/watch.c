// SPDX-License-Identifier: GPL-2.0
/* Waiting for sockets that are bound, or listen, at a port.
 *
 * No system call reports them, but BPF programs do: one at the tracepoint that TCP sockets pass
 * when they begin to listen, and one that the kernel runs for each bind() of a process in a
 * cgroup. The latter is attached to the root of the cgroups, by a mount that no other process
 * sees, so it does not matter where they are mounted, if at all. In a cgroup namespace the root
 * is that of the namespace. The program allows every bind().
 *
 * Any of this may be missing, in a kernel or in a container. Then the watch fails to open, and
 * who wants to know has to look from time to time. The programs are attached by links, which end
 * with the process.
 */
#include <stdlib.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <bpf/libbpf.h>

#include "watch.h"
#include "watch.skel.h"

/* of linux/mount.h, which not every libc can include next to sys/mount.h */
#define FSOPEN_CLOEXEC		1
#define FSCONFIG_CMD_CREATE	6
#define FSMOUNT_CLOEXEC		1

struct watch {
	struct watch_bpf *skel;
	struct bpf_link *link;
	struct ring_buffer *events;
};

/* The root of the cgroups, or -1. */
static int open_cgroups(void)
{
	int fs = syscall(__NR_fsopen, "cgroup2", FSOPEN_CLOEXEC), fd = -1;

	if (fs < 0)
		return -1;
	if (!syscall(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		fd = syscall(__NR_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return fd;
}

static struct bpf_link *attach_cgroups(const struct bpf_program *program)
{
	struct bpf_link *link;
	int cgroups = open_cgroups();

	if (cgroups < 0)
		return NULL;
	link = bpf_program__attach_cgroup(program, cgroups);
	close(cgroups);
	return link;
}

static int ignore(void *arg, void *data, size_t size)
{
	(void)arg;
	(void)data;
	(void)size;
	return 0;
}

static int start(struct watch *watch, const struct endpoint *endpoint)
{
	struct watch_bpf *skel = watch->skel;
	struct bpf_program *program = endpoint->protocol == IPPROTO_TCP ? skel->progs.tcp_state :
				      endpoint->family == AF_INET ? skel->progs.udp_bound :
								    skel->progs.udp_bound_v6;

	bpf_program__set_autoload(skel->progs.tcp_state, program == skel->progs.tcp_state);
	bpf_program__set_autoload(skel->progs.udp_bound, program == skel->progs.udp_bound);
	bpf_program__set_autoload(skel->progs.udp_bound_v6, program == skel->progs.udp_bound_v6);
	skel->rodata->port = ntohs(endpoint->port);
	if (bpf_map__set_max_entries(skel->maps.joined, getpagesize()) || watch_bpf__load(skel))
		return -1;
	watch->link = endpoint->protocol == IPPROTO_TCP ? bpf_program__attach(program) :
							  attach_cgroups(program);
	if (!watch->link)
		return -1;
	watch->events = ring_buffer__new(bpf_map__fd(skel->maps.joined), ignore, NULL, NULL);
	return watch->events ? 0 : -1;
}

struct watch *watch_open(const struct endpoint *endpoint)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->skel = watch_bpf__open();
	if (watch->skel && !start(watch, endpoint))
		return watch;
	watch_close(watch);
	return NULL;
}

bool watch_wait(struct watch *watch, int ms)
{
	return ring_buffer__poll(watch->events, ms) > 0;
}

void watch_close(struct watch *watch)
{
	if (!watch)
		return;
	ring_buffer__free(watch->events);
	bpf_link__destroy(watch->link);
	watch_bpf__destroy(watch->skel);
	free(watch);
}

bool watch_probe(void)
{
	struct endpoint tcp = { .protocol = IPPROTO_TCP, .family = AF_INET };
	struct endpoint udp = { .protocol = IPPROTO_UDP, .family = AF_INET };
	struct watch *watches[] = { watch_open(&tcp), watch_open(&udp) };
	bool can = watches[0] && watches[1];

	watch_close(watches[0]);
	watch_close(watches[1]);
	return can;
}
