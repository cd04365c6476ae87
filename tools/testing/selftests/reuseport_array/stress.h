/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by stress.c and its program. */
#ifndef __REUSEPORT_ARRAY_STRESS_H
#define __REUSEPORT_ARRAY_STRESS_H

#define PLACES	6	/* maps that are created and freed */
#define SLOTS	16	/* of each map, with gaps, so that freeing it takes a while */
#define STRIDE	601
#define ENTRIES	(SLOTS * STRIDE)
#define FLAVOURS 4	/* TCP is 1, IPv6 is 2 */
#define GROUPS	8
#define PORT	4433	/* of the first group; the others follow */
#define FRONT	5433	/* the same, for packets that a program of type SK_LOOKUP assigns */

#endif /* __REUSEPORT_ARRAY_STRESS_H */
