// SPDX-License-Identifier: GPL-2.0
/* Whether the group has a program of somebody else.
 *
 * No system call tells which program is on a group. A BPF iterator over the sockets sees
 * it, where the kernel has these and BTF. Elsewhere all there is to go by is the list of
 * programs of this type: if there are none but ours, there is none on the group, unless it
 * is a classic one, which has no number; if there are, it may be one of them.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "group.h"
#include "group_record.h"
#include "group.skel.h"

static int open_groups(bool tcp)
{
	struct bpf_program *program;
	struct group_bpf *skel;
	struct bpf_link *link;
	int fd = -1;

	skel = group_bpf__open();
	if (!skel)
		return -1;
	program = tcp ? skel->progs.tcp_groups : skel->progs.udp_groups;
	bpf_program__set_autoload(skel->progs.tcp_groups, tcp);
	bpf_program__set_autoload(skel->progs.udp_groups, !tcp);
	if (!group_bpf__load(skel)) {
		link = bpf_program__attach_iter(program, NULL);
		if (link) {
			fd = bpf_iter_create(bpf_link__fd(link));
			bpf_link__destroy(link);
		}
	}
	group_bpf__destroy(skel);
	return fd;
}

bool group_probe(void)
{
	int fd = open_groups(true);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int group_read_prog(const struct endpoint *endpoint, __u64 cookie, __u32 *id)
{
	int fd = open_groups(endpoint->protocol == IPPROTO_TCP), found = -1;
	struct group_record record;

	/* records come whole: the kernel's buffer is a page or more, and takes no halves */
	while (fd >= 0 && found < 0 && read(fd, &record, sizeof(record)) == sizeof(record)) {
		if (record.cookie != cookie)
			continue;
		found = record.has_program;
		*id = record.id;
	}
	if (fd >= 0)
		close(fd);
	return found;
}

__u32 prog_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_prog_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

bool group_is_foreign(const struct service *service, const struct endpoint_socket *socket)
{
	__u32 id;

	return group_read_prog(&service->endpoint, socket->cookie, &id) == 1 &&
	       id != prog_id(service->program);
}

static int is_pinned(const char *name, void *arg)
{
	char path[128];
	int fd, match;

	snprintf(path, sizeof(path), PIN_ROOT "/%s/program", name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return 0;
	match = prog_id(fd) == *(__u32 *)arg;
	close(fd);
	return match;
}

/* A program of this type that is of no service; 0 if there is none. */
static __u32 find_unknown_prog(char *name, size_t size)
{
	struct bpf_prog_info info;
	__u32 id = 0, len;
	int fd, err;

	while (!bpf_prog_get_next_id(id, &id)) {
		fd = bpf_prog_get_fd_by_id(id);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		err = bpf_prog_get_info_by_fd(fd, &info, &len);
		close(fd);
		if (err || info.type != BPF_PROG_TYPE_SK_REUSEPORT ||
		    visit_services(is_pinned, &id))
			continue;
		snprintf(name, size, "%s", info.name);
		return id;
	}
	return 0;
}

#define REMEDY "Stop whoever put it there, or say --force to put ours in its place"

int group_check_prog(const struct service *service, const struct endpoint *endpoint,
		   const struct endpoint_socket *socket)
{
	char name[BPF_OBJ_NAME_LEN], text[64];
	__u32 id;

	switch (group_read_prog(endpoint, socket->cookie, &id)) {
	case 0:
		return 0;
	case 1:
		if (!id)
			return fail("there is a classic BPF program on %s already. " REMEDY,
				    format_endpoint(endpoint, text));
		/* attach has put away what was left of a service, but on a dry run */
		if (service ? id == prog_id(service->program) :
			      dry_run && visit_services(is_pinned, &id))
			return 0;
		return fail("program %u is on %s already. " REMEDY, id,
			    format_endpoint(endpoint, text));
	}
	/* a service had the group to itself when it was made */
	if (service)
		return 0;
	id = find_unknown_prog(name, sizeof(name));
	if (!id)
		return 0;
	return fail("program %u (%s) may be on %s already, for all that a kernel without BTF and "
		    "iterators tells. " REMEDY,
		    id, name, format_endpoint(endpoint, text));
}
