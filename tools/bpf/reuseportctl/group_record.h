/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __REUSEPORTCTL_GROUP_RECORD_H
#define __REUSEPORTCTL_GROUP_RECORD_H

#include <linux/types.h>

/* What group.bpf.c writes for a socket that is in a group. */
struct group_record {
	__u64 cookie;
	__u32 has_program;
	__u32 id;		/* 0: a classic BPF program */
};

#endif
