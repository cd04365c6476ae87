// SPDX-License-Identifier: GPL-2.0
/* Making and removing a service: its pins, /sys/fs/bpf/reuseport/NAME/...
 *
 * A service comes and goes by the renaming of its directory. While it is made it is
 * called NAME+new, while it is removed NAME+old; no service can have such a name. So
 * whatever has a plain name is whole, and what has not was left by a command that was
 * killed. attach and detach do away with it before they begin.
 *
 * When attach is killed the program may be on the group already, and steer: the server
 * has lost nothing. When detach is killed it may still be on it.
 *
 * The lock is an flock() on the directory, which goes with the process that holds it.
 * Those who make or remove a service hold one on the directory above as well.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "group.h"
#include "generation.h"
#include "reuseportctl.skel.h"

#ifndef SO_ATTACH_REUSEPORT_EBPF
#define SO_ATTACH_REUSEPORT_EBPF 52
#endif
#ifndef SO_DETACH_REUSEPORT_BPF
#define SO_DETACH_REUSEPORT_BPF 68
#endif

static const char *const pins[] = {
	"program", "generations", "about", "state", "counters", "flows", "service",
};

static const char *pin_path(const char *service, const char *pin)
{
	static char path[128];

	snprintf(path, sizeof(path), PIN_ROOT "/%s%s%s", service, *pin ? "/" : "", pin);
	return path;
}

int require_privileges(void)
{
	static const struct {
		int capability;
		const char *name;
	} needed[] = {
		{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN (to load the program and to open maps)" },
		{ CAP_SYS_PTRACE, "CAP_SYS_PTRACE (to take sockets of other processes)" },
	};
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
	unsigned int i;

	if (syscall(SYS_capget, &head, data))
		return fail("cannot tell what this process may do (%s)", strerror(errno));
	for (i = 0; i < ARRAY_SIZE(needed); i++)
		if (!(data[needed[i].capability / 32].effective & 1U << needed[i].capability % 32))
			return fail("this needs %s: run it as root", needed[i].name);
	return 0;
}

int require_bpffs(void)
{
	struct statfs fs;

	if (!statfs("/sys/fs/bpf", &fs) && fs.f_type == BPF_FS_MAGIC)
		return 0;
	return fail("no bpffs on /sys/fs/bpf, where services are kept: mount -t bpf none "
		    "/sys/fs/bpf");
}

int require_netns(const struct service *service)
{
	if (proc_netns("self") == service->config.netns)
		return 0;
	return fail("service %s is in another network namespace (%llu): run this there, with "
		    "nsenter --net=/proc/PID/ns/net reuseportctl ..., PID being one of its "
		    "processes",
		    service->name, service->config.netns);
}

int require_name(const char *name)
{
	size_t len =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	if (len && len <= NAME_LEN && !name[len])
		return 0;
	return fail("\"%s\" is no name for a service: up to %d letters, digits, - and _", name,
		    NAME_LEN);
}

bool is_leftover(const char *name)
{
	return strchr(name, '+');
}

/* -- Locks ----------------------------------------------------------------- */

/* Who holds it, as /proc/locks has it; 0 if that cannot be told. */
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
	return fail("another reuseportctl, process %d, is at work on %s: wait until it is done",
		    lock_holder(fd), what);
}

/* Those who make or remove a service: one at a time. The lock lasts as long as we do. */
static int lock_root(void)
{
	static int root = -1;

	if (root >= 0)
		return 0;
	if (require_privileges() || require_bpffs())
		return -1;
	if (mkdir(PIN_ROOT, 0700) && errno != EEXIST)
		return fail("cannot make " PIN_ROOT " (%s)", strerror(errno));
	root = open(PIN_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail("cannot open " PIN_ROOT " (%s)", strerror(errno));
	if (!lock(root, "a service that comes or goes"))
		return 0;
	close(root);
	root = -1;
	return -1;
}

int service_check_exists(const struct service *service)
{
	struct stat ours, named;

	if (fstat(service->dir, &ours) || stat(pin_path(service->name, ""), &named) ||
	    ours.st_ino != named.st_ino)
		return fail("service %s has been removed meanwhile", service->name);
	return 0;
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

/* -- Opening --------------------------------------------------------------- */

static int read_config(const char *name, struct service_config *config)
{
	int fd = bpf_obj_get(pin_path(name, "service")), err;
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), zero = 0;

	if (fd < 0)
		return -1;
	err = bpf_map_get_info_by_fd(fd, &info, &len);
	if (!err && info.value_size != sizeof(*config)) {
		errno = EINVAL;
		err = -1;
	}
	if (!err)
		err = bpf_map_lookup_elem(fd, &zero, config);
	close(fd);
	return err;
}

static int open_pins(struct service *service)
{
	int *const fds[] = {
		&service->program, &service->generations, &service->about,
		&service->state,   &service->counters,	  &service->flows,
	};
	__u32 zero = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		*fds[i] = bpf_obj_get(pin_path(service->name, pins[i]));
		if (*fds[i] < 0)
			return -1;
	}
	if (read_config(service->name, &service->config))
		return -1;
	service->endpoint = (struct endpoint){
		.protocol = service->config.protocol,
		.family = service->config.family,
		.port = service->config.port,
	};
	memcpy(service->endpoint.address, service->config.address,
	       sizeof(service->endpoint.address));
	return bpf_map_lookup_elem(service->state, &zero, &service->now);
}

static void service_init(struct service *service, const char *name)
{
	*service = (struct service){
		.dir = -1,
		.program = -1,
		.generations = -1,
		.about = -1,
		.state = -1,
		.counters = -1,
		.flows = -1,
	};
	snprintf(service->name, sizeof(service->name), "%s", name);
}

int service_read_state(struct service *service)
{
	__u32 zero = 0;

	if (bpf_map_lookup_elem(service->state, &zero, &service->now))
		return fail("cannot read the state of service %s (%s)", service->name,
			    strerror(errno));
	return 0;
}

int service_open(struct service *service, const char *name, bool with_lock)
{
	service_init(service, name);
	if (require_privileges() || require_bpffs())
		return -1;
	if (!is_leftover(name) && require_name(name))
		return -1;
	service->dir = open(pin_path(name, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (service->dir < 0)
		return fail("there is no service %s: make it with reuseportctl attach; "
			    "reuseportctl show lists those there are",
			    name);
	if (open_pins(service)) {
		service_close(service);
		return fail("service %s is not whole: a pin in " PIN_ROOT "/%s is missing, or of "
			    "another version (%s). reuseportctl detach %s removes it",
			    name, name, strerror(errno), name);
	}
	if (with_lock && service_lock(service)) {
		service_close(service);
		return -1;
	}
	return 0;
}

void service_close(struct service *service)
{
	int *const fds[] = {
		&service->program,  &service->generations, &service->about, &service->state,
		&service->counters, &service->flows,	   &service->dir,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int visit_services(service_visit visit, void *arg)
{
	struct dirent **names;
	int count, i, err = 0;

	count = scandir(PIN_ROOT, &names, NULL, compare_names);
	for (i = 0; i < count; i++) {
		if (names[i]->d_name[0] != '.' && !err)
			err = visit(names[i]->d_name, arg);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
	return err;
}

/* -- The program ----------------------------------------------------------- */

bool probe_migration(void)
{
	/* r0 = ctx->migrating_sk != NULL: other kernels refuse to load this */
	const struct bpf_insn code[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_DW,
		  .dst_reg = 1,
		  .src_reg = 1,
		  .off = offsetof(struct sk_reuseport_md, migrating_sk) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type = BPF_SK_REUSEPORT_SELECT_OR_MIGRATE);
	int fd;

	fd = bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "probe", "GPL", code, ARRAY_SIZE(code),
			   &opts);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

int group_attach_prog(struct service *service, int fd)
{
	if (!setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &service->program,
			sizeof(service->program))) {
		service->steers = true;
		return 0;
	}
	if (errno == EINVAL)
		return fail("the socket is in no SO_REUSEPORT group: the server has to set "
			    "SO_REUSEPORT before bind()");
	return fail("cannot put the program on the group (%s)", strerror(errno));
}

/* At one address the kernel makes a group of the sockets that have this in common. */
bool service_owns_socket(const struct service *service, const struct endpoint_socket *socket)
{
	return socket->uid == service->config.uid &&
	       socket->interface == service->config.interface &&
	       socket->v6only == service->config.v6only;
}

/* Make any socket of the group ours as well. 0 and a @fd of -1: the group is gone. */
static int group_get_fd(const struct service *service, int *fd)
{
	struct held_socket *sockets;
	bool unseen = false;
	int count, looks, i, err = 0;

	for (looks = 0; looks < 2; looks++) {
		unseen = false;
		err = 0;
		*fd = -1;
		count = find_sockets(&service->endpoint, 0, &sockets);
		if (count < 0)
			return -1;
		for (i = 0; i < count && *fd < 0; i++) {
			if (!service_owns_socket(service, &sockets[i].info))
				continue;
			if (!sockets[i].pid) {
				unseen = true;
			} else if (!group_is_foreign(service, &sockets[i].info)) {
				*fd = try_socket(&sockets[i]);
				err = *fd < 0 ? errno : 0;
			}
		}
		free(sockets);
		if (!err)
			break;
		/* they may just be closing, then there will be none */
		sleep_ms(50);
	}
	if (err)
		return fail("cannot take a socket of the service (%s), without which its program "
			    "stays on the group: it needs CAP_SYS_PTRACE and a free file "
			    "descriptor (run as root; a container may forbid pidfd_getfd)",
			    strerror(err));
	if (*fd < 0 && unseen)
		return fail("the processes that have the sockets of the service cannot be seen "
			    "from here: run this in their PID namespace, or that of the host");
	return 0;
}

/* Take our program off the group. 0 also if there is none. */
static int group_detach_prog(const struct service *service)
{
	int fd, nothing = 0, err;

	if (require_netns(service) || group_get_fd(service, &fd))
		return -1;
	if (fd < 0)
		/* the program went with the group */
		return 0;
	err = setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &nothing, sizeof(nothing));
	if (err && errno != ENOENT)
		err = fail("cannot take the program off the group (%s)", strerror(errno));
	else
		err = 0;
	close(fd);
	return err;
}

/* -- Making ---------------------------------------------------------------- */

/* Remove a directory of pins, or what is left of it. */
static int remove_pins(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pins); i++)
		if (unlink(pin_path(name, pins[i])) && errno != ENOENT)
			return fail("cannot remove " PIN_ROOT "/%s/%s (%s)", name, pins[i],
				    strerror(errno));
	if (rmdir(pin_path(name, "")) && errno != ENOENT)
		return fail("cannot remove " PIN_ROOT "/%s (%s)", name, strerror(errno));
	return 0;
}

/* Remove a service, or what a command that was killed has left of one. */
static int finish_removal(const char *name)
{
	struct service service;
	int err = 0;

	if (access(pin_path(name, ""), F_OK))
		return 0;
	service_init(&service, name);
	/* as far as the pins are there: one that is not whole has no sockets any more */
	if (!open_pins(&service)) {
		err = group_detach_prog(&service);
		if (!err)
			generations_release(&service);
	}
	service_close(&service);
	return err ? err : remove_pins(name);
}

/* Has any generation a socket? */
static bool has_sockets(const struct service *service)
{
	struct generation about;
	__u32 place;

	for (place = 0; place < MAX_GENERATIONS; place++)
		if (!bpf_map_lookup_elem(service->about, &place, &about) && about.number &&
		    generation_nr_sockets(service, about.number))
			return true;
	return false;
}

struct newcomer {
	const char *name;
	const struct service_config *config;
};

/* A group has one program, so there is one service for it. Not even --force makes a second
 * one: the first would have no say any more, and not know it.
 */
static int check_duplicate(const char *name, void *arg)
{
	const struct newcomer *newcomer = arg;
	const struct service_config *wanted = newcomer->config;
	int plain = strcspn(name, "+");
	struct service_config config;

	/* of our own name: cleanup_name() looks at that */
	if (!strncmp(name, newcomer->name, plain) && !newcomer->name[plain])
		return 0;
	if (read_config(name, &config) || config.protocol != wanted->protocol ||
	    config.family != wanted->family || config.port != wanted->port ||
	    memcmp(config.address, wanted->address, sizeof(config.address)) ||
	    config.v6only != wanted->v6only || config.interface != wanted->interface ||
	    config.uid != wanted->uid || config.netns != wanted->netns)
		return 0;
	return fail("service %.*s is at this address already: switch it to the other process with "
		    "reuseportctl switch %.*s --pid PID, or detach it first",
		    plain, name, plain, name);
}

/* Open a service's directory so that nobody else is at work in it. */
static int open_locked(const char *name)
{
	int dir = open(pin_path(name, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return fail("cannot open " PIN_ROOT "/%s (%s)", name, strerror(errno));
	if (!lock(dir, name))
		return dir;
	close(dir);
	return -1;
}

/* Remove a service that has no sockets any more. */
static int remove_stale(const char *name)
{
	int dir = open_locked(name), err = 0;
	struct service service;
	bool lives;

	if (dir < 0)
		return -1;
	service_init(&service, name);
	lives = !open_pins(&service) && has_sockets(&service);
	service_close(&service);
	if (lives) {
		err = fail("there is a service %s already: switch it to another process with "
			   "reuseportctl switch %s --pid PID, or detach it first",
			   name, name);
	} else {
		say("service %s was left behind, without a socket: making it anew", name);
		if (!dry_run)
			err = finish_removal(name);
	}
	close(dir);
	return err;
}

/* What attach finds under the name: nothing, what is left of a service, or a service. */
static int cleanup_name(const char *name)
{
	char leftover[NAME_LEN + 8];

	if (!access(pin_path(name, ""), F_OK) && remove_stale(name))
		return -1;
	if (dry_run)
		return 0;
	snprintf(leftover, sizeof(leftover), "%s" DISCARDED, name);
	if (finish_removal(leftover))
		return -1;
	snprintf(leftover, sizeof(leftover), "%s" UNFINISHED, name);
	return finish_removal(leftover);
}

static int pin_all(struct reuseportctl_bpf *skel, struct bpf_program *program, const char *name)
{
	const struct bpf_map *const maps[] = {
		skel->maps.generations, skel->maps.about, skel->maps.state,
		skel->maps.counters,	skel->maps.flows, skel->maps.service,
	};
	unsigned int i;

	if (mkdir(pin_path(name, ""), 0700))
		return fail("cannot make " PIN_ROOT "/%s (%s)", name, strerror(errno));
	if (bpf_obj_pin(bpf_program__fd(program), pin_path(name, pins[0])))
		return fail("cannot pin the program (%s)", strerror(errno));
	for (i = 0; i < ARRAY_SIZE(maps); i++)
		if (bpf_obj_pin(bpf_map__fd(maps[i]), pin_path(name, pins[i + 1])))
			return fail("cannot pin the map %s (%s)", pins[i + 1], strerror(errno));
	return 0;
}

static int load(const char *name, const struct service_config *config, __u32 flows)
{
	bool migrate = config->protocol == IPPROTO_TCP && probe_migration();
	struct reuseportctl_bpf *skel;
	struct bpf_program *program;
	__u32 zero = 0;
	int err = -1;

	skel = reuseportctl_bpf__open();
	if (!skel)
		return fail("cannot open the program (%s)", strerror(errno));
	program = migrate ? skel->progs.steer_migrate : skel->progs.steer;
	bpf_program__set_autoload(skel->progs.steer, !migrate);
	bpf_program__set_autoload(skel->progs.steer_migrate, migrate);
	*(struct steering *)&skel->rodata->steering = config->steering;
	bpf_map__set_max_entries(skel->maps.counters, MAX_GENERATIONS * config->steering.slots);
	bpf_map__set_max_entries(skel->maps.flows, flows);
	if (reuseportctl_bpf__load(skel))
		fail("cannot load the program (%s): it needs Linux 5.10 with CONFIG_BPF_SYSCALL; "
		     "reuseportctl probe says more, REUSEPORTCTL_DEBUG=1 why",
		     strerror(errno));
	else if (bpf_map_update_elem(bpf_map__fd(skel->maps.service), &zero, config, BPF_ANY))
		fail("cannot describe service %s (%s)", name, strerror(errno));
	else
		err = pin_all(skel, program, name);
	reuseportctl_bpf__destroy(skel);
	return err;
}

int service_create(struct service *service, const char *name, const struct service_config *config,
		   __u32 flows)
{
	struct newcomer newcomer = { name, config };
	char unfinished[NAME_LEN + 8];

	service_init(service, name);
	if (require_name(name) || lock_root() || visit_services(check_duplicate, &newcomer) ||
	    cleanup_name(name))
		return -1;
	service->config = *config;
	if (dry_run)
		return 0;

	snprintf(unfinished, sizeof(unfinished), "%s" UNFINISHED, name);
	service_init(service, unfinished);
	if (load(unfinished, config, flows)) {
		remove_pins(unfinished);
		return -1;
	}
	if (open_pins(service)) {
		remove_pins(unfinished);
		return fail("cannot open what was just made (%s)", strerror(errno));
	}
	return 0;
}

int service_publish(struct service *service)
{
	char from[128];

	strcpy(from, pin_path(service->name, ""));
	*strchr(service->name, '+') = '\0';
	if (!rename(from, pin_path(service->name, "")))
		return 0;
	fail("cannot rename %s (%s)", from, strerror(errno));
	strcat(service->name, UNFINISHED);
	return -1;
}

void service_discard(struct service *service)
{
	/* if it does not come off all is left as if we had been killed */
	if (!service->steers || !group_detach_prog(service)) {
		generations_release(service);
		remove_pins(service->name);
	}
	service_close(service);
}

int service_remove(const char *name)
{
	char from[128], to[128], discarded[NAME_LEN + 8], unfinished[NAME_LEN + 8];
	bool leftover;
	int dir, err;

	if (require_name(name) || lock_root())
		return -1;
	snprintf(discarded, sizeof(discarded), "%s" DISCARDED, name);
	snprintf(unfinished, sizeof(unfinished), "%s" UNFINISHED, name);
	strcpy(from, pin_path(name, ""));
	strcpy(to, pin_path(discarded, ""));
	leftover = !access(to, F_OK) || !access(pin_path(unfinished, ""), F_OK);
	if (!leftover && access(from, F_OK))
		return fail("there is no service %s: reuseportctl show lists those there are",
			    name);
	if (dry_run)
		return 0;

	/* an attach that was killed may have got as far as steering */
	if (finish_removal(discarded) || finish_removal(unfinished))
		return -1;
	if (access(from, F_OK))
		return 0;
	dir = open_locked(name);
	if (dir < 0)
		return -1;
	if (rename(from, to))
		err = fail("cannot rename %s (%s)", from, strerror(errno));
	else
		err = finish_removal(discarded);
	if (err && !access(to, F_OK))
		rename(to, from);
	close(dir);
	return err;
}
