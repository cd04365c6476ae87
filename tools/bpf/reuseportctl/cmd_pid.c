// SPDX-License-Identifier: GPL-2.0
/* pid: the main process of a generation, for scripts. */
#include "args.h"
#include "generation.h"
#include "proc.h"
#include "service.h"

static int find(const struct service *service, __u32 number, struct generation *info,
		struct server *server)
{
	if (generation_read(service, number, info))
		return fail("service %s has no generation %u: reuseportctl show %s lists them",
			    service->name, number, service->name);
	generation_get_server(info, server);
	/* another process may have got its PID */
	if (!proc_keep_alive(server))
		return fail("%s(%d), the main process of generation %u of service %s, has ended",
			    info->comm, info->pid, number, service->name);
	return 0;
}

int cmd_pid(const struct arguments *args)
{
	struct generation info;
	struct service service;
	struct server server;
	int err, i;

	if (args_require_name(args) || service_open(&service, args->words[0]))
		return -1;
	err = find(&service, args_number(args, "--generation", service.now.current), &info,
		   &server);
	service_close(&service);
	if (err)
		return -1;
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "service", args->words[0]);
		jsonw_uint_field(json, "generation", info.number);
		jsonw_uint_field(json, "pid", server.list[0].pid);
		proc_print_pids(&server);
		jsonw_end_object(json);
	} else {
		for (i = 0; i < server.nr; i++)
			printf("%d\n", server.list[i].pid);
	}
	return 0;
}
