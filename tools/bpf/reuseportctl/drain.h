/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: waiting until a generation has no work left, and until it has ended. */
#ifndef __REUSEPORTCTL_DRAIN_H
#define __REUSEPORTCTL_DRAIN_H

#include "connections.h"
#include "server.h"

#define DRAIN_DEFAULT_MS	(24 * 3600 * 1000ULL)
#define KILL_AFTER_DEFAULT_MS	30000
#define IDLE_DEFAULT		UINT64_MAX

struct drain {
	__u32 number;		/* of the generation */
	__u64 idle;		/* ms without packets, or IDLE_DEFAULT */
	__u64 end;		/* of the time to wait, as now_ms() has it */
	const char *resume_cmd;	/* the command that continues, for messages */
	bool (*is_over)(void);	/* records why there is no sense in waiting; or NULL */
	struct signals signals;	/* that stop the server; none: it is not stopped */
	__u64 kill_after;	/* ms between two of them */
	const char *pid_file;	/* or NULL */
};

/* A generation of the server that is to be stopped. */
struct drain_target {
	struct service *service;
	__u32 number;
	int index;			/* of its main processes */
	struct process process;		/* that got the signal; pid 0: none */
	struct process *tree;		/* it and its descendants before that */
	int nr_tree;
};

__u64 drain_idle(const struct service *service, __u64 idle);
/* Wait until the generation has no work left. */
int drain_wait(struct service *service, const struct drain *drain);
/* Add a target for each main process of a generation. Room for MAX_PROCESSES must be left. */
void drain_add_targets(struct drain_target *targets, int *count, struct service *service,
		       __u32 number, bool known);
/* Stop the server whose generations these are: send it the signals in turn, until it has ended
 * and all sockets of the generations are closed. @known: the process, if it is not the
 * generation's. *@signalled is set before it gets the first one.
 */
int drain_stop(struct drain_target *targets, int count, const struct process *known,
	       const struct drain *drain, bool *signalled);
/* Fail unless a PID file can be written; NULL: there is to be none. */
int drain_check_pid_file(const char *path);
/* Write the PID of the current generation's process to the file, if there is to be one. */
int drain_write_pid(const struct service *service, const struct drain *drain);
/* The newest generation with sockets that is not the current one; 0 if there is none. */
__u32 drain_choose(const struct service *service);
/* Write the command that drains a generation, with @kill also that stops its server. Return its
 * length, as snprintf() does.
 */
int drain_describe(char *text, size_t size, const struct service *service,
		   const struct drain *drain, bool kill);

#endif
