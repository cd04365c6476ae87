/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DEMO_COMMON_H
#define DEMO_COMMON_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/types.h>

#define die(fmt, ...) do {						\
	fprintf(stderr, "%s: " fmt "\n", program_invocation_short_name,	\
		##__VA_ARGS__);						\
	exit(1);							\
} while (0)

/* The clock of /proc/uptime, which shell scripts can read too. */
static inline __u64 now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

#endif
