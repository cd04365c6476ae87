/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: replacing program and maps of a live service. */
#ifndef __REUSEPORTCTL_UPGRADE_H
#define __REUSEPORTCTL_UPGRADE_H

#include "generation.h"

/* Is there something to upgrade: another layout or version, or an interrupted upgrade? */
bool upgrade_is_needed(const struct service *service);
/* Replace program and maps, with the lock held. */
int upgrade_run(struct service *service);
/* Complete an upgrade that was interrupted after its new edition was pinned; remove what one
 * left that was interrupted before.
 */
int upgrade_finish(struct service *service);

#endif
