/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_PROC_H
#define __REUSEPORTCTL_PROC_H

#include "main.h"

struct process {
	pid_t pid;
	pid_t parent;
	__u64 started;		/* with the pid, it names a process for good */
	bool in_tree;
	char comm[16];
};

/* @root and its descendants, the eldest first; 0 for all. -1: out of memory or no /proc. */
int proc_tree(pid_t root, struct process **list);
/* -1 and errno */
int proc_read(pid_t pid, struct process *process);
/* The inode of its network namespace, 0 and errno if that cannot be seen. */
__u64 proc_netns(const char *pid);
/* Is the process that started then still running? */
bool proc_is_alive(pid_t pid, __u64 started);
/* Send a signal to that very process. -1 and errno */
int proc_signal(pid_t pid, __u64 started, int signal);
int parse_signal(const char *name);

#endif
