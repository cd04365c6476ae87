// SPDX-License-Identifier: GPL-2.0
/* reuseportctl: replace a server that serves, see reuseportctl.rst.
 *
 * A service is one protocol, address and port. Its sockets are one SO_REUSEPORT group,
 * with the program of reuseportctl.bpf.c on it, and the maps that say which socket is of
 * which generation of the server. All of it lives in the kernel, pinned under
 * /sys/fs/bpf/reuseport/NAME: there is no daemon, and a command may be killed at any
 * system call. What makes that safe is argued where it is done:
 *
 *   service.c	making and removing a service: the pins
 *   generation.c	filling a generation, switching: the maps
 *   sockets.c	which sockets a process has, and how to get hold of them
 *   sock_diag.c	what the kernel tells of sockets
 *   proc.c	what /proc tells of processes
 *   group.c	whether the group has a program of somebody else
 *
 * and a file per command, or two.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "main.h"

json_writer_t *json;
bool dry_run;
char *unsaid;

static bool line_open;
static bool pretty;
static char error[MAX_SENTENCE]; /* the first one: those that follow come of it */
static char *document; /* what the command has written in JSON */
static size_t document_size;

static void end_line(void)
{
	if (line_open)
		fputc('\n', stderr);
	line_open = false;
}

int fail(const char *format, ...)
{
	char text[MAX_SENTENCE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	if (unsaid) {
		strcpy(unsaid, text);
		return -1;
	}
	end_line();
	fprintf(stderr, "reuseportctl: %s\n", text);
	if (!*error)
		strcpy(error, text);
	return -1;
}

void say(const char *format, ...)
{
	va_list args;

	end_line();
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void progress(const char *format, ...)
{
	static __u64 last;
	va_list args;

	/* other_gen, a line every few seconds */
	if (!isatty(STDERR_FILENO)) {
		if (now_ms() - last < 5000)
			return;
		last = now_ms();
	}
	va_start(args, format);
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	vfprintf(stderr, format, args);
	va_end(args);
	line_open = true;
	if (!isatty(STDERR_FILENO))
		end_line();
}

static void drop(struct arguments *args, int at, int count)
{
	args->argc -= count;
	/* with the NULL that ends it */
	memmove(args->argv + at, args->argv + at + count, (args->argc - at + 1) * sizeof(char *));
}

bool take_flag(struct arguments *args, const char *name)
{
	int i;

	for (i = 0; i < args->argc; i++) {
		if (strcmp(args->argv[i], name))
			continue;
		drop(args, i, 1);
		return true;
	}
	return false;
}

int take_option(struct arguments *args, const char *name, const char **value)
{
	int i;

	for (i = 0; i < args->argc; i++) {
		if (strcmp(args->argv[i], name))
			continue;
		if (i + 1 == args->argc)
			return fail("%s wants a value: see reuseportctl help", name);
		*value = args->argv[i + 1];
		drop(args, i, 2);
		return 0;
	}
	return 0;
}

int take_number(struct arguments *args, const char *name, __u32 *value, __u32 max)
{
	const char *text = NULL;
	unsigned long number;
	char *end;

	if (take_option(args, name, &text))
		return -1;
	if (!text)
		return 0;
	number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || !number || number > max)
		return fail("%s takes a number from 1 to %u, not \"%s\"", name, max, text);
	*value = number;
	return 0;
}

int take_duration(struct arguments *args, const char *name, __u64 *ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = { { "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60000 }, { "h", 3600000 } };
	const char *text = NULL;
	unsigned int i;
	double number;
	char *end;

	if (take_option(args, name, &text))
		return -1;
	if (!text)
		return 0;
	number = strtod(text, &end);
	for (i = 0; i < ARRAY_SIZE(units); i++) {
		if (end > text && number >= 0 && number < 1e6 && !strcmp(end, units[i].unit)) {
			*ms = number * units[i].ms;
			return 0;
		}
	}
	return fail("%s takes a time such as 30s, 500ms or 2m, not \"%s\"", name, text);
}

int args_end(const struct arguments *args)
{
	if (!args->argc)
		return 0;
	return fail("\"%s\" is one word too many, or an option that this command lacks: see "
		    "reuseportctl help", args->argv[0]);
}

int take_name(struct arguments *args, const char **name)
{
	if (!args->argc || args->argv[0][0] == '-')
		return fail("which service? Its name comes first: see reuseportctl help");
	*name = args->argv[0];
	drop(args, 0, 1);
	return 0;
}

__u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

void sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}

static int do_help(struct arguments *args)
{
	(void)args;
	fputs("Usage: reuseportctl [OPTIONS] COMMAND\n"
	      "       reuseportctl attach   NAME tcp|udp ADDR:PORT --pid PID\n"
	      "                             [--udp flow|none|id:OFFSET:LEN] [--flows NUMBER]\n"
	      "                             [--slots NUMBER] [--force]\n"
	      "       reuseportctl switch   NAME --pid PID [--wait SOCKETS] [--settle T]\n"
	      "                             [--timeout T] [--force]\n"
	      "       reuseportctl drain    NAME [--generation G] [--idle T] [--timeout T]\n"
	      "                             [--kill SIGNAL]\n"
	      "       reuseportctl restart  NAME... [--old PID] [--wait SOCKETS] [--settle T]\n"
	      "                             [--timeout T] [--idle T] [--drain-timeout T]\n"
	      "                             [--kill SIGNAL] -- COMMAND...\n"
	      "       reuseportctl rollback NAME [--force]\n"
	      "       reuseportctl show     [NAME] [--watch]\n"
	      "       reuseportctl flows    NAME\n"
	      "       reuseportctl metrics\n"
	      "       reuseportctl detach   NAME\n"
	      "       reuseportctl { probe | version | help }\n"
	      "\n"
	      "       T := 30s, 500ms, 2m, 24h; switch and restart wait 30s for sockets,\n"
	      "            drain and restart 24h for the old server\n"
	      "       OPTIONS := { -j|--json [-p|--pretty] | -n|--dry-run }\n",
	      stdout);
	return 0;
}

static int do_version(struct arguments *args)
{
	if (args_end(args))
		return -1;
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

static const struct {
	const char *name;
	int (*run)(struct arguments *args);
} commands[] = {
	{ "attach",	do_attach },
	{ "switch",	do_switch },
	{ "drain",	do_drain },
	{ "restart",	do_restart },
	{ "rollback",	do_rollback },
	{ "show",	do_show },
	{ "list",	do_show },
	{ "flows",	do_flows },
	{ "metrics",	do_metrics },
	{ "detach",	do_detach },
	{ "probe",	do_probe },
	{ "version",	do_version },
	{ "help",	do_help },
};

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	/* commands say what went wrong in words of their own */
	if (getenv("REUSEPORTCTL_DEBUG"))
		return vfprintf(stderr, format, args);
	(void)level;
	return 0;
}

/* As bpftool does it, a command may be cut short as long as it is clear which it is. */
static int run(struct arguments *args)
{
	unsigned int i, found = 0, hits = 0;
	const char *word;

	if (!args->argc)
		return do_help(args);
	word = args->argv[0];
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strncmp(commands[i].name, word, strlen(word)))
			continue;
		found = i;
		if (!commands[i].name[strlen(word)]) {
			hits = 1;
			break;
		}
		hits++;
	}
	if (hits != 1)
		return fail("\"%s\" is %s: see reuseportctl help", word,
			    hits ? "the beginning of several commands" : "no command");
	drop(args, 0, 1);
	return commands[found].run(args);
}

/* A command's JSON is kept until it is done: it may fail with a list half written, and what
 * is printed shall be one document.
 */
static int begin_document(void)
{
	FILE *file = open_memstream(&document, &document_size);

	json = file ? jsonw_new(file) : NULL;
	if (!json)
		return fail("out of memory");
	jsonw_pretty(json, pretty);
	return 0;
}

static void print_document(bool failed)
{
	if (!failed || !*error) {
		/* which flushes */
		jsonw_destroy(&json);
		fwrite(document, 1, document_size, stdout);
		return;
	}
	/* what was begun cannot be ended */
	json = jsonw_new(stdout);
	if (!json)
		return;
	jsonw_pretty(json, pretty);
	jsonw_start_object(json);
	jsonw_string_field(json, "error", error);
	jsonw_end_object(json);
	jsonw_destroy(&json);
}

/* Wherever they stand, but not behind "--": there begins somebody else's command. */
static int take_options(struct arguments *args)
{
	const char *option, *unknown = NULL;
	bool want_json = false;
	int i = 0;

	while (i < args->argc && strcmp(args->argv[i], "--")) {
		option = args->argv[i];
		if (!strcmp(option, "-n") || !strcmp(option, "--dry-run"))
			dry_run = true;
		else if (!strcmp(option, "-j") || !strcmp(option, "--json"))
			want_json = true;
		else if (!strcmp(option, "-p") || !strcmp(option, "--pretty"))
			pretty = true;
		else if (!strcmp(option, "-V") || !strcmp(option, "--version"))
			args->argv[i++] = "version";
		else if (!strcmp(option, "-h") || !strcmp(option, "--help"))
			args->argv[i++] = "help";
		else if (i++ || *option != '-')
			continue;
		else
			unknown = option;
		if (args->argv[i] == option)
			drop(args, i, 1);
	}
	if ((want_json || pretty) && begin_document())
		return -1;
	return unknown ? fail("there is no option %s: see reuseportctl help", unknown) : 0;
}

int main(int argc, char **argv)
{
	struct arguments args = { argc - 1, argv + 1 };
	int err;

	libbpf_set_print(quiet);
	setvbuf(stdout, NULL, _IOLBF, 0);
	err = take_options(&args);
	if (!err)
		err = run(&args);
	end_line();
	if (json)
		print_document(err);
	return err ? 1 : 0;
}
