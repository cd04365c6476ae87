/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: waiting until a generation has no work left, and until it has ended. */
#ifndef __REUSEPORTCTL_DRAIN_H
#define __REUSEPORTCTL_DRAIN_H

#include "server.h"

#define DRAIN_DEFAULT_MS	(24 * 3600 * 1000ULL)
#define IDLE_DEFAULT		UINT64_MAX

struct drain {
	__u32 number;		/* of the generation */
	__u64 idle;		/* ms without packets, or IDLE_DEFAULT */
	__u64 end;		/* of the time to wait, as now_ms() has it */
	const char *resume_cmd;	/* the command that continues, for messages */
	bool (*is_over)(void);	/* records why there is no sense in waiting; or NULL */
};

__u64 drain_idle(const struct service *service, __u64 idle);
/* Wait until the generation has no work left. */
int drain_wait(struct service *service, const struct drain *drain);
/* Wait until @process, which was sent @signal, has ended, and all sockets of the generation
 * are closed.
 */
int drain_wait_end(struct service *service, const struct drain *drain,
		   const struct process *process, int signal);
/* The newest generation with sockets that is not the current one; 0 if there is none. */
__u32 drain_choose(const struct service *service);
/* Write the command that drains a generation. Return its length, as snprintf() does. */
int drain_describe(char *text, size_t size, const char *name, __u32 number, __u64 idle);

#endif
