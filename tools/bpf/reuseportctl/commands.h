/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 4: the table of commands and their options. main.c alone includes it. A new command
 * is a file cmd_NAME.c, an entry here, and an entry in reuseportctl.rst; checks/check-ctl
 * compares the last two.
 */
#ifndef __REUSEPORTCTL_COMMANDS_H
#define __REUSEPORTCTL_COMMANDS_H

#include "args.h"
#include "proc.h"
#include "reuseportctl.h"

int cmd_abort(const struct arguments *args);
int cmd_attach(const struct arguments *args);
int cmd_cleanup(const struct arguments *args);
int cmd_detach(const struct arguments *args);
int cmd_drain(const struct arguments *args);
int cmd_flows(const struct arguments *args);
int cmd_follow(const struct arguments *args);
int cmd_help(const struct arguments *args);
int cmd_hold(const struct arguments *args);
int cmd_metrics(const struct arguments *args);
int cmd_pid(const struct arguments *args);
int cmd_probe(const struct arguments *args);
int cmd_promote(const struct arguments *args);
int cmd_refresh(const struct arguments *args);
int cmd_release(const struct arguments *args);
int cmd_restart(const struct arguments *args);
int cmd_rollback(const struct arguments *args);
int cmd_show(const struct arguments *args);
int cmd_switch(const struct arguments *args);
int cmd_upgrade(const struct arguments *args);
int cmd_version(const struct arguments *args);

#define TIMES	"1s 10s 30s 1m 5m"

static const struct command commands[] = {
	{
		.name = "attach",
		.run = cmd_attach,
		.words = "NAME tcp|udp ADDR:PORT --pid PID",
		.complete = "@none tcp|udp @none",
		.max_words = 3,
		.help = "Create a service for a running server",
		.options = {
			{ "--pid", 0, NUMBERS, "PID", INT32_MAX, "@pid",
			  "main process of the server (required); --pid for each of several" },
			{ "--wait", 0, NUMBER, "SOCKETS", MAX_SLOTS, NULL,
			  "sockets to wait for (default: do not wait)" },
			{ "--timeout", 0, DURATION, "T", 0, TIMES,
			  "how long to wait for the sockets (default with --wait: 30s)" },
			{ "--udp", 0, TEXT, "MODE", 0, "flow quic none id:",
			  "flow, quic, none or id:OFFSET:LEN (default: flow)" },
			{ "--flows", 0, NUMBER, "NUMBER", 1 << 26, NULL,
			  "size of the table of UDP peers (default: 262144)" },
			{ "--flow-timeout", 0, DURATION, "T", 0, TIMES,
			  "time without datagrams that ends a flow (default: 2m)" },
			{ "--slots", 0, NUMBER, "NUMBER", MAX_SLOTS, NULL,
			  "sockets a generation may have (default: 64 or more)" },
			{ "--hold", 0, FLAG, NULL, 0, NULL,
			  "never leave it open between changes" },
			{ "--force", 0, FLAG, NULL, 0, NULL,
			  "replace another program on the group" },
		},
	},
	{
		.name = "hold",
		.run = cmd_hold,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Select only the current generation, so that a new server gets nothing yet",
	},
	{
		.name = "release",
		.run = cmd_release,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Let the kernel distribute over all sockets again",
	},
	{
		.name = "refresh",
		.run = cmd_refresh,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Put new sockets of the server into its generation",
	},
	{
		.name = "follow",
		.run = cmd_follow,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Refresh whenever the server has new sockets, until it is interrupted",
	},
	{
		.name = "switch",
		.run = cmd_switch,
		.words = "NAME --pid PID",
		.complete = "@service",
		.max_words = 1,
		.help = "Switch to another server",
		.options = {
			{ "--pid", 0, NUMBERS, "PID", INT32_MAX, "@pid",
			  "main process of the new server (required); --pid for each of several" },
			{ "--wait", 0, NUMBER, "SOCKETS", MAX_SLOTS, NULL,
			  "sockets to wait for (default: as many as the current one began with)" },
			{ "--settle", 0, DURATION, "T", 0, TIMES,
			  "time between the last socket and the switch (default: 0)" },
			{ "--timeout", 0, DURATION, "T", 0, TIMES,
			  "how long to wait for the sockets (default: 30s)" },
			{ "--share", 0, TEXT, "SHARE", 0, "1% 5% 10%",
			  "give it this share of new traffic, as a canary" },
			{ "--force", 0, FLAG, NULL, 0, NULL,
			  "replace another program on the group" },
		},
	},
	{
		.name = "drain",
		.run = cmd_drain,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Wait until a generation has no work left, and stop its server",
		.options = {
			{ "--generation", 0, NUMBER, "G", INT32_MAX, NULL,
			  "which one (default: the newest but the current one)" },
			{ "--idle", 0, DURATION, "T", 0, TIMES,
			  "time without packets (default: 1s, with known peers 30s)" },
			{ "--timeout", 0, DURATION, "T", 0, TIMES,
			  "how long to wait (default: 24h)" },
			{ "--kill", 0, TEXT, "SIGNAL,...", 0, STOP_SIGNALS,
			  "send this to the server, and wait until it has ended" },
			{ "--kill-after", 0, DURATION, "T", 0, TIMES,
			  "time between two signals, if there are several (default: 30s)" },
			{ "--pid-file", 0, TEXT, "FILE", 0, "@file",
			  "write the PID of the current server to it" },
		},
	},
	{
		.name = "restart",
		.run = cmd_restart,
		.words = "NAME... -- COMMAND...",
		.complete = "@service...",
		.max_words = 16,
		.has_rest = true,
		.help = "Start a new server, switch to it, drain and stop the old one",
		.options = {
			{ "--old", 0, NUMBER, "PID", INT32_MAX, "@pid",
			  "process to stop (default: the generation's main process)" },
			{ "--wait", 0, NUMBER, "SOCKETS", MAX_SLOTS, NULL,
			  "sockets to wait for (default: as many as the current one began with)" },
			{ "--settle", 0, DURATION, "T", 0, TIMES,
			  "time between the last socket and the switch (default: 0)" },
			{ "--timeout", 0, DURATION, "T", 0, TIMES,
			  "how long to wait for the sockets (default: 30s)" },
			{ "--canary", 0, TEXT, "SHARE", 0, "1% 5% 10%",
			  "try the new server with this share of new traffic first" },
			{ "--steps", 0, TEXT, "SHARE,...", 0, "5,25,50,100",
			  "shares to go through, one after another" },
			{ "--for", 0, DURATION, "T", 0, TIMES,
			  "how long each share lasts (default: 1m)" },
			{ "--check", 0, TEXT, "COMMAND", 0, NULL,
			  "run it by the shell meanwhile: if it fails, the canary has failed" },
			{ "--every", 0, DURATION, "T", 0, TIMES,
			  "time from one check to the next (default: 5s)" },
			{ "--max-queue", 0, NUMBER, "NUMBER", INT32_MAX, NULL,
			  "what may wait at a socket of the canary (UDP: in bytes)" },
			{ "--idle", 0, DURATION, "T", 0, TIMES,
			  "time without packets (default: 1s, with known peers 30s)" },
			{ "--drain-timeout", 0, DURATION, "T", 0, TIMES,
			  "how long to wait for the old server (default: 24h)" },
			{ "--kill", 0, TEXT, "SIGNAL,...", 0, STOP_SIGNALS,
			  "how to stop the old server (default: TERM)" },
			{ "--kill-after", 0, DURATION, "T", 0, TIMES,
			  "time between two signals, if there are several (default: 30s)" },
			{ "--pid-file", 0, TEXT, "FILE", 0, "@file",
			  "write the PID of the new server to it" },
			{ "--output", 0, TEXT, "WHERE", 0, "inherit old journal null @file",
			  "inherit, old, journal, null or a file (default: inherit, but no pipe)" },
			{ "--force", 0, FLAG, NULL, 0, NULL,
			  "replace another program on the group, and keep the new server's off" },
		},
	},
	{
		.name = "promote",
		.run = cmd_promote,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Switch to the canary",
	},
	{
		.name = "abort",
		.run = cmd_abort,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "End the canary: the current generation gets all new traffic",
	},
	{
		.name = "rollback",
		.run = cmd_rollback,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Switch back to the previous generation",
		.options = {
			{ "--force", 0, FLAG, NULL, 0, NULL,
			  "replace another program on the group" },
		},
	},
	{
		.name = "show",
		.alias = "list",
		.run = cmd_show,
		.words = "[NAME]",
		.complete = "@service",
		.max_words = 1,
		.help = "Show services, generations and sockets",
		.options = {
			{ "--watch", 0, FLAG, NULL, 0, NULL, "show it again every second" },
		},
	},
	{
		.name = "pid",
		.run = cmd_pid,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Print the main process of a generation",
		.options = {
			{ "--generation", 0, NUMBER, "G", INT32_MAX, NULL,
			  "which one (default: the current one)" },
		},
	},
	{
		.name = "flows",
		.run = cmd_flows,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "List the UDP peers that a service knows",
	},
	{
		.name = "metrics",
		.run = cmd_metrics,
		.words = "",
		.help = "Print the counters of all services for Prometheus",
	},
	{
		.name = "detach",
		.run = cmd_detach,
		.words = "NAME",
		.complete = "@service",
		.max_words = 1,
		.help = "Detach the program from the group and remove the service",
	},
	{
		.name = "cleanup",
		.run = cmd_cleanup,
		.words = "",
		.help = "List and release programs and sockets of services whose pins are gone",
		.options = {
			{ "--program", 0, NUMBER, "ID", INT32_MAX, NULL,
			  "detach this program and release its sockets" },
		},
	},
	{
		.name = "upgrade",
		.run = cmd_upgrade,
		.words = "[NAME]",
		.complete = "@service",
		.max_words = 1,
		.help = "Replace program and maps of live services by those of this version",
		.options = {
			{ "--force", 0, FLAG, NULL, 0, NULL,
			  "even if they are of this version already" },
		},
	},
	{
		.name = "probe",
		.run = cmd_probe,
		.words = "",
		.help = "Print what the running kernel supports",
	},
	{
		.name = "version",
		.run = cmd_version,
		.words = "",
		.help = "Print the version",
	},
	{
		.name = "help",
		.run = cmd_help,
		.words = "[COMMAND]",
		.complete = "@command",
		.max_words = 1,
		.help = "Print this help, or that of a command",
		.options = {
			{ "--table", 0, FLAG, NULL, 0, NULL, "print the table of options" },
		},
	},
	{}
};

#endif
