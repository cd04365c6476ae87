// SPDX-License-Identifier: GPL-2.0
/* Programs of services whose pins are gone.
 *
 * A bpffs may be unmounted, as that of "ip netns exec" is when the command ends, or pins may
 * be removed by hand. The group holds on to its program, and that to its maps. So the sockets
 * stay in maps that no pin leads to, and cannot be put into others. The program's list of maps
 * leads to them by their ids.
 *
 * A service that is pinned in another bpffs, a container's for instance, looks the same from
 * here. So nothing is released unless the user names the program.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "orphan.h"

/* Call @visit for each socket in the maps, with its map and slot. */
static void visit_slots(int generations,
			void (*visit)(int map, __u32 slot, __u64 cookie, void *arg), void *arg)
{
	struct bpf_map_info info = {};
	__u32 index, slot, id, len = sizeof(info);
	__u64 cookie;
	int map;

	if (bpf_obj_get_info_by_fd(generations, &info, &len))
		return;
	for (index = 0; index < info.max_entries; index++) {
		if (bpf_map_lookup_elem(generations, &index, &id))
			continue;
		map = bpf_map_get_fd_by_id(id);
		if (map < 0)
			continue;
		for (slot = 0; slot < MAX_SLOTS; slot++)
			if (!bpf_map_lookup_elem(map, &slot, &cookie))
				visit(map, slot, cookie, arg);
		close(map);
	}
}

struct search {
	struct orphan *orphan;
	const struct held_socket *all;
	int count;
};

static void add_socket(int map, __u32 slot, __u64 cookie, void *arg)
{
	struct search *search = arg;
	struct orphan *orphan = search->orphan;
	struct held_socket *larger;
	int i;

	(void)map;
	(void)slot;
	for (i = 0; i < search->count && search->all[i].info.cookie != cookie; i++)
		;
	larger = realloc(orphan->sockets, (orphan->nr_sockets + 1) * sizeof(*larger));
	if (i == search->count || !larger) {
		orphan->nr_unseen++;
		return;
	}
	orphan->sockets = larger;
	orphan->sockets[orphan->nr_sockets++] = search->all[i];
}

/* Return 1 if the program is one of ours that no service has. */
static int read_orphan(__u32 id, struct orphan *orphan)
{
	*orphan = (struct orphan){ .id = id };
	orphan->generations = group_open_orphan(id, &orphan->loaded);
	return orphan->generations >= 0;
}

int orphans_find(struct orphan **list)
{
	struct held_socket *all;
	struct search search;
	struct orphan one, *larger;
	int count = 0;
	__u32 id = 0;

	*list = NULL;
	search.count = sockets_find_all(NULL, &all);
	if (search.count < 0)
		return -1;
	search.all = all;
	while (!bpf_prog_get_next_id(id, &id)) {
		if (!read_orphan(id, &one))
			continue;
		larger = realloc(*list, (count + 1) * sizeof(**list));
		if (!larger) {
			close(one.generations);
			break;
		}
		*list = larger;
		(*list)[count] = one;
		search.orphan = &(*list)[count++];
		visit_slots(one.generations, add_socket, &search);
	}
	free(all);
	return count;
}

void orphans_free(struct orphan *list, int count)
{
	int i;

	for (i = 0; i < count; i++) {
		close(list[i].generations);
		free(list[i].sockets);
	}
	free(list);
}

static void empty_slot(int map, __u32 slot, __u64 cookie, void *arg)
{
	(void)cookie;
	if (bpf_map_delete_elem(map, &slot) && errno != ENOENT)
		*(int *)arg = errno;
}

/* Detach the program from the groups of @protocol. Return from how many sockets, or -1; where the
 * kernel cannot list groups, only those of the sockets in the maps are tried.
 */
static int detach_from(const struct orphan *orphan, __u32 protocol, const struct held_socket *all,
		       int count)
{
	const struct group_record *record;
	struct group_record *list;
	int nr, detached = 0, err = 0, i;

	nr = group_list(protocol, -1, &list);
	if (nr < 0) {
		all = orphan->sockets;
		count = orphan->nr_sockets;
	}
	for (i = 0; i < count && !err; i++) {
		if (all[i].info.at.protocol != protocol || !all[i].pid)
			continue;
		record = group_find(list, nr, all[i].info.cookie);
		if (nr >= 0 && (!record || !record->has_program || record->id != orphan->id))
			continue;
		err = group_detach_prog_id(&all[i], orphan->id);
		detached += !err;
	}
	free(list);
	return err ? -1 : detached;
}

static int detach(const struct orphan *orphan)
{
	static const __u32 protocols[] = { IPPROTO_TCP, IPPROTO_UDP };
	struct held_socket *all;
	int count, nr, detached = 0;
	unsigned int i;

	count = sockets_find_all(NULL, &all);
	if (count < 0)
		return -1;
	for (i = 0; i < ARRAY_SIZE(protocols); i++) {
		nr = detach_from(orphan, protocols[i], all, count);
		if (nr < 0)
			break;
		detached += nr;
	}
	free(all);
	if (i < ARRAY_SIZE(protocols))
		return -1;
	if (!detached && !orphan->nr_sockets)
		return fail("program %u is attached to no group here: run this in the network "
			    "namespace of its server, with nsenter --net=/proc/PID/ns/net "
			    "reuseportctl ...",
			    orphan->id);
	return 0;
}

int orphan_release(const struct orphan *orphan)
{
	int err = 0;

	if (orphan->nr_unseen)
		return fail("%d socket%s of program %u %s in another network namespace: run "
			    "this there, with nsenter --net=/proc/PID/ns/net reuseportctl ..., "
			    "where PID is one of its processes",
			    orphan->nr_unseen, orphan->nr_unseen == 1 ? "" : "s", orphan->id,
			    orphan->nr_unseen == 1 ? "is" : "are");
	if (detach(orphan))
		return -1;
	visit_slots(orphan->generations, empty_slot, &err);
	return err ? fail("cannot empty the maps of program %u (%s)", orphan->id, strerror(err)) :
		     0;
}
