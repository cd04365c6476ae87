// SPDX-License-Identifier: GPL-2.0
/* show: services, their generations and sockets. */
#include <string.h>
#include <time.h>

#include "args.h"
#include "canary.h"
#include "view.h"

static const char *mode_text(const struct steering *steering, char *text)
{
	static const char *const names[] = {
		[UDP_NONE] = "none", [UDP_FLOW] = "flow", [UDP_QUIC] = "quic",
	};

	if (steering->mode == UDP_ID)
		sprintf(text, "id:%u:%u", steering->id_offset, steering->id_len);
	else
		strcpy(text, names[steering->mode]);
	return text;
}

static bool is_current(const struct view *view, const struct generation_view *generation)
{
	return generation->info.number == view->service.now.current;
}

static bool is_canary(const struct view *view, const struct generation_view *generation)
{
	return generation->info.number == view->service.now.canary;
}

/* Entries that have been used, of those there are; flows that have ended may be in them. */
static __u64 used_flow_entries(const struct view *view)
{
	return view->flow_stats[FLOW_ADDED];
}

static __u64 flow_entries(const struct view *view)
{
	return (__u64)view->service.flow_config.buckets * FLOW_WAYS;
}

/* With TCP_DEFER_ACCEPT the kernel also counts what it drops on purpose: the last packet of
 * each handshake that brings no data.
 */
static bool has_drops(const struct slot_view *slot)
{
	return !slot->has_options || !slot->options.defer_accept;
}

/* -- JSON --------------------------------------------------------------------------- */

static void print_slot_json(const struct slot_view *slot)
{
	jsonw_start_object(json);
	jsonw_uint_field(json, "slot", slot->number);
	jsonw_uint_field(json, "cookie", slot->cookie);
	if (slot->socket) {
		jsonw_uint_field(json, "pid", slot->socket->pid);
		jsonw_string_field(json, "comm", slot->socket->comm);
		jsonw_uint_field(json, "queue", slot->socket->info.queue);
		if (has_drops(slot))
			jsonw_uint_field(json, "drops", slot->socket->info.drops);
		if (slot->has_options)
			jsonw_bool_field(json, "defer_accept", slot->options.defer_accept);
		if (slot->has_options)
			jsonw_bool_field(json, "reuseport", slot->options.reuseport);
	}
	jsonw_uint_field(json, "packets", slot->counter.packets);
	jsonw_uint_field(json, "new_flows", slot->counter.flows);
	jsonw_end_object(json);
}

static void print_generation_json(const struct view *view, const struct generation_view *generation)
{
	struct server server;
	int i;

	jsonw_start_object(json);
	jsonw_uint_field(json, "generation", generation->info.number);
	jsonw_bool_field(json, "current", is_current(view, generation));
	if (is_canary(view, generation))
		jsonw_uint_field(json, "share_ppm",
				 canary_share_ppm(view->service.now.share));
	generation_get_server(&generation->info, &server);
	jsonw_uint_field(json, "pid", server.list[0].pid);
	jsonw_string_field(json, "comm", server.list[0].comm);
	jsonw_uint_field(json, "since", generation->info.since);
	jsonw_uint_field(json, "slots", generation->info.slots);
	jsonw_uint_field(json, "sockets", generation->nr_slots);
	if (generation->connections != CONNECTIONS_UNKNOWN)
		jsonw_uint_field(json, "connections", generation->connections);
	proc_print_pids(&server);
	jsonw_name(json, "filled");
	jsonw_start_array(json);
	for (i = 0; i < generation->nr_slots; i++)
		print_slot_json(&generation->slots[i]);
	jsonw_end_array(json);
	jsonw_end_object(json);
}

static void print_service_json(const struct view *view)
{
	static const char *const programs[] = {
		[PROGRAM_GONE] = "gone", [PROGRAM_ON] = "on", [PROGRAM_REPLACED] = "replaced",
	};
	const struct service_config *config = &view->service.config;
	char text[ENDPOINT_LEN];
	int i;

	jsonw_start_object(json);
	jsonw_string_field(json, "name", view->name);
	jsonw_string_field(json, "protocol", protocol_name(config->protocol));
	jsonw_string_field(json, "address", endpoint_format(&view->service.endpoint, text));
	if (config->protocol == IPPROTO_UDP)
		jsonw_string_field(json, "udp", mode_text(&config->steering, text));
	jsonw_uint_field(json, "netns_ino", config->netns);
	jsonw_uint_field(json, "uid", config->uid);
	jsonw_uint_field(json, "max_slots", config->steering.slots);
	jsonw_uint_field(json, "layout", view->service.layout.version);
	jsonw_string_field(json, "made_by", view->service.layout.tool);
	jsonw_bool_field(json, "upgrade_interrupted", service_is_interrupted(&view->service));
	if (programs[view->program])
		jsonw_string_field(json, "program", programs[view->program]);
	jsonw_uint_field(json, "current", view->service.now.current);
	jsonw_bool_field(json, "open", view->service.now.open);
	if (view->service.now.canary)
		jsonw_uint_field(json, "canary", view->service.now.canary);
	if (view_has_flows(view)) {
		jsonw_name(json, "flow_table");
		jsonw_start_object(json);
		jsonw_uint_field(json, "entries", flow_entries(view));
		jsonw_uint_field(json, "used", used_flow_entries(view));
		jsonw_uint_field(json, "evicted", view->flow_stats[FLOW_EVICTED]);
		jsonw_uint_field(json, "refused", view->flow_stats[FLOW_REFUSED]);
		jsonw_end_object(json);
	}
	if (view_has_ids(view)) {
		jsonw_name(json, "quic");
		jsonw_start_object(json);
		jsonw_bool_field(json, "learns_from_server", view->quic.service.learns);
		jsonw_uint_field(json, "entries", view->quic.entries);
		jsonw_uint_field(json, "known", view->quic.known);
		jsonw_uint_field(json, "pending", view->quic.pending);
		jsonw_uint_field(json, "first", view->quic.first);
		jsonw_end_object(json);
	}
	jsonw_name(json, "generations");
	jsonw_start_array(json);
	for (i = 0; i < view->nr_generations; i++)
		print_generation_json(view, &view->generations[i]);
	jsonw_end_array(json);
	if (view->is_here) {
		jsonw_uint_field(json, "sockets_outside", view->nr_outside);
		jsonw_uint_field(json, "sockets_ipv4", view->nr_ipv4);
		jsonw_uint_field(json, "sockets_connected", view->nr_connected);
	}
	jsonw_end_object(json);
}

/* -- Text --------------------------------------------------------------------------- */

static void print_slot(const struct slot_view *slot)
{
	char who[32] = "?", queue[16] = "?", drops[16] = "?";

	if (slot->socket) {
		if (slot->socket->pid)
			snprintf(who, sizeof(who), "%s(%d)", slot->socket->comm, slot->socket->pid);
		snprintf(queue, sizeof(queue), "%u", slot->socket->info.queue);
		if (has_drops(slot))
			snprintf(drops, sizeof(drops), "%u", slot->socket->info.drops);
		else
			strcpy(drops, "-");
	}
	printf("    %4u  %8llu  %-20s  %7s  %5s  %9llu  %9llu\n", slot->number, slot->cookie, who,
	       queue, drops, slot->counter.packets, slot->counter.flows);
}

static void print_generation(const struct view *view, const struct generation_view *generation)
{
	char when[32], connections[32] = "", who[SERVER_LEN], role[SHARE_LEN + 32] = "";
	char share[SHARE_LEN];
	struct server server;
	time_t since = generation->info.since;
	int i;

	strftime(when, sizeof(when), "%F %T", localtime(&since));
	generation_get_server(&generation->info, &server);
	if (generation->connections != CONNECTIONS_UNKNOWN)
		sprintf(connections, "  %d connection%s", generation->connections,
			generation->connections == 1 ? "" : "s");
	if (is_current(view, generation))
		strcpy(role, " (current)");
	else if (is_canary(view, generation))
		sprintf(role, " (canary, %s)",
			canary_format_share(view->service.now.share, share));
	printf("  generation %u%s  %s  %d of %u sockets%s  since %s\n",
	       generation->info.number, role, proc_format_server(&server, who),
	       generation->nr_slots, generation->info.slots, connections, when);
	if (generation->nr_slots)
		printf("    %4s  %8s  %-20s  %7s  %5s  %9s  %9s\n", "slot", "cookie", "process",
		       "queue", "drops", "packets", "new flows");
	for (i = 0; i < generation->nr_slots; i++)
		print_slot(&generation->slots[i]);
}

static void print_flow_table(const struct view *view)
{
	printf("  flows: %llu of %llu entries used", used_flow_entries(view), flow_entries(view));
	if (view->flow_stats[FLOW_EVICTED])
		printf(", %llu peers with one datagram evicted", view->flow_stats[FLOW_EVICTED]);
	if (view->flow_stats[FLOW_REFUSED])
		printf(", %llu not recorded: the table was full", view->flow_stats[FLOW_REFUSED]);
	putchar('\n');
}

static void print_option_notes(const struct view *view)
{
	int deferring = 0, cleared = 0, g, i;
	const struct slot_view *slot;

	for (g = 0; g < view->nr_generations; g++) {
		for (i = 0; i < view->generations[g].nr_slots; i++) {
			slot = &view->generations[g].slots[i];
			deferring += !has_drops(slot);
			cleared += slot->has_options && !slot->options.reuseport;
		}
	}
	if (deferring)
		printf("  Drops are unknown where TCP_DEFER_ACCEPT is set: the kernel counts the "
		       "last packet of each handshake as one.\n");
	if (cleared)
		printf("  SO_REUSEPORT has been cleared on %d socket%s: %s may get all traffic, "
		       "whatever the program selects. Have the server leave it set.\n",
		       cleared, cleared == 1 ? "" : "s", cleared == 1 ? "it" : "one of them");
}

static void print_ids(const struct view *view)
{
	const struct quic_stats *quic = &view->quic;

	printf("  connection ids: %llu known, %llu pending, %llu of handshakes, of %llu entries; "
	       "learned from %s\n",
	       quic->known, quic->pending, quic->first, quic->entries,
	       quic->service.learns ? "the server's packets" :
				      "clients' packets alone, as there is no cgroup v2");
}

/* What keeps the service from working, and what to do about it. */
static void print_notes(const struct view *view)
{
	const struct layout *layout = &view->service.layout;
	const struct held_socket *outside = view->outside;

	if (view->program == PROGRAM_GONE)
		printf("  The program is no longer attached to the group: the kernel distributes "
		       "by hash. refresh, hold, switch and rollback attach it again.\n");
	else if (view->program == PROGRAM_REPLACED)
		printf("  Another program is attached to the group; this service has no effect.\n");
	if (service_is_interrupted(&view->service))
		printf("  An upgrade was interrupted: reuseportctl upgrade %s completes it.\n",
		       view->name);
	else if (layout->version != LAYOUT_VERSION)
		printf("  Made by reuseportctl %s (layout %u): reuseportctl upgrade %s is required "
		       "before other changes.\n",
		       layout->tool, layout->version, view->name);
	if (view->service.now.open)
		printf("  Open: the kernel distributes by hash over all sockets, until the next "
		       "change.\n");
	if (view->nr_connected)
		printf("  %d socket%s in a slot, but connected to a peer: %s datagrams of others "
		       "until reuseportctl refresh.\n",
		       view->nr_connected, view->nr_connected == 1 ? " is" : "s are",
		       view->nr_connected == 1 ? "it may get" : "they may get");
	if (view->service.now.canary && !generation_has_sockets(&view->service,
								 view->service.now.canary))
		printf("  The canary, generation %u, has no socket any more: generation %u gets "
		       "all new traffic. reuseportctl abort %s ends it.\n",
		       view->service.now.canary, view->service.now.current, view->name);
	else if (view->service.now.canary)
		printf("  Generation %u is tried: reuseportctl promote %s switches to it, abort %s "
		       "ends the canary.\n",
		       view->service.now.canary, view->name, view->name);
	if (view->nr_ipv4)
		printf("  %d socket%s at %s 0.0.0.0:%u get%s all IPv4 traffic, which this service "
		       "does not see.\n",
		       view->nr_ipv4, view->nr_ipv4 == 1 ? "" : "s",
		       protocol_name(view->service.config.protocol),
		       ntohs(view->service.config.port), view->nr_ipv4 == 1 ? "s" : "");
	if (view->nr_outside && view->service.now.open)
		printf("  %d socket%s in no generation (%s, PID %d): %s traffic by hash.\n",
		       view->nr_outside, view->nr_outside == 1 ? " is" : "s are",
		       *outside->comm ? outside->comm : "?", outside->pid,
		       view->nr_outside == 1 ? "it gets" : "they get");
	else if (view->nr_outside && view->nr_outside == view->nr_sockets)
		printf("  All sockets at the address are in no generation (%s, PID %d): the kernel "
		       "distributes by hash. reuseportctl switch %s --pid %d makes them one.\n",
		       *outside->comm ? outside->comm : "?", outside->pid, view->name,
		       outside->pid);
	else if (view->nr_outside)
		printf("  %d socket%s in no generation (%s, PID %d): %s nothing until a switch, or "
		       "until reuseportctl refresh if the server is the same.\n",
		       view->nr_outside, view->nr_outside == 1 ? " is" : "s are",
		       *outside->comm ? outside->comm : "?", outside->pid,
		       view->nr_outside == 1 ? "it gets" : "they get");
	if (!view->nr_generations || (view->is_here && !view->nr_sockets))
		printf("  Stale: all its sockets are closed. attach creates it again, detach "
		       "removes it.\n");
}

static void print_service(const struct view *view)
{
	const struct service_config *config = &view->service.config;
	char text[ENDPOINT_LEN];
	int i;

	printf("%s  %s %s", view->name, protocol_name(config->protocol),
	       endpoint_format(&view->service.endpoint, text));
	if (config->protocol == IPPROTO_UDP)
		printf("  by %s", mode_text(&config->steering, text));
	printf("  current %u%s\n", view->service.now.current,
	       view->is_here ? "" : "  (in another network namespace)");
	for (i = 0; i < view->nr_generations; i++)
		print_generation(view, &view->generations[i]);
	if (view_has_flows(view))
		print_flow_table(view);
	if (view_has_ids(view))
		print_ids(view);
	print_option_notes(view);
	print_notes(view);
}

/* -- What is not a service ------------------------------------------------------------ */

static void print_leftover(const char *name)
{
	const char *command = strstr(name, DISCARDED) ? "detach" : "attach";
	char plain[NAME_LEN + 8];

	snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(name, "+"), name);
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "name", plain);
		jsonw_string_field(json, "left_over_by", command);
		jsonw_end_object(json);
	} else {
		printf("%s  left over from an interrupted %s: detach removes it, attach creates it "
		       "again\n",
		       plain, command);
	}
}

static void print_error(const struct view *view)
{
	/* not an error of the command, which would take the place of the whole document */
	say("reuseportctl: %s", view->error);
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "name", view->name);
		jsonw_string_field(json, "error", view->error);
		jsonw_end_object(json);
	} else {
		printf("%s  cannot be shown\n", view->name);
	}
}

static int show(const char *name)
{
	struct views views;
	int i, err;

	err = views_load(&views, name, true);
	if (json && !name)
		jsonw_start_array(json);
	for (i = 0; i < views.count && !err; i++) {
		const struct view *view = &views.list[i];

		if (view->error)
			print_error(view);
		else if (store_is_leftover(view->name))
			print_leftover(view->name);
		else if (json)
			print_service_json(view);
		else
			print_service(view);
	}
	if (json && !name)
		jsonw_end_array(json);
	/* one that cannot be shown does not keep the others from it, but counts */
	for (i = 0; i < views.count; i++)
		if (views.list[i].error)
			err = -1;
	views_free(&views);
	return err;
}

int cmd_show(const struct arguments *args)
{
	bool watch = args_flag(args, "--watch");
	const char *name = args->words[0];
	int err;

	if (require_privileges() || require_bpffs())
		return -1;
	if (watch && json)
		return fail("--watch is for a terminal: to follow the JSON, run the command again");
	do {
		if (watch)
			printf("\033[H\033[2J");
		err = show(name);
		if (watch)
			sleep_ms(1000);
		/* in a list, the other services go on */
	} while (watch && (!err || !name));
	return err;
}
