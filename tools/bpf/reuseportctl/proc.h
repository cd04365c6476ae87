/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 1: processes, as /proc reports them. */
#ifndef __REUSEPORTCTL_PROC_H
#define __REUSEPORTCTL_PROC_H

#include "reuseportctl.h"
#include "ui.h"

/* What --kill takes. */
#define STOP_SIGNALS "TERM QUIT INT HUP USR1 USR2 WINCH KILL"

#define MAX_SIGNALS 8

/* The signals that stop a server, in turn. */
struct signals {
	int nr;
	int list[MAX_SIGNALS];
	char text[64];		/* as --kill takes them */
};

struct process {
	pid_t pid;
	pid_t parent;
	pid_t session;
	__u64 started;		/* with the pid, it identifies the process */
	bool in_tree;
	char comm[16];
};

/* The main processes of a server: most often one. */
struct server {
	int nr;
	struct process list[MAX_PROCESSES];
};

/* List @root and its descendants, the oldest first; with a @root of 0, all processes.
 * Return how many, or -1. The caller frees *@list.
 */
int proc_tree(pid_t root, struct process **list);
/* The same for the main processes of @server, NULL for all processes. Those that are not of it
 * follow; *@nr_all (or NULL) counts them as well.
 */
int proc_trees(const struct server *server, struct process **list, int *nr_all);
/* Remove the processes that have ended, and read the others. Return how many are left. */
int proc_keep_alive(struct server *server);
/* "nginx(812)", or "kresd(812) and 3 other processes" */
#define SERVER_LEN 64
const char *proc_format_server(const struct server *server, char *text);
/* The same in JSON: the members "pid" and "comm" of the first one, and "pids" of all */
void proc_print_server(const struct server *server);
void proc_print_pids(const struct server *server);
/* Return -1 and set errno if there is no such process. */
int proc_read(pid_t pid, struct process *process);
/* The inode of its network namespace; 0, and errno, if that cannot be read. */
__u64 proc_netns(const char *pid);
/* Was a process that is no descendant of @server forked by it, or by one that was? */
bool proc_is_orphan_of(pid_t pid, const struct process *server);
/* The same for any of the main processes. */
bool proc_is_orphan_of_any(pid_t pid, const struct server *server);
/* Is the process that started at that time still running? */
bool proc_is_alive(pid_t pid, __u64 started);
/* Send a signal to that process and no other. Return -1 and set errno on failure. */
int proc_signal(pid_t pid, __u64 started, int signal);
/* Write a PID file. It is replaced, so that no reader finds half of it. */
int proc_write_pid(const char *path, pid_t pid);
/* Does it ignore the signal, or is it the init process of a PID namespace that does not handle
 * it? A process that blocks it may wait for it.
 */
bool proc_ignores(pid_t pid, int signal);
/* "TERM,QUIT,KILL": signals of STOP_SIGNALS */
int proc_parse_signals(const char *text, struct signals *signals);
/* "TERM" */
const char *proc_signal_name(int signal);

#endif
