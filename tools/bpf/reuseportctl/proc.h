/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 1: processes, as /proc reports them. */
#ifndef __REUSEPORTCTL_PROC_H
#define __REUSEPORTCTL_PROC_H

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

/* List @root and its descendants, the oldest first; with a @root of 0, all processes.
 * Return how many, or -1. The caller frees *@list.
 */
int proc_tree(pid_t root, struct process **list);
/* Return -1 and set errno if there is no such process. */
int proc_read(pid_t pid, struct process *process);
/* The inode of its network namespace; 0, and errno, if that cannot be read. */
__u64 proc_netns(const char *pid);
/* Was a process that is no descendant of @server forked by it, or by one that was? */
bool proc_is_orphan_of(pid_t pid, const struct process *server);
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
