// SPDX-License-Identifier: GPL-2.0
/* Filling a generation, and switching to it.
 *
 * Generation N has index N % MAX_GENERATIONS in the maps. It is made in this order, which is
 * why the command that makes it may be killed anywhere:
 *
 *   1. generation_info[index].number = 0
 *				Takes the index from a generation that has no sockets.
 *   2. generations[index]	An empty map. A command that finds it with a number of 0, or
 *				with one above state.newest, knows that step 6 was not reached.
 *				Another empty map goes into counters[index].
 *   3. the sockets		Into that map, and not before step 2: sockets can always be
 *				found again.
 *   4. generation_info[index]	All there is to know, including the number.
 *   5. the program		Attached to the group, to which it is attached already unless
 *				the group is new. Nothing may fail between here and step 6.
 *   6. state			Current or canary, and newest, in one write: the switch.
 *
 * Up to step 5 the program does not use the generation: current is another one, and an id or
 * a flow only ever names one up to newest. generation_recover() takes the sockets out of such
 * a map, so that they can go into the next one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "generation.h"
#include "quic.h"

#define FD_BATCH 64 /* sockets that are duplicated at a time */

/* The map that @maps, generations or counters, has at this index, or -1. */
static int open_inner(int maps, __u32 index)
{
	__u32 id;

	if (bpf_map_lookup_elem(maps, &index, &id))
		return -1;
	return bpf_map_get_fd_by_id(id);
}

static int open_sockets(const struct service *service, __u32 index)
{
	return open_inner(service->generations, index);
}

static __u32 map_size(int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.max_entries;
}

static void empty_slots(int map)
{
	__u32 size = map_size(map), i;

	for (i = 0; i < size; i++)
		bpf_map_delete_elem(map, &i);
}

void generation_release_all(const struct service *service)
{
	__u32 index;
	int map;

	for (index = 0; index < service->max_generations; index++) {
		map = open_sockets(service, index);
		if (map < 0)
			continue;
		empty_slots(map);
		close(map);
	}
}

/* -- Reading ------------------------------------------------------------------------- */

int generation_read(const struct service *service, __u32 number, struct generation *info)
{
	__u32 index = generation_index(service, number);

	/* layout 1 has no others */
	memset(info->others, 0, sizeof(info->others));
	if (!number || number > service->now.newest ||
	    bpf_map_lookup_elem(service->generation_info, &index, info) || info->number != number)
		return -1;
	return 0;
}

void generation_get_server(const struct generation *info, struct server *server)
{
	const struct main_process *other;

	*server = (struct server){ .nr = 1 };
	server->list[0].pid = info->pid;
	server->list[0].started = info->started;
	memcpy(server->list[0].comm, info->comm, sizeof(info->comm));
	for (other = info->others; server->nr < MAX_PROCESSES && other->pid; other++) {
		server->list[server->nr] = server->list[0];
		server->list[server->nr].pid = other->pid;
		server->list[server->nr++].started = other->started;
	}
}

int generation_read_cookies(const struct service *service, const struct generation *info,
			    __u64 *cookies)
{
	int map = open_sockets(service, generation_index(service, info->number)), filled = 0;
	__u32 i;

	memset(cookies, 0, info->slots * sizeof(*cookies));
	if (map < 0)
		return 0;
	for (i = 0; i < info->slots; i++)
		if (!bpf_map_lookup_elem(map, &i, &cookies[i]))
			filled++;
	close(map);
	return filled;
}

int generation_nr_sockets(const struct service *service, __u32 number)
{
	__u64 cookies[MAX_SLOTS];
	struct generation info;

	if (generation_read(service, number, &info))
		return 0;
	return generation_read_cookies(service, &info, cookies);
}

bool generation_has_sockets(const struct service *service, __u32 number)
{
	struct generation info;
	bool found = false;
	__u64 cookie;
	__u32 i;
	int map;

	if (generation_read(service, number, &info))
		return false;
	map = open_sockets(service, generation_index(service, number));
	if (map < 0)
		return false;
	for (i = 0; i < info.slots && !found; i++)
		found = !bpf_map_lookup_elem(map, &i, &cookie);
	close(map);
	return found;
}

__u32 generation_previous(const struct service *service)
{
	__u32 number;

	for_each_generation(service, number)
		if (number < service->now.current && generation_has_sockets(service, number))
			return number;
	return 0;
}

bool generation_have_sockets(const struct service *service)
{
	struct generation info;
	__u32 index;

	for (index = 0; index < service->max_generations; index++)
		if (!bpf_map_lookup_elem(service->generation_info, &index, &info) &&
		    generation_has_sockets(service, info.number))
			return true;
	return false;
}

static int compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

int generation_members(const struct service *service, struct member **list)
{
	__u64 cookies[MAX_SLOTS];
	struct generation info;
	int count = 0;
	__u32 index, i;

	*list = calloc(service->max_generations * MAX_SLOTS, sizeof(**list));
	if (!*list)
		return fail("out of memory");
	for (index = 0; index < service->max_generations; index++) {
		if (bpf_map_lookup_elem(service->generation_info, &index, &info) ||
		    generation_read(service, info.number, &info))
			continue;
		generation_read_cookies(service, &info, cookies);
		for (i = 0; i < info.slots; i++)
			if (cookies[i])
				(*list)[count++] = (struct member){ cookies[i], info.number };
	}
	qsort(*list, count, sizeof(**list), compare_members);
	return count;
}

__u32 member_find(const struct member *list, int count, __u64 cookie)
{
	struct member key = { .cookie = cookie }, *found;

	found = bsearch(&key, list, count, sizeof(key), compare_members);
	return found ? found->number : 0;
}

/* -- Counters ------------------------------------------------------------------------- */

/* Add what @map counted at @index, of all CPUs, to @sum. */
static void add_counter(int map, __u32 index, struct counter *values, int cpus,
			struct counter *sum)
{
	int i;

	if (bpf_map_lookup_elem(map, &index, values))
		return;
	for (i = 0; i < cpus; i++) {
		sum->packets += values[i].packets;
		sum->flows += values[i].flows;
		if (values[i].seen > sum->seen)
			sum->seen = values[i].seen;
	}
}

int generation_read_counters(const struct service *service, const struct generation *info,
			     struct counter *sums)
{
	__u32 index = generation_index(service, info->number), slot;
	struct counter *values;
	int map = -1, cpus;

	memset(sums, 0, info->slots * sizeof(*sums));
	values = alloc_per_cpu(sizeof(*values), &cpus);
	if (!values)
		return -1;
	if (service->counters >= 0)
		map = open_inner(service->counters, index);
	for (slot = 0; slot < info->slots; slot++) {
		if (map >= 0)
			add_counter(map, slot, values, cpus, &sums[slot]);
		/* made by version 1.0: that has counted as well */
		if (!info->began && service->counters_1 >= 0)
			add_counter(service->counters_1,
				    info->number % MAX_GENERATIONS_1 *
					    service->config.steering.slots + slot,
				    values, cpus, &sums[slot]);
	}
	if (map >= 0)
		close(map);
	free(values);
	return 0;
}

/* Make the counters of a generation. */
static int make_counters(const struct service *service, __u32 number)
{
	__u32 index = generation_index(service, number);
	int map, err = 0;

	map = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "slot_counters", sizeof(__u32),
			     sizeof(struct counter), service->config.steering.slots, NULL);
	if (map < 0)
		return fail("cannot create a map for %u counters (%s)",
			    service->config.steering.slots, strerror(errno));
	if (bpf_map_update_elem(service->counters, &index, &map, BPF_ANY))
		err = fail("cannot enter the counters of generation %u of service %s (%s)", number,
			   service->name, strerror(errno));
	close(map);
	return err;
}

/* -- Numbers --------------------------------------------------------------------------- */

/* Leave nothing at this index. */
static void clear_index(const struct service *service, __u32 index)
{
	static const struct generation nothing;
	int map = open_sockets(service, index);

	if (map >= 0) {
		empty_slots(map);
		close(map);
	}
	bpf_map_update_elem(service->generation_info, &index, &nothing, BPF_ANY);
	bpf_map_delete_elem(service->generations, &index);
	if (service->counters >= 0)
		bpf_map_delete_elem(service->counters, &index);
}

void generation_drop(struct service *service, __u32 number)
{
	clear_index(service, generation_index(service, number));
}

/* Does a generation that is still needed have this index? */
static bool is_taken(const struct service *service, __u32 index)
{
	struct generation info;

	return !bpf_map_lookup_elem(service->generation_info, &index, &info) && info.number &&
	       info.number <= service->now.newest &&
	       (info.number == service->now.current ||
		generation_has_sockets(service, info.number));
}

__u32 generation_next(const struct service *service)
{
	__u32 number = service->now.newest, oldest = 0, i;

	for (i = 0; i < service->max_generations; i++)
		if (!is_taken(service, generation_index(service, ++number)))
			return number;

	for_each_generation(service, number)
		if (number != service->now.current)
			oldest = number;
	fail("generation %u of service %s still has sockets, and a service has at most %u "
	     "generations: drain and stop it (reuseportctl drain %s --generation %u --kill TERM)",
	     oldest, service->name, service->max_generations, service->name, oldest);
	return 0;
}

void generation_recover(struct service *service)
{
	__u32 index, id;

	for (index = 0; index < service->max_generations; index++) {
		if (bpf_map_lookup_elem(service->generations, &index, &id))
			continue;
		if (!is_taken(service, index))
			clear_index(service, index);
	}
}

/* -- Filling ---------------------------------------------------------------------------- */

static int explain_update_error(const struct held_socket *socket, int fd, int err)
{
	if (err == EBUSY)
		return fail("socket %d of process %d is already in a map: of another service "
			    "(reuseportctl show lists them), of one whose pins are gone "
			    "(reuseportctl cleanup lists them), or of the server itself",
			    socket->fd, socket->pid);
	if (socket_require_reuseport(socket, fd))
		return -1;
	if (err == EINVAL)
		return fail("socket %d of process %d (%s) is in no SO_REUSEPORT group: the server "
			    "has to set SO_REUSEPORT before bind()",
			    socket->fd, socket->pid, socket->comm);
	return fail("cannot add socket %d of process %d to the map (%s)", socket->fd, socket->pid,
		    strerror(err));
}

/* Fill slots from @first on. Return an errno, and in *@done how many were filled. */
static int fill_slots(int map, __u32 first, const int *fds, int count, int *done)
{
	__u32 keys[FD_BATCH], nr = count;
	__u64 values[FD_BATCH];
	int i;

	*done = 0;
	for (i = 0; i < count; i++) {
		keys[i] = first + i;
		values[i] = fds[i];
	}
	if (!bpf_map_update_batch(map, keys, values, &nr, NULL)) {
		*done = count;
		return 0;
	}
	/* none filled: the kernel has no batches, or the first socket is at fault */
	if (nr && nr < (__u32)count) {
		*done = nr;
		return errno;
	}
	for (; *done < count; ++*done)
		if (bpf_map_update_elem(map, &keys[*done], &values[*done], BPF_NOEXIST))
			return errno;
	return 0;
}

static int fill_batch(int map, __u32 first, const struct held_socket *sockets, int count)
{
	int fds[FD_BATCH], opened, done, err = 0, i;

	for (opened = 0; opened < count; opened++) {
		fds[opened] = socket_dup(&sockets[opened]);
		if (fds[opened] < 0) {
			err = -1;
			break;
		}
	}
	if (!err) {
		err = fill_slots(map, first, fds, count, &done);
		if (err)
			err = explain_update_error(&sockets[done], fds[done], err);
	}
	for (i = 0; i < opened; i++)
		close(fds[i]);
	return err;
}

int generation_check(const struct service_config *config, const struct held_socket *sockets,
		     int count)
{
	int i;

	for (i = 0; i < count; i++) {
		if (sockets[i].info.uid != config->uid)
			return fail("socket %d of process %d belongs to user %u, those of the "
				    "service to user %u: sockets of different users are never in "
				    "one group. Detach the service and attach it again",
				    sockets[i].fd, sockets[i].pid, sockets[i].info.uid,
				    config->uid);
		if (!group_has_socket(config, &sockets[i].info))
			return fail("socket %d of process %d is bound to another interface than "
				    "those of the service, or differs in IPV6_V6ONLY, so it is in "
				    "another group: have the server bind all sockets alike, or "
				    "name the interface in the address, as in 0.0.0.0%%eth0:80",
				    sockets[i].fd, sockets[i].pid);
	}
	return 0;
}

/* Steps 2 and 3. */
static int fill_map(struct service *service, __u32 number, const struct held_socket *sockets,
		    int count)
{
	__u32 index = generation_index(service, number);
	int map, i, err = 0;

	map = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "sockets", sizeof(__u32),
			     sizeof(__u64), service->config.steering.slots, NULL);
	if (map < 0)
		return fail("cannot create a map for %u sockets (%s)",
			    service->config.steering.slots, strerror(errno));
	if (bpf_map_update_elem(service->generations, &index, &map, BPF_ANY))
		err = fail("cannot enter generation %u of service %s (%s)", number, service->name,
			   strerror(errno));
	for (i = 0; i < count && !err; i += FD_BATCH)
		err = fill_batch(map, i, sockets + i, count - i < FD_BATCH ? count - i : FD_BATCH);
	close(map);
	return err;
}

static void set_server(struct generation *info, const struct server *server)
{
	int i;

	info->pid = server->list[0].pid;
	info->started = server->list[0].started;
	memcpy(info->comm, server->list[0].comm, sizeof(info->comm));
	memset(info->others, 0, sizeof(info->others));
	for (i = 1; i < server->nr; i++)
		info->others[i - 1] = (struct main_process){
			.pid = server->list[i].pid,
			.started = server->list[i].started,
		};
}

/* Step 4. */
static int write_info(struct service *service, __u32 number, int count,
		      const struct server *server)
{
	struct generation info = {
		.number = number,
		.slots = count,
		.began = count,
		.live = count,
		.since = time(NULL),
	};
	__u32 index = generation_index(service, number);
	int i;

	for (i = 0; i < count; i++)
		info.live_slots[i] = i;
	set_server(&info, server);
	if (!bpf_map_update_elem(service->generation_info, &index, &info, BPF_ANY))
		return 0;
	return fail("cannot describe generation %u of service %s (%s)", number, service->name,
		    strerror(errno));
}

/* After the generation is described, as entries of others are replaced. */
static int add_cookies(const struct service *service, __u32 number,
		       const struct held_socket *sockets, int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (quic_add_cookie(service, number, i, sockets[i].info.cookie))
			return -1;
	return 0;
}

int generation_fill(struct service *service, const struct held_socket *sockets, int count,
		    const struct server *server, __u32 *number)
{
	if (count > (int)service->config.steering.slots)
		return fail("process %d has %d sockets, but a generation of service %s has only "
			    "%u slots: detach it and attach it with --slots %d (%d at most)",
			    server->list[0].pid, count, service->name,
			    service->config.steering.slots,
			    count, MAX_SLOTS);
	generation_recover(service);
	*number = generation_next(service);
	if (!*number)
		return -1;
	if (!fill_map(service, *number, sockets, count) &&
	    !make_counters(service, *number) &&
	    !write_info(service, *number, count, server) &&
	    !add_cookies(service, *number, sockets, count) &&
	    !group_attach_to_any(service, sockets, count))
		return 0;
	generation_drop(service, *number);
	return -1;
}

/* -- Refreshing ------------------------------------------------------------------- */

/* List the slots that have a socket as live. The program drops one that is empty at any time,
 * and drops it again if it did so just now.
 */
static int write_live_slots(struct service *service, struct generation *info)
{
	__u32 index = generation_index(service, info->number), i;
	__u64 cookies[MAX_SLOTS];

	generation_read_cookies(service, info, cookies);
	info->live = 0;
	for (i = 0; i < info->slots; i++)
		if (cookies[i])
			info->live_slots[info->live++] = i;
	if (!bpf_map_update_elem(service->generation_info, &index, info, BPF_F_LOCK))
		return 0;
	return fail("cannot describe generation %u of service %s (%s)", info->number,
		    service->name, strerror(errno));
}

/* Choose slots for @count sockets: the empty ones first. Return -1 if there are too few. */
static int choose_slots(const struct service *service, struct generation *info, __u32 capacity,
			__u32 *slots, int count)
{
	__u64 cookies[MAX_SLOTS];
	int chosen = 0;
	__u32 i;

	generation_read_cookies(service, info, cookies);
	for (i = 0; i < capacity && chosen < count; i++)
		if (i >= info->slots || !cookies[i])
			slots[chosen++] = i;
	if (chosen < count)
		return -1;
	if (count && slots[count - 1] >= info->slots)
		info->slots = slots[count - 1] + 1;
	return 0;
}

static int fill_slot(struct service *service, __u32 number, int map, __u32 slot,
		     const struct held_socket *socket)
{
	int fd = socket_dup(socket), done, err;

	if (fd < 0)
		return -1;
	err = fill_slots(map, slot, &fd, 1, &done);
	err = err ? explain_update_error(socket, fd, err) :
		    quic_add_cookie(service, number, slot, socket->info.cookie);
	close(fd);
	return err;
}

/* The number of slots is written before a socket is put into one, so that a command which is
 * killed in between leaves none that cannot be found; the list of live slots comes last.
 */
int generation_refresh(struct service *service, __u32 number, const struct held_socket *sockets,
		       int count, int *added)
{
	int map = open_sockets(service, generation_index(service, number)), err = 0;
	__u32 slots[MAX_SLOTS], capacity, before;
	struct generation info;

	*added = 0;
	if (map < 0 || generation_read(service, number, &info))
		return fail("service %s has no generation %u", service->name, number);
	capacity = map_size(map);
	before = info.slots;
	if (choose_slots(service, &info, capacity, slots, count))
		err = fail("generation %u of service %s has %u slots, too few for %d more sockets: "
			   "detach the service and attach it with a larger --slots",
			   number, service->name, capacity, count);
	if (!err)
		err = write_live_slots(service, &info);
	while (*added < count && !err) {
		err = fill_slot(service, number, map, slots[*added], &sockets[*added]);
		*added += !err;
	}
	close(map);
	/* as many as are used: the slots are in ascending order */
	if (err)
		info.slots = *added && slots[*added - 1] >= before ? slots[*added - 1] + 1 : before;
	return write_live_slots(service, &info) || err ? -1 : 0;
}

/* Empty the slots whose sockets are in @list. Return how many. */
static int empty_slots_of(const struct service *service, const struct generation *info,
			  const struct socket_info *list, int count)
{
	int map = open_sockets(service, generation_index(service, info->number)), left = 0, i;
	__u64 cookies[MAX_SLOTS];
	__u32 slot;

	if (map < 0)
		return 0;
	generation_read_cookies(service, info, cookies);
	for (slot = 0; slot < info->slots; slot++)
		for (i = 0; i < count && cookies[slot]; i++)
			if (list[i].cookie == cookies[slot])
				left += !bpf_map_delete_elem(map, &slot);
	close(map);
	return left;
}

int generation_leave(struct service *service, const struct socket_info *list, int count)
{
	struct generation info;
	int left = 0, some;
	__u32 number;

	for_each_generation(service, number) {
		if (!count || generation_read(service, number, &info))
			continue;
		some = empty_slots_of(service, &info, list, count);
		if (some && write_live_slots(service, &info))
			return -1;
		left += some;
	}
	return left;
}

int generation_set_server(struct service *service, __u32 number, const struct server *server)
{
	struct generation info;

	if (generation_read(service, number, &info))
		return fail("service %s has no generation %u", service->name, number);
	set_server(&info, server);
	return write_live_slots(service, &info);
}

/* -- Switching ---------------------------------------------------------------------- */

static int write_state(struct service *service, const struct state *next, const char *verb)
{
	__u32 zero = 0;

	if (bpf_map_update_elem(service->state, &zero, next, BPF_ANY))
		return fail("cannot %s service %s (%s)", verb, service->name, strerror(errno));
	service->now = *next;
	return 0;
}

int generation_set_open(struct service *service, bool open)
{
	struct state next = service->now;

	next.open = open;
	return write_state(service, &next, open ? "open" : "hold");
}

static int newest_first(const void *a, const void *b)
{
	const __u32 *x = a, *y = b;

	return (*x < *y) - (*x > *y);
}

/* Have state.older lead from the new generation to all others that there are: it has taken the
 * index of one that has ended.
 */
static void link_generations(const struct service *service, struct state *next)
{
	__u32 numbers[MAX_GENERATIONS], count = 0, last = next->newest, index, i;
	struct generation info;

	memset(next->older, 0, sizeof(next->older));
	for (index = 0; index < MAX_GENERATIONS; index++)
		if (!bpf_map_lookup_elem(service->generation_info, &index, &info) &&
		    info.number && info.number < next->newest)
			numbers[count++] = info.number;
	qsort(numbers, count, sizeof(*numbers), newest_first);
	for (i = 0; i < count; i++) {
		next->older[last % MAX_GENERATIONS] = numbers[i];
		last = numbers[i];
	}
}

/* From here on flows and ids may name the generation. */
static void make_newest(const struct service *service, struct state *next, __u32 number)
{
	if (number <= next->newest)
		return;
	next->newest = number;
	link_generations(service, next);
}

int generation_switch(struct service *service, __u32 number)
{
	struct state next = service->now;

	next.current = number;
	next.open = 0;
	next.canary = 0;
	next.share = 0;
	next.switched = now_ms() * 1000000 >> TICK_SHIFT;
	make_newest(service, &next, number);
	/* if it fails, a new generation stays above newest: the next command cleans it up */
	return write_state(service, &next, "switch");
}

int generation_set_canary(struct service *service, __u32 number, __u32 share)
{
	struct state next = service->now;

	next.open = 0;
	next.canary = number;
	next.share = number ? share : 0;
	make_newest(service, &next, number);
	return write_state(service, &next, number ? "start a canary in" : "end the canary of");
}

int generation_restore(struct service *service, const struct state *before)
{
	struct state next = *before;

	/* a flow may name the generation that was current meanwhile: no other one may get its
	 * number
	 */
	next.newest = service->now.newest;
	memcpy(next.older, service->now.older, sizeof(next.older));
	return write_state(service, &next, "switch");
}

/* -- Copying ------------------------------------------------------------------------------ */

/* Let @to share the map that @from has. */
static int copy_inner(int to, __u32 to_index, int from, __u32 from_index)
{
	int map = open_inner(from, from_index), err;

	if (map < 0)
		return errno == ENOENT ? 0 : -1;
	err = bpf_map_update_elem(to, &to_index, &map, BPF_ANY);
	close(map);
	return err;
}

static int copy_generation(struct service *to, const struct service *from, __u32 from_index)
{
	struct generation info = {};
	__u32 index;

	/* the program may drop a slot just now: with the lock, what is read is consistent */
	if (bpf_map_lookup_elem_flags(from->generation_info, &from_index, &info, BPF_F_LOCK))
		return -1;
	if (!info.number)
		return 0;
	index = generation_index(to, info.number);
	info.lock = (struct bpf_spin_lock){};
	if (bpf_map_update_elem(to->generation_info, &index, &info, BPF_ANY) ||
	    copy_inner(to->generations, index, from->generations, from_index))
		return -1;
	if (from->counters < 0)
		return make_counters(to, info.number);
	return copy_inner(to->counters, index, from->counters, from_index);
}

int generation_copy_all(struct service *to, struct service *from)
{
	__u32 index, zero = 0;

	/* what is left has a number */
	generation_recover(from);
	for (index = 0; index < from->max_generations; index++)
		if (copy_generation(to, from, index))
			return fail("cannot copy generations of service %s (%s)", from->name,
				    strerror(errno));
	if (bpf_map_update_elem(to->state, &zero, &from->now, BPF_ANY))
		return fail("cannot copy the state of service %s (%s)", from->name,
			    strerror(errno));
	to->now = from->now;
	return 0;
}
