// SPDX-License-Identifier: GPL-2.0
/* A program linked with the shared libbpf of a distribution: every call of it that takes a
 * map, with what it returns, one a line. test-clients compares the lines of two kernels.
 *
 * usage: libbpf-client BALANCER.bpf.o
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define PORT	2055
#define SLOTS	4
#define PIN	"/sys/fs/bpf/libbpf-client"
#define ENOTSUPP 524	/* of the kernel; no header for programs has it */

static int failed;

static const char *name_of(long result)
{
	static char number[32];
	int err = result < 0 ? -result : 0;

	if (err == ENOTSUPP)
		return "ENOTSUPP";
	if (err && strerrorname_np(err))
		return strerrorname_np(err);
	snprintf(number, sizeof(number), "%ld", result);
	return number;
}

static void tell(const char *what, long result)
{
	printf("%s: %s\n", what, name_of(result));
}

/* What must be so on every kernel, for the rest to mean anything. */
static void expect(const char *what, bool met)
{
	printf("%s: %s\n", what, met ? "yes" : "NO");
	failed |= !met;
}

static int udp_socket(bool reuseport)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), one = 1;

	if (fd < 0 || (reuseport && (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
				     bind(fd, (void *)&address, sizeof(address))))) {
		perror("no socket");
		exit(1);
	}
	return fd;
}

static uint64_t cookie_of(int fd)
{
	socklen_t length = sizeof(uint64_t);
	uint64_t cookie = 0;

	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length);
	return cookie;
}

static void single_calls(int map, const int *fds)
{
	uint32_t key = 1, next = 0, keys = 0, beyond = SLOTS;
	uint64_t value = fds[1], cookie = 0, bad;

	tell("update, BPF_EXIST, slot empty", bpf_map_update_elem(map, &key, &value, BPF_EXIST));
	expect("update, BPF_NOEXIST", !bpf_map_update_elem(map, &key, &value, BPF_NOEXIST));
	tell("update, BPF_NOEXIST, slot taken",
	     bpf_map_update_elem(map, &key, &value, BPF_NOEXIST));
	tell("update, same socket", bpf_map_update_elem(map, &key, &value, BPF_ANY));
	tell("update, BPF_F_LOCK", bpf_map_update_elem(map, &key, &value, BPF_F_LOCK));
	tell("update, index too large", bpf_map_update_elem(map, &beyond, &value, BPF_ANY));
	bad = 1000;
	tell("update, no open fd", bpf_map_update_elem(map, &key, &bad, BPF_ANY));
	bad = map;
	tell("update, no socket", bpf_map_update_elem(map, &key, &bad, BPF_ANY));
	bad = 1ULL << 40;
	tell("update, no fd", bpf_map_update_elem(map, &key, &bad, BPF_ANY));
	bad = udp_socket(false);
	tell("update, in no group", bpf_map_update_elem(map, &key, &bad, BPF_ANY));
	close(bad);

	expect("lookup gives the cookie", !bpf_map_lookup_elem(map, &key, &cookie) &&
					  cookie == cookie_of(fds[1]));
	tell("lookup with flags 0", bpf_map_lookup_elem_flags(map, &key, &cookie, 0));
	tell("lookup, BPF_F_LOCK", bpf_map_lookup_elem_flags(map, &key, &cookie, BPF_F_LOCK));
	tell("lookup and delete", bpf_map_lookup_and_delete_elem(map, &key, &cookie));
	key = 0;
	tell("lookup, slot empty", bpf_map_lookup_elem(map, &key, &cookie));
	tell("lookup, index too large", bpf_map_lookup_elem(map, &beyond, &cookie));
	tell("delete, slot empty", bpf_map_delete_elem(map, &key));
	tell("delete, index too large", bpf_map_delete_elem(map, &beyond));
	for (void *from = NULL; !bpf_map_get_next_key(map, from, &next); from = &next)
		keys++;
	tell("keys", keys);
	key = 1;
	expect("delete", !bpf_map_delete_elem(map, &key));
}

static void batches(int map, const int *fds)
{
	uint32_t keys[SLOTS] = { 0, 1, 2, 3 }, found[SLOTS] = {}, next = 0, count = SLOTS;
	uint64_t values[SLOTS], cookies[SLOTS] = {};
	int err;

	for (int i = 0; i < SLOTS; i++)
		values[i] = fds[i];
	err = bpf_map_update_batch(map, keys, values, &count, NULL);
	tell("batch update", err);
	tell("batch update, count", count);
	count = SLOTS;
	tell("batch lookup", bpf_map_lookup_batch(map, NULL, &next, found, cookies, &count, NULL));
	tell("batch lookup, count", count);
	tell("batch lookup, first cookie is right", cookies[0] && cookies[0] == cookie_of(fds[0]));
	count = SLOTS;
	next = 0;
	tell("batch lookup and delete",
	     bpf_map_lookup_and_delete_batch(map, NULL, &next, found, cookies, &count, NULL));
	count = SLOTS;
	tell("batch delete", bpf_map_delete_batch(map, keys, &count, NULL));
	tell("batch delete, count", count);
}

static void describe(int map)
{
	struct bpf_map_info info = {};
	uint32_t length = sizeof(info);
	int again;

	tell("info", bpf_obj_get_info_by_fd(map, &info, &length));
	printf("info: type %u, key %u, value %u, entries %u, flags %#x, name %s\n", info.type,
	       info.key_size, info.value_size, info.max_entries, info.map_flags, info.name);
	tell("pin", bpf_obj_pin(map, PIN));
	again = bpf_obj_get(PIN);
	expect("open the pin", again >= 0);
	close(again);
	again = bpf_map_get_fd_by_id(info.id);
	expect("open by id", again >= 0);
	close(again);
	unlink(PIN);
	tell("freeze", bpf_map_freeze(map));
}

static void creation(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, options);
	static const struct { uint32_t key, value, entries, flags; } cases[] = {
		{ 4, 4, 1, 0 }, { 4, 8, 1, 0 }, { 8, 8, 1, 0 }, { 4, 2, 1, 0 }, { 4, 8, 0, 0 },
		{ 4, 8, 1, BPF_F_NO_PREALLOC }, { 4, 8, 1, BPF_F_RDONLY_PROG },
		{ 4, 8, 1, BPF_F_MMAPABLE },
	};
	int fd, inner;

	tell("probe for the map type",
	     libbpf_probe_bpf_map_type(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, NULL));
	tell("probe for the program type",
	     libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SK_REUSEPORT, NULL));
	tell("probe for the helper", libbpf_probe_bpf_helper(BPF_PROG_TYPE_SK_REUSEPORT,
							     BPF_FUNC_sk_select_reuseport, NULL));
	printf("name of the type: %s\n", libbpf_bpf_map_type_str(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY));
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		options.map_flags = cases[i].flags;
		fd = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "created", cases[i].key,
				    cases[i].value, cases[i].entries, &options);
		printf("create, key %u, value %u, entries %u, flags %#x: %s\n", cases[i].key,
		       cases[i].value, cases[i].entries, cases[i].flags,
		       fd < 0 ? name_of(fd) : "0");
		close(fd);
	}
	inner = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "inner", 4, 8, SLOTS, NULL);
	options.map_flags = 0;
	options.inner_map_fd = inner;
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "outer", 4, 4, 1, &options);
	expect("a map in a map", inner >= 0 && fd >= 0 &&
				 !bpf_map_update_elem(fd, &(uint32_t){ 0 }, &inner, BPF_ANY));
	close(fd);
	close(inner);
}

/* Datagrams that name each slot, the empty one and one beyond the map; who gets them? */
static void steer(const char *object, const int *fds)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .pin_root_path = "/sys/fs/bpf");
	struct bpf_object *obj = bpf_object__open_file(object, &options);
	struct sockaddr_in server = {
		.sin_family = AF_INET, .sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int client = socket(AF_INET, SOCK_DGRAM, 0), map, prog;
	uint64_t value;

	if (!obj || bpf_object__load(obj)) {
		expect("load the program", false);
		return;
	}
	map = bpf_object__find_map_fd_by_name(obj, "udp_balancing_targets");
	prog = bpf_program__fd(bpf_object__find_program_by_name(obj, "_selector"));
	expect("attach", !setsockopt(fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &prog,
				     sizeof(prog)));
	for (uint32_t slot = 0; slot < SLOTS - 1; slot++) {
		/* back to front, so that no slot is right by chance */
		value = fds[SLOTS - 1 - slot];
		expect("fill a slot", !bpf_map_update_elem(map, &slot, &value, BPF_NOEXIST));
	}
	for (uint32_t slot = 0; slot <= SLOTS; slot++) {
		uint32_t datagram[6] = { [4] = htonl(slot) };
		char got[64];

		sendto(client, datagram, sizeof(datagram), 0, (void *)&server, sizeof(server));
		printf("datagram for slot %u:", slot);
		for (int i = 0; i < SLOTS; i++)
			if (recv(fds[i], got, sizeof(got), 0) > 0)
				printf(" socket %d", i);
		printf("\n");
	}
	unlink("/sys/fs/bpf/udp_balancing_targets");
	bpf_object__close(obj);
}

int main(int argc, char **argv)
{
	int fds[SLOTS], map;

	if (argc != 2)
		return 2;
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	printf("libbpf %s\n", libbpf_version_string());
	creation();
	for (int i = 0; i < SLOTS; i++)
		fds[i] = udp_socket(true);
	map = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "targets", 4, 8, SLOTS, NULL);
	expect("create", map >= 0);
	single_calls(map, fds);
	batches(map, fds);
	steer(argv[1], fds);
	describe(map);
	return failed;
}
