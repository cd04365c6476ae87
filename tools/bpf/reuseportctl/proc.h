/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 1: processes, as /proc reports them. */
#ifndef __REUSEPORTCTL_PROC_H
#define __REUSEPORTCTL_PROC_H

#include "ui.h"

/* What --kill takes. */
#define STOP_SIGNALS "TERM QUIT INT HUP USR1 USR2 WINCH KILL"

struct process {
	pid_t pid;
	pid_t parent;
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
/* Is the process that started at that time still running? */
bool proc_is_alive(pid_t pid, __u64 started);
/* Send a signal to that process and no other. Return -1 and set errno on failure. */
int proc_signal(pid_t pid, __u64 started, int signal);
/* The number of a signal of STOP_SIGNALS, or -1. */
int proc_parse_signal(const char *name);

#endif
