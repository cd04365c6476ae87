// SPDX-License-Identifier: GPL-2.0
/* Servers, clients and tools for the tests of reuseportctl.
 *
 * helper serve [-w WORKERS] [-s SOCKETS] [-d MS] [-u UID] [-b INTERFACE] [-a] [-c] [-C] [-D] [-i]
 *	[-k] [-m] [-n] [-p] [-r] [-x] tcp|udp ADDR PORT NAME
 *	A server of WORKERS processes (4) with SOCKETS sockets (1) each. It answers each
 *	connection or datagram with NAME. SIGTERM ends it: the workers answer what is
 *	queued, close their sockets, and exit.
 *	-a	accept and read nothing, not even on SIGTERM
 *	-b	bind the sockets of the first worker to INTERFACE
 *	-c	give each UDP peer a socket of its own, connected to it
 *	-C	connect the bound socket to each UDP peer, and bind a new one for others
 *	-d	wait MS milliseconds before bind()
 *	-D	set TCP_DEFER_ACCEPT
 *	-i	answer with NAME and the number of the worker, from 0
 *	-k	keep TCP connections open after the answer
 *	-m	use MPTCP instead of TCP
 *	-n	do not set SO_REUSEPORT
 *	-p	attach a classic BPF program that selects the first socket of the group
 *	-r	on SIGHUP start each worker again that has ended, on SIGUSR1 one more, and on
 *		SIGUSR2 one in a session of its own whose parent exits. That answers with
 *		NAME+, and runs until it gets a signal. Print "# started" for each of the former
 *		once it has its sockets
 *	-u	run as user UID
 *	-x	exit as soon as all workers have their sockets
 *
 * helper both ADDR PORT NAME
 *	A TCP and a UDP server in one.
 *
 * helper load [-c COUNT] [-f FLOWS] [-p PAUSE_MS] [-q HEX] [-r] [-s PORT] tcp|udp ADDR PORT
 *	A client with FLOWS sockets (1) that ask COUNT times (1) each, with PAUSE_MS in
 *	between. With TCP each question is a connection, and FLOWS of them are established
 *	before the first one is read. Over UDP the question is HEX, or one byte.
 *	-r sends a datagram again if there is no answer for 0.2 s, as the queue may be full.
 *	-s binds the sockets to ports from PORT on, each TCP connection to the next one, so that
 *	another run has the same hashes.
 *	On SIGTERM all sockets ask once more. At the end it prints how many answers came
 *	from each NAME, then
 *		failed N	no answer, or an error
 *		moved N		sockets with answers from more than one NAME
 *
 * helper stream COUNT tcp|udp ADDR PORT
 *	A client that asks without end, each time from a new socket at a new address of
 *	127.0.0.0/8, until SIGTERM. After each COUNT answers print a line of "NAME N" for each
 *	NAME they came from, and "failed N". A datagram that is not answered within 2 s is sent
 *	again, and has failed if its answer does not come within 2 s more.
 *
 * helper flood COUNT ADDR PORT
 *	Send COUNT datagrams over UDP, each from an IPv4 address and port of its own that are
 *	not this host's. Print how many were sent.
 *
 * helper train SIZE HEX ADDR PORT
 *	Send HEX over UDP as one packet, which stands for datagrams of SIZE bytes (UDP_SEGMENT).
 *	Print how many answers came from each NAME.
 *
 * helper shout COUNT ADDR PORT
 *	Send a datagram over UDP to a broadcast address, and wait for COUNT answers. Print how
 *	many came from each NAME.
 *
 * helper ring file|accept ADDR PORT
 *	A TCP listener that is registered with io_uring, or has a multishot accept pending
 *	there. Print "ready". On SIGTERM, and with "file" at once, close its fd.
 *
 * helper killat N COMMAND...
 *	Run COMMAND and kill it at its Nth system call. Exit status: 137 if it was killed,
 *	else that of COMMAND, which made fewer calls.
 *
 * helper calls COMMAND...
 *	Run COMMAND and print "calls N", the number of its system calls. Exit status: that of
 *	COMMAND.
 *
 * helper fault CALL N COMMAND...
 *	Run COMMAND and let its Nth system call of number CALL fail with ENOMEM. Exit status:
 *	that of COMMAND, or 128 plus the signal that killed it; 99 if it made fewer such
 *	calls; 77 if this machine cannot tell system calls apart.
 *
 * helper interrupt CALL N COMMAND...
 *	Run COMMAND and send it SIGINT at its Nth system call of number CALL. Exit status:
 *	that of COMMAND, or 128 plus the signal that killed it; 77 if this machine cannot
 *	tell system calls apart.
 *
 * helper inherit PID tcp|udp NAME
 *	Serve from duplicates of all sockets of process PID, as one that got them by fd passing.
 *	SIGTERM ends it.
 *
 * helper filter tcp|udp ADDR PORT
 *	Serve one socket with a classic BPF program attached to its group, until killed.
 *
 * helper hold DIRECTORY
 *	Hold an flock() on DIRECTORY until killed; print "held" once it has it.
 *
 * helper listen PATH
 *	Accept connections to the unix socket PATH, one after another, and print what they
 *	send.
 *
 * helper unable COMMAND...
 *	Run COMMAND with pidfd_getfd() forbidden, as in a container.
 *
 * helper clear PID
 *	Clear SO_REUSEPORT on the sockets of process PID.
 *
 * helper strip PID
 *	Detach the program from the group of a socket of process PID.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/if.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <linux/seccomp.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#ifdef __x86_64__
#include <sys/reg.h>
#endif
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define die(fmt, ...) do {							\
	fprintf(stderr, "helper: " fmt " (%s)\n", ##__VA_ARGS__, strerror(errno));\
	exit(1);								\
} while (0)

#ifndef UDP_SEGMENT
#define UDP_SEGMENT	103
#endif

#define MAX_SOCKETS	2048
#define MAX_WORKERS	64
#define PATIENCE_S	30

static volatile sig_atomic_t term;

static void on_term(int signal)
{
	term = signal;
}

struct target {
	int type;
	socklen_t len;
	struct sockaddr_storage addr;
};

static struct target parse_target(char **argv)
{
	struct target target = { .type = strcmp(argv[0], "udp") ? SOCK_STREAM : SOCK_DGRAM };
	struct sockaddr_in6 *six = (void *)&target.addr;
	struct sockaddr_in *four = (void *)&target.addr;
	char *address = strdup(argv[1]), *scope = strchr(address, '%');

	if (scope)
		*scope++ = '\0';
	if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(atoi(argv[2]));
		target.len = sizeof(*four);
	} else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(atoi(argv[2]));
		six->sin6_scope_id = scope ? if_nametoindex(scope) : 0;
		target.len = sizeof(*six);
	} else {
		die("%s is no address", argv[1]);
	}
	return target;
}

static const char *interface;
static int protocol;

/* A program that selects the first socket of the group of @fd. */
static void select_first(int fd)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog program = { 1, code };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)))
		die("SO_ATTACH_REUSEPORT_CBPF");
}

static bool own_program, deferring;

static int open_server(const struct target *target, bool reuseport)
{
	int fd = socket(target->addr.ss_family, target->type | SOCK_NONBLOCK, protocol), one = 1;

	if (fd < 0)
		die("socket");
	if (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)))
		die("SO_REUSEPORT");
	if (interface &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, strlen(interface)))
		die("SO_BINDTODEVICE");
	if (bind(fd, (void *)&target->addr, target->len))
		die("bind");
	if (target->type == SOCK_STREAM && listen(fd, 1024))
		die("listen");
	if (deferring && setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof(one)))
		die("TCP_DEFER_ACCEPT");
	if (own_program)
		select_first(fd);
	return fd;
}

/* -- serve ----------------------------------------------------------------- */

static bool keeping;

static bool answer_one(int type, int fd, const char *name)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char text[64];
	int conn;

	if (type == SOCK_DGRAM) {
		if (recvfrom(fd, text, sizeof(text), 0, (void *)&from, &len) < 0)
			return false;
		sendto(fd, name, strlen(name), 0, (void *)&from, len);
		return true;
	}
	conn = accept(fd, NULL, NULL);
	if (conn < 0)
		return false;
	if (send(conn, name, strlen(name), MSG_NOSIGNAL) < 0)
		fprintf(stderr, "helper: send: %s\n", strerror(errno));
	if (!keeping)
		close(conn);
	return true;
}

static bool connecting, swapping;

/* A socket of its own for the peer that has sent a datagram to *@fd, and the answer. */
static int connect_peer(const struct target *target, int *fd, const char *name)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char text[64];
	int own;

	if (recvfrom(*fd, text, sizeof(text), 0, (void *)&from, &len) < 0)
		return -1;
	own = swapping ? *fd : open_server(target, true);
	if (connect(own, (void *)&from, len))
		die("connect");
	if (swapping)
		*fd = open_server(target, true);
	send(own, name, strlen(name), 0);
	return own;
}

static bool orphaned;

static int work(const struct target *target, int sockets, bool reuseport, bool deaf,
		const char *name, int ready)
{
	static struct pollfd fds[MAX_SOCKETS];
	int bound = sockets, own, i;

	if (!orphaned)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < sockets; i++)
		fds[i] = (struct pollfd){ open_server(target, reuseport), POLLIN, 0 };
	if (write(ready, "", 1) != 1)
		die("write");
	while (!term) {
		if (poll(fds, deaf ? 0 : sockets, 20) <= 0)
			continue;
		for (i = 0; i < sockets; i++) {
			if (!fds[i].revents)
				continue;
			if (!connecting || i >= bound) {
				answer_one(target->type, fds[i].fd, name);
				continue;
			}
			own = connect_peer(target, &fds[i].fd, name);
			if (own >= 0 && sockets < MAX_SOCKETS)
				fds[sockets++] = (struct pollfd){ own, POLLIN, 0 };
		}
	}
	for (i = 0; i < sockets && !deaf; i++)
		while (answer_one(target->type, fds[i].fd, name))
			;
	return 0;
}

static struct {
	struct target target;
	int workers, sockets, ready[2];
	bool no_reuseport, deaf, numbered;
	const char *name;
	pid_t pids[MAX_WORKERS];
} server = { .workers = 4, .sockets = 1 };

static void start_worker(int i)
{
	char name[64], byte;
	sigset_t none;

	snprintf(name, sizeof(name), server.numbered ? "%s%d" : "%s", server.name, i);
	server.pids[i] = fork();
	if (!server.pids[i]) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		exit(work(&server.target, server.sockets, !server.no_reuseport, server.deaf, name,
			  server.ready[1]));
	}
	/* one at a time, so that their order is that of their slots */
	if (read(server.ready[0], &byte, 1) != 1)
		die("read");
}

static void start_more(int i)
{
	start_worker(i);
	puts("# started");
	fflush(stdout);
}

/* A worker that no process tree shows to be ours. */
static void start_orphan(void)
{
	pid_t pid = fork();
	sigset_t none;
	char name[64];

	if (!pid) {
		setsid();
		if (fork())
			_exit(0);
		orphaned = true;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		snprintf(name, sizeof(name), "%s+", server.name);
		exit(work(&server.target, 1, true, false, name, server.ready[1]));
	}
	waitpid(pid, NULL, 0);
	if (read(server.ready[0], name, 1) != 1)
		die("read");
}

/* Start workers on SIGHUP, SIGUSR1 and SIGUSR2, until SIGTERM. */
static void replace_workers(const sigset_t *signals)
{
	int signal = 0, i;

	while (signal != SIGTERM) {
		sigwait(signals, &signal);
		for (i = 0; i < server.workers; i++)
			if (server.pids[i] && waitpid(server.pids[i], NULL, WNOHANG) > 0)
				server.pids[i] = 0;
		for (i = 0; signal == SIGHUP && i < server.workers; i++)
			if (!server.pids[i])
				start_more(i);
		if (signal == SIGUSR1 && server.workers < MAX_WORKERS)
			start_more(server.workers++);
		if (signal == SIGUSR2)
			start_orphan();
	}
}

static int serve(int argc, char **argv)
{
	struct rlimit files = { MAX_SOCKETS + 64, MAX_SOCKETS + 64 };
	bool leave = false, replace = false;
	int delay = 0, option, status = 0, i;
	sigset_t signals;

	while ((option = getopt(argc, argv, "w:s:d:u:b:acCDikmnprx")) > 0) {
		switch (option) {
		case 'w':
			server.workers = atoi(optarg);
			break;
		case 's':
			server.sockets = atoi(optarg);
			break;
		case 'd':
			delay = atoi(optarg);
			break;
		case 'u':
			if (setresuid(atoi(optarg), atoi(optarg), atoi(optarg)))
				die("setresuid");
			prctl(PR_SET_DUMPABLE, 1);
			break;
		case 'b':
			interface = optarg;
			break;
		case 'm':
			protocol = 262; /* IPPROTO_MPTCP */
			break;
		case 'a':
			server.deaf = true;
			break;
		case 'c':
			connecting = true;
			break;
		case 'C':
			connecting = swapping = true;
			break;
		case 'D':
			deferring = true;
			break;
		case 'i':
			server.numbered = true;
			break;
		case 'k':
			keeping = true;
			break;
		case 'n':
			server.no_reuseport = true;
			break;
		case 'p':
			own_program = true;
			break;
		case 'r':
			replace = true;
			break;
		case 'x':
			leave = true;
			break;
		default: return 2;
		}
	}
	if (argc - optind != 4 || server.workers > MAX_WORKERS || server.sockets > MAX_SOCKETS)
		return 2;
	server.target = parse_target(argv + optind);
	server.name = argv[optind + 3];
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGTERM, on_term);
	usleep(delay * 1000);
	if (pipe(server.ready))
		die("pipe");
	if (replace) {
		sigemptyset(&signals);
		sigaddset(&signals, SIGHUP);
		sigaddset(&signals, SIGUSR1);
		sigaddset(&signals, SIGUSR2);
		sigaddset(&signals, SIGTERM);
		sigprocmask(SIG_BLOCK, &signals, NULL);
	}
	for (i = 0; i < server.workers; i++) {
		start_worker(i);
		interface = NULL;
	}
	if (leave)
		return 3;
	if (replace)
		replace_workers(&signals);
	else
		while (!term)
			pause();
	for (i = 0; i < server.workers; i++)
		if (server.pids[i])
			kill(server.pids[i], SIGTERM);
	for (i = 0; i < server.workers; i++)
		if (server.pids[i] && waitpid(server.pids[i], &status, 0) < 0)
			die("waitpid");
	return 0;
}

static int both(int argc, char **argv)
{
	char *args[] = { "serve", NULL, argv[1], argv[2], argv[3], NULL };
	int i, status, failures = 0;
	pid_t pids[2];

	if (argc != 4)
		return 2;
	signal(SIGTERM, on_term);
	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		args[1] = i ? "udp" : "tcp";
		if (!pids[i])
			return serve(5, args);
	}
	while (!term)
		pause();
	for (i = 0; i < 2; i++)
		kill(pids[i], SIGTERM);
	for (i = 0; i < 2; i++)
		failures += waitpid(pids[i], &status, 0) < 0 || status;
	return failures;
}

/* -- inherit --------------------------------------------------------------- */

static int inherit(int argc, char **argv)
{
	static struct pollfd fds[MAX_SOCKETS];
	int pidfd, type, count = 0, fd, i;

	if (argc != 4)
		return 2;
	type = strcmp(argv[2], "udp") ? SOCK_STREAM : SOCK_DGRAM;
	signal(SIGTERM, on_term);
	pidfd = syscall(__NR_pidfd_open, atoi(argv[1]), 0);
	if (pidfd < 0)
		die("pidfd_open");
	for (i = 3; i < 256; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);

		fd = syscall(__NR_pidfd_getfd, pidfd, i, 0);
		if (fd < 0)
			continue;
		if (getsockname(fd, (void *)&addr, &len))
			close(fd);
		else
			fds[count++] = (struct pollfd){ fd, POLLIN, 0 };
	}
	close(pidfd);
	while (!term) {
		poll(fds, count, 20);
		for (i = 0; i < count; i++)
			if (fds[i].revents)
				answer_one(type, fds[i].fd, argv[3]);
	}
	return 0;
}

/* -- load ------------------------------------------------------------------ */

static struct tally {
	char name[64];
	unsigned int count;
} tallies[32];
static unsigned int failed, moved;
static char question[64] = "?";
static int question_len = 1;

static void parse_question(const char *hex)
{
	unsigned int byte;

	for (question_len = 0; question_len < 64 && sscanf(hex, "%2x", &byte) == 1; hex += 2)
		question[question_len++] = byte;
}

static void tally(const char *name)
{
	struct tally *t = tallies;

	while (t->count && strcmp(t->name, name))
		t++;
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->count++;
}

static bool resend;
static int next_port;

static int open_client(const struct target *target)
{
	int fd = socket(target->addr.ss_family, target->type, 0), one = 1;
	struct target own = *target;

	if (next_port) {
		/* sin6_port is at the same offset */
		((struct sockaddr_in *)&own.addr)->sin_port = htons(next_port++);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd, (void *)&own.addr, own.len))
			die("bind to port %d", next_port - 1);
	}
	if (!connect(fd, (void *)&target->addr, target->len))
		return fd;
	close(fd);
	return -1;
}

static bool ask(const struct target *target, int fd, char *text, size_t size)
{
	struct timeval patience = { PATIENCE_S, 0 };
	int tries = 1;
	ssize_t len;

	if (resend) {
		tries = PATIENCE_S * 5;
		patience = (struct timeval){ 0, 200000 };
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	do {
		if (target->type == SOCK_DGRAM && send(fd, question, question_len, 0) < 0)
			return false;
		do {
			len = recv(fd, text, size - 1, 0);
		} while (len < 0 && errno == EINTR);
	} while (len < 0 && errno == EAGAIN && --tries);
	if (len <= 0)
		return false;
	text[len] = '\0';
	return true;
}

static int load(int argc, char **argv)
{
	static char names[MAX_SOCKETS][64];
	static int fds[MAX_SOCKETS];
	static bool moves[MAX_SOCKETS];
	int count = 1, flows = 1, pause_ms = 0, option, i, f;
	struct target target;
	bool last = false;
	char text[64];

	while ((option = getopt(argc, argv, "c:f:p:q:rs:")) > 0) {
		switch (option) {
		case 'c':
			count = atoi(optarg);
			break;
		case 'f':
			flows = atoi(optarg);
			break;
		case 'p':
			pause_ms = atoi(optarg);
			break;
		case 'q':
			parse_question(optarg);
			break;
		case 'r':
			resend = true;
			break;
		case 's':
			next_port = atoi(optarg);
			break;
		default: return 2;
		}
	}
	if (argc - optind != 3 || flows > MAX_SOCKETS)
		return 2;
	target = parse_target(argv + optind);
	signal(SIGTERM, on_term);
	for (i = 0; i < count && !last; i++) {
		last = term;
		for (f = 0; f < flows; f++) {
			if (!i || target.type == SOCK_STREAM) {
				fds[f] = open_client(&target);
				failed += fds[f] < 0;
			}
		}
		for (f = 0; f < flows; f++) {
			if (fds[f] < 0)
				continue;
			if (ask(&target, fds[f], text, sizeof(text))) {
				tally(text);
				moves[f] |= i && strcmp(text, names[f]);
				strcpy(names[f], text);
			} else {
				failed++;
			}
			if (target.type == SOCK_STREAM)
				close(fds[f]);
		}
		usleep(pause_ms * 1000);
	}
	for (f = 0; f < flows; f++)
		moved += moves[f];
	for (i = 0; tallies[i].count; i++)
		printf("%s %u\n", tallies[i].name, tallies[i].count);
	printf("failed %u\nmoved %u\n", failed, moved);
	return failed ? 1 : 0;
}

/* -- stream ---------------------------------------------------------------- */

static int open_client_anew(const struct target *target)
{
	static __u16 count;
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(127 << 24 | (1 + getpid() % 250) << 16 | ++count),
	};
	int fd = socket(AF_INET, target->type, 0), one = 1;

	/* connect() chooses the port */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, (void *)&from, sizeof(from)))
		die("bind");
	if (!connect(fd, (void *)&target->addr, target->len))
		return fd;
	close(fd);
	return -1;
}

/* Return whether the datagram that was sent again has only been late: both are answered. */
static bool is_answered_twice(int fd)
{
	char text[64];

	return recv(fd, text, sizeof(text), 0) > 0;
}

static bool ask_once(const struct target *target, char *text, size_t size)
{
	struct timeval patience = { 2, 0 };
	int fd = open_client_anew(target), sent;
	bool answered = false;
	ssize_t len = -1;

	if (fd < 0)
		return false;
	if (target->type == SOCK_STREAM) {
		answered = ask(target, fd, text, size);
		close(fd);
		return answered;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	for (sent = 0; len <= 0 && sent < PATIENCE_S; sent++) {
		send(fd, "?", 1, 0);
		len = recv(fd, text, size - 1, 0);
	}
	answered = len > 0;
	while (answered && --sent)
		answered = is_answered_twice(fd);
	text[len > 0 ? len : 0] = '\0';
	close(fd);
	return answered;
}

static int stream(int argc, char **argv)
{
	unsigned int count, answers = 0, i;
	struct target target;
	char text[64];

	if (argc != 5)
		return 2;
	count = atoi(argv[1]);
	target = parse_target(argv + 2);
	signal(SIGTERM, on_term);
	while (!term) {
		if (!ask_once(&target, text, sizeof(text))) {
			failed++;
			continue;
		}
		tally(text);
		if (++answers < count)
			continue;
		for (i = 0; tallies[i].count; i++)
			printf("%s %u ", tallies[i].name, tallies[i].count);
		printf("failed %u\n", failed);
		fflush(stdout);
		memset(tallies, 0, sizeof(tallies));
		answers = failed = 0;
	}
	return 0;
}

/* -- flood ----------------------------------------------------------------- */

static int flood(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct {
		struct iphdr ip;
		struct udphdr udp;
		char text[4];
	} packet = {
		.ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP },
	};
	int count, sent = 0, fd, i;

	if (argc != 4)
		return 2;
	count = atoi(argv[1]);
	if (inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		return 2;
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0)
		die("SOCK_RAW");
	packet.ip.tot_len = htons(sizeof(packet));
	packet.ip.daddr = to.sin_addr.s_addr;
	packet.udp.dest = htons(atoi(argv[3]));
	packet.udp.len = htons(sizeof(packet) - sizeof(packet.ip));
	for (i = 0; i < count; i++) {
		packet.ip.saddr = htonl(0x0a000001 + i);
		packet.udp.source = htons(1024 + i % 60000);
		sent += sendto(fd, &packet, sizeof(packet), 0, (void *)&to, sizeof(to)) ==
			sizeof(packet);
	}
	printf("sent %d\n", sent);
	return sent == count ? 0 : 1;
}

/* -- train, shout ---------------------------------------------------------- */

static int count_answers(int fd, int count)
{
	struct timeval patience = { PATIENCE_S, 0 };
	char text[64];
	ssize_t len;
	int i;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	for (i = 0; i < count; i++) {
		len = recv(fd, text, sizeof(text) - 1, 0);
		if (len <= 0)
			die("answer %d of %d", i + 1, count);
		text[len] = '\0';
		tally(text);
	}
	for (i = 0; tallies[i].count; i++)
		printf("%s %u\n", tallies[i].name, tallies[i].count);
	return 0;
}

static int open_broadcaster(char **argv, struct target *target)
{
	char *args[] = { "udp", argv[0], argv[1] };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1;

	*target = parse_target(args);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)))
		die("socket");
	return fd;
}

static int train(int argc, char **argv)
{
	struct target target;
	int size, fd;

	if (argc != 5)
		return 2;
	size = atoi(argv[1]);
	parse_question(argv[2]);
	fd = open_broadcaster(argv + 3, &target);
	if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)))
		die("UDP_SEGMENT");
	if (sendto(fd, question, question_len, 0, (void *)&target.addr, target.len) < 0)
		die("sendto");
	return count_answers(fd, question_len / size);
}

static int shout(int argc, char **argv)
{
	struct target target;
	int fd;

	if (argc != 4)
		return 2;
	fd = open_broadcaster(argv + 2, &target);
	if (sendto(fd, "?", 1, 0, (void *)&target.addr, target.len) < 0)
		die("sendto");
	return count_answers(fd, atoi(argv[1]));
}

/* -- ring -------------------------------------------------------------------- */

/* Submit a multishot accept that never completes by itself. */
static void submit_accept(int ring, const struct io_uring_params *params, int fd)
{
	char *queue = mmap(NULL, params->sq_off.array + params->sq_entries * sizeof(__u32),
			   PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entry = mmap(NULL, params->sq_entries * sizeof(*entry),
					  PROT_READ | PROT_WRITE, MAP_SHARED, ring,
					  IORING_OFF_SQES);

	if (queue == MAP_FAILED || entry == MAP_FAILED)
		die("mmap");
	entry->opcode = IORING_OP_ACCEPT;
	entry->ioprio = 1;	/* IORING_ACCEPT_MULTISHOT */
	entry->fd = fd;
	*(__u32 *)(queue + params->sq_off.array) = 0;
	__atomic_store_n((__u32 *)(queue + params->sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1)
		die("io_uring_enter");
}

static int ring(int argc, char **argv)
{
	char *args[] = { "tcp", argv[2], argv[3] };
	struct io_uring_params params = {};
	struct target target;
	int ring_fd, fd;

	if (argc != 4)
		return 2;
	target = parse_target(args);
	ring_fd = syscall(__NR_io_uring_setup, 4, &params);
	if (ring_fd < 0)
		return 77;
	signal(SIGTERM, on_term);
	fd = open_server(&target, true);
	if (strcmp(argv[1], "file"))
		submit_accept(ring_fd, &params, fd);
	else if (syscall(__NR_io_uring_register, ring_fd, IORING_REGISTER_FILES, &fd, 1))
		die("IORING_REGISTER_FILES");
	else
		close(fd);
	puts("ready");
	fflush(stdout);
	while (!term)
		pause();
	close(fd);
	for (;;)
		pause();
}

/* -- killat, calls, interrupt, fault ----------------------------------------------- */

/* Start a command that stops at each system call. It has stopped before its execve(). */
static pid_t start_traced(char **argv)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execvp(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD |
	       PTRACE_O_EXITKILL);
	return pid;
}

static int killat(int argc, char **argv)
{
	int status, left = argc > 2 ? 2 * atoi(argv[1]) - 1 : 0;
	pid_t pid;

	if (left < 1)
		return 2;
	pid = start_traced(argv + 2);
	/* the execve() itself is not among those counted */
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &status, 0);
	ptrace(PTRACE_SYSCALL, pid, 0, 0);
	waitpid(pid, &status, 0);
	while (left) {
		int signal = 0;

		if (ptrace(PTRACE_SYSCALL, pid, 0, signal))
			die("ptrace");
		if (waitpid(pid, &status, 0) != pid)
			die("waitpid");
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (WIFSIGNALED(status))
			return 128 + WTERMSIG(status);
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			left--;
	}
	/* stopped as it enters the call: that one is not made */
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return 137;
}

static int calls(int argc, char **argv)
{
	int status, stops = 0;
	pid_t pid;

	if (argc < 2)
		return 2;
	pid = start_traced(argv + 1);
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0))
			die("ptrace");
		if (waitpid(pid, &status, 0) != pid)
			die("waitpid");
		if (!WIFSTOPPED(status))
			break;
		stops += WSTOPSIG(status) == (SIGTRAP | 0x80);
	}
	/* a stop as it enters a call, and one as it leaves */
	printf("calls %d\n", stops / 2);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int interrupt(int argc, char **argv)
{
#ifdef __x86_64__
	int status, signal = 0, left;
	bool entry = false;
	pid_t pid;

	if (argc < 4)
		return 2;
	left = atoi(argv[2]);
	pid = start_traced(argv + 3);
	for (;;) {
		if (ptrace(left ? PTRACE_SYSCALL : PTRACE_CONT, pid, 0, signal))
			die("ptrace");
		if (waitpid(pid, &status, 0) != pid)
			die("waitpid");
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (WIFSIGNALED(status))
			return 128 + WTERMSIG(status);
		signal = WSTOPSIG(status) & 0x7f;
		if (signal != SIGTRAP)
			continue;
		signal = 0;
		if (WSTOPSIG(status) == SIGTRAP)
			continue;
		entry = !entry;
		if (!entry || ptrace(PTRACE_PEEKUSER, pid, 8 * ORIG_RAX, 0) != atoi(argv[1]))
			continue;
		if (left && !--left)
			kill(pid, SIGINT);
	}
#else
	return 77;
#endif
}

static int fault(int argc, char **argv)
{
#ifdef __x86_64__
	int status, signal = 0, left;
	bool entry = false, failing = false;
	pid_t pid;

	if (argc < 4)
		return 2;
	left = atoi(argv[2]);
	pid = start_traced(argv + 3);
	for (;;) {
		if (ptrace(left || failing ? PTRACE_SYSCALL : PTRACE_CONT, pid, 0, signal))
			die("ptrace");
		if (waitpid(pid, &status, 0) != pid)
			die("waitpid");
		if (WIFEXITED(status) || WIFSIGNALED(status))
			break;
		signal = WSTOPSIG(status) & 0x7f;
		if (signal != SIGTRAP)
			continue;
		signal = 0;
		if (WSTOPSIG(status) == SIGTRAP)
			continue;
		entry = !entry;
		if (failing) {
			ptrace(PTRACE_POKEUSER, pid, 8 * RAX, (long)-ENOMEM);
			failing = false;
		} else if (entry && left &&
			   ptrace(PTRACE_PEEKUSER, pid, 8 * ORIG_RAX, 0) == atoi(argv[1]) &&
			   !--left) {
			/* no such call: it does nothing, and its result is replaced */
			ptrace(PTRACE_POKEUSER, pid, 8 * ORIG_RAX, -1L);
			failing = true;
		}
	}
	if (left)
		return 99;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
#else
	return 77;
#endif
}

/* -- filter, hold ---------------------------------------------------------- */

static int filter(int argc, char **argv)
{
	struct target target;

	if (argc != 4)
		return 2;
	target = parse_target(argv + 1);
	own_program = true;
	open_server(&target, true);
	pause();
	return 0;
}

static int hold(int argc, char **argv)
{
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_RDONLY | O_DIRECTORY);
	if (fd < 0 || flock(fd, LOCK_EX))
		die("%s", argv[1]);
	puts("held");
	fflush(stdout);
	pause();
	return 0;
}

static int listen_unix(int argc, char **argv)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), conn;
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char text[256];
	ssize_t len;

	if (argc != 2 || strlen(argv[1]) >= sizeof(at.sun_path))
		return 2;
	strcpy(at.sun_path, argv[1]);
	if (bind(fd, (void *)&at, sizeof(at)) || listen(fd, 8))
		die("%s", argv[1]);
	while ((conn = accept(fd, NULL, NULL)) >= 0) {
		while ((len = read(conn, text, sizeof(text))) > 0)
			if (write(STDOUT_FILENO, text, len) != len)
				die("write");
		close(conn);
	}
	die("accept");
}

/* -- unable, strip --------------------------------------------------------- */

static int unable(int argc, char **argv)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_pidfd_getfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	if (argc < 2)
		return 2;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		die("PR_SET_SECCOMP");
	execvp(argv[1], argv + 1);
	die("%s", argv[1]);
}

static int strip(int argc, char **argv)
{
	int pidfd, fd, number, nothing = 0;

	if (argc != 2)
		return 2;
	pidfd = syscall(__NR_pidfd_open, atoi(argv[1]), 0);
	for (number = 3; number < 64; number++) {
		fd = syscall(__NR_pidfd_getfd, pidfd, number, 0);
		if (!setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &nothing, sizeof(nothing)))
			return 0;
	}
	die("no program on any group of process %s", argv[1]);
}

static int clear(int argc, char **argv)
{
	int pidfd, fd, number, off = 0, cleared = 0;

	if (argc != 2)
		return 2;
	pidfd = syscall(__NR_pidfd_open, atoi(argv[1]), 0);
	for (number = 3; number < 64; number++) {
		fd = syscall(__NR_pidfd_getfd, pidfd, number, 0);
		cleared += !setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &off, sizeof(off));
	}
	return cleared ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} parts[] = {
		{ "unable", unable }, { "strip", strip },   { "clear", clear },
		{ "serve", serve },   { "both", both },	    { "load", load },
		{ "killat", killat }, { "filter", filter }, { "hold", hold },
		{ "inherit", inherit },
		{ "interrupt", interrupt }, { "fault", fault }, { "calls", calls },
		{ "flood", flood },   { "listen", listen_unix },
		{ "stream", stream },
		{ "train", train },   { "shout", shout },   { "ring", ring },
	};
	unsigned int i;

	for (i = 0; argc > 1 && i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!strcmp(argv[1], parts[i].name))
			return parts[i].run(argc - 1, argv + 1);
	fprintf(stderr, "helper: see the head of helper.c\n");
	return 2;
}
