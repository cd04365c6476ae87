/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: the BPF program that steers, and its maps, before they are pinned. */
#ifndef __REUSEPORTCTL_STEERING_H
#define __REUSEPORTCTL_STEERING_H

#include "store.h"

/* Load the program for @service->config and open it and its maps in @service. The layout and
 * the configuration are written, @service->flow_config too; all other maps are empty. With
 * @old it shares counters with that service, and flows if that has them in our layout.
 */
int steering_load(struct service *service, const struct service *old);
/* Can the kernel ask the program where to move connections that wait at a closed listener? */
bool steering_can_migrate(void);

#endif
