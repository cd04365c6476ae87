// SPDX-License-Identifier: GPL-2.0
/* What there is to see of services: read once for all of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flow_table.h"
#include "view.h"

/* -- The maps of a service ----------------------------------------------------------- */

static int view_generation(struct view *view, __u32 number)
{
	struct generation_view *larger, *generation;
	struct counter counters[MAX_SLOTS];
	__u64 cookies[MAX_SLOTS];
	struct generation info;
	struct slot_view *slot;
	struct server server;
	__u32 i;

	if (generation_read(&view->service, number, &info))
		return 0;
	generation_get_server(&info, &server);
	/* one that has ended is of no interest, unless it is the current one */
	if (!generation_read_cookies(&view->service, &info, cookies) &&
	    number != view->service.now.current && !proc_keep_alive(&server))
		return 0;
	if (generation_read_counters(&view->service, &info, counters))
		return -1;
	larger = realloc(view->generations, (view->nr_generations + 1) * sizeof(*larger));
	if (!larger)
		return fail("out of memory");
	view->generations = larger;
	generation = &larger[view->nr_generations++];
	*generation = (struct generation_view){
		.info = info,
		.connections = CONNECTIONS_UNKNOWN,
	};
	generation->slots = calloc(info.slots, sizeof(*generation->slots));
	if (!generation->slots)
		return fail("out of memory");
	for (i = 0; i < info.slots; i++) {
		if (!cookies[i])
			continue;
		slot = &generation->slots[generation->nr_slots++];
		slot->number = i;
		slot->cookie = cookies[i];
		slot->counter = counters[i];
	}
	return 0;
}

bool view_has_flows(const struct view *view)
{
	return (view->service.config.steering.mode == UDP_FLOW || view_has_ids(view)) &&
	       view->service.layout.version == LAYOUT_VERSION;
}

bool view_has_ids(const struct view *view)
{
	return view->service.config.steering.mode == UDP_QUIC;
}

static int view_service(struct view *view)
{
	__u32 number;

	if (service_open(&view->service, view->name))
		return -1;
	view->is_here = proc_netns("self") == view->service.config.netns;
	/* the index is that of another interface here */
	if (!view->is_here)
		view->service.endpoint.interface = 0;
	if (view_has_flows(view) && flow_table_read_stats(&view->service, view->flow_stats))
		return -1;
	if (view_has_ids(view) && quic_read_stats(&view->service, &view->quic))
		return -1;
	for_each_generation(&view->service, number)
		if (view_generation(view, number))
			return -1;
	return 0;
}

static void view_free(struct view *view)
{
	int i;

	for (i = 0; i < view->nr_generations; i++)
		free(view->generations[i].slots);
	free(view->generations);
	free(view->error);
	service_close(&view->service);
}

/* -- The sockets of the host --------------------------------------------------------- */

static int compare_cookies(const void *a, const void *b)
{
	const struct held_socket *x = a, *y = b;

	return (x->info.cookie > y->info.cookie) - (x->info.cookie < y->info.cookie);
}

static const struct held_socket *find_socket(const struct views *views, __u64 cookie)
{
	struct held_socket key = { .info.cookie = cookie };

	return views->nr_sockets ? bsearch(&key, views->sockets, views->nr_sockets, sizeof(key),
					   compare_cookies) :
				   NULL;
}

/* Is any of the services of this protocol and family? If only one is: *@only. */
static bool is_viewed(const struct views *views, struct endpoint *kind)
{
	const struct service *service;
	int i, nr = 0;

	for (i = 0; i < views->count; i++) {
		service = &views->list[i].service;
		if (views->list[i].is_here && service->config.protocol == kind->protocol &&
		    service->config.family == kind->family && !nr++)
			*kind = service->endpoint;
	}
	if (nr > 1)
		kind->port = 0;
	return nr;
}

/* List the sockets of every protocol and family that a service has. */
static int list_sockets(const struct views *views, struct socket_info **list)
{
	static const struct {
		__u32 protocol, family;
	} kinds[] = {
		{ IPPROTO_TCP, AF_INET }, { IPPROTO_TCP, AF_INET6 },
		{ IPPROTO_UDP, AF_INET }, { IPPROTO_UDP, AF_INET6 },
	};
	struct socket_info *some, *larger;
	int count = 0, nr;
	unsigned int i;

	*list = NULL;
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct endpoint kind = {
			.protocol = kinds[i].protocol,
			.family = kinds[i].family,
		};

		if (!is_viewed(views, &kind))
			continue;
		nr = sock_diag_list(&kind, &some);
		if (nr <= 0) {
			if (nr < 0)
				return -1;
			continue;
		}
		larger = realloc(*list, (count + nr) * sizeof(*larger));
		if (!larger) {
			free(some);
			return fail("out of memory");
		}
		*list = larger;
		memcpy(*list + count, some, nr * sizeof(*some));
		count += nr;
		free(some);
	}
	return count;
}

static int view_sockets(struct views *views, bool with_owners)
{
	struct socket_info *list;
	int count, i;

	count = list_sockets(views, &list);
	if (count > 0 && with_owners) {
		count = sockets_find_owners(list, count, NULL, &views->sockets);
	} else if (count > 0) {
		views->sockets = calloc(count, sizeof(*views->sockets));
		if (!views->sockets)
			count = fail("out of memory");
		for (i = 0; i < count; i++)
			views->sockets[i].info = list[i];
	}
	free(list);
	if (count < 0)
		return -1;
	views->nr_sockets = count;
	return 0;
}

/* -- Both together -------------------------------------------------------------------- */

/* Sets @members, by the index of the socket in @views, for those that have a slot. With @all,
 * reads the sockets' options.
 */
static void join_generations(const struct views *views, struct view *view, bool all,
			     bool *members)
{
	struct slot_view *slot;
	int g, i;

	for (g = 0; g < view->nr_generations; g++) {
		for (i = 0; i < view->generations[g].nr_slots; i++) {
			slot = &view->generations[g].slots[i];
			slot->socket = find_socket(views, slot->cookie);
			if (!slot->socket)
				continue;
			members[slot->socket - views->sockets] = true;
			slot->has_options =
				all && !socket_read_options(slot->socket, &slot->options);
		}
	}
}

struct groups {
	struct group_record *list;
	int count;	/* -1: this kernel cannot list them */
};

static enum view_program compare_program(const struct view *view, const struct groups *groups,
					 __u64 cookie)
{
	const struct group_record *record = group_find(groups->list, groups->count, cookie);

	if (!record)
		return PROGRAM_UNKNOWN;
	if (!record->has_program)
		return PROGRAM_GONE;
	return group_is_own_prog(&view->service, record->id) ? PROGRAM_ON : PROGRAM_REPLACED;
}

static void join_sockets(const struct views *views, struct view *view, const bool *members,
			 const struct groups *groups)
{
	const struct held_socket *socket;
	int i;

	for (i = 0; i < views->nr_sockets; i++) {
		socket = &views->sockets[i];
		if (!endpoint_is_equal(&view->service.endpoint, &socket->info.at) ||
		    !group_has_socket(&view->service.config, &socket->info))
			continue;
		if (!view->nr_sockets++)
			view->program = compare_program(view, groups, socket->info.cookie);
		if (members[i])
			continue;
		if (!view->nr_outside++ || socket->pid > view->outside->pid)
			view->outside = socket;
	}
}

/* List the groups of a protocol, by the iterator of any service. */
static void list_groups(const struct views *views, __u32 protocol, struct groups *groups)
{
	const struct service *service;
	int iterator = -1, i;
	bool any = false;

	for (i = 0; i < views->count; i++) {
		service = &views->list[i].service;
		if (!views->list[i].is_here || service->config.protocol != protocol)
			continue;
		any = true;
		if (service->iterator >= 0)
			iterator = service->iterator;
	}
	if (any)
		groups->count = group_list(protocol, iterator, &groups->list);
}

/* Count connections. A generation without sockets is left out unless its server still has some
 * open.
 */
static int view_connections(struct view *view, bool all)
{
	struct generation_view *generation;
	int i, kept = 0;

	for (i = 0; i < view->nr_generations; i++) {
		generation = &view->generations[i];
		if (all && connections_count(&view->service, generation->info.number,
					     &generation->connections))
			return -1;
		if (generation->nr_slots || generation->connections > 0 ||
		    generation->info.number == view->service.now.current)
			view->generations[kept++] = *generation;
		else
			free(generation->slots);
	}
	view->nr_generations = kept;
	return 0;
}

/* Has a slot of any generation this socket? */
static bool has_slot(const struct view *view, __u64 cookie)
{
	int g, i;

	for (g = 0; g < view->nr_generations; g++)
		for (i = 0; i < view->generations[g].nr_slots; i++)
			if (view->generations[g].slots[i].cookie == cookie)
				return true;
	return false;
}

/* Sockets that were connected to a peer after they had got their slot. */
static int view_connected(struct view *view)
{
	struct socket_info *list;
	int count, i;

	if (view->service.config.protocol != IPPROTO_UDP)
		return 0;
	count = sock_diag_list_connected(&view->service.endpoint, &list);
	for (i = 0; i < count; i++)
		view->nr_connected += has_slot(view, list[i].cookie);
	free(list);
	return count < 0 ? -1 : 0;
}

/* Sockets at 0.0.0.0 are in another group than dual-stack ones at [::], and are preferred. */
static int view_ipv4(struct view *view)
{
	struct endpoint ipv4 = {
		.protocol = view->service.config.protocol,
		.family = AF_INET,
		.port = view->service.config.port,
		.interface = view->service.config.interface,
	};
	struct socket_info *list;

	if (view->service.config.family != AF_INET6 || view->service.config.v6only ||
	    !endpoint_is_wildcard(&view->service.endpoint))
		return 0;
	view->nr_ipv4 = sock_diag_list(&ipv4, &list);
	free(list);
	return view->nr_ipv4 < 0 ? -1 : 0;
}

static int join(struct views *views, bool all)
{
	bool *members = calloc(views->nr_sockets + 1, sizeof(*members));
	struct groups tcp = { .count = -1 }, udp = { .count = -1 };
	struct view *view;
	int i;

	if (!members)
		return fail("out of memory");
	if (views->nr_sockets)
		qsort(views->sockets, views->nr_sockets, sizeof(*views->sockets), compare_cookies);
	if (all) {
		list_groups(views, IPPROTO_TCP, &tcp);
		list_groups(views, IPPROTO_UDP, &udp);
	}
	for (i = 0; i < views->count; i++) {
		view = &views->list[i];
		if (!view->is_here)
			continue;
		memset(members, 0, views->nr_sockets * sizeof(*members));
		join_generations(views, view, all, members);
		if (all)
			join_sockets(views, view, members,
				     view->service.config.protocol == IPPROTO_TCP ? &tcp : &udp);
	}
	free(tcp.list);
	free(udp.list);
	free(members);
	return 0;
}

/* -- Loading --------------------------------------------------------------------------- */

static int add_view(const char *name, void *arg)
{
	struct views *views = arg;
	char error[MAX_SENTENCE];
	struct view *larger, *view;

	larger = realloc(views->list, (views->count + 1) * sizeof(*larger));
	if (!larger)
		return fail("out of memory");
	views->list = larger;
	view = &views->list[views->count++];
	memset(view, 0, sizeof(*view));
	snprintf(view->name, sizeof(view->name), "%s", name);
	service_init(&view->service, name);
	if (store_is_leftover(name) || !view_service(view))
		return 0;
	take_error(error);
	view->is_here = false;
	/* it may disappear between the reading of its name and of its pins */
	if (!store_exists(name)) {
		view_free(view);
		views->count--;
		return 0;
	}
	view->error = strdup(error);
	return view->error ? 0 : fail("out of memory");
}

int views_load(struct views *views, const char *name, bool all)
{
	int err;

	int i;

	*views = (struct views){};
	if (name) {
		views->list = calloc(1, sizeof(*views->list));
		if (!views->list)
			return fail("out of memory");
		views->count = 1;
		snprintf(views->list->name, sizeof(views->list->name), "%s", name);
		service_init(&views->list->service, name);
		err = view_service(views->list);
	} else {
		err = store_visit(add_view, views);
	}
	if (err || view_sockets(views, all))
		return -1;
	for (i = 0; i < views->count; i++)
		if (view_connections(&views->list[i], all && views->list[i].is_here) ||
		    (all && views->list[i].is_here &&
		     (view_ipv4(&views->list[i]) || view_connected(&views->list[i]))))
			return -1;
	return join(views, all);
}

void views_free(struct views *views)
{
	int i;

	for (i = 0; i < views->count; i++)
		view_free(&views->list[i]);
	free(views->list);
	free(views->sockets);
}
