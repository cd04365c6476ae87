// SPDX-License-Identifier: GPL-2.0
/* probe: what the running kernel supports. */
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>

#include <bpf/bpf.h>

#include "args.h"
#include "group.h"
#include "quic.h"
#include "steering.h"
#include "watch.h"

static bool has_map(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "probe", 4, 8, 1, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool has_batches(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "probe", 4, 8, 1, NULL);
	__u32 key = 0, count = 0;
	__u64 value = 0;
	bool has;

	if (fd < 0)
		return false;
	has = !bpf_map_update_batch(fd, &key, &value, &count, NULL);
	close(fd);
	return has;
}

static bool has_getfd(void)
{
	int pidfd = syscall(__NR_pidfd_open, getpid(), 0), fd;

	if (pidfd < 0)
		return false;
	fd = syscall(__NR_pidfd_getfd, pidfd, pidfd, 0);
	if (fd >= 0)
		close(fd);
	close(pidfd);
	return fd >= 0;
}

static bool has_sock_diag(void)
{
	struct endpoint endpoint = { .protocol = IPPROTO_UDP, .family = AF_INET };
	struct socket_info *list;
	int count = sock_diag_list(&endpoint, &list);

	drop_errors();
	free(list);
	return count >= 0;
}

static const struct {
	const char *key, *text;
	bool (*probe)(void);
	bool is_required;
} probes[] = {
	{ "reuseport_sockarray", "maps of type reuseport_sockarray", has_map, true },
	{ "pidfd_getfd", "pidfd_getfd(), to duplicate sockets of servers", has_getfd, true },
	{ "sock_diag", "sock_diag, to find sockets", has_sock_diag, true },
	{ "migration", "migration of connections that wait at a listener when it closes",
	  steering_can_migrate, false },
	{ "batch", "batches, to fill a generation in few system calls", has_batches, false },
	{ "quic_learning", "cgroup v2, to learn QUIC's connection ids from servers",
	  quic_can_learn, false },
	{ "group_program", "BTF and iterators, to see which program is attached to a group",
	  group_probe, false },
	{ "joined_sockets", "reports of new sockets, for which follow waits", watch_probe, false },
};

int cmd_probe(const struct arguments *args)
{
	bool has[ARRAY_SIZE(probes)];
	unsigned int i;
	int err = 0;

	(void)args;
	if (require_privileges())
		return -1;
	for (i = 0; i < ARRAY_SIZE(probes); i++)
		has[i] = probes[i].probe();

	if (json)
		jsonw_start_object(json);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (json)
			jsonw_bool_field(json, probes[i].key, has[i]);
		else
			printf("%-4s%s%s\n", has[i] ? "yes" : "no", probes[i].text,
			       has[i] || !probes[i].is_required ? "" : " (required)");
		if (!has[i] && probes[i].is_required)
			err = -1;
	}
	if (json)
		jsonw_end_object(json);
	if (err)
		/* not an error of the command: the document is complete */
		say("reuseportctl: this kernel lacks what all commands require");
	return err;
}
