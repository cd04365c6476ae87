/* SPDX-License-Identifier: GPL-2.0 */
/* What stress.c and its program agree on. */
#ifndef __REUSEPORT_ARRAY_STRESS_H
#define __REUSEPORT_ARRAY_STRESS_H

#define PLACES	6	/* maps that come and go */
#define SLOTS	16	/* of each map, so far apart that freeing it takes a while */
#define STRIDE	601
#define ENTRIES	(SLOTS * STRIDE)
#define FLAVOURS 4	/* TCP is 1, IPv6 is 2 */

#endif /* __REUSEPORT_ARRAY_STRESS_H */
