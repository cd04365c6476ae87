/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: the table of UDP peers, as flow_table.bpf.h has it. */
#ifndef __REUSEPORTCTL_FLOW_TABLE_H
#define __REUSEPORTCTL_FLOW_TABLE_H

#include "store.h"

#define FLOW_TIMEOUT_MS	120000	/* unless attach is given another one */
#define MAX_FLOW_TIMEOUT_MS	86400000

/* Tables for so many peers and connection ids, whose flows end after @timeout ms. */
int flow_table_configure(struct flow_config *config, __u32 peers, __u32 ids, __u64 timeout);
/* The ms since the last datagram of a flow. */
__u64 flow_silence(const struct flow *flow);
/* Has it ended? */
bool flow_has_ended(const struct service *service, const struct flow *flow);
/* Call @visit for each flow, those that have ended too. */
int flow_table_visit(const struct service *service,
		     void (*visit)(const struct service *service, const struct flow *flow,
				   void *arg),
		     void *arg);
/* What became of new peers. */
int flow_table_read_stats(const struct service *service, __u64 stats[FLOW_OUTCOMES]);
/* Copy the flows of @old, of any layout, to the table of @next, which no program uses yet. */
int flow_table_copy(const struct service *next, const struct service *old);

#endif
