/* SPDX-License-Identifier: GPL-2.0 */
/* Layer 2: services as they are kept in the BPF file system. */
#ifndef __REUSEPORTCTL_STORE_H
#define __REUSEPORTCTL_STORE_H

#include "reuseportctl.h"
#include "sockets.h"

#define PIN_ROOT	"/sys/fs/bpf/reuseport"
#define PATH_LEN	160
#define NAME_LEN	32
#define UNFINISHED	"+new"	/* a service that is being made, or an edition of one */
#define DISCARDED	"+old"	/* a service that is being removed */

struct service {
	char name[NAME_LEN + 8];	/* of its directory */
	int dir;
	__u32 edition;
	struct layout layout;
	__u32 max_generations;		/* of the layout */
	int program, generations, generation_info, state, counters, config_map, layout_map;
	int flows, flow_config_map, flow_stats;
	int counters_1;			/* or -1 */
	int quic_ids, quic_cookies, quic_service;
	int quic_learn;		/* the link of the program that learns ids; or -1 */
	bool has_unfinished;	/* an upgrade was interrupted before its edition was complete */
	bool has_old_edition;	/* or after that */
	int iterator;		/* that lists groups, see group.c; or -1 */
	int old_program;	/* of that edition: it may be on the group still; or -1 */
	struct service_config config;
	struct flow_config flow_config;
	struct endpoint endpoint;
	struct state now;
	bool attached;		/* this process has attached the program to the group */
};

/* What a command requires before it can begin. */
int require_name(const char *name);
int require_privileges(void);
int require_bpffs(void);
int require_netns(const struct service *service);

/* A service that has no file descriptors yet. */
void service_init(struct service *service, const char *name);
/* Open a service of any layout that this version can read. */
int service_open(struct service *service, const char *name);
void service_close(struct service *service);
/* Open the pins of the directory @service->name, as far as they are there. Return 0, or a
 * negative errno: -EPROTO if a newer version wrote them, else they are incomplete.
 */
int service_open_pins(struct service *service);
/* Fail, in a sentence that names the remedy, for what service_open_pins() returned. */
int service_explain(const struct service *service, int err);
/* Where maps have a generation. */
static inline __u32 generation_index(const struct service *service, __u32 number)
{
	return number % service->max_generations;
}

/* The next older generation that there was at the last switch, or 0. */
static inline __u32 generation_older(const struct service *service, __u32 number)
{
	return service->now.older[number % MAX_GENERATIONS];
}

/* Each generation that there was at the last switch, the newest first. It may have ended. */
#define for_each_generation(service, number)				\
	for ((number) = (service)->now.newest; (number);		\
	     (number) = generation_older(service, number))

/* A value for each CPU, zeroed. NULL, and an error, if there is none. */
void *alloc_per_cpu(size_t size, int *cpus);

/* Read the state again, in the pins that an upgrade has made meanwhile, if so. */
int service_read_state(struct service *service);
/* Is it still the service of that name? If not, its maps are empty and tell nothing. */
int service_check_exists(const struct service *service);

/* Commands that change a service hold this lock; it ends with the process. */
int service_lock(struct service *service);
void service_unlock(struct service *service);
/* Was an upgrade interrupted, and does not just run? */
bool service_is_interrupted(const struct service *service);
/* Lock a directory of PIN_ROOT as service_lock() does. Return a file descriptor or -1. */
int store_lock(const char *name);
/* Commands that make or remove a service hold this one as well, until they end. */
int store_lock_root(void);

/* Does the directory exist? */
bool store_exists(const char *name);
/* Is it one that an interrupted command left? */
bool store_is_leftover(const char *name);
/* Call @visit for each directory in PIN_ROOT, in order of names, until it returns another
 * value than 0. Return that.
 */
typedef int (*store_visit_fn)(const char *name, void *arg);
int store_visit(store_visit_fn visit, void *arg);
/* Call @visit with each program that is pinned in the directory @name, in an edition or in an
 * unfinished one, until it returns another value than 0. Return that.
 */
typedef int (*store_program_fn)(int program, void *arg);
int store_visit_programs(const char *name, store_program_fn visit, void *arg);
int store_read_config(const char *name, struct service_config *config);
int store_rename(const char *from, const char *to);
/* Remove a directory with all its pins, or what there is of it. */
int store_remove(const char *name);

/* Make the directory of a service that has none. */
int store_make(const char *name);
/* Pin what @service has open as the edition that comes after @service->edition, and make it
 * the newest by one rename(). Sets @service->edition.
 */
int store_pin_edition(struct service *service);
/* Remove all editions but @service->edition. */
int store_remove_old_editions(const struct service *service);

#endif
