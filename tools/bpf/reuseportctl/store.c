// SPDX-License-Identifier: GPL-2.0
/* Services as they are kept in the BPF file system.
 *
 * PIN_ROOT/NAME/1/... has the pins of service NAME. They are an edition: an upgrade makes the
 * next one, NAME/2, and removes the former. The highest number is the one that counts. An
 * edition is made as NAME/2+new and renamed when it is complete, so one with a plain number
 * always is.
 *
 * A service as a whole is made as NAME+new and removed as NAME+old (see service.c); the name
 * of a service cannot contain a plus.
 *
 * reuseportctl 1.0 had its pins in NAME itself. That is layout 1, read here as edition 0. A
 * version 1.0 that meets a directory of ours finds no pin in it, and cannot remove the
 * directory because it is not empty: it changes nothing.
 *
 * The lock is an flock() on NAME, which ends with the process that holds it, and is the same
 * in all layouts.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "store.h"

/* What is pinned, and what a map has to look like before its values are read. */
static const struct pin {
	const char *name, *name_in_1;
	size_t fd;		/* where struct service has it */
	__u32 type, value_size;	/* of a map; type 0: something else */
} pins[] = {
#define PIN(name, name_in_1, fd, type, size) \
	{ name, name_in_1, offsetof(struct service, fd), type, size }
	PIN("layout", NULL, layout_map, BPF_MAP_TYPE_ARRAY, sizeof(struct layout)),
	PIN("service", "service", config_map, BPF_MAP_TYPE_ARRAY, sizeof(struct service_config)),
	PIN("program", "program", program, 0, 0),
	PIN("iterator", NULL, iterator, 0, 0),
	PIN("generations", "generations", generations, BPF_MAP_TYPE_ARRAY_OF_MAPS, sizeof(__u32)),
	PIN("generation_info", "about", generation_info, BPF_MAP_TYPE_ARRAY,
	    sizeof(struct generation)),
	PIN("state", "state", state, BPF_MAP_TYPE_ARRAY, sizeof(struct state)),
	PIN("counters", NULL, counters, BPF_MAP_TYPE_ARRAY_OF_MAPS, sizeof(__u32)),
	PIN("counters_1", "counters", counters_1, BPF_MAP_TYPE_PERCPU_ARRAY,
	    sizeof(struct counter)),
	PIN("flows", "flows", flows, BPF_MAP_TYPE_ARRAY, sizeof(struct flow_bucket)),
	PIN("flow_config", NULL, flow_config_map, BPF_MAP_TYPE_ARRAY, sizeof(struct flow_config)),
	PIN("flow_stats", NULL, flow_stats, BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(__u64)),
	PIN("quic_ids", NULL, quic_ids, BPF_MAP_TYPE_ARRAY, sizeof(struct quic_bucket)),
	PIN("quic_cookies", NULL, quic_cookies, BPF_MAP_TYPE_ARRAY, sizeof(struct quic_cookie)),
	PIN("quic_service", NULL, quic_service, BPF_MAP_TYPE_ARRAY, sizeof(struct quic_service)),
	PIN("quic_learn", NULL, quic_learn, 0, 0),
#undef PIN
};

static int *pin_fd(struct service *service, const struct pin *pin)
{
	return (int *)((char *)service + pin->fd);
}

/* Not every kernel has iterators, not every service learns ids or has counters of layout 1. */
static bool is_optional(const struct service *service, const struct pin *pin)
{
	return pin->fd == offsetof(struct service, iterator) ||
	       pin->fd == offsetof(struct service, quic_learn) ||
	       (service->edition && pin->fd == offsetof(struct service, counters_1));
}

/* -- What a command requires -------------------------------------------------- */

int require_privileges(void)
{
	static const struct {
		int capability;
		const char *name;
	} needed[] = {
		{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN (to load the program and to open maps)" },
		{ CAP_SYS_PTRACE, "CAP_SYS_PTRACE (to duplicate sockets of other processes)" },
	};
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
	unsigned int i;

	if (syscall(SYS_capget, &head, data))
		return fail("cannot read the capabilities of this process (%s)", strerror(errno));
	for (i = 0; i < ARRAY_SIZE(needed); i++)
		if (!(data[needed[i].capability / 32].effective & 1U << needed[i].capability % 32))
			return fail("this needs %s: run it as root", needed[i].name);
	return 0;
}

/* Has this process other mounts than the host, as "ip netns exec" gives it? */
static bool has_own_mounts(void)
{
	struct stat ours, init;

	return !stat("/proc/self/ns/mnt", &ours) && !stat("/proc/1/ns/mnt", &init) &&
	       ours.st_ino != init.st_ino;
}

int require_bpffs(void)
{
	struct statfs fs;

	if (!statfs("/sys/fs/bpf", &fs) && fs.f_type == BPF_FS_MAGIC)
		return 0;
	if (has_own_mounts())
		return fail("no bpffs is mounted on /sys/fs/bpf in this mount namespace, and one "
			    "mounted here is gone with it, as after ip netns exec: nsenter "
			    "--net=/run/netns/NAME reuseportctl ... uses that of the host");
	return fail("no bpffs is mounted on /sys/fs/bpf, where services are kept: mount -t bpf "
		    "none /sys/fs/bpf");
}

int require_netns(const struct service *service)
{
	if (proc_netns("self") == service->config.netns)
		return 0;
	/* without the suffix of one that is being removed */
	return fail("service %.*s is in another network namespace (%llu): run this there, with "
		    "nsenter --net=/proc/PID/ns/net reuseportctl ..., where PID is one of its "
		    "processes",
		    (int)strcspn(service->name, "+"), service->name, service->config.netns);
}

int require_name(const char *name)
{
	size_t len =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	if (len && len <= NAME_LEN && !name[len])
		return 0;
	return fail("\"%s\" is not a valid name of a service: use up to %d letters, digits, - and "
		    "_", name, NAME_LEN);
}

/* -- Directories ---------------------------------------------------------------- */

/* For messages: what keeps us from writing, and the remedy. */
static const char *write_error(int err)
{
	return err == EROFS ? "Read-only file system; a systemd unit needs "
			      "ReadWritePaths=/sys/fs/bpf with ProtectSystem=strict or "
			      "ProtectKernelTunables=" :
			      strerror(err);
}

static const char *dir_path(const char *name, char *path)
{
	snprintf(path, PATH_LEN, PIN_ROOT "/%s", name);
	return path;
}

bool store_exists(const char *name)
{
	char path[PATH_LEN];

	return !access(dir_path(name, path), F_OK);
}

bool store_is_leftover(const char *name)
{
	return strchr(name, '+');
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* store_visit() in the directory @path. */
static int visit_dir(const char *path, store_visit_fn visit, void *arg)
{
	struct dirent **names;
	int count, i, err = 0;

	count = scandir(path, &names, NULL, compare_names);
	for (i = 0; i < count; i++) {
		if (names[i]->d_name[0] != '.' && !err)
			err = visit(names[i]->d_name, arg);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
	return err;
}

int store_visit(store_visit_fn visit, void *arg)
{
	return visit_dir(PIN_ROOT, visit, arg);
}

struct program_visit {
	const char *name;
	store_program_fn visit;
	void *arg;
};

/* @entry: an edition, or a pin of layout 1 */
static int visit_program(const char *entry, void *arg)
{
	const struct program_visit *programs = arg;
	char path[2 * PATH_LEN];
	int program, err;

	snprintf(path, sizeof(path), PIN_ROOT "/%s/%s%s", programs->name, entry,
		 strcmp(entry, "program") ? "/program" : "");
	program = bpf_obj_get(path);
	if (program < 0)
		return 0;
	err = programs->visit(program, programs->arg);
	close(program);
	return err;
}

int store_visit_programs(const char *name, store_program_fn visit, void *arg)
{
	struct program_visit programs = { name, visit, arg };
	char path[PATH_LEN];

	return visit_dir(dir_path(name, path), visit_program, &programs);
}

int store_rename(const char *from, const char *to)
{
	char old[PATH_LEN], new[PATH_LEN];

	if (!rename(dir_path(from, old), dir_path(to, new)))
		return 0;
	return fail("cannot rename %s (%s)", old, write_error(errno));
}

int store_make(const char *name)
{
	char path[PATH_LEN];

	if (!mkdir(dir_path(name, path), 0700))
		return 0;
	return fail("cannot create %s (%s)", path, write_error(errno));
}

/* Remove @name in the directory @arg: a pin, or a directory of pins. */
static int remove_entry(const char *name, void *arg)
{
	char path[2 * PATH_LEN];

	snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
	if (!unlink(path) || errno == ENOENT)
		return 0;
	/* either is how a file system refuses to unlink() a directory */
	if (errno == EISDIR || errno == EPERM) {
		if (visit_dir(path, remove_entry, path))
			return -1;
		if (!rmdir(path) || errno == ENOENT)
			return 0;
	}
	return fail("cannot remove %s (%s)", path, write_error(errno));
}

int store_remove(const char *name)
{
	return remove_entry(name, PIN_ROOT);
}

/* -- Locks ---------------------------------------------------------------------- */

/* The process that holds it, from /proc/locks; 0 if it is not to be seen. */
static int lock_holder(int fd)
{
	unsigned long inode;
	char line[256];
	struct stat st;
	int pid, holder = 0;
	FILE *file;

	file = fopen("/proc/locks", "re");
	if (!file)
		return 0;
	if (!fstat(fd, &st))
		while (fgets(line, sizeof(line), file))
			if (sscanf(line, "%*s FLOCK %*s %*s %d %*x:%*x:%lu", &pid, &inode) == 2 &&
			    inode == st.st_ino)
				holder = pid;
	fclose(file);
	return holder;
}

static int lock(int fd, const char *what)
{
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return fail("cannot lock %s (%s)", what, strerror(errno));
	return fail("%s is locked by another reuseportctl (PID %d): wait until that has finished",
		    what, lock_holder(fd));
}

int store_lock(const char *name)
{
	char path[PATH_LEN];
	int dir = open(dir_path(name, path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return fail("cannot open %s (%s)", path, strerror(errno));
	if (!lock(dir, name))
		return dir;
	close(dir);
	return -1;
}

int store_lock_root(void)
{
	static int root = -1;

	if (root >= 0)
		return 0;
	if (require_privileges() || require_bpffs())
		return -1;
	if (mkdir(PIN_ROOT, 0700) && errno != EEXIST)
		return fail("cannot create " PIN_ROOT " (%s)", write_error(errno));
	root = open(PIN_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail("cannot open " PIN_ROOT " (%s)", strerror(errno));
	if (!lock(root, PIN_ROOT))
		return 0;
	close(root);
	root = -1;
	return -1;
}

int service_lock(struct service *service)
{
	if (lock(service->dir, service->name) || service_check_exists(service))
		return -1;
	return service_read_state(service);
}

void service_unlock(struct service *service)
{
	flock(service->dir, LOCK_UN);
}

/* -- Editions ------------------------------------------------------------------- */

/* The editions of a directory. The highest is the one that counts. */
struct editions {
	__u32 newest, older;
	bool has_newest, has_older, has_unfinished;
};

static int add_edition(const char *name, void *arg)
{
	struct editions *editions = arg;
	__u32 number = 0;
	char *end;

	if (isdigit((unsigned char)*name)) {
		number = strtoul(name, &end, 10);
		if (*end) {
			editions->has_unfinished = true;
			return 0;
		}
	} else if (strcmp(name, "state")) {
		return 0;
	}
	if (editions->has_newest && number < editions->newest) {
		editions->older = number;
		editions->has_older = true;
		return 0;
	}
	editions->has_older = editions->has_newest;
	editions->older = editions->newest;
	editions->has_newest = true;
	editions->newest = number;
	return 0;
}

static int find_editions(const char *path, struct editions *editions)
{
	*editions = (struct editions){};
	visit_dir(path, add_edition, editions);
	return editions->has_newest ? 0 : -ENOENT;
}

bool service_is_interrupted(const struct service *service)
{
	struct editions editions;
	char path[PATH_LEN];

	if (!service->has_old_edition || lock_holder(service->dir))
		return false;
	/* the upgrade may have ended since that was read, and others may have begun */
	return !find_editions(dir_path(service->name, path), &editions) && editions.has_older &&
	       editions.newest == service->edition;
}

static const char *pin_path(const char *name, __u32 edition, const struct pin *pin, char *path)
{
	if (edition)
		snprintf(path, PATH_LEN, PIN_ROOT "/%s/%u/%s", name, edition, pin->name);
	else
		snprintf(path, PATH_LEN, PIN_ROOT "/%s/%s", name, pin->name_in_1);
	return path;
}

static bool is_map(int fd, __u32 edition, const struct pin *pin)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return false;
	if (!edition && !strcmp(pin->name, "state"))
		return info.type == pin->type && info.key_size == sizeof(__u32) &&
		       info.value_size == sizeof(struct state_1);
	if (!edition && !strcmp(pin->name, "flows"))
		return info.type == BPF_MAP_TYPE_LRU_HASH && info.key_size == sizeof(struct peer) &&
		       info.value_size == sizeof(struct flow_1);
	if (!edition && !strcmp(pin->name, "generation_info"))
		return info.type == pin->type && info.key_size == sizeof(__u32) &&
		       info.value_size == offsetof(struct generation, others);
	return info.type == pin->type && info.key_size == sizeof(__u32) &&
	       info.value_size == pin->value_size;
}

static bool is_program(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	       info.type == BPF_PROG_TYPE_SK_REUSEPORT;
}

static bool is_link(int fd)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	       (info.type == BPF_LINK_TYPE_ITER || info.type == BPF_LINK_TYPE_CGROUP);
}

/* Open a pin, if it is what it has to be. Return a file descriptor or a negative errno. */
static int open_pin(const char *name, __u32 edition, const struct pin *pin)
{
	char path[PATH_LEN];
	int fd;

	fd = bpf_obj_get(pin_path(name, edition, pin, path));
	if (fd < 0)
		return -errno;
	if (pin->type ? is_map(fd, edition, pin) : is_program(fd) || is_link(fd))
		return fd;
	close(fd);
	return -EINVAL;
}

/* Read the only value of a map that is pinned. Return 0 or a negative errno. */
static int read_pin(const char *name, __u32 edition, const char *pin_name, void *value)
{
	const struct pin *pin = pins;
	__u32 zero = 0;
	int fd, err;

	while (strcmp(pin->name, pin_name))
		pin++;
	fd = open_pin(name, edition, pin);
	if (fd < 0)
		return fd;
	err = bpf_map_lookup_elem(fd, &zero, value) ? -errno : 0;
	close(fd);
	return err;
}

static int read_layout(const char *name, __u32 edition, struct layout *layout)
{
	int err;

	if (!edition) {
		*layout = (struct layout){ .version = 1, .tool = "1.0" };
		return 0;
	}
	err = read_pin(name, edition, "layout", layout);
	if (err)
		return err;
	layout->tool[sizeof(layout->tool) - 1] = '\0';
	return layout->version > LAYOUT_VERSION ? -EPROTO : 0;
}

int store_read_config(const char *name, struct service_config *config)
{
	struct editions editions;
	struct layout layout;
	char path[PATH_LEN];

	if (find_editions(dir_path(name, path), &editions) ||
	    read_layout(name, editions.newest, &layout))
		return -1;
	return read_pin(name, editions.newest, "service", config) ? -1 : 0;
}

int store_pin_edition(struct service *service)
{
	char path[PATH_LEN], unfinished[PATH_LEN], entry[16];
	__u32 next = service->edition + 1;
	unsigned int i;
	int err = 0;

	snprintf(entry, sizeof(entry), "%u" UNFINISHED, next);
	if (remove_entry(entry, (void *)dir_path(service->name, path)))
		return -1;
	snprintf(unfinished, sizeof(unfinished), PIN_ROOT "/%s/%s", service->name, entry);
	if (mkdir(unfinished, 0700))
		return fail("cannot create %s (%s)", unfinished, write_error(errno));
	for (i = 0; i < ARRAY_SIZE(pins) && !err; i++) {
		if (*pin_fd(service, &pins[i]) < 0)
			continue;
		snprintf(path, sizeof(path), "%.*s/%s", PATH_LEN / 2, unfinished, pins[i].name);
		if (bpf_obj_pin(*pin_fd(service, &pins[i]), path))
			err = fail("cannot pin %s (%s)", path, write_error(errno));
	}
	snprintf(path, sizeof(path), PIN_ROOT "/%s/%u", service->name, next);
	if (!err && rename(unfinished, path))
		err = fail("cannot rename %s (%s)", unfinished, write_error(errno));
	if (!err)
		service->edition = next;
	else
		remove_entry(entry, (void *)dir_path(service->name, path));
	return err;
}

static int remove_other_edition(const char *name, void *arg)
{
	const struct service *service = arg;
	char path[PATH_LEN];
	char *end;

	if (strtoul(name, &end, 10) == service->edition && !*end)
		return 0;
	return remove_entry(name, (void *)dir_path(service->name, path));
}

int store_remove_old_editions(const struct service *service)
{
	char path[PATH_LEN];

	return visit_dir(dir_path(service->name, path), remove_other_edition, (void *)service);
}

/* -- Opening ---------------------------------------------------------------------- */

static void close_pins(struct service *service)
{
	unsigned int i;
	int *fd;

	for (i = 0; i < ARRAY_SIZE(pins); i++) {
		fd = pin_fd(service, &pins[i]);
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
	if (service->old_program >= 0)
		close(service->old_program);
	service->old_program = -1;
}

/* Return 0, or -1 and set errno. */
static int read_state(struct service *service)
{
	struct state_1 old;
	__u32 zero = 0, last, i;

	if (service->edition)
		return bpf_map_lookup_elem(service->state, &zero, &service->now);
	if (bpf_map_lookup_elem(service->state, &zero, &old))
		return -1;
	service->now = (struct state){ .current = old.current, .newest = old.newest };
	last = old.newest;
	for (i = 0; i < MAX_GENERATIONS_1 && old.generations[i]; i++) {
		if (old.generations[i] == last)
			continue;
		service->now.older[last % MAX_GENERATIONS] = old.generations[i];
		last = old.generations[i];
	}
	return 0;
}

/* Open the pins of the newest of these editions. */
static int open_edition(struct service *service, const struct editions *editions)
{
	unsigned int i;
	int err, fd;

	service->edition = editions->newest;
	err = read_layout(service->name, service->edition, &service->layout);
	for (i = 0; i < ARRAY_SIZE(pins) && !err; i++) {
		if (!service->edition && !pins[i].name_in_1)
			continue;
		fd = open_pin(service->name, service->edition, &pins[i]);
		*pin_fd(service, &pins[i]) = fd;
		if (fd < 0 && !is_optional(service, &pins[i]))
			err = fd;
	}
	if (err)
		return err;
	service->max_generations = service->edition ? MAX_GENERATIONS : MAX_GENERATIONS_1;
	service->has_unfinished = editions->has_unfinished;
	service->has_old_edition = editions->has_older;
	if (editions->has_older) {
		for (i = 0; strcmp(pins[i].name, "program"); i++)
			;
		service->old_program = open_pin(service->name, editions->older, &pins[i]);
	}
	return 0;
}

int service_open_pins(struct service *service)
{
	struct editions editions;
	char path[PATH_LEN];
	__u32 zero = 0;
	int err;

	err = find_editions(dir_path(service->name, path), &editions);
	if (err)
		return err;
	err = open_edition(service, &editions);
	/* an upgrade may have removed that edition meanwhile, after it had made another */
	while (err && err != -EPROTO && !find_editions(path, &editions) &&
	       editions.newest != service->edition) {
		close_pins(service);
		err = open_edition(service, &editions);
	}
	if (err)
		return err;
	if (bpf_map_lookup_elem(service->config_map, &zero, &service->config) ||
	    read_state(service) ||
	    (service->edition &&
	     bpf_map_lookup_elem(service->flow_config_map, &zero, &service->flow_config)))
		return -errno;
	service->endpoint = (struct endpoint){
		.protocol = service->config.protocol,
		.family = service->config.family,
		.port = service->config.port,
		.interface = service->config.interface,
	};
	memcpy(service->endpoint.address, service->config.address,
	       sizeof(service->endpoint.address));
	return 0;
}

void *alloc_per_cpu(size_t size, int *cpus)
{
	void *values;

	*cpus = libbpf_num_possible_cpus();
	if (*cpus < 1) {
		fail("cannot read the number of CPUs: is /sys mounted?");
		return NULL;
	}
	values = calloc(*cpus, size);
	if (!values)
		fail("out of memory");
	return values;
}

void service_init(struct service *service, const char *name)
{
	unsigned int i;

	*service = (struct service){
		.dir = -1,
		.old_program = -1,
		.max_generations = MAX_GENERATIONS,
	};
	for (i = 0; i < ARRAY_SIZE(pins); i++)
		*pin_fd(service, &pins[i]) = -1;
	snprintf(service->name, sizeof(service->name), "%s", name);
}

int service_explain(const struct service *service, int err)
{
	if (err == -EPROTO)
		return fail("service %s was made by reuseportctl %s (layout %u), which is newer "
			    "than this one (layout %u): use that version",
			    service->name, service->layout.tool, service->layout.version,
			    LAYOUT_VERSION);
	return fail("service %s is incomplete: a pin in " PIN_ROOT "/%s is missing, or has another "
		    "type or size (%s); reuseportctl detach %s removes the service",
		    service->name, service->name, strerror(-err), service->name);
}

int service_open(struct service *service, const char *name)
{
	char path[PATH_LEN];
	int err;

	service_init(service, name);
	if (require_privileges() || require_bpffs() || require_name(name))
		return -1;
	service->dir = open(dir_path(name, path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (service->dir < 0)
		return fail("there is no service %s: reuseportctl attach creates one, reuseportctl "
			    "show lists all",
			    name);
	err = service_open_pins(service);
	if (!err)
		return 0;
	service_explain(service, err);
	service_close(service);
	return -1;
}

void service_close(struct service *service)
{
	close_pins(service);
	if (service->dir >= 0)
		close(service->dir);
	service->dir = -1;
}

int service_check_exists(const struct service *service)
{
	struct stat ours, named;
	char path[PATH_LEN];

	if (fstat(service->dir, &ours) || stat(dir_path(service->name, path), &named) ||
	    ours.st_ino != named.st_ino)
		return fail("service %s has been removed meanwhile", service->name);
	return 0;
}

int service_read_state(struct service *service)
{
	struct editions editions;
	char path[PATH_LEN];
	int err;

	if (!find_editions(dir_path(service->name, path), &editions) &&
	    editions.newest != service->edition) {
		if (service_check_exists(service))
			return -1;
		close_pins(service);
		err = service_open_pins(service);
		return err ? service_explain(service, err) : 0;
	}
	if (read_state(service))
		return fail("cannot read the state of service %s (%s)", service->name,
			    strerror(errno));
	return 0;
}
