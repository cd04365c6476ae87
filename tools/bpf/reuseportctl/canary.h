/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: trying a new generation with a share of new traffic. */
#ifndef __REUSEPORTCTL_CANARY_H
#define __REUSEPORTCTL_CANARY_H

#include "generation.h"

#define MAX_STEPS	16
#define SHARE_LEN	16
#define CANARY_FOR_MS	60000
#define CANARY_EVERY_MS	5000

struct canary {
	__u32 steps[MAX_STEPS];	/* shares, each larger than the one before */
	int nr_steps;		/* 0: no canary */
	__u64 duration;		/* ms of each step */
	const char *check;	/* a command of the shell, or NULL */
	__u64 every;		/* ms from one check to the next */
	__u32 max_queue;	/* connections or bytes at one socket; 0: any, and any drops */
	bool (*is_over)(void);	/* records why the new server has failed */
};

/* One of the services in which a server is tried. */
struct canary_target {
	struct service *service;
	__u32 number;		/* of the generation that is tried */
	__u32 began_drops;	/* of its sockets, when it began */
};

/* Parse "5", "5%" or "0.1%". */
int canary_parse_share(const char *text, __u32 *share);
/* Parse such shares, separated by commas, and append them as steps. */
int canary_add_steps(const char *text, struct canary *canary);
const char *canary_format_share(__u32 share, char *text);
/* In parts per million, to the nearest. */
__u32 canary_share_ppm(__u32 share);

/* Fail if there is a canary, and say what can be done @then. */
int canary_require_none(const struct service *service, const char *then);
/* Give a generation a share, and print what it gets, with the lock held. */
int canary_set(struct service *service, __u32 number, __u32 share);
/* End the canary, with the lock held: the current generation gets all new traffic. */
int canary_abort(struct service *service);

/* Go through the steps, without the locks, and take them again at the end. Return 0 if the
 * generations may become the current ones, or are because another command has promoted one.
 * Otherwise record why not, and call canary_end().
 */
int canary_run(struct canary_target *targets, int count, const struct canary *canary);
/* End the canary in all services, and leave them locked; the first error stays what it is. Where
 * that fails, service->now still has the canary.
 */
void canary_end(struct canary_target *targets, int count);
/* Is this the check, a child of ours whose status canary_run() reads? */
bool canary_is_check(pid_t pid);

#endif
