// SPDX-License-Identifier: GPL-2.0
/* show, flows and metrics: what there is to see, changed by none of them. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "group.h"
#include "server.h"

/* One that is filled. */
struct slot {
	__u32 number;
	__u64 cookie;
	const struct held_socket *socket; /* NULL: it was closed a moment ago */
	struct counter counter;
};

struct generation_view {
	struct generation about;
	struct slot slots[MAX_SLOTS];
	int count;
};

struct view {
	struct service service;
	struct held_socket *sockets;
	int nr_sockets;
	bool here; /* its network namespace is ours */
	struct generation_view *generations;
	int nr_generations;
	int nr_outside; /* sockets of no generation */
	pid_t outside_pid; /* of one of them */
	char outside_comm[16];
	int program; /* as group_read_prog(); 2: not ours */
};

static const struct held_socket *find(const struct view *view, __u64 cookie)
{
	int i;

	for (i = 0; i < view->nr_sockets; i++)
		if (view->sockets[i].info.cookie == cookie)
			return &view->sockets[i];
	return NULL;
}

static void view_add_generation(struct view *view, __u32 number)
{
	struct generation_view *generation = &view->generations[view->nr_generations];
	__u64 cookies[MAX_SLOTS];
	__u32 i;

	if (generation_read(&view->service, number, &generation->about))
		return;
	generation->count = 0;
	generation_cookies(&view->service, &generation->about, cookies);
	for (i = 0; i < generation->about.slots; i++) {
		struct slot *slot = &generation->slots[generation->count];

		if (!cookies[i])
			continue;
		slot->number = i;
		slot->cookie = cookies[i];
		slot->socket = find(view, cookies[i]);
		generation_read_counter(&view->service, number, i, &slot->counter);
		generation->count++;
	}
	/* those that have ended are of interest to nobody, but for the current one */
	if (generation->count || number == view->service.now.current)
		view->nr_generations++;
}

static bool is_in_view(const struct view *view, __u64 cookie)
{
	int g, i;

	for (g = 0; g < view->nr_generations; g++)
		for (i = 0; i < view->generations[g].count; i++)
			if (view->generations[g].slots[i].cookie == cookie)
				return true;
	return false;
}

/* Also 0, with the program then unknown, for what is not in our network namespace. */
static int view_load(struct view *view, const char *name)
{
	const struct state *now = &view->service.now;
	__u32 id;
	int i;

	memset(view, 0, sizeof(*view));
	view->program = -1;
	if (service_open(&view->service, name, false))
		return -1;
	view->here = proc_netns("self") == view->service.config.netns;
	if (view->here) {
		int ours = 0;

		view->nr_sockets = find_sockets(&view->service.endpoint, 0, &view->sockets);
		if (view->nr_sockets < 0)
			return -1;
		for (i = 0; i < view->nr_sockets; i++)
			if (service_owns_socket(&view->service, &view->sockets[i].info))
				view->sockets[ours++] = view->sockets[i];
		view->nr_sockets = ours;
		if (view->nr_sockets)
			view->program = group_read_prog(&view->service.endpoint,
						      view->sockets[0].info.cookie, &id);
		if (view->program == 1 && id != prog_id(view->service.program))
			view->program = 2;
	}
	view->generations = calloc(MAX_GENERATIONS, sizeof(*view->generations));
	if (!view->generations)
		return fail("out of memory");
	for (i = 0; i < MAX_GENERATIONS && now->generations[i]; i++)
		view_add_generation(view, now->generations[i]);
	for (i = 0; i < view->nr_sockets; i++) {
		if (is_in_view(view, view->sockets[i].info.cookie))
			continue;
		if (!view->nr_outside++) {
			view->outside_pid = view->sockets[i].pid;
			memcpy(view->outside_comm, view->sockets[i].comm,
			       sizeof(view->outside_comm));
		}
	}
	return 0;
}

static void view_free(struct view *view)
{
	free(view->sockets);
	free(view->generations);
	service_close(&view->service);
}

static const char *mode_text(const struct steering *steering, char *text)
{
	if (steering->mode == UDP_ID)
		sprintf(text, "id:%u:%u", steering->id_offset, steering->id_len);
	else
		strcpy(text, steering->mode == UDP_FLOW ? "flow" : "none");
	return text;
}

static const char *const program_text[] = { "gone", "on", "replaced" };

/* -- show ------------------------------------------------------------------ */

static void print_generation_json(const struct view *view, const struct generation_view *generation)
{
	int i;

	jsonw_start_object(json);
	jsonw_uint_field(json, "generation", generation->about.number);
	jsonw_bool_field(json, "current", generation->about.number == view->service.now.current);
	jsonw_uint_field(json, "pid", generation->about.pid);
	jsonw_string_field(json, "comm", generation->about.comm);
	jsonw_uint_field(json, "since", generation->about.since);
	jsonw_uint_field(json, "slots", generation->about.slots);
	jsonw_uint_field(json, "sockets", generation->count);
	jsonw_name(json, "filled");
	jsonw_start_array(json);
	for (i = 0; i < generation->count; i++) {
		const struct slot *slot = &generation->slots[i];

		jsonw_start_object(json);
		jsonw_uint_field(json, "slot", slot->number);
		jsonw_uint_field(json, "cookie", slot->cookie);
		if (slot->socket) {
			jsonw_uint_field(json, "pid", slot->socket->pid);
			jsonw_string_field(json, "comm", slot->socket->comm);
			jsonw_uint_field(json, "queue", slot->socket->info.queue);
			jsonw_uint_field(json, "drops", slot->socket->info.drops);
		}
		jsonw_uint_field(json, "packets", slot->counter.packets);
		jsonw_uint_field(json, "new_flows", slot->counter.flows);
		jsonw_end_object(json);
	}
	jsonw_end_array(json);
	jsonw_end_object(json);
}

static void print_json(const struct view *view)
{
	const struct service_config *config = &view->service.config;
	char text[64];
	int i;

	jsonw_start_object(json);
	jsonw_string_field(json, "name", view->service.name);
	jsonw_string_field(json, "protocol", protocol_name(config->protocol));
	jsonw_string_field(json, "address", format_endpoint(&view->service.endpoint, text));
	if (config->protocol == IPPROTO_UDP)
		jsonw_string_field(json, "udp", mode_text(&config->steering, text));
	jsonw_uint_field(json, "netns_ino", config->netns);
	jsonw_uint_field(json, "uid", config->uid);
	jsonw_uint_field(json, "max_slots", config->steering.slots);
	if (view->program >= 0)
		jsonw_string_field(json, "program", program_text[view->program]);
	jsonw_uint_field(json, "current", view->service.now.current);
	jsonw_name(json, "generations");
	jsonw_start_array(json);
	for (i = 0; i < view->nr_generations; i++)
		print_generation_json(view, &view->generations[i]);
	jsonw_end_array(json);
	if (view->here)
		jsonw_uint_field(json, "sockets_outside", view->nr_outside);
	jsonw_end_object(json);
}

static void print_slot(const struct slot *slot)
{
	char who[32] = "?", queue[16] = "?", drops[16] = "?";

	if (slot->socket) {
		if (slot->socket->pid)
			snprintf(who, sizeof(who), "%s(%d)", slot->socket->comm, slot->socket->pid);
		snprintf(queue, sizeof(queue), "%u", slot->socket->info.queue);
		snprintf(drops, sizeof(drops), "%u", slot->socket->info.drops);
	}
	printf("    %4u  %8llu  %-20s  %7s  %5s  %9llu  %9llu\n", slot->number, slot->cookie, who,
	       queue, drops, slot->counter.packets, slot->counter.flows);
}

static void print_text(const struct view *view)
{
	const struct service_config *config = &view->service.config;
	char text[64], when[32];
	int g, i;

	printf("%s  %s %s", view->service.name, protocol_name(config->protocol),
	       format_endpoint(&view->service.endpoint, text));
	if (config->protocol == IPPROTO_UDP)
		printf("  by %s", mode_text(&config->steering, text));
	printf("  current %u%s\n", view->service.now.current,
	       view->here ? "" : "  (in another network namespace)");
	for (g = 0; g < view->nr_generations; g++) {
		const struct generation_view *generation = &view->generations[g];
		time_t since = generation->about.since;

		strftime(when, sizeof(when), "%F %T", localtime(&since));
		printf("  generation %u%s  %s(%u)  %d of %u sockets  since %s\n",
		       generation->about.number,
		       generation->about.number == view->service.now.current ? " (current)" : "",
		       generation->about.comm, generation->about.pid, generation->count,
		       generation->about.slots, when);
		if (generation->count)
			printf("    %4s  %8s  %-20s  %7s  %5s  %9s  %9s\n", "slot", "cookie",
			       "process", "queue", "drops", "packets", "new flows");
		for (i = 0; i < generation->count; i++)
			print_slot(&generation->slots[i]);
	}
	if (view->program == 0)
		printf("  The group has no program: the kernel spreads by hash. A switch puts it "
		       "back.\n");
	else if (view->program == 2)
		printf("  The group has a program of somebody else: nothing here has a say.\n");
	if (view->nr_outside)
		printf("  %d socket%s of no generation, as of %s(%d): nothing goes there until a "
		       "switch.\n",
		       view->nr_outside, view->nr_outside == 1 ? "" : "s",
		       *view->outside_comm ? view->outside_comm : "?", view->outside_pid);
	if (!view->nr_generations || (view->here && !view->nr_sockets))
		printf("  Left behind: its sockets are all closed. attach makes it anew, detach "
		       "removes it.\n");
}

static int show_leftover(const char *name)
{
	bool removed = strstr(name, DISCARDED);
	char plain[64];

	snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(name, "+"), name);
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "name", plain);
		jsonw_string_field(json, "left_over_by", removed ? "detach" : "attach");
		jsonw_end_object(json);
	} else {
		printf("%s  left over by %s that was killed; detach removes it, attach makes it "
		       "anew\n",
		       plain, removed ? "a detach" : "an attach");
	}
	return 0;
}

/* It may go while a list is made: between the reading of its name and of what it is. */
static bool has_vanished(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), PIN_ROOT "/%s", name);
	return access(path, F_OK) && errno == ENOENT;
}

static int show_one(const char *name, void *arg)
{
	struct view view;
	int err;

	(void)arg;
	if (is_leftover(name))
		return show_leftover(name);
	err = view_load(&view, name);
	if (!err) {
		if (json)
			print_json(&view);
		else
			print_text(&view);
	}
	view_free(&view);
	return err;
}

/* In a list: one that cannot be shown shall not keep the others from it. */
static int show_listed(const char *name, void *arg)
{
	char why[MAX_SENTENCE] = "";
	int err;

	unsaid = why;
	err = show_one(name, NULL);
	unsaid = NULL;
	if (!err || has_vanished(name))
		return 0;
	*(int *)arg = -1;
	say("reuseportctl: %s", why);
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "name", name);
		jsonw_string_field(json, "error", why);
		jsonw_end_object(json);
	} else {
		printf("%s  cannot be shown\n", name);
	}
	return 0;
}

static int show(const char *name)
{
	int err = 0;

	if (name)
		return show_one(name, NULL);
	if (json)
		jsonw_start_array(json);
	visit_services(show_listed, &err);
	if (json)
		jsonw_end_array(json);
	return err;
}

int do_show(struct arguments *args)
{
	bool watch = take_flag(args, "--watch");
	const char *name = NULL;
	int err;

	if (args->argc && take_name(args, &name))
		return -1;
	if (args_end(args) || require_privileges() || require_bpffs())
		return -1;
	if (watch && json)
		return fail("--watch is for people: ask for JSON as often as you need it");
	if (!watch)
		return show(name);
	do {
		printf("\033[H\033[2J");
		err = show(name);
		sleep_ms(1000);
		/* of a list the others go on */
	} while (!err || !name);
	return err;
}

/* -- flows ----------------------------------------------------------------- */

static void print_flow(const struct peer *peer, const struct flow *flow, __u64 now)
{
	bool ipv4 = !peer->address[0] && !peer->address[1] && peer->address[2] == htonl(0xffff);
	char address[INET6_ADDRSTRLEN];
	double silent = now - flow->seen / 1000000.0;

	inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? &peer->address[3] : peer->address, address,
		  sizeof(address));
	if (silent < 0)
		silent = 0;
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "address", address);
		jsonw_uint_field(json, "port", ntohs(peer->port));
		jsonw_uint_field(json, "generation", flow->generation);
		jsonw_uint_field(json, "slot", flow->slot);
		jsonw_uint_field(json, "packets", flow->packets);
		jsonw_uint_field(json, "silent_ms", silent);
		jsonw_end_object(json);
	} else {
		printf(ipv4 ? "%s:%u" : "[%s]:%u", address, ntohs(peer->port));
		printf("  generation %u  slot %u  packets %llu  silent %.1f s\n", flow->generation,
		       flow->slot, flow->packets, silent / 1e3);
	}
}

int do_flows(struct arguments *args)
{
	struct peer peer, *before = NULL, next;
	struct service service;
	const char *name;
	struct flow flow;
	int count = 0;

	if (take_name(args, &name) || args_end(args) || service_open(&service, name, false))
		return -1;
	if (service.config.steering.mode != UDP_FLOW) {
		service_close(&service);
		return fail("service %s keeps no flows: it was not attached with udp and --udp "
			    "flow",
			    name);
	}
	if (json)
		jsonw_start_array(json);
	while (!bpf_map_get_next_key(service.flows, before, &next)) {
		peer = next;
		before = &peer;
		/* else it had to make room meanwhile */
		if (!bpf_map_lookup_elem(service.flows, &peer, &flow)) {
			print_flow(&peer, &flow, now_ms());
			count++;
		}
	}
	if (json)
		jsonw_end_array(json);
	else
		printf("%d flow%s\n", count, count == 1 ? "" : "s");
	service_close(&service);
	return 0;
}

/* -- metrics --------------------------------------------------------------- */

static const struct metric {
	const char *name, *type, *help;
} metrics[] = {
	{ "reuseport_current_generation", "gauge", "The generation that gets what is new." },
	{ "reuseport_sockets", "gauge", "Sockets of a generation." },
	{ "reuseport_queue", "gauge", "Connections to be accepted, or bytes to be read." },
	{ "reuseport_drops_total", "counter", "Packets that a socket had no room for." },
	{ "reuseport_packets_total", "counter", "Packets steered to a slot; of TCP, SYNs." },
	{ "reuseport_new_flows_total", "counter", "Connections or flows that began there." },
};

static void print_metric(const struct view *view, unsigned int which)
{
	const char *metric = metrics[which].name, *service = view->service.name;
	int g, i;

	if (!which)
		printf("%s{service=\"%s\"} %u\n", metric, service, view->service.now.current);
	for (g = 0; g < view->nr_generations && which; g++) {
		const struct generation_view *generation = &view->generations[g];
		__u32 number = generation->about.number;

		if (which == 1)
			printf("%s{service=\"%s\",generation=\"%u\"} %d\n", metric, service, number,
			       generation->count);
		for (i = 0; i < generation->count && which > 1; i++) {
			const struct slot *slot = &generation->slots[i];
			const struct held_socket *socket = slot->socket;
			const __u64 values[] = {
				socket ? socket->info.queue : 0,
				socket ? socket->info.drops : 0,
				slot->counter.packets,
				slot->counter.flows,
			};

			if (which < 4 && !socket)
				continue;
			printf("%s{service=\"%s\",generation=\"%u\",slot=\"%u\"} %llu\n", metric,
			       service, number, slot->number, values[which - 2]);
		}
	}
}

struct views {
	struct view *list;
	int count;
	bool incomplete;
};

static int add_view(const char *name, void *arg)
{
	char why[MAX_SENTENCE] = "";
	struct views *views = arg;
	struct view *larger;
	int err;

	if (is_leftover(name))
		return 0;
	larger = realloc(views->list, (views->count + 1) * sizeof(*larger));
	if (!larger)
		return fail("out of memory");
	views->list = larger;
	unsaid = why;
	err = view_load(&views->list[views->count], name);
	unsaid = NULL;
	if (!err) {
		views->count++;
		return 0;
	}
	view_free(&views->list[views->count]);
	if (!has_vanished(name)) {
		say("reuseportctl: %s", why);
		views->incomplete = true;
	}
	return 0;
}

/* All of one metric together, as the format has it. */
int do_metrics(struct arguments *args)
{
	struct views views = {};
	unsigned int m;
	int err, i;

	if (args_end(args) || require_privileges() || require_bpffs())
		return -1;
	if (json)
		return fail("metrics prints what Prometheus reads; show has JSON");
	err = visit_services(add_view, &views);
	for (m = 0; m < ARRAY_SIZE(metrics) && !err; m++) {
		printf("# HELP %s %s\n# TYPE %s %s\n", metrics[m].name, metrics[m].help,
		       metrics[m].name, metrics[m].type);
		for (i = 0; i < views.count; i++)
			print_metric(&views.list[i], m);
	}
	for (i = 0; i < views.count; i++)
		view_free(&views.list[i]);
	free(views.list);
	return err || views.incomplete ? -1 : 0;
}
