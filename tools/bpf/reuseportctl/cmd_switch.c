// SPDX-License-Identifier: GPL-2.0
/* switch: make another server the current generation. */
#include <stdlib.h>

#include "args.h"
#include "canary.h"
#include "hold.h"
#include "interrupt.h"
#include "server.h"
#include "service.h"

/* The sockets of a generation, those first that have a process. Return how many, or -1. */
static int find_members(const struct service *service, __u32 number, struct held_socket **sockets)
{
	struct member *members;
	int count, nr, i, live = 0;

	count = sockets_find(&service->endpoint, 0, sockets);
	if (count < 0)
		return -1;
	nr = generation_members(service, &members);
	for (i = 0; i < count && nr > 0; i++)
		if (member_find(members, nr, (*sockets)[i].info.cookie) == number)
			(*sockets)[live++] = (*sockets)[i];
	free(members);
	return nr < 0 ? -1 : live;
}

/* What is to be done, found out before anything is. */
struct plan {
	struct server server;
	char who[SERVER_LEN];
	bool is_new;			/* make a generation of the sockets */
	bool is_successor;		/* it has the sockets of another server's generation */
	__u32 number;			/* the generation to switch to */
	bool is_canary;			/* it gets a share only: */
	__u32 share;
	struct held_socket *sockets;	/* of it */
	int count;
};

/* Are these the main processes of the generation? */
static bool is_server_of(const struct service *service, const struct plan *plan)
{
	struct generation info;
	struct server server;
	int i;

	if (generation_read(service, plan->number, &info))
		return false;
	generation_get_server(&info, &server);
	if (server.nr != plan->server.nr)
		return false;
	for (i = 0; i < server.nr; i++)
		if (server.list[i].pid != plan->server.list[i].pid ||
		    server.list[i].started != plan->server.list[i].started)
			return false;
	return true;
}

static int plan_existing(const struct service *service, bool force, struct plan *plan)
{
	free(plan->sockets);
	plan->count = find_members(service, plan->number, &plan->sockets);
	if (plan->count < 0)
		return -1;
	if (!plan->count)
		return fail("generation %u of service %s has no socket any more: start its server "
			    "again and switch to that",
			    plan->number, service->name);
	plan->is_successor = !is_server_of(service, plan);
	if (!plan->sockets[0].pid)
		return fail("the processes of generation %u of service %s are not visible here: "
			    "run this in their PID namespace, or that of the host",
			    plan->number, service->name);
	return !force && group_check_prog(service, plan->sockets[0].info.cookie) < 0 ? -1 : 0;
}

static int make_plan(const struct service *service, const struct server_wait *wait, bool force,
		     struct plan *plan)
{
	__u32 other_gen;

	plan->count = server_wait(service, wait, &plan->sockets, &other_gen);
	if (plan->count < 0 || server_settle(wait))
		return -1;
	plan->is_new = plan->count > 0;
	if (plan->is_new) {
		plan->number = generation_next(service);
		return plan->number ? 0 : -1;
	}
	/* they are a generation already, perhaps the current one */
	plan->number = other_gen;
	return plan_existing(service, force, plan);
}

/* A canary may be given another share, or be switched to; nothing else before it ends. */
static int check_canary(const struct service *service, const struct plan *plan)
{
	if (plan->is_canary && plan->number == service->now.current)
		return fail("generation %u of service %s is the current one: --share is for a "
			    "server that is to get a part of new traffic",
			    plan->number, service->name);
	return plan->number == service->now.canary ? 0 :
						     canary_require_none(service, "switch");
}

/* What carrying it out would find. */
static int check(const struct service *service, bool force, const struct plan *plan)
{
	if (!plan->is_new)
		return 0;
	if (!force && group_check_prog(service, plan->sockets[0].info.cookie) < 0)
		return -1;
	return generation_check(&service->config, plan->sockets, plan->count) ||
	       server_require_reuseport(plan->sockets, plan->count);
}

static int carry_out(struct service *service, bool force, struct plan *plan)
{
	int err;

	if (plan->is_new)
		err = server_prepare(service, plan->sockets, plan->count, &plan->server, force,
				     &plan->number);
	else
		/* the group may have lost the program since */
		err = group_attach_to_any(service, plan->sockets, plan->count);
	if (!err && plan->is_successor)
		err = generation_set_server(service, plan->number, &plan->server);
	if (err)
		return -1;
	err = plan->is_canary ? generation_set_canary(service, plan->number, plan->share) :
				generation_switch(service, plan->number);
	if (err && plan->is_new)
		generation_drop(service, plan->number);
	return err;
}

static void report(const struct service *service, const struct plan *plan, bool dry_run)
{
	char share[SHARE_LEN];

	if (plan->is_canary)
		say("service %s: generation %u, %s, %s %s of new traffic, generation %u the rest",
		    service->name, plan->number, plan->who, dry_run ? "would get" : "gets",
		    canary_format_share(plan->share, share), service->now.current);
	else
		say("service %s: %s generation %u, %s%s", service->name,
		    dry_run ? "would switch to" : "switched to", plan->number, plan->who,
		    plan->is_new       ? "" :
		    plan->is_successor ? ", which has taken over its sockets" :
					 ", which had these sockets before");
}

static void print_json(const struct service *service, const struct plan *plan, bool dry_run)
{
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_string_field(json, "service", service->name);
	jsonw_uint_field(json, "generation", plan->number);
	jsonw_bool_field(json, "new", plan->is_new);
	jsonw_bool_field(json, "canary", plan->is_canary);
	proc_print_server(&plan->server);
	jsonw_uint_field(json, "sockets", plan->count);
	jsonw_end_object(json);
}

int cmd_switch(const struct arguments *args)
{
	struct server_wait wait = {
		.wanted = args_number(args, "--wait", 0),
		.timeout = args_number(args, "--timeout", 30000),
		.settle = args_number(args, "--settle", 0),
	};
	bool force = args_flag(args, "--force");
	struct hold hold = {};
	struct service service;
	struct plan plan = {};
	const char *share = args_text(args, "--share");
	const __u32 *pids;
	int nr_pids, err;

	if (args_require_name(args) || (share && canary_parse_share(share, &plan.share)))
		return -1;
	plan.is_canary = share;
	nr_pids = args_numbers(args, "--pid", &pids);
	if (!nr_pids)
		return fail("--pid PID is required: the main process of the server to switch to");
	if (service_open_locked(&service, args->words[0]))
		return -1;
	force |= service.config.flags & SERVICE_FORCE;
	err = require_netns(&service) ||
	      server_read_all(pids, nr_pids, service.config.netns, &plan.server);
	if (!err && !args->dry_run) {
		interrupt_catch();
		err = hold_begin(&service, &hold);
	}
	if (!err) {
		wait.who = proc_format_server(&plan.server, plan.who);
		wait.server = &plan.server;
		err = make_plan(&service, &wait, force, &plan);
	}
	if (!err)
		err = check_canary(&service, &plan);
	if (!err)
		err = args->dry_run ? check(&service, force, &plan) :
				      carry_out(&service, force, &plan);
	if (err)
		hold_undo(&service, &hold);
	else if (!args->dry_run)
		err = hold_end(&service);
	if (!err)
		report(&service, &plan, args->dry_run);
	if (!err && json)
		print_json(&service, &plan, args->dry_run);
	free(plan.sockets);
	service_close(&service);
	return err ? -1 : 0;
}
