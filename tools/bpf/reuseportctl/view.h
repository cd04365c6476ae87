/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 3: what there is to see of services. */
#ifndef __REUSEPORTCTL_VIEW_H
#define __REUSEPORTCTL_VIEW_H

#include "connections.h"
#include "quic.h"

struct slot_view {
	__u32 number;
	__u64 cookie;
	const struct held_socket *socket;	/* NULL: it was closed a moment ago */
	bool has_options;			/* these are known: */
	struct socket_options options;
	struct counter counter;
};

/* A generation, and those of its slots that have a socket. */
struct generation_view {
	struct generation info;
	struct slot_view *slots;
	int nr_slots;
	int connections;		/* that its server has open, or CONNECTIONS_UNKNOWN */
};

enum view_program {
	PROGRAM_UNKNOWN,	/* or there is no group */
	PROGRAM_GONE,
	PROGRAM_ON,
	PROGRAM_REPLACED,	/* by one that is not of the service */
};

struct view {
	char name[NAME_LEN + 8];	/* of the directory */
	char *error;			/* why there is no more to see, or NULL */
	struct service service;
	bool is_here;			/* in our network namespace; if not, sockets are unknown */
	int nr_sockets;			/* at its address, in its group */
	struct generation_view *generations;	/* newest first */
	int nr_generations;
	int nr_outside;			/* sockets that are in no generation */
	const struct held_socket *outside;	/* one of them */
	int nr_connected;		/* UDP sockets in slots that are connected to a peer */
	int nr_ipv4;			/* sockets at 0.0.0.0 beside a dual-stack service */
	enum view_program program;
	__u64 flow_stats[FLOW_OUTCOMES];	/* with --udp flow or quic */
	struct quic_stats quic;			/* with --udp quic */
};

struct views {
	struct view *list;
	int count;
	struct held_socket *sockets;	/* by cookie */
	int nr_sockets;
};

/* View the service @name, or all directories of PIN_ROOT if it is NULL. Sockets are listed
 * once for all of them; with @all, so are the processes that have them and the programs of
 * groups, which take more time. Of several services one that cannot be read has its @error
 * set; the only one makes the function fail.
 */
int views_load(struct views *views, const char *name, bool all);
void views_free(struct views *views);
/* Does it have a table of flows that we can read? */
bool view_has_flows(const struct view *view);
/* Does the service know connection ids? */
bool view_has_ids(const struct view *view);

#endif
