/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DEMO_WORKER_H
#define DEMO_WORKER_H

#include "proto.h"

/*
 * Serve on a TCP listener and a UDP socket until SIGTERM (to be blocked by the
 * caller) asks to come to an end; then drain both, close them, and write what
 * was counted into a file in @dir.
 */
void worker(struct conn_id me, int tcp, int udp, const char *dir);

#endif
