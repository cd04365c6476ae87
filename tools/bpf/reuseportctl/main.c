// SPDX-License-Identifier: GPL-2.0
/* reuseportctl: restart SO_REUSEPORT servers without downtime, see reuseportctl.rst.
 *
 * A service is one protocol, address and port. Its sockets are one SO_REUSEPORT group, to
 * which the program of reuseportctl.bpf.c is attached, and maps say which socket belongs to
 * which generation of the server. Program and maps are pinned under
 * /sys/fs/bpf/reuseport/NAME: there is no daemon, and a command may be killed at any system
 * call. The comments at the head of store.c, generation.c, service.c and upgrade.c argue why
 * that is safe.
 *
 * The sources are in layers. A file uses files of lower layers, and in its own layer those
 * before it in this list; check-layers compares the objects with it (harness/checks):
 *
 * layer 0: json ui interrupt args
 * layer 1: endpoint sock_diag proc output sockets watch
 * layer 2: store flow_table quic steering group generation connections orphan
 * layer 3: server hold drain canary upgrade service view
 * layer 4: cmd_* main
 *
 * Layers 0 to 3 are the library: they record errors (ui.h) and do not print them, apart from
 * hold_undo(), which prints what a failure has left behind it. What to do
 * about an error, and whether to do anything at all on a dry run, is up to the commands.
 */
#include <stdarg.h>
#include <stdlib.h>

#include <bpf/libbpf.h>

#include "commands.h"

int cmd_help(const struct arguments *args)
{
	if (args_flag(args, "--table") && !json) {
		args_print_table(commands);
		return 0;
	}
	return args_print_help(commands, args->words[0]);
}

int cmd_version(const struct arguments *args)
{
	(void)args;
	if (json) {
		jsonw_start_object(json);
		jsonw_string_field(json, "version", VERSION);
		jsonw_string_field(json, "libbpf_version", libbpf_version_string() + 1);
		jsonw_end_object(json);
	} else {
		printf("reuseportctl %s\nusing libbpf %s\n", VERSION, libbpf_version_string());
	}
	return 0;
}

/* Messages of our own say what failed; those of libbpf are for debugging. */
static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	return getenv("REUSEPORTCTL_DEBUG") ? vfprintf(stderr, format, args) : 0;
}

int main(int argc, char **argv)
{
	struct arguments args;
	int err;

	libbpf_set_print(print_libbpf);
	setvbuf(stdout, NULL, _IOLBF, 0);
	err = args_parse(argc, argv, commands, &args);
	if (!err)
		err = args.command->run(&args);
	ui_end(err);
	return err ? ui_status() : 0;
}
