// SPDX-License-Identifier: GPL-2.0
/* metrics: the counters of all services, in the text format of Prometheus or as JSON. */
#include "args.h"
#include "view.h"

enum {
	CURRENT, SOCKETS, QUEUE, DROPS, PACKETS, NEW_FLOWS,
	FLOW_ENTRIES, FLOW_ENTRIES_USED, FLOWS_EVICTED, FLOWS_REFUSED,
	ID_ENTRIES, IDS_KNOWN, IDS_PENDING, IDS_FIRST, OPEN,
};

static const struct metric {
	const char *name, *type, *help;
} metrics[] = {
	[CURRENT] = { "reuseport_current_generation", "gauge",
		      "Number of the current generation." },
	[SOCKETS] = { "reuseport_sockets", "gauge", "Sockets of a generation." },
	[QUEUE] = { "reuseport_queue", "gauge",
		    "Connections to be accepted, or bytes to be read." },
	[DROPS] = { "reuseport_drops_total", "counter",
		    "Packets that a socket dropped; with TCP_DEFER_ACCEPT one per connection." },
	[PACKETS] = { "reuseport_packets_total", "counter",
		      "Packets steered to a slot; TCP: SYNs." },
	[NEW_FLOWS] = { "reuseport_new_flows_total", "counter",
			"Connections or flows that began at a slot." },
	[FLOW_ENTRIES] = { "reuseport_flow_entries", "gauge",
			   "Entries of the table of UDP peers." },
	[FLOW_ENTRIES_USED] = { "reuseport_flow_entries_used", "gauge",
				"Entries that have been used, also by flows that have ended." },
	[FLOWS_EVICTED] = { "reuseport_flows_evicted_total", "counter",
			    "Peers with one datagram that made room for another one." },
	[FLOWS_REFUSED] = { "reuseport_flows_refused_total", "counter",
			    "New peers that were not recorded: the table was full." },
	[ID_ENTRIES] = { "reuseport_quic_entries", "gauge",
			 "Entries of the table of QUIC connection ids." },
	[IDS_KNOWN] = { "reuseport_quic_known_ids", "gauge",
			"Ids that a server has sent and a client has used." },
	[IDS_PENDING] = { "reuseport_quic_pending_ids", "gauge",
			  "Ids that a server has sent and no client has used yet." },
	[IDS_FIRST] = { "reuseport_quic_first_ids", "gauge",
			"Ids that clients have begun handshakes with." },
	[OPEN] = { "reuseport_open", "gauge",
		   "1: the kernel distributes over all sockets; 0: the program selects." },
};

/* A value of the service, of a generation unless @number is 0, or of its slot unless that is
 * NULL.
 */
static void print_value(const struct view *view, unsigned int which, __u32 number,
			const struct slot_view *slot, __u64 value)
{
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "metric", metrics[which].name);
		jsonw_string_field(json, "service", view->name);
		if (number)
			jsonw_uint_field(json, "generation", number);
		if (slot)
			jsonw_uint_field(json, "slot", slot->number);
		jsonw_uint_field(json, "value", value);
		jsonw_end_object(json);
		return;
	}
	printf("%s{service=\"%s\"", metrics[which].name, view->name);
	if (number)
		printf(",generation=\"%u\"", number);
	if (slot)
		printf(",slot=\"%u\"", slot->number);
	printf("} %llu\n", value);
}

static void print_slot(const struct view *view, __u32 number, const struct slot_view *slot,
		       unsigned int which)
{
	const struct held_socket *socket = slot->socket;
	__u64 value = 0;

	switch (which) {
	case QUEUE:
		value = socket ? socket->info.queue : 0;
		break;
	case DROPS:
		value = socket ? socket->info.drops : 0;
		break;
	case PACKETS:
		value = slot->counter.packets;
		break;
	case NEW_FLOWS:
		value = slot->counter.flows;
		break;
	}
	/* of a socket that is not visible, neither is known */
	if (!socket && (which == QUEUE || which == DROPS))
		return;
	print_value(view, which, number, slot, value);
}

static void print_flow_table(const struct view *view, unsigned int which)
{
	const __u64 values[] = {
		(__u64)view->service.flow_config.buckets * FLOW_WAYS,
		view->flow_stats[FLOW_ADDED],
		view->flow_stats[FLOW_EVICTED],
		view->flow_stats[FLOW_REFUSED],
	};

	if (view_has_flows(view))
		print_value(view, which, 0, NULL, values[which - FLOW_ENTRIES]);
}

static void print_ids(const struct view *view, unsigned int which)
{
	const __u64 values[] = {
		view->quic.entries,
		view->quic.known,
		view->quic.pending,
		view->quic.first,
	};

	if (view_has_ids(view))
		print_value(view, which, 0, NULL, values[which - ID_ENTRIES]);
}

static void print_view(const struct view *view, unsigned int which)
{
	const struct generation_view *generation;
	int g, i;

	if (which == OPEN) {
		print_value(view, which, 0, NULL, view->service.now.open);
		return;
	}
	if (which >= ID_ENTRIES) {
		print_ids(view, which);
		return;
	}
	if (which >= FLOW_ENTRIES) {
		print_flow_table(view, which);
		return;
	}
	if (which == CURRENT)
		print_value(view, which, 0, NULL, view->service.now.current);
	for (g = 0; g < view->nr_generations && which != CURRENT; g++) {
		generation = &view->generations[g];
		if (which == SOCKETS)
			print_value(view, which, generation->info.number, NULL,
				    generation->nr_slots);
		for (i = 0; i < generation->nr_slots && which != SOCKETS; i++)
			print_slot(view, generation->info.number, &generation->slots[i], which);
	}
}

/* The format requires all values of a metric to be together. */
static void print_metric(const struct views *views, unsigned int which)
{
	const struct metric *metric = &metrics[which];
	int i;

	if (!json)
		printf("# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
		       metric->type);
	for (i = 0; i < views->count; i++)
		if (!views->list[i].error && !store_is_leftover(views->list[i].name))
			print_view(&views->list[i], which);
}

int cmd_metrics(const struct arguments *args)
{
	struct views views;
	unsigned int which;
	int i, err;

	(void)args;
	if (require_privileges() || require_bpffs())
		return -1;
	err = views_load(&views, NULL, false);
	/* a pipe gets them in large pieces */
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (json)
		jsonw_start_array(json);
	for (which = 0; which < ARRAY_SIZE(metrics) && !err; which++)
		print_metric(&views, which);
	if (json)
		jsonw_end_array(json);
	for (i = 0; i < views.count; i++) {
		if (!views.list[i].error)
			continue;
		/* not an error of the command, which would take the place of the whole document */
		say("reuseportctl: %s", views.list[i].error);
		err = -1;
	}
	views_free(&views);
	return err;
}
