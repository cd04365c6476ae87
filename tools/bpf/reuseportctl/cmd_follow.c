// SPDX-License-Identifier: GPL-2.0
/* follow: refresh whenever the server has new sockets.
 *
 * It has no state of its own: it may be killed, and started again, at any time. A signal that
 * asks it to end is success. It looks when the kernel reports a socket at the port, and once a
 * second in any case, or ten times a second if the kernel cannot report them (see watch.c). One
 * look lists the sockets at the address. Another command that holds the lock has refreshed by
 * itself.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "hold.h"
#include "service.h"
#include "watch.h"

#define LOOK_MS	100
#define IDLE_MS	1000	/* between looks while sockets are reported */

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	interrupted = signal;
}

/* The sum changes when a socket comes or goes: cookies are never used twice. */
static int sum_cookies(const struct service *service, __u64 *sum)
{
	struct socket_info *sockets;
	int count, i;

	count = sock_diag_list(&service->endpoint, &sockets);
	if (count < 0)
		return -1;
	*sum = 0;
	for (i = 0; i < count; i++)
		*sum += sockets[i].cookie;
	free(sockets);
	return 0;
}

/* Return 1 if another command is changing the service. */
static int refresh(struct service *service, unsigned int *total)
{
	struct refresh done;
	int err;

	if (service_lock(service)) {
		if (service_check_exists(service))
			return -1;
		drop_errors();
		return 1;
	}
	err = hold_refresh(service, &done);
	service_unlock(service);
	*total += done.nr_joined;
	if (done.nr_joined)
		say("service %s: %d new socket%s in generation %u", service->name, done.nr_joined,
		    done.nr_joined == 1 ? "" : "s", service->now.current);
	hold_report(service, &done);
	/* the server may have exited in mid-look: the next one shows what is left */
	if (err)
		report_errors();
	return 0;
}

static void print_json(const struct service *service, unsigned int total)
{
	jsonw_start_object(json);
	jsonw_string_field(json, "service", service->name);
	jsonw_uint_field(json, "new_sockets", total);
	jsonw_end_object(json);
}

int cmd_follow(const struct arguments *args)
{
	unsigned int total = 0;
	__u64 seen = 0, now;
	struct service service;
	struct watch *watch;
	bool reported = true;
	int err;

	if (args_require_name(args))
		return -1;
	if (args->dry_run)
		return fail("follow has no dry run: refresh has one");
	if (service_open_locked(&service, args->words[0]))
		return -1;
	err = require_netns(&service);
	service_unlock(&service);
	watch = watch_open(&service.endpoint);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	while (!err && !interrupted) {
		err = sum_cookies(&service, &now);
		if (!err && now != seen) {
			err = refresh(&service, &total);
			/* once more, if it was not refreshed */
			seen = err ? seen : now;
			err = err < 0;
		} else if (!err) {
			err = service_check_exists(&service);
		}
		if (err)
			break;
		if (!watch || now != seen)
			sleep_ms(LOOK_MS);
		else
			/* after a report once more: its socket may have come a moment later */
			reported = watch_wait(watch, reported ? LOOK_MS : IDLE_MS);
	}
	watch_close(watch);
	if (!err && json)
		print_json(&service, total);
	service_close(&service);
	return err ? -1 : 0;
}
