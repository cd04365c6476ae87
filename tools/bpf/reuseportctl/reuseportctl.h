/* SPDX-License-Identifier: GPL-2.0 */
/* The maps of a service, shared by the BPF program and the tool.
 *
 * layout		the version of all this, and of the tool that wrote it
 * service		what the service is; only the tool reads it
 * state		the current generation; one write to it is the switch
 * generations		ARRAY_OF_MAPS: the sockets of each generation
 * generation_info	what else there is to know of each generation
 * counters		ARRAY_OF_MAPS: per CPU, packets and flows of each slot of each generation
 * counters_1		the counters of generations that layout 1 had, if there are any
 * flows		buckets of UDP peers, and the slot that serves each
 * flow_config		the size and the timeouts of flows and ids, and the key of their hashes
 * flow_stats		per CPU: what became of new peers
 * quic_ids		buckets of QUIC connection ids, and the slot that each leads to
 * quic_cookies		generation and slot of each socket, by cookie: see struct quic_cookie
 * quic_service		what is known of the ids that the server chooses
 *
 * Generation N has index N % MAX_GENERATIONS in generations, generation_info and counters. What
 * has a size per slot is a map of its own that is made with the generation, so that memory is
 * used by generations that exist, and not by those that may. A change of MAX_GENERATIONS is a
 * new layout.
 *
 * A change to a structure below, to a map or to what one means is a new LAYOUT_VERSION: see
 * upgrade.c for what else it takes. Only struct layout must never change.
 */
#ifndef __REUSEPORTCTL_H
#define __REUSEPORTCTL_H

#include <linux/bpf.h>
#include <linux/types.h>

/* 1: reuseportctl 1.0, which had no map layout; generation_info was named about, flows was an
 *    LRU hash of struct flow_1, and counters had all slots of MAX_GENERATIONS_1 generations: the
 *    index times the slots per generation plus the slot
 */
#define LAYOUT_VERSION	2

#define TICK_SHIFT	26	/* a tick is 2^26 ns, 67 ms; 32 bits of them are 9 years */
/* That may have sockets at the same time. A multiple of MAX_GENERATIONS_1, so that generations
 * which have different indexes in layout 1 have different ones here.
 */
#define MAX_GENERATIONS	64
#define MAX_PROCESSES	16	/* main processes of one server */
#define MAX_SLOTS	1024	/* sockets of one generation; a power of two */

struct layout {
	__u32 version;
	char tool[28];		/* the version of reuseportctl */
};

/* New connections and flows go to @current, unless the service is open: then the program selects
 * nothing, and the kernel distributes over all sockets of the group. @newest is the last
 * generation that was ever current; numbers start at 1, and one is skipped if its index is in
 * use. @older leads from there to all generations that there were at the last switch.
 *
 * New flows and connections with a share_hash() of at most @share go to @canary, a generation that
 * is being tried, instead.
 */
struct state {
	__u32 current;
	__u32 newest;
	__u32 open;
	__u32 switched;		/* CLOCK_MONOTONIC of the last switch, ticks; layout 1: 0 */
	__u32 canary;		/* 0: none */
	__u32 share;		/* of 2^32, less 1 */
	__u32 older[MAX_GENERATIONS];	/* by index: the next lower number, or 0 */
};

/* What decides between canary and current generation. It is the same for all packets of a flow, so
 * while the share grows flows move to the canary, and never back. The multiplication makes it
 * independent of the slot, which the upper bits of @hash select.
 */
static inline __attribute__((always_inline)) __u32 share_hash(__u32 hash)
{
	return hash * 0x9e3779b1;
}

/* The first @live entries of @live_slots are the slots that may still have a socket; the
 * program drops those that it finds empty.
 */
struct main_process {
	__u64 started;		/* field 22 of its /proc/PID/stat */
	__u32 pid;		/* 0: there are no more */
	__u32 zero;
};

struct generation {
	struct bpf_spin_lock lock;
	__u32 number;		/* 0: the index is free, or is being filled */
	__u32 slots;		/* filled when the generation was made, or since */
	__u32 live;
	__u32 pid;		/* the server's main process, or the first of several */
	char comm[16];
	__u32 began;		/* sockets when it was made; 0 (layout 1): @slots */
	__u64 started;		/* field 22 of its /proc/PID/stat */
	__u64 since;		/* s since the epoch */
	__u16 live_slots[MAX_SLOTS];
	struct main_process others[MAX_PROCESSES - 1];	/* layout 1 has none */
};

struct counter {
	__u64 packets;		/* TCP: SYNs */
	__u64 flows;		/* of these, the first of a connection or a flow */
	__u64 seen;		/* CLOCK_MONOTONIC of the last one, ns */
};

struct peer {
	__be32 address[4];	/* IPv4: ::ffff:a.b.c.d */
	__be16 port;
	__u16 zero;
};

#define FLOW_WAYS		8	/* entries of a bucket; a power of two */

struct flow {
	__be32 address[4];	/* of the peer, as in struct peer */
	__be16 port;
	__u16 slot;
	__u32 generation;	/* 0: the entry is free */
	__u32 seen;		/* CLOCK_MONOTONIC of the last datagram, ticks */
	__u32 packets;
	__u8 ids;		/* QUIC: that were learned because they came from this peer */
	__u8 depth;		/* QUIC: see struct quic_entry */
	__u16 zero;
};

struct flow_bucket {
	struct bpf_spin_lock lock;
	__u32 zero;
	struct flow flows[FLOW_WAYS];
};

struct flow_config {
	__u32 buckets;
	__u32 timeout;		/* ticks without a datagram after which a flow has ended */
	__u32 drain_timeout;	/* the same for generations that are not the current one */
	__u32 id_buckets;	/* of quic_ids */
	__u64 key[7];
};

/* Has an entry that a packet was seen for at tick @seen ended by tick @now? Another CPU may have
 * seen one later than this one has read its clock: then the difference is negative.
 */
static inline __attribute__((always_inline)) int
has_expired(const volatile struct flow_config *config, __u32 generation, __u32 current, __u32 seen,
	    __u32 now)
{
	__u32 timeout = generation == current ? config->timeout : config->drain_timeout;

	return (__s32)(now - seen) > (__s32)timeout;
}

/* What became of a new peer, best last. */
enum flow_outcome {
	FLOW_REFUSED,		/* not recorded: all entries of its bucket have two datagrams */
	FLOW_EVICTED,		/* in place of a peer with one datagram */
	FLOW_EXPIRED,		/* in place of a flow that had ended */
	FLOW_ADDED,		/* in a free entry */
	FLOW_REPLACED,		/* known, but its slot has lost its socket, or its flow ended */
	FLOW_OUTCOMES
};

/* Multilinear hashing with random factors: however a set of peers was chosen, by someone who
 * knows neither the factors nor what they give, two of them share a bucket by chance only.
 * Volatile, as the compiler does not know what the tool writes into constants of the program.
 */
static inline __attribute__((always_inline)) __u32
peer_hash(const volatile struct flow_config *config, const struct peer *peer)
{
	__u64 hash = config->key[0];

	hash += config->key[1] * peer->address[0];
	hash += config->key[2] * peer->address[1];
	hash += config->key[3] * peer->address[2];
	hash += config->key[4] * peer->address[3];
	hash += config->key[5] * peer->port;
	return hash >> 32;
}

static inline __attribute__((always_inline)) __u32
flow_bucket_index(const volatile struct flow_config *config, const struct peer *peer)
{
	return ((__u64)peer_hash(config, peer) * config->buckets) >> 32;
}

#define QUIC_ID_WORDS		5	/* 20 bytes, the most that versions 1 and 2 allow */
#define QUIC_MAX_IDS		15	/* that one address teaches */
#define QUIC_MAX_DEPTH		3	/* see struct quic_entry */
#define QUIC_LENGTHS		4	/* of the ids that the servers of a service choose */
#define QUIC_HANDSHAKE		150	/* ticks, 10 s: how long an id waits for its use */

/* A connection id. Words beyond @len are 0. */
struct quic_id {
	__be32 words[QUIC_ID_WORDS];
	__u32 len;
};

/* How an id is known, least certain first. */
enum quic_kind {
	QUIC_FREE,		/* the entry is free */
	QUIC_FIRST,		/* a client has begun a handshake with it */
	QUIC_PENDING,		/* a server has sent it, no client has used it yet */
	QUIC_KNOWN,		/* a client has used it after the server had sent it */
};

/* An id, and where packets go that have it. With an id goes the right to record addresses of
 * the peer, and with an address the right to record ids: both are counted. @depth is how often
 * that has been passed on since the server sent an id that the client confirmed. What a client
 * can record by sending from addresses that are not its own is bounded by that.
 */
struct quic_entry {
	__be32 words[QUIC_ID_WORDS];
	__u8 len;
	__u8 kind;
	__u16 slot;
	__u32 generation;
	__u32 seen;		/* ticks, to within QUIC_REFRESH */
	__u32 path;		/* hash of the address that it was seen from last */
	__u8 paths;
	__u8 depth;
	__u16 zero;
};

/* One that is not known yet ends with the handshake. */
static inline __attribute__((always_inline)) int
quic_entry_has_expired(const volatile struct flow_config *config, const struct quic_entry *entry,
		       __u32 current, __u32 now)
{
	if (entry->kind == QUIC_KNOWN)
		return has_expired(config, entry->generation, current, entry->seen, now);
	return (__s32)(now - entry->seen) > QUIC_HANDSHAKE;
}

struct quic_bucket {
	struct bpf_spin_lock lock;
	__u32 zero;
	struct quic_entry entries[FLOW_WAYS];
};

struct quic_target {
	__u32 generation;
	__u32 slot;
};

/* A socket, by cookie: in the first free entry from (cookie & mask) on, of QUIC_PROBES. Cookies are
 * given out in turn, so the sockets of a server seldom collide; one that finds no entry is left
 * out.
 */
#define QUIC_PROBES		4

struct quic_cookie {
	__u64 cookie;		/* 0: free */
	struct quic_target target;
};

struct quic_constants {
	__be16 port;		/* of the service */
	__u16 direct_access;	/* programs may read words that are not aligned */
	__u32 cookie_mask;
};

struct quic_service {
	__u32 learns;		/* from the server's packets, by quic_learn */
	__u8 has_empty;		/* a server has chosen an id of no bytes */
	__u8 lengths[QUIC_LENGTHS];	/* of other ids; 0: free */
	__u8 zero[3];
};

static inline __attribute__((always_inline)) __u32
quic_hash(const volatile struct flow_config *config, const struct quic_id *id)
{
	__u64 hash = config->key[0];

	hash += config->key[1] * id->words[0];
	hash += config->key[2] * id->words[1];
	hash += config->key[3] * id->words[2];
	hash += config->key[4] * id->words[3];
	hash += config->key[5] * id->words[4];
	hash += config->key[6] * id->len;
	return hash >> 32;
}

/* Layout 1 */
#define MAX_GENERATIONS_1	8

struct state_1 {
	__u32 current;
	__u32 newest;
	__u32 generations[MAX_GENERATIONS_1];	/* newest first */
};

struct flow_1 {
	__u32 generation;
	__u32 slot;
	__u64 packets;
	__u64 seen;		/* ns */
};

enum udp_mode {
	UDP_NONE,		/* each packet is independent; also for TCP */
	UDP_FLOW,
	UDP_ID,
	UDP_QUIC,
};

struct steering {
	__u32 mode;
	__u32 id_offset;	/* into the UDP payload */
	__u32 id_len;		/* 2, 3 or 4 */
	__u32 slots;		/* counters per generation */
};

#define SERVICE_HOLD	1	/* never open */
#define SERVICE_FORCE	2	/* replace a program that the server attaches */

/* What the sockets of the group have in common. */
struct service_config {
	struct steering steering;
	__u32 protocol;
	__u32 family;
	__be32 address[4];
	__be16 port;
	__u16 v6only;
	__u32 uid;		/* that the sockets belong to */
	__u32 interface;	/* that they are bound to; 0: none */
	__u32 flags;
	__u64 netns;		/* inode */
};

#endif
