/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: the connections that the server of a generation has open. */
#ifndef __REUSEPORTCTL_CONNECTIONS_H
#define __REUSEPORTCTL_CONNECTIONS_H

#include "generation.h"

#define CONNECTIONS_UNKNOWN	-1

/* Count the TCP connections, or connected UDP sockets, at the address of the service that the
 * server of a generation has open. *@count is CONNECTIONS_UNKNOWN if none is found and its main
 * process has ended, or is not visible here. Return -1 on an error.
 */
int connections_count(const struct service *service, __u32 number, int *count);

#endif
