// SPDX-License-Identifier: GPL-2.0
/* Replacing program and maps of a live service, without a packet to another socket.
 *
 * The lock keeps other commands out, so meanwhile only the attached program changes the maps.
 * In this order, which is why an upgrade may be killed anywhere:
 *
 *   1. load	A new program with maps of the new layout. It shares the maps with the old one
 *		that the program writes for every packet: flows, so that no peer is forgotten,
 *		and counters, so that none is lost.
 *   2. copy	State and generations. The maps of sockets are shared: a socket can be in one
 *		slot only. What the old program changes after the copy is that it drops empty
 *		slots, and the new one does that again when it finds them empty. The flows of
 *		layout 1 are copied here as well. Peers that come between here and step 4 are
 *		not known to the new program. It selects by the same hash from the same slots
 *		of the same generation as the old one did, and so finds the same socket.
 *   3. pin	As a new edition, see store.c. One rename() makes it the one that counts. The
 *		old program goes on with the old maps, which say the same.
 *   4. attach	One setsockopt() replaces the program of the group. A packet runs either.
 *   5. remove	The old edition. As long as it exists, steps 4 and 5 have to be repeated;
 *		upgrade_finish() does so before any other command changes something.
 *
 * A new layout that changes struct generation or struct state converts them in step 2, as
 * does one that changes struct flow; it must select new flows as the old program did.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "flow_table.h"
#include "steering.h"
#include "upgrade.h"

bool upgrade_is_needed(const struct service *service)
{
	return service->has_old_edition || service->has_unfinished ||
	       service->layout.version != LAYOUT_VERSION || strcmp(service->layout.tool, VERSION);
}

/* Steps 4 and 5. If the group is gone, or has a program that is not ours, it is left alone. */
int upgrade_finish(struct service *service)
{
	int fd, err = 0;

	if (service->has_old_edition) {
		if (require_netns(service) || group_get_fd(service, &fd))
			return -1;
		if (fd >= 0) {
			err = group_attach_prog(service, fd);
			close(fd);
		}
	} else if (!service->has_unfinished || !service->edition) {
		/* the pins of layout 1 are next to what is unfinished, not in a directory */
		return 0;
	}
	if (err || store_remove_old_editions(service))
		return -1;
	service->has_unfinished = false;
	service->has_old_edition = false;
	return 0;
}

/* The table of flows, of the size that it has. */
static int configure_flows(struct service *next, const struct service *old)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	if (old->layout.version == LAYOUT_VERSION) {
		next->flow_config = old->flow_config;
		return 0;
	}
	if (bpf_obj_get_info_by_fd(old->flows, &info, &len))
		return fail("cannot read the size of the map flows of service %s (%s)", old->name,
			    strerror(errno));
	return flow_table_configure(&next->flow_config, info.max_entries, 1, FLOW_TIMEOUT_MS);
}

int upgrade_run(struct service *service)
{
	struct service next;
	int err;

	if (require_netns(service) || upgrade_finish(service))
		return -1;
	service_init(&next, service->name);
	next.edition = service->edition;
	next.config = service->config;
	next.iterator = group_load_iterator(service->config.protocol);
	err = configure_flows(&next, service) || steering_load(&next, service) ||
	      generation_copy_all(&next, service);
	if (!err && service->layout.version == 1 && service->config.steering.mode == UDP_FLOW)
		err = flow_table_copy(&next, service);
	if (!err)
		err = store_pin_edition(&next);
	service_close(&next);
	/* opens the new edition in place of the old one */
	if (err || service_read_state(service))
		return -1;
	return upgrade_finish(service);
}
