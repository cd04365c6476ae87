// SPDX-License-Identifier: GPL-2.0
/* cleanup: programs and sockets of services whose pins are gone. */
#include "args.h"
#include "orphan.h"

static void print_orphan_json(const struct orphan *orphan)
{
	char text[ENDPOINT_LEN];
	int i;

	jsonw_start_object(json);
	jsonw_uint_field(json, "program", orphan->id);
	jsonw_uint_field(json, "age_ms", now_ms() - orphan->loaded / 1000000);
	jsonw_name(json, "sockets");
	jsonw_start_array(json);
	for (i = 0; i < orphan->nr_sockets; i++) {
		const struct held_socket *socket = &orphan->sockets[i];

		jsonw_start_object(json);
		jsonw_string_field(json, "protocol", protocol_name(socket->info.at.protocol));
		jsonw_string_field(json, "address", endpoint_format(&socket->info.at, text));
		jsonw_uint_field(json, "cookie", socket->info.cookie);
		jsonw_uint_field(json, "pid", socket->pid);
		jsonw_string_field(json, "comm", socket->comm);
		jsonw_end_object(json);
	}
	jsonw_end_array(json);
	jsonw_uint_field(json, "sockets_elsewhere", orphan->nr_unseen);
	jsonw_end_object(json);
}

static void print_orphan(const struct orphan *orphan)
{
	const struct held_socket *first = orphan->sockets;
	char text[ENDPOINT_LEN];

	printf("program %u  loaded %llu s ago", orphan->id,
	       (now_ms() - orphan->loaded / 1000000) / 1000);
	if (orphan->nr_sockets)
		printf("  %d socket%s at %s %s, of %s(%d)", orphan->nr_sockets,
		       orphan->nr_sockets == 1 ? "" : "s", protocol_name(first->info.at.protocol),
		       endpoint_format(&first->info.at, text), *first->comm ? first->comm : "?",
		       first->pid);
	if (orphan->nr_unseen)
		printf("  %d socket%s in another network namespace", orphan->nr_unseen,
		       orphan->nr_unseen == 1 ? "" : "s");
	putchar('\n');
}

static void print_all(const struct orphan *list, int count)
{
	int i;

	if (json)
		jsonw_start_array(json);
	for (i = 0; i < count; i++) {
		if (json)
			print_orphan_json(&list[i]);
		else
			print_orphan(&list[i]);
	}
	if (json)
		jsonw_end_array(json);
	else if (count)
		printf("If a program is not of a service that is pinned elsewhere, in a container "
		       "for instance, cleanup --program ID releases its sockets.\n");
	else
		printf("no program without a service\n");
}

static int release(const struct orphan *list, int count, __u32 id, bool dry_run)
{
	int i;

	for (i = 0; i < count && list[i].id != id; i++)
		;
	if (i == count)
		return fail("program %u is not one of a service whose pins are gone: reuseportctl "
			    "cleanup lists them",
			    id);
	if (!dry_run && orphan_release(&list[i]))
		return -1;
	say("%s program %u and %s its %d socket%s", dry_run ? "would detach" : "detached", id,
	    dry_run ? "release" : "released", list[i].nr_sockets,
	    list[i].nr_sockets == 1 ? "" : "s");
	if (!json)
		return 0;
	jsonw_start_object(json);
	jsonw_bool_field(json, "dry_run", dry_run);
	jsonw_uint_field(json, "program", id);
	jsonw_uint_field(json, "sockets", list[i].nr_sockets);
	jsonw_end_object(json);
	return 0;
}

int cmd_cleanup(const struct arguments *args)
{
	__u32 id = args_number(args, "--program", 0);
	struct orphan *list;
	int count, err = 0;

	/* without a bpffs no service is pinned here, and sockets can be released all the same */
	if (require_privileges())
		return -1;
	count = orphans_find(&list);
	if (count < 0)
		return -1;
	if (id)
		err = release(list, count, id, args->dry_run);
	else
		print_all(list, count);
	orphans_free(list, count);
	return err;
}
