/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DEMO_WORKER_H
#define DEMO_WORKER_H

#include "proto.h"

/*
 * Serve a TCP listener and a UDP socket until SIGTERM, which the caller has blocked.
 * Then drain both, close them, and write the counters to a file in @dir.
 */
void worker(struct conn_id me, int tcp, int udp, const char *dir);

#endif
