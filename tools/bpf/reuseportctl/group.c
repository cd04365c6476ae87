// SPDX-License-Identifier: GPL-2.0
/* The SO_REUSEPORT group of a service, and the program that is attached to it.
 *
 * No system call returns the program of a group. A BPF iterator over sockets can read it, if
 * the kernel has iterators and BTF. Otherwise there is only the list of all programs of this
 * type: if it has none but those of services, none is attached, apart from a classic BPF
 * program, which has no id; if it has others, one of them may be.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "group.h"
#include "group.skel.h"

#ifndef SO_ATTACH_REUSEPORT_EBPF
#define SO_ATTACH_REUSEPORT_EBPF 52
#endif
#ifndef SO_DETACH_REUSEPORT_BPF
#define SO_DETACH_REUSEPORT_BPF 68
#endif

/* At one address the kernel makes a group of the sockets that have this in common. */
bool group_has_socket(const struct service_config *config, const struct socket_info *socket)
{
	return socket->uid == config->uid && socket->interface == config->interface &&
	       socket->v6only == config->v6only;
}

/* -- Which program is attached ------------------------------------------------------ */

int group_load_iterator(__u32 protocol)
{
	bool tcp = protocol == IPPROTO_TCP;
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
			fd = fcntl(bpf_link__fd(link), F_DUPFD_CLOEXEC, 3);
			bpf_link__destroy(link);
		}
	}
	group_bpf__destroy(skel);
	return fd;
}

bool group_probe(void)
{
	int iterator = group_load_iterator(IPPROTO_TCP);

	if (iterator >= 0)
		close(iterator);
	return iterator >= 0;
}

/* Begin to read the records. To load an iterator takes some 30 ms, most of it to parse the
 * kernel's BTF, so services have one pinned; others have none, and load it here.
 */
static int open_records(__u32 protocol, int iterator)
{
	int loaded = iterator < 0 ? group_load_iterator(protocol) : -1;
	int fd = bpf_iter_create(iterator < 0 ? loaded : iterator);

	if (loaded >= 0)
		close(loaded);
	return fd;
}

static int compare_cookies(const void *a, const void *b)
{
	const struct group_record *x = a, *y = b;

	return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

int group_list(__u32 protocol, int iterator, struct group_record **list)
{
	int fd = open_records(protocol, iterator), count = 0, space = 0;
	struct group_record record, *larger;

	*list = NULL;
	if (fd < 0)
		return -1;
	/* records come whole: the kernel's buffer is a page or more, and takes no parts */
	while (read(fd, &record, sizeof(record)) == sizeof(record)) {
		if (count == space) {
			space = 2 * space + 64;
			larger = realloc(*list, space * sizeof(record));
			if (!larger)
				break;
			*list = larger;
		}
		(*list)[count++] = record;
	}
	close(fd);
	if (count)
		qsort(*list, count, sizeof(record), compare_cookies);
	return count;
}

const struct group_record *group_find(const struct group_record *list, int count, __u64 cookie)
{
	struct group_record key = { .cookie = cookie };

	return count > 0 ? bsearch(&key, list, count, sizeof(key), compare_cookies) : NULL;
}

/* 1: *@id (0: a classic BPF program), 0: none, -1: this kernel cannot tell. */
static int read_prog(__u32 protocol, int iterator, __u64 cookie, __u32 *id)
{
	int fd = open_records(protocol, iterator), found = -1;
	struct group_record record;

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

static __u32 prog_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

/* The cookie of any socket of the group. */
static bool find_member(const struct service *service, const struct socket_info *list, int count,
			__u64 *cookie)
{
	int i;

	for (i = 0; i < count && !group_has_socket(&service->config, &list[i]); i++)
		;
	if (i < count)
		*cookie = list[i].cookie;
	return i < count;
}

int group_find_prog(const struct service *service, struct group_prog *prog)
{
	struct socket_info *list;
	__u64 cookie;
	int count;

	*prog = (struct group_prog){ .state = GROUP_NONE };
	count = sock_diag_list(&service->endpoint, &list);
	if (count < 0)
		return -1;
	if (find_member(service, list, count, &cookie))
		switch (read_prog(service->config.protocol, service->iterator, cookie, &prog->id)) {
		case 0:
			prog->state = GROUP_WITHOUT_PROG;
			break;
		case 1:
			prog->state = GROUP_WITH_PROG;
			break;
		default:
			prog->state = GROUP_UNKNOWN;
		}
	free(list);
	return 0;
}

bool group_is_own_prog(const struct service *service, __u32 id)
{
	return id && (id == prog_id(service->program) || id == prog_id(service->old_program));
}

/* -- Which service it is of -------------------------------------------------------- */

struct prog_user {
	__u32 id;
	const char *name;	/* of the service; NULL: any */
};

static int is_prog(int program, void *arg)
{
	return prog_id(program) == ((const struct prog_user *)arg)->id;
}

static int has_prog(const char *directory, void *arg)
{
	const struct prog_user *user = arg;
	size_t plain = strcspn(directory, "+");

	if (user->name && (strlen(user->name) != plain || strncmp(directory, user->name, plain)))
		return 0;
	return store_visit_programs(directory, is_prog, arg);
}

bool group_is_service_prog(__u32 id)
{
	struct prog_user user = { .id = id };

	return store_visit(has_prog, &user);
}

#define MAX_MAPS	32	/* more than any of our programs has */

/* The map of generations that a program uses, or -1: only ours have one. */
static int find_generations(const __u32 *map_ids, __u32 count)
{
	struct bpf_map_info info;
	__u32 len, i;
	int fd;

	for (i = 0; i < count; i++) {
		fd = bpf_map_get_fd_by_id(map_ids[i]);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		if (!bpf_obj_get_info_by_fd(fd, &info, &len) &&
		    info.type == BPF_MAP_TYPE_ARRAY_OF_MAPS && !strcmp(info.name, "generations"))
			return fd;
		close(fd);
	}
	return -1;
}

int group_open_orphan(__u32 id, __u64 *loaded)
{
	__u32 map_ids[MAX_MAPS], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {
		.nr_map_ids = MAX_MAPS,
		.map_ids = (__u64)(unsigned long)map_ids,
	};
	int fd, err;

	fd = id ? bpf_prog_get_fd_by_id(id) : -1;
	if (fd < 0)
		return -1;
	err = bpf_obj_get_info_by_fd(fd, &info, &len);
	close(fd);
	if (err || info.type != BPF_PROG_TYPE_SK_REUSEPORT || info.nr_map_ids > MAX_MAPS ||
	    group_is_service_prog(id))
		return -1;
	*loaded = info.load_time;
	return find_generations(map_ids, info.nr_map_ids);
}

/* -- Whether that is welcome ---------------------------------------------------------- */

#define REMEDY "Stop the program that attached it, or replace it with --force"

static int refuse_prog(__u32 id, const struct endpoint *endpoint)
{
	char text[ENDPOINT_LEN];
	int generations;
	__u64 loaded;

	endpoint_format(endpoint, text);
	generations = group_open_orphan(id, &loaded);
	if (generations >= 0) {
		close(generations);
		return fail("BPF program %u, of a service that is not pinned here, is already "
			    "attached to the group at %s. If its pins are gone, reuseportctl "
			    "cleanup --program %u detaches it and releases its sockets; if not, "
			    "replace it with --force",
			    id, text, id);
	}
	if (!id)
		return fail("a classic BPF program is already attached to the group at %s. " REMEDY,
			    text);
	return fail("BPF program %u is already attached to the group at %s. " REMEDY, id, text);
}

int group_check_prog(const struct service *service, __u64 cookie)
{
	__u32 id;

	if (read_prog(service->config.protocol, service->iterator, cookie, &id) != 1)
		return 0;
	return group_is_own_prog(service, id) ? 1 : refuse_prog(id, &service->endpoint);
}

/* A program of this type that is of no service; 0 if there is none. */
static __u32 find_unknown_prog(char *name, size_t size)
{
	struct prog_user user = {};
	struct bpf_prog_info info;
	__u32 len;
	int fd, err;

	while (!bpf_prog_get_next_id(user.id, &user.id)) {
		fd = bpf_prog_get_fd_by_id(user.id);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		err = bpf_obj_get_info_by_fd(fd, &info, &len);
		close(fd);
		if (err || info.type != BPF_PROG_TYPE_SK_REUSEPORT || store_visit(has_prog, &user))
			continue;
		snprintf(name, size, "%s", info.name);
		return user.id;
	}
	return 0;
}

int group_check_free(const char *name, const struct endpoint *endpoint, __u64 cookie)
{
	char prog_name[BPF_OBJ_NAME_LEN], text[ENDPOINT_LEN];
	struct prog_user user = { .name = name };

	switch (read_prog(endpoint->protocol, -1, cookie, &user.id)) {
	case 0:
		return 0;
	case 1:
		if (user.id && store_visit(has_prog, &user))
			return 0;
		return refuse_prog(user.id, endpoint);
	}
	user.id = find_unknown_prog(prog_name, sizeof(prog_name));
	if (!user.id)
		return 0;
	return fail("BPF program %u (%s) may be attached to the group at %s; this kernel, without "
		    "BTF or iterators, cannot tell. " REMEDY,
		    user.id, prog_name, endpoint_format(endpoint, text));
}

/* -- Attaching and detaching ------------------------------------------------------------ */

static int attach_prog(int fd, int program)
{
	if (!setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)))
		return 0;
	if (errno == EINVAL)
		return fail("the socket is in no SO_REUSEPORT group: the server has to set "
			    "SO_REUSEPORT before bind()");
	return fail("cannot attach the program to the group (%s)", strerror(errno));
}

static int detach_prog(int fd)
{
	int nothing = 0;

	/* ENOENT: there is none */
	if (!setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &nothing, sizeof(nothing)) ||
	    errno == ENOENT)
		return 0;
	return fail("cannot detach the program from the group (%s)", strerror(errno));
}

int group_attach_prog(struct service *service, int fd)
{
	if (attach_prog(fd, service->program))
		return -1;
	service->attached = true;
	return 0;
}

int group_attach_to_any(struct service *service, const struct held_socket *sockets, int count)
{
	int fd = -1, i, err;

	for (i = 0; i < count && fd < 0; i++)
		fd = socket_try_dup(&sockets[i]);
	if (fd < 0)
		/* for the sentence */
		fd = socket_dup(&sockets[0]);
	if (fd < 0)
		return -1;
	err = group_attach_prog(service, fd);
	close(fd);
	return err;
}

static bool has_foreign_prog(const struct service *service, __u64 cookie)
{
	__u32 id;

	return read_prog(service->config.protocol, service->iterator, cookie, &id) == 1 &&
	       !group_is_own_prog(service, id);
}

int group_get_fd(const struct service *service, int *fd)
{
	struct held_socket *sockets;
	bool unseen = false;
	int count, tries, i, err = 0;

	for (tries = 0; tries < 2; tries++) {
		unseen = false;
		err = 0;
		*fd = -1;
		count = sockets_find(&service->endpoint, 0, &sockets);
		if (count < 0)
			return -1;
		for (i = 0; i < count && *fd < 0; i++) {
			if (!group_has_socket(&service->config, &sockets[i].info))
				continue;
			if (!sockets[i].pid) {
				unseen = true;
			} else if (!has_foreign_prog(service, sockets[i].info.cookie)) {
				*fd = socket_try_dup(&sockets[i]);
				err = *fd < 0 ? errno : 0;
			}
		}
		free(sockets);
		if (!err)
			break;
		/* they may be closing just now, and be gone on the second try */
		sleep_ms(50);
	}
	if (err)
		return fail("cannot duplicate a socket of service %s (%s), which is needed to "
			    "change the program of its group: run this as root, with "
			    "CAP_SYS_PTRACE; a container may forbid pidfd_getfd",
			    service->name, strerror(err));
	if (*fd < 0 && unseen)
		return fail("the processes that have the sockets of service %s are not visible "
			    "here: run this in their PID namespace, or that of the host",
			    service->name);
	return 0;
}

/* On older kernels a connected UDP socket may be all that is left of the group. */
static int detach_from_connected(const struct service *service)
{
	struct socket_info *sockets;
	struct held_socket *list;
	int count, err = 0, i;
	__u32 id;

	count = sock_diag_list_connected(&service->endpoint, &sockets);
	if (count < 0)
		return -1;
	count = sockets_find_owners(sockets, count, NULL, &list);
	free(sockets);
	for (i = 0; i < count && !err; i++)
		if (list[i].pid && read_prog(service->config.protocol, service->iterator,
					     list[i].info.cookie, &id) == 1 &&
		    group_is_own_prog(service, id))
			err = group_detach_prog_id(&list[i], id);
	free(list);
	return count < 0 || err ? -1 : 0;
}

int group_detach_prog(const struct service *service)
{
	int fd, err;

	if (require_netns(service) || group_get_fd(service, &fd))
		return -1;
	if (fd < 0)
		/* the program went with the group, or another one has replaced it */
		return service->config.protocol == IPPROTO_UDP ? detach_from_connected(service) :
								 0;
	err = detach_prog(fd);
	close(fd);
	return err;
}

int group_detach_prog_id(const struct held_socket *held, __u32 id)
{
	__u32 attached;
	int fd, err;

	/* a kernel that cannot tell has it attached, as far as anybody knows */
	switch (read_prog(held->info.at.protocol, -1, held->info.cookie, &attached)) {
	case 0:
		return 0;
	case 1:
		if (attached != id)
			return 0;
	}
	fd = socket_dup(held);
	if (fd < 0)
		return -1;
	err = detach_prog(fd);
	close(fd);
	return err;
}

/* Duplicate any socket of the group, whatever program that has. */
static int dup_any(const struct service *service)
{
	struct held_socket *list;
	int count, fd = -1, i;

	count = sockets_find(&service->endpoint, 0, &list);
	for (i = 0; i < count && fd < 0; i++)
		if (list[i].pid && group_has_socket(&service->config, &list[i].info))
			fd = socket_try_dup(&list[i]);
	free(list);
	return fd;
}

/* Attach the program that @before names to the group of @fd, or none. */
static int put_prog(struct service *service, const struct group_prog *before, int fd)
{
	int program, err;

	if (before->state == GROUP_WITHOUT_PROG)
		return detach_prog(fd);
	if (before->state == GROUP_UNKNOWN || group_is_own_prog(service, before->id))
		return group_attach_prog(service, fd);
	program = before->id ? bpf_prog_get_fd_by_id(before->id) : -1;
	if (program < 0)
		return fail("the program that the group of service %s had cannot be attached "
			    "again: it does not exist any more, or is a classic one",
			    service->name);
	err = attach_prog(fd, program);
	close(program);
	return err;
}

int group_put_prog(struct service *service, const struct group_prog *before)
{
	struct group_prog now;
	int fd, err;

	if (group_find_prog(service, &now))
		return -1;
	if (before->state == GROUP_NONE || now.state == GROUP_NONE)
		return 0;
	if (now.state == before->state && now.state != GROUP_UNKNOWN && now.id == before->id)
		return 0;
	fd = dup_any(service);
	if (fd < 0 && before->state == GROUP_UNKNOWN)
		/* then we cannot have replaced it either */
		return 0;
	if (fd < 0)
		return fail("no socket of service %s can be duplicated: run this as root, with "
			    "CAP_SYS_PTRACE",
			    service->name);
	err = put_prog(service, before, fd);
	close(fd);
	return err;
}
