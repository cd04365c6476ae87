// SPDX-License-Identifier: GPL-2.0
/* Filling a generation, and switching to it.
 *
 * Generation N has place N % MAX_GENERATIONS of the maps. It is made in this order, which is also
 * why the command that makes it may be killed anywhere:
 *
 *   1. about[place].number = 0	The place is taken from a generation that has no sockets.
 *   2. generations[place]	An empty map. Whoever finds it with a number of 0, or one
 *				above state.newest, knows that nobody came to step 6.
 *   3. the sockets		Into that map, not before: what has sockets can be found.
 *   4. about[place]		All there is to say, the number too.
 *   5. the program		Onto the group, where it is already but for a group that is
 *				new. Nothing may fail in between here and there.
 *   6. state			Current and newest, at once: the switch.
 *
 * Up to 5 the program does not know the generation: current names another one, and an
 * id or a flow is only ever of a generation up to newest. generation_recover() takes the
 * sockets out of such a map, so that they can be put into the next one.
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

#define FD_BATCH 64 /* sockets that we hold at a time */

static int place_sockets(const struct service *service, __u32 place)
{
	__u32 id;

	if (bpf_map_lookup_elem(service->generations, &place, &id))
		return -1;
	return bpf_map_get_fd_by_id(id);
}

static __u32 map_size(int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	return bpf_map_get_info_by_fd(fd, &info, &len) ? 0 : info.max_entries;
}

static void release(int fd)
{
	__u32 size = map_size(fd), i;

	for (i = 0; i < size; i++)
		bpf_map_delete_elem(fd, &i);
}

void generations_release(const struct service *service)
{
	__u32 place;
	int fd;

	for (place = 0; place < MAX_GENERATIONS; place++) {
		fd = place_sockets(service, place);
		if (fd < 0)
			continue;
		release(fd);
		close(fd);
	}
}

int generation_read(const struct service *service, __u32 number, struct generation *about)
{
	__u32 place = number % MAX_GENERATIONS;

	if (!number || number > service->now.newest ||
	    bpf_map_lookup_elem(service->about, &place, about) || about->number != number)
		return -1;
	return 0;
}

int generation_sockets(const struct service *service, __u32 number)
{
	return place_sockets(service, number % MAX_GENERATIONS);
}

int generation_cookies(const struct service *service, const struct generation *about,
		       __u64 *cookies)
{
	int fd = generation_sockets(service, about->number), filled = 0;
	__u32 i;

	memset(cookies, 0, about->slots * sizeof(*cookies));
	if (fd < 0)
		return 0;
	for (i = 0; i < about->slots; i++)
		if (!bpf_map_lookup_elem(fd, &i, &cookies[i]))
			filled++;
	close(fd);
	return filled;
}

int generation_nr_sockets(const struct service *service, __u32 number)
{
	__u64 cookies[MAX_SLOTS];
	struct generation about;

	if (generation_read(service, number, &about))
		return 0;
	return generation_cookies(service, &about, cookies);
}

static int compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

int generation_members(const struct service *service, struct member **list)
{
	__u64 cookies[MAX_SLOTS];
	struct generation about;
	int count = 0;
	__u32 place, i;

	*list = calloc(MAX_GENERATIONS * MAX_SLOTS, sizeof(**list));
	if (!*list)
		return fail("out of memory");
	for (place = 0; place < MAX_GENERATIONS; place++) {
		if (bpf_map_lookup_elem(service->about, &place, &about) ||
		    generation_read(service, about.number, &about))
			continue;
		generation_cookies(service, &about, cookies);
		for (i = 0; i < about.slots; i++)
			if (cookies[i])
				(*list)[count++] = (struct member){ cookies[i], about.number };
	}
	qsort(*list, count, sizeof(**list), compare_members);
	return count;
}

__u32 member_find(const struct member *list, int count, __u64 cookie)
{
	struct member like = { .cookie = cookie }, *found;

	found = bsearch(&like, list, count, sizeof(like), compare_members);
	return found ? found->number : 0;
}

int generation_read_counter(const struct service *service, __u32 number, __u32 slot, struct counter *sum)
{
	__u32 index = number % MAX_GENERATIONS * service->config.steering.slots + slot;
	int cpus = libbpf_num_possible_cpus(), i;
	struct counter *each;

	memset(sum, 0, sizeof(*sum));
	if (cpus < 1)
		return fail("cannot tell how many CPUs there are: is /sys mounted?");
	each = calloc(cpus, sizeof(*each));
	if (!each)
		return fail("out of memory");
	if (!bpf_map_lookup_elem(service->counters, &index, each)) {
		for (i = 0; i < cpus; i++) {
			sum->packets += each[i].packets;
			sum->flows += each[i].flows;
			if (each[i].seen > sum->seen)
				sum->seen = each[i].seen;
		}
	}
	free(each);
	return 0;
}

static int clear_counters(const struct service *service, __u32 number, __u32 count)
{
	int cpus = libbpf_num_possible_cpus();
	struct counter *zeros;
	__u32 slot, index;

	if (cpus < 1)
		return fail("cannot tell how many CPUs there are: is /sys mounted?");
	zeros = calloc(cpus, sizeof(*zeros));
	if (!zeros)
		return fail("out of memory");
	for (slot = 0; slot < count; slot++) {
		index = number % MAX_GENERATIONS * service->config.steering.slots + slot;
		bpf_map_update_elem(service->counters, &index, zeros, BPF_ANY);
	}
	free(zeros);
	return 0;
}

/* Leave nothing in this place. */
static void clear_place(const struct service *service, __u32 place)
{
	static const struct generation nothing;
	int fd = place_sockets(service, place);

	if (fd >= 0) {
		release(fd);
		close(fd);
	}
	bpf_map_update_elem(service->about, &place, &nothing, BPF_ANY);
	bpf_map_delete_elem(service->generations, &place);
}

void generation_drop(struct service *service, __u32 number)
{
	clear_place(service, number % MAX_GENERATIONS);
}

/* Does a generation that is still needed have this place? */
static bool is_taken(const struct service *service, __u32 place)
{
	struct generation about;

	return !bpf_map_lookup_elem(service->about, &place, &about) && about.number &&
	       about.number <= service->now.newest &&
	       (about.number == service->now.current || generation_nr_sockets(service, about.number));
}

__u32 generation_next(const struct service *service)
{
	__u32 number = service->now.newest, oldest, i;

	for (i = 0; i < MAX_GENERATIONS; i++)
		if (!is_taken(service, ++number % MAX_GENERATIONS))
			return number;

	oldest = service->now.generations[MAX_GENERATIONS - 1];
	if (oldest == service->now.current)
		oldest = service->now.generations[MAX_GENERATIONS - 2];
	fail("generation %u of service %s still has sockets, and no more than %d generations "
	     "can: drain and stop it (reuseportctl drain %s --generation %u --kill TERM)",
	     oldest, service->name, MAX_GENERATIONS, service->name, oldest);
	return 0;
}

void generation_recover(struct service *service)
{
	__u32 place, id;

	for (place = 0; place < MAX_GENERATIONS; place++) {
		if (bpf_map_lookup_elem(service->generations, &place, &id))
			continue;
		if (!is_taken(service, place))
			clear_place(service, place);
	}
}

static int explain_update_error(const struct held_socket *socket, int fd, int err)
{
	int reuseport = 0;
	socklen_t len = sizeof(reuseport);

	getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, &len);
	if (err == EBUSY)
		return fail("socket %d of process %d is in a map already: does another service "
			    "have it (reuseportctl show), or the server itself?",
			    socket->fd, socket->pid);
	if (!reuseport)
		return fail("socket %d of process %d (%s) has no SO_REUSEPORT: have the server set "
			    "it (nginx: listen ... reuseport)",
			    socket->fd, socket->pid, socket->comm);
	if (err == EINVAL)
		return fail("socket %d of process %d (%s) is in no SO_REUSEPORT group: the server "
			    "has to set SO_REUSEPORT before bind()",
			    socket->fd, socket->pid, socket->comm);
	return fail("the kernel does not take socket %d of process %d (%s)", socket->fd,
		    socket->pid, strerror(err));
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
	/* nothing done: the kernel has no batches, or the first is at fault */
	if (nr && nr < (__u32)count) {
		*done = nr;
		return errno;
	}
	for (; *done < count; ++*done)
		if (bpf_map_update_elem(map, &keys[*done], &values[*done], BPF_NOEXIST))
			return errno;
	return 0;
}

static int fill_some(int map, __u32 first, const struct held_socket *sockets, int count)
{
	int fds[FD_BATCH], taken, done, err = 0, i;

	for (taken = 0; taken < count; taken++) {
		fds[taken] = take_socket(&sockets[taken]);
		if (fds[taken] < 0) {
			err = -1;
			break;
		}
	}
	if (!err) {
		err = fill_slots(map, first, fds, count, &done);
		if (err)
			err = explain_update_error(&sockets[done], fds[done], err);
	}
	for (i = 0; i < taken; i++)
		close(fds[i]);
	return err;
}

int generation_check(const struct service *service, const struct held_socket *sockets, int count)
{
	int i;

	for (i = 0; i < count; i++) {
		if (sockets[i].info.uid != service->config.uid)
			return fail("socket %d of process %d belongs to user %u, those of the "
				    "service to user %u: the kernel lets only one user share a "
				    "port, so this is another group. Detach the service and attach "
				    "it anew",
				    sockets[i].fd, sockets[i].pid, sockets[i].info.uid,
				    service->config.uid);
		if (!service_owns_socket(service, &sockets[i].info))
			return fail("socket %d of process %d is bound to another interface than "
				    "those of the service, or differs in IPV6_V6ONLY, so this is "
				    "another group, of which a service has one: have the server "
				    "bind them all alike",
				    sockets[i].fd, sockets[i].pid);
	}
	return 0;
}

int generation_attach_prog(struct service *service, const struct held_socket *sockets, int count)
{
	int fd = -1, i, err;

	for (i = 0; i < count && fd < 0; i++)
		fd = try_socket(&sockets[i]);
	if (fd < 0)
		/* says why */
		fd = take_socket(&sockets[0]);
	if (fd < 0)
		return -1;
	err = group_attach_prog(service, fd);
	close(fd);
	return err;
}

int generation_fill(struct service *service, const struct held_socket *sockets, int count,
		    const struct process *server, __u32 *number)
{
	struct generation about = { .slots = count, .live = count };
	__u32 next, place;
	int map, i, err = 0;

	if (count > (int)service->config.steering.slots)
		return fail("process %d has %d sockets, a generation of service %s has room for "
			    "%u: detach it and attach it with --slots %d (%d at most)",
			    server->pid, count, service->name, service->config.steering.slots,
			    count, MAX_SLOTS);
	if (generation_check(service, sockets, count))
		return -1;
	generation_recover(service);
	next = generation_next(service);
	if (!next)
		return -1;
	place = next % MAX_GENERATIONS;
	about.number = next;

	map = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "sockets", sizeof(__u32),
			     sizeof(__u64), count, NULL);
	if (map < 0)
		return fail("cannot make a map for %d sockets (%s)", count, strerror(errno));
	if (bpf_map_update_elem(service->generations, &place, &map, BPF_ANY)) {
		err = fail("cannot enter generation %u of service %s (%s)", next, service->name,
			   strerror(errno));
		close(map);
		return err;
	}
	for (i = 0; i < count && !err; i += FD_BATCH)
		err = fill_some(map, i, sockets + i,
				count - i < FD_BATCH ? count - i : FD_BATCH);
	close(map);
	if (!err)
		err = clear_counters(service, next, count);
	if (!err) {
		for (i = 0; i < count; i++)
			about.live_slots[i] = i;
		about.pid = server->pid;
		about.started = server->started;
		about.since = time(NULL);
		memcpy(about.comm, server->comm, sizeof(about.comm));
		if (bpf_map_update_elem(service->about, &place, &about, BPF_ANY))
			err = fail("cannot describe generation %u of service %s (%s)", next,
				   service->name, strerror(errno));
	}
	if (!err)
		err = generation_attach_prog(service, sockets, count);
	if (err)
		clear_place(service, place);
	*number = next;
	return err;
}

static int newest_first(const void *a, const void *b)
{
	const __u32 *x = a, *y = b;

	return (*x < *y) - (*x > *y);
}

int generation_switch(struct service *service, __u32 number)
{
	struct state next = { .current = number, .newest = service->now.newest };
	struct generation about;
	__u32 place, zero = 0;

	if (number > next.newest)
		next.newest = number;
	for (place = 0; place < MAX_GENERATIONS; place++)
		if (!bpf_map_lookup_elem(service->about, &place, &about) &&
		    about.number <= next.newest)
			next.generations[place] = about.number;
	qsort(next.generations, MAX_GENERATIONS, sizeof(*next.generations), newest_first);
	if (bpf_map_update_elem(service->state, &zero, &next, BPF_ANY))
		/* if it is new, whoever comes next will find that it never was switched to */
		return fail("cannot switch service %s (%s)", service->name, strerror(errno));
	service->now = next;
	return 0;
}
