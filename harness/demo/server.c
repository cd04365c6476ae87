// SPDX-License-Identifier: GPL-2.0
/*
 * server map|plain GENERATION DIR - one generation of a server
 *
 * Four worker processes, each with a TCP listener and a UDP socket of its own,
 * all on one port. "ready" and the time appear on stdout as soon as this
 * generation has the new connections; from then on its predecessor may be sent
 * a SIGTERM, and will drain and exit.
 *
 * With "map" the program in steer.bpf.c spreads the packets, with "plain" the
 * kernel does so by hash. The rest is the same for both; who wants to do a hot
 * restart like this needs the functions steering_*() and when main() calls them.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "common.h"
#include "steer.skel.h"
#include "worker.h"

#define PIN_DIR	"/sys/fs/bpf/demo"

static struct {
	int program;
	int generations;	/* the outer map */
	int sockets;		/* the inner map of this generation */
} steering;

/* -- Steering -------------------------------------------------------------- */

/*
 * Load the program, find (or be the first to make) the outer map, and enter an
 * inner map for this generation. It is empty yet, and nobody has an id that
 * leads to it.
 */
static void steering_open(__u32 generation)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = PIN_DIR);
	__u32 place = place_of(generation);
	struct steer *skel;

	skel = steer__open_opts(&opts);
	if (!skel || steer__load(skel))
		die("cannot load the program: %s (root? bpffs? this map type in the kernel?)",
		    strerror(errno));
	steering.program = bpf_program__fd(skel->progs.steer);
	steering.generations = bpf_map__fd(skel->maps.generations);

	steering.sockets = bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "sockets",
					  sizeof(__u32), sizeof(__u64), SLOTS, NULL);
	if (steering.sockets < 0)
		die("cannot make a map for the sockets: %s (limits? see ulimit -l)",
		    strerror(errno));
	if (bpf_map_update_elem(steering.generations, &place, &steering.sockets, BPF_ANY))
		die("generation %u cannot enter its map: %s", generation, strerror(errno));
}

/*
 * The socket is bound by now, and a listener listens: only then is it in the
 * group, and may be in the map. It will leave the map by itself when closed.
 *
 * A group has one program. To attach it anew replaces the one that the last
 * generation has left there, so a new server may bring a new program.
 */
static void steering_add(int fd, __u32 slot)
{
	__u64 value = fd;

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &steering.program,
		       sizeof(steering.program)))
		die("cannot attach the program: %s", strerror(errno));
	if (bpf_map_update_elem(steering.sockets, &slot, &value, BPF_NOEXIST))
		die("cannot put a socket into slot %u: %s", slot, strerror(errno));
}

/* The hot restart: from here on new connections, TCP and UDP, are ours. */
static void steering_switch(void)
{
	__u32 place = CURRENT;

	if (bpf_map_update_elem(steering.generations, &place, &steering.sockets, BPF_ANY))
		die("cannot switch: %s", strerror(errno));
}

/* All sockets are closed: give the place, and with it the inner map, back. */
static void steering_close(__u32 generation)
{
	__u32 place = place_of(generation);

	if (bpf_map_delete_elem(steering.generations, &place))
		die("generation %u cannot leave: %s", generation, strerror(errno));
}

/* -- Processes ------------------------------------------------------------- */

static int open_socket(int type)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1;
	int fd;

	fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("cannot bind port %d: %s (another user's server on it?)", PORT,
		    strerror(errno));
	if (type == SOCK_DGRAM)
		return fd;

	/*
	 * Give us a connection only when its request is there, as web servers
	 * ask for. Until then, one round trip, it waits in the listener.
	 */
	if (setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof(one)) ||
	    listen(fd, SOMAXCONN))
		die("cannot listen: %s", strerror(errno));
	return fd;
}

static pid_t start_worker(struct conn_id id, bool with_map, const char *dir)
{
	int tcp = open_socket(SOCK_STREAM);
	int udp = open_socket(SOCK_DGRAM);
	pid_t pid;

	if (with_map) {
		steering_add(tcp, slot_of(ntohs(id.worker), IPPROTO_TCP));
		steering_add(udp, slot_of(ntohs(id.worker), IPPROTO_UDP));
	}

	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		worker(id, tcp, udp, dir);
		exit(0);
	}

	/* The worker alone has them now, so they close when it closes them. */
	close(tcp);
	close(udp);
	return pid;
}

int main(int argc, char **argv)
{
	__u32 generation = argc == 4 ? atoi(argv[2]) : 0;
	bool with_map = argc == 4 && !strcmp(argv[1], "map");
	pid_t pids[WORKERS];
	int sig, status;
	sigset_t set;

	if (generation < 1 || generation > UINT16_MAX || (!with_map && strcmp(argv[1], "plain")))
		die("usage: server map|plain GENERATION DIR (generations count from 1)");

	/* Blocked here and in the workers: both take signals when it suits them. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);

	if (with_map)
		steering_open(generation);
	for (int i = 0; i < WORKERS; i++) {
		struct conn_id id = { htons(generation), htons(i) };

		pids[i] = start_worker(id, with_map, argv[3]);
	}
	if (with_map)
		steering_switch();

	printf("ready %.3f\n", now_us() / 1e6);
	fflush(stdout);

	sigwait(&set, &sig);
	if (sig == SIGCHLD)
		die("generation %u: a worker died", generation);

	for (int i = 0; i < WORKERS; i++)
		kill(pids[i], SIGTERM);
	for (int i = 0; i < WORKERS; i++)
		if (waitpid(pids[i], &status, 0) < 0 || status)
			die("generation %u: worker %d failed", generation, i);
	if (with_map)
		steering_close(generation);
	return 0;
}
