// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#define AT_ONCE	64

/* Put @nr_sockets sockets into the slots from 0 on. */
int fill(int map, const int *sockets, __u32 nr_sockets)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts, .elem_flags = BPF_NOEXIST);
	__u32 slots[AT_ONCE], done = 0, count, i;
	__u64 values[AT_ONCE];
	int err;

	while (done < nr_sockets) {
		for (count = 0; count < AT_ONCE && done + count < nr_sockets; count++) {
			slots[count] = done + count;
			values[count] = sockets[done + count];
		}

		i = count;
		err = bpf_map_update_batch(map, slots, values, &i, &opts);
		if (err) {
			/* what precedes the one that failed is in the map */
			fprintf(stderr, "socket %d, slot %u: %s\n", sockets[done + i],
				slots[i], strerror(-err));
			return err;
		}
		done += count;
	}
	return 0;
}

/* Call @found for each slot that is filled; return how many there are, or an error. */
int visit_slots(int map, void (*found)(__u32 slot, __u64 cookie))
{
	__u32 slots[AT_ONCE], next, *from = NULL, count, i;
	__u64 cookies[AT_ONCE];
	int err, sum = 0;

	do {
		count = AT_ONCE;
		err = bpf_map_lookup_batch(map, from, &next, slots, cookies, &count, NULL);
		if (err && err != -ENOENT)
			return err;

		for (i = 0; i < count; i++)
			found(slots[i], cookies[i]);
		sum += count;
		from = &next;
	} while (!err);		/* ENOENT says that these were the last */

	return sum;
}
