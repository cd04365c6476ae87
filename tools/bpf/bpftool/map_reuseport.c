// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Dump maps of type reuseport_sockarray: the sockets and processes behind the cookies.
 *
 * A cookie is looked up in the sockets that sock_diag lists for each network namespace.
 * A process holds the socket if one of its /proc/PID/fd links has the socket's inode.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/inet_diag.h>
#include <linux/kernel.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <bpf/bpf.h>

#include "json_writer.h"
#include "main.h"

#ifndef ENOTSUPP
#define ENOTSUPP	524
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif
#ifndef __NR_pidfd_open
#define __NR_pidfd_open		434
#endif
#ifndef __NR_pidfd_getfd
#define __NR_pidfd_getfd	438
#endif

#define BATCH_SIZE	1024	/* slots per call */
#define TERMINAL_WIDTH	80	/* columns */
#define UNREADABLE	"values of 4 bytes are too small for cookies, which identify the " \
			"sockets: create the map with \"value 8\""

struct netns {
	ino_t ino;
	char *path;
	char *name;	/* in "ip netns", or NULL */
};

struct slot {
	__u64 cookie;
	__u32 index;

	/* the socket; netns is NULL if it was not found */
	const struct netns *netns;
	__u32 protocol;
	__u8 state;
	__u16 port;
	int family;
	char address[INET6_ADDRSTRLEN];
	__u32 inode;
	__u32 rqueue;
	__u32 drops;
	struct obj_ref *refs;
	int nr_refs;
};

static struct {
	__u32 entries;
	struct slot *slots;	/* filled ones only, in order */
	struct slot **sorted;	/* by cookie, later by inode */
	__u32 nr_slots, space;
	__u32 nr_found;

	struct netns *netns;	/* our own is the first */
	int nr_netns;
	bool netns_hidden;	/* others exist that this user may not enter */
	bool pids_hidden;	/* processes exist whose fds this user may not read */
	int diag_errno;		/* sock_diag failed for some kind of socket */
} dump;

static int add_slots(const __u32 *indices, const __u64 *cookies, __u32 count)
{
	struct slot *slots;
	__u32 i;

	if (dump.nr_slots + count > dump.space) {
		dump.space = 2 * dump.space + count;
		slots = realloc(dump.slots, dump.space * sizeof(*slots));
		if (!slots) {
			p_err("mem alloc failed");
			return -1;
		}
		dump.slots = slots;
	}
	for (i = 0; i < count; i++)
		dump.slots[dump.nr_slots++] = (struct slot){
			.index = indices[i],
			.cookie = cookies[i],
		};
	return 0;
}

/* Pass the filled slots to @add, or only count them. Returns -1 and sets errno on error. */
static int read_batches(int fd, int (*add)(const __u32 *, const __u64 *, __u32), __u32 *sum)
{
	__u32 indices[BATCH_SIZE], next, *from = NULL, count;
	__u64 cookies[BATCH_SIZE];
	int err;

	*sum = 0;
	do {
		count = BATCH_SIZE;
		err = bpf_map_lookup_batch(fd, from, &next, indices, cookies, &count, NULL);
		if (err && errno != ENOENT)
			return -1;
		if (add && add(indices, cookies, count))
			return -1;
		*sum += count;
		from = &next;
	} while (!err);

	return 0;
}

/* For kernels without batch operations. */
static int read_one_by_one(int fd)
{
	__u64 cookie;
	__u32 index;

	for (index = 0; index < dump.entries; index++) {
		if (!bpf_map_lookup_elem(fd, &index, &cookie)) {
			if (add_slots(&index, &cookie, 1))
				return -1;
		} else if (errno != ENOENT) {
			p_err("can't read slot %u: %s", index, strerror(errno));
			return -1;
		}
	}
	return 0;
}

static int read_slots(int fd)
{
	__u32 sum;

	if (!read_batches(fd, add_slots, &sum))
		return 0;
	if (errno == ENOTSUPP || errno == EINVAL)
		return read_one_by_one(fd);
	p_err("can't read the map: %s", strerror(errno));
	return -1;
}

/* Count the filled slots. Returns -1 if the kernel or the map does not support batches. */
int reuseport_array_count(int fd, const struct bpf_map_info *info, __u32 *filled)
{
	if (info->value_size != sizeof(__u64))
		return -1;

	return read_batches(fd, NULL, filled);
}

static int compare_cookies(const void *a, const void *b)
{
	const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;

	return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

static int compare_inodes(const void *a, const void *b)
{
	const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static struct slot *find_slot(const struct slot *like, int (*compare)(const void *, const void *))
{
	struct slot **found = bsearch(&like, dump.sorted, dump.nr_slots, sizeof(like), compare);

	return found ? *found : NULL;
}

/* Fill in what sock_diag reports about one socket. */
static void add_socket_info(const struct nlmsghdr *nlh, __u32 protocol, const struct netns *netns)
{
	const struct inet_diag_msg *msg = NLMSG_DATA(nlh);
	int len = nlh->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));
	struct rtattr *attr = (struct rtattr *)(msg + 1);
	struct slot like = {
		.cookie = (__u64)msg->id.idiag_cookie[1] << 32 | msg->id.idiag_cookie[0],
	};
	struct slot *slot = find_slot(&like, compare_cookies);

	if (!slot || slot->netns)
		return;

	slot->netns = netns;
	slot->protocol = protocol;
	slot->state = msg->idiag_state;
	slot->family = msg->idiag_family;
	slot->port = ntohs(msg->id.idiag_sport);
	slot->inode = msg->idiag_inode;
	slot->rqueue = msg->idiag_rqueue;
	inet_ntop(slot->family, msg->id.idiag_src, slot->address, sizeof(slot->address));
	for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len))
		if (attr->rta_type == INET_DIAG_SKMEMINFO &&
		    RTA_PAYLOAD(attr) > SK_MEMINFO_DROPS * sizeof(__u32))
			slot->drops = ((__u32 *)RTA_DATA(attr))[SK_MEMINFO_DROPS];
	dump.nr_found++;
}

/* Request all sockets of a family and protocol. Returns an errno. */
static int dump_sockets(int nl, int family, __u32 protocol, const struct netns *netns)
{
	struct {
		struct nlmsghdr nlh;
		struct inet_diag_req_v2 req;
		struct rtattr attr;	/* sdiag_protocol is too small for IPPROTO_MPTCP */
		__u32 protocol;
	} request = {
		.nlh = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.req = {
			.sdiag_family = family,
			.sdiag_protocol = protocol,
			.idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1),
			.idiag_states = protocol == IPPROTO_UDP ? ~0 : 1 << TCP_LISTEN,
		},
		.attr = {
			.rta_len = RTA_LENGTH(sizeof(protocol)),
			.rta_type = INET_DIAG_REQ_PROTOCOL,
		},
		.protocol = protocol,
	};
	static __u32 answer[8192];
	struct nlmsghdr *nlh;
	unsigned int left;
	int len;

	if (send(nl, &request, sizeof(request), 0) != sizeof(request))
		return errno;

	for (;;) {
		len = recv(nl, answer, sizeof(answer), 0);
		if (len <= 0)
			return len ? errno : EPROTO;
		left = len;
		for (nlh = (void *)answer; NLMSG_OK(nlh, left); nlh = NLMSG_NEXT(nlh, left)) {
			if (nlh->nlmsg_type == NLMSG_DONE)
				return 0;
			if (nlh->nlmsg_type == NLMSG_ERROR)
				return -((struct nlmsgerr *)NLMSG_DATA(nlh))->error;
			add_socket_info(nlh, protocol, netns);
		}
	}
}

/* Look for the sockets in the current network namespace, @netns. */
static void search_netns(const struct netns *netns)
{
	static const int families[] = { AF_INET, AF_INET6 };
	static const __u32 protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_MPTCP };
	unsigned int f, p;
	int nl, err;

	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (nl < 0) {
		dump.diag_errno = errno;
		return;
	}
	for (f = 0; f < ARRAY_SIZE(families); f++) {
		for (p = 0; p < ARRAY_SIZE(protocols); p++) {
			if (dump.nr_found == dump.nr_slots)
				break;
			err = dump_sockets(nl, families[f], protocols[p], netns);
			/* an error for AF_INET6 only means a kernel without IPv6, or MPTCP */
			if (err && families[f] == AF_INET && protocols[p] != IPPROTO_MPTCP)
				dump.diag_errno = err;
		}
	}
	close(nl);
}

static struct netns *add_netns(const char *path)
{
	struct netns *netns;
	struct stat st;
	int i;

	if (stat(path, &st)) {
		dump.netns_hidden |= errno == EACCES || errno == EPERM;
		return NULL;
	}
	for (i = 0; i < dump.nr_netns; i++)
		if (dump.netns[i].ino == st.st_ino)
			return &dump.netns[i];

	netns = &dump.netns[dump.nr_netns];
	netns->ino = st.st_ino;
	netns->path = strdup(path);
	netns->name = NULL;
	dump.nr_netns++;
	return netns;
}

/* Call @visit with each name in @directory. */
static int visit_names(const char *directory, void (*visit)(const char *name))
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			visit(entry->d_name);
	closedir(dir);
	return 0;
}

static int nr_names;

static void count_name(const char *name)
{
	nr_names++;
}

static void add_netns_of_pid(const char *pid)
{
	char path[64];

	if (!isdigit(pid[0]) || dump.nr_netns > nr_names)
		return;
	snprintf(path, sizeof(path), "/proc/%.20s/ns/net", pid);
	add_netns(path);
}

static void add_netns_of_name(const char *name)
{
	struct netns *netns;
	char path[300];

	if (dump.nr_netns > nr_names)
		return;
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	netns = add_netns(path);
	if (netns && !netns->name)
		netns->name = strdup(name);
}

/* Find the sockets, in our network namespace first, then in others as needed. */
static int find_sockets(void)
{
	int home, there, i;

	visit_names("/proc", count_name);
	visit_names("/run/netns", count_name);
	/* slots point into this table, so it must not be reallocated */
	dump.netns = calloc(nr_names + 1, sizeof(*dump.netns));
	if (!dump.netns) {
		p_err("mem alloc failed");
		return -1;
	}
	if (!add_netns("/proc/self/ns/net")) {
		p_err("can't find the network namespace: is /proc mounted?");
		return -1;
	}
	search_netns(&dump.netns[0]);

	visit_names("/run/netns", add_netns_of_name);
	if (dump.nr_found == dump.nr_slots)
		return 0;
	visit_names("/proc", add_netns_of_pid);

	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	for (i = 1; i < dump.nr_netns && dump.nr_found < dump.nr_slots; i++) {
		there = open(dump.netns[i].path, O_RDONLY | O_CLOEXEC);
		if (there < 0 || home < 0 || setns(there, CLONE_NEWNET)) {
			dump.netns_hidden |= errno == EACCES || errno == EPERM;
		} else {
			search_netns(&dump.netns[i]);
			if (setns(home, CLONE_NEWNET)) {
				p_err("can't return to the network namespace: %s",
				      strerror(errno));
				return -1;
			}
		}
		if (there >= 0)
			close(there);
	}
	if (home >= 0)
		close(home);
	return 0;
}

static void add_ref(struct slot *slot, int pid)
{
	struct obj_ref *refs, *ref;
	char path[64], *c;
	FILE *file;

	/* a process may have several fds of the socket */
	if (slot->nr_refs && slot->refs[slot->nr_refs - 1].pid == pid)
		return;
	refs = realloc(slot->refs, (slot->nr_refs + 1) * sizeof(*refs));
	if (!refs)
		return;
	slot->refs = refs;
	ref = &refs[slot->nr_refs++];
	memset(ref, 0, sizeof(*ref));
	ref->pid = pid;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "r");
	if (!file)
		return;
	if (fgets(ref->comm, sizeof(ref->comm), file)) {
		ref->comm[strcspn(ref->comm, "\n")] = '\0';
		/* the name is chosen by the process and may contain anything */
		for (c = ref->comm; *c; c++)
			if (!isprint((unsigned char)*c))
				*c = '?';
	}
	fclose(file);
}

static void scan_fds(const char *pid)
{
	char path[64], link[64];
	struct dirent *entry;
	struct slot like = {};
	struct slot *slot;
	ssize_t len;
	DIR *dir;

	if (!isdigit(pid[0]))
		return;
	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	if (!dir) {
		dump.pids_hidden |= errno == EACCES || errno == EPERM;
		return;
	}
	while ((entry = readdir(dir))) {
		len = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = '\0';
		if (sscanf(link, "socket:[%u]", &like.inode) != 1 || !like.inode)
			continue;
		slot = find_slot(&like, compare_inodes);
		if (slot)
			add_ref(slot, atoi(pid));
	}
	closedir(dir);
}

static int identify(void)
{
	__u32 i;

	dump.sorted = calloc(dump.nr_slots + 1, sizeof(*dump.sorted));
	if (!dump.sorted) {
		p_err("mem alloc failed");
		return -1;
	}
	for (i = 0; i < dump.nr_slots; i++)
		dump.sorted[i] = &dump.slots[i];
	qsort(dump.sorted, dump.nr_slots, sizeof(*dump.sorted), compare_cookies);
	if (dump.nr_slots && find_sockets())
		return -1;

	qsort(dump.sorted, dump.nr_slots, sizeof(*dump.sorted), compare_inodes);
	if (dump.nr_found && visit_names("/proc", scan_fds))
		dump.pids_hidden = true;
	return 0;
}

/* Every socket is held by a process: if none was found, it is hidden from us. */
static bool pids_complete(const struct slot *slot)
{
	return slot->nr_refs && !dump.pids_hidden;
}

/* Why a socket was not found. */
static const char *why_not_found(void)
{
	if (dump.diag_errno)
		return "not reported by sock_diag";
	if (dump.netns_hidden)
		return "not in a network namespace accessible to this user";
	return "not in a network namespace visible from here";
}

static const char *protocol_name(const struct slot *slot)
{
	switch (slot->protocol) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_MPTCP:
		return "mptcp";
	default:
		return "udp";
	}
}

static const char *state_name(const struct slot *slot)
{
	switch (slot->state) {
	case TCP_LISTEN:
		return "listen";
	case TCP_ESTABLISHED:
		return "estab";
	default:
		return "unconn";
	}
}

/* Slots from @first on, up to @last if they are a range, have no value, because of @err. */
static void print_empty_json(__u32 first, const __u32 *last, int err)
{
	jsonw_start_object(json_wtr);
	jsonw_name(json_wtr, "key");
	print_hex_data_json((void *)&first, sizeof(first));
	jsonw_name(json_wtr, "value");
	jsonw_start_object(json_wtr);
	jsonw_string_field(json_wtr, "error", strerror(err));
	jsonw_end_object(json_wtr);
	jsonw_uint_field(json_wtr, "slot", first);
	if (last)
		jsonw_uint_field(json_wtr, "last_slot", *last);
	if (err == ENOSPC)
		jsonw_string_field(json_wtr, "reason", UNREADABLE);
	jsonw_end_object(json_wtr);
}

/* One element for each slot, as for every other map, or one for all of them. */
static void print_gap_json(__u32 first, __u32 last, bool ranges, int err)
{
	__u32 slot = first;

	if (ranges) {
		print_empty_json(first, &last, err);
		return;
	}
	do {
		print_empty_json(slot, NULL, err);
	} while (slot++ < last);
}

static void print_slot_json(struct bpf_map_info *info, struct slot *slot, struct btf *btf)
{
	int i;

	jsonw_start_object(json_wtr);
	print_entry_fields_json(info, (void *)&slot->index, (void *)&slot->cookie, btf);
	jsonw_uint_field(json_wtr, "slot", slot->index);
	jsonw_uint_field(json_wtr, "cookie", slot->cookie);
	jsonw_bool_field(json_wtr, "found", slot->netns);
	if (slot->netns) {
		jsonw_string_field(json_wtr, "protocol", protocol_name(slot));
		jsonw_string_field(json_wtr, "family",
				   slot->family == AF_INET ? "inet" : "inet6");
		jsonw_string_field(json_wtr, "local_addr", slot->address);
		jsonw_uint_field(json_wtr, "local_port", slot->port);
		jsonw_string_field(json_wtr, "state", state_name(slot));
		jsonw_uint_field(json_wtr, "rqueue", slot->rqueue);
		jsonw_uint_field(json_wtr, "drops", slot->drops);
		jsonw_uint_field(json_wtr, "inode", slot->inode);
		jsonw_uint_field(json_wtr, "netns_ino", slot->netns->ino);
		if (slot->netns->name)
			jsonw_string_field(json_wtr, "netns_name", slot->netns->name);
		jsonw_name(json_wtr, "pids");
		jsonw_start_array(json_wtr);
		for (i = 0; i < slot->nr_refs; i++) {
			jsonw_start_object(json_wtr);
			jsonw_int_field(json_wtr, "pid", slot->refs[i].pid);
			jsonw_string_field(json_wtr, "comm", slot->refs[i].comm);
			jsonw_end_object(json_wtr);
		}
		jsonw_end_array(json_wtr);
		jsonw_bool_field(json_wtr, "pids_complete", pids_complete(slot));
	} else {
		jsonw_string_field(json_wtr, "reason", why_not_found());
	}
	jsonw_end_object(json_wtr);
}

static void print_json(struct bpf_map_info *info, struct btf *btf, bool ranges)
{
	__u32 next = 0, i;

	for (i = 0; i < dump.nr_slots; next = dump.slots[i++].index + 1) {
		if (next < dump.slots[i].index)
			print_gap_json(next, dump.slots[i].index - 1, ranges, ENOENT);
		print_slot_json(info, &dump.slots[i], btf);
	}
	if (next < dump.entries)
		print_gap_json(next, dump.entries - 1, ranges, ENOENT);
}

/* The column netns is only printed if it has content. */
enum column { SLOT, COOKIE, PROTO, LOCAL, STATE, RECVQ, DROPS, NETNS, COLUMNS };

static const char *const titles[COLUMNS] = {
	"slot", "cookie", "proto", "local", "state", "recvq", "drops", "netns"
};

static void format(const struct slot *slot, enum column column, char *cell, size_t size)
{
	cell[0] = '\0';
	if (column == SLOT)
		snprintf(cell, size, "%u", slot->index);
	else if (column == COOKIE)
		snprintf(cell, size, "%llu", slot->cookie);
	else if (!slot->netns)
		snprintf(cell, size, "?");
	else if (column == PROTO)
		snprintf(cell, size, "%s", protocol_name(slot));
	else if (column == LOCAL && slot->family == AF_INET)
		snprintf(cell, size, "%s:%u", slot->address, slot->port);
	else if (column == LOCAL)
		snprintf(cell, size, "[%s]:%u", slot->address, slot->port);
	else if (column == STATE)
		snprintf(cell, size, "%s", state_name(slot));
	else if (column == RECVQ)
		snprintf(cell, size, "%u", slot->rqueue);
	else if (column == DROPS)
		snprintf(cell, size, "%u", slot->drops);
	else if (column == NETNS && slot->netns->name)
		snprintf(cell, size, "%s", slot->netns->name);
	else if (column == NETNS)
		snprintf(cell, size, "%lu", (unsigned long)slot->netns->ino);
}

static void print_cell(enum column column, int width, const char *cell)
{
	bool number = column == SLOT || column == COOKIE || column == RECVQ || column == DROPS;

	printf("%s%*s", column ? "  " : "", number ? width : -width, cell);
}

#define MORE	6	/* characters for " +1234" */

static int format_ref(const struct slot *slot, int i, char *ref, size_t size)
{
	return snprintf(ref, size, "%s%s(%d)", i ? "," : "", slot->refs[i].comm,
			slot->refs[i].pid);
}

static int min_refs_width(const struct slot *slot)
{
	if (!slot->nr_refs)
		return 1;
	return format_ref(slot, 0, NULL, 0) + (slot->nr_refs > 1 ? MORE : 0);
}

/* Print the processes that fit, and the number of the others. */
static void print_refs(const struct slot *slot, int room)
{
	char ref[64];
	int i, len;

	for (i = 0; i < slot->nr_refs; i++) {
		len = format_ref(slot, i, ref, sizeof(ref));
		if (i && len + (i < slot->nr_refs - 1 ? MORE : 0) > room) {
			printf(" +%d", slot->nr_refs - i);
			break;
		}
		printf("%s", ref);
		room -= len;
	}
	if (!slot->nr_refs)
		printf("?");
}

static int format_gap(__u32 first, __u32 last, char *range, size_t size)
{
	return snprintf(range, size, first < last ? "%u-%u" : "%u", first, last);
}

static void print_gap(__u32 first, __u32 last, int width)
{
	char range[32];

	format_gap(first, last, range, sizeof(range));
	printf("%*s  (empty)\n", width, range);
}

/* The width of the widest range of empty slots. */
static int max_gap_width(void)
{
	int width = 0;
	__u32 next = 0, i;

	for (i = 0; i < dump.nr_slots; next = dump.slots[i++].index + 1)
		if (next < dump.slots[i].index)
			width = max(width, format_gap(next, dump.slots[i].index - 1, NULL, 0));
	if (next < dump.entries)
		width = max(width, format_gap(next, dump.entries - 1, NULL, 0));
	return width;
}

static void print_table(void)
{
	int widths[COLUMNS] = {}, used = 0, first_line = 0, pids = 0, lines = 1, c;
	bool other_netns = false, hidden = false;
	__u32 next = 0, i;
	char cell[300];

	for (i = 0; i < dump.nr_slots; i++) {
		other_netns |= dump.slots[i].netns && dump.slots[i].netns != dump.netns;
		hidden |= dump.slots[i].netns && !pids_complete(&dump.slots[i]);
		pids = max(pids, min_refs_width(&dump.slots[i]));
	}
	for (c = 0; c < COLUMNS; c++) {
		if (c == NETNS && !other_netns)
			continue;
		widths[c] = max_t(int, strlen(titles[c]), c == SLOT ? max_gap_width() : 0);
		for (i = 0; i < dump.nr_slots; i++) {
			format(&dump.slots[i], c, cell, sizeof(cell));
			widths[c] = max_t(int, widths[c], strlen(cell));
		}
		used += widths[c] + 2;
		if (c < RECVQ)
			first_line = used;
	}
	if (used + pids > TERMINAL_WIDTH) {
		/* print the columns from RECVQ on in a second line */
		lines = 2;
		used -= first_line - widths[SLOT] - 2;
	}

	for (c = 0; c < COLUMNS && dump.nr_slots; c++) {
		if (lines == 2 && c == RECVQ)
			printf("\n%*s", widths[SLOT], "");
		if (widths[c])
			print_cell(c, widths[c], titles[c]);
	}
	if (dump.nr_slots)
		printf("  pids\n");

	next = 0;
	for (i = 0; i < dump.nr_slots; next = dump.slots[i++].index + 1) {
		struct slot *slot = &dump.slots[i];

		if (next < slot->index)
			print_gap(next, slot->index - 1, widths[SLOT]);
		for (c = 0; c < COLUMNS; c++) {
			if (lines == 2 && c == RECVQ)
				printf("\n%*s", widths[SLOT], "");
			format(slot, c, cell, sizeof(cell));
			if (widths[c])
				print_cell(c, widths[c], cell);
		}
		printf("  ");
		print_refs(slot, TERMINAL_WIDTH - used);
		printf("\n");
	}
	if (next < dump.entries)
		print_gap(next, dump.entries - 1, widths[SLOT]);

	if (dump.nr_found < dump.nr_slots && dump.diag_errno)
		printf("%u of %u sockets are not reported by sock_diag: it needs\n"
		       "CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG (%s).\n",
		       dump.nr_slots - dump.nr_found, dump.nr_slots, strerror(dump.diag_errno));
	else if (dump.nr_found < dump.nr_slots)
		printf("%u of %u sockets are not in a network namespace %s.\n",
		       dump.nr_slots - dump.nr_found, dump.nr_slots,
		       dump.netns_hidden ? "accessible to this user" : "visible from here");
	if (hidden)
		printf("Processes that are not accessible to this user are omitted.\n");
}

static void free_dump(void)
{
	__u32 i;

	for (i = 0; i < dump.nr_slots; i++)
		free(dump.slots[i].refs);
	for (i = 0; i < (__u32)dump.nr_netns; i++) {
		free(dump.netns[i].path);
		free(dump.netns[i].name);
	}
	free(dump.netns);
	free(dump.sorted);
	free(dump.slots);
	memset(&dump, 0, sizeof(dump));
	nr_names = 0;
}

/* Print the elements. For JSON the caller has started the array. */
int reuseport_array_dump(int fd, struct bpf_map_info *info, struct btf *btf,
			 bool ranges, unsigned int *nr_elems)
{
	int err = -1;

	if (info->value_size != sizeof(__u64)) {
		p_info("Cannot read the map: " UNREADABLE ".");
		if (json_output)
			print_gap_json(0, info->max_entries - 1, ranges, ENOSPC);
		return 0;
	}

	dump.entries = info->max_entries;
	if (read_slots(fd) || identify())
		goto out;

	if (json_output)
		print_json(info, btf, ranges);
	else
		print_table();
	*nr_elems = dump.nr_slots;
	err = 0;
out:
	free_dump();
	return err;
}

static int parse_number(const char *arg, const char *what)
{
	unsigned long number;
	char *end;

	number = strtoul(arg, &end, 0);
	if (!isdigit(arg[0]) || *end || number > INT32_MAX) {
		p_err("can't parse %s as %s", arg, what);
		return -1;
	}
	return number;
}

/* Parse "pid PID fd FD" and duplicate that fd of another process. */
char **reuseport_array_parse_socket(char **argv, int *fd)
{
	int pid, remote, pidfd;

	if (!argv[1] || !argv[2] || !is_prefix(argv[2], "fd") || !argv[3]) {
		p_err("expected pid PID fd FD");
		return NULL;
	}
	pid = parse_number(argv[1], "a process id");
	remote = parse_number(argv[3], "a file descriptor");
	if (pid < 0 || remote < 0)
		return NULL;

	pidfd = syscall(__NR_pidfd_open, pid, 0);
	if (pidfd < 0) {
		p_err("can't open process %d: %s", pid, strerror(errno));
		return NULL;
	}
	*fd = syscall(__NR_pidfd_getfd, pidfd, remote, 0);
	if (*fd < 0)
		p_err("can't get fd %d of process %d: %s%s", remote, pid, strerror(errno),
		      errno == EPERM ? " (CAP_SYS_PTRACE is required)" : "");
	close(pidfd);
	return *fd < 0 ? NULL : argv + 4;
}

/* strerror() for updates of this map type. */
const char *reuseport_array_strerror(int err)
{
	switch (err) {
	case EBUSY:
		return "the socket is already in a slot of this or another map";
	case E2BIG:
		return "the key is not below max_entries";
	case EINVAL:
		return "not a socket in a SO_REUSEPORT group (bind first, for TCP also listen)";
	case ENOTSUPP:
		return "neither a TCP nor a UDP socket";
	default:
		return strerror(err);
	}
}
