/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: the BPF program that steers, and its maps, before they are pinned. */
#ifndef __REUSEPORTCTL_STEERING_H
#define __REUSEPORTCTL_STEERING_H

#include "store.h"

/* Load the program for @service->config and open it and its maps in @service. The layout and
 * the configuration are written; all other maps are empty. The table of flows gets @flows
 * entries. With @old it shares flows and counters with that service instead.
 */
int steering_load(struct service *service, __u32 flows, const struct service *old);
/* Can the kernel ask the program where to move connections that wait at a closed listener? */
bool steering_can_migrate(void);

#endif
