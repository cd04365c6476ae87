// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <unistd.h>

#include <bpf/bpf.h>

/* Make this process the one that serves, with @sockets. @current is the outer map,
 * which a successor gets by bpf_obj_get() from where the first process pinned it.
 * Return the new generation's map, or an error: then all is as it was.
 */
int take_over(int current, const int *sockets, __u32 nr_sockets)
{
	__u32 slot, zero = 0;
	__u64 value;
	int map, err;

	/* as many slots as are needed: inner maps may differ in that alone */
	map = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "generation", sizeof(slot),
			     sizeof(value), nr_sockets, NULL);
	if (map < 0)
		return map;

	for (slot = 0; slot < nr_sockets; slot++) {
		value = sockets[slot];
		err = bpf_map_update_elem(map, &slot, &value, BPF_NOEXIST);
		if (err)
			goto close;
	}

	/* Up to here packets go to the predecessor, from here on to @sockets. */
	err = bpf_map_update_elem(current, &zero, &map, BPF_ANY);
	if (!err)
		return map;
close:
	close(map);
	return err;
}
