/* SPDX-License-Identifier: GPL-2.0 */
/* Steering QUIC by connection ids, so that a client may change its address.
 *
 * What is read of a packet is what RFC 8999 fixes for all versions: in a long header the version
 * and both ids with their lengths; in a short one an id at byte 1, whose length the packet does
 * not tell. Beyond that, versions 1 and 2 say whether a long header can begin a connection.
 *
 * In this order, the slot is that
 *
 *   1. of the socket whose cookie the id begins with: nginx writes it there,
 *   2. of an id that is known,
 *   3. of the client's address, if the packet does not begin a connection; the id of such a packet
 *      is known from then on,
 *   4. that the hash selects in the current generation. If the packet begins a connection, its
 *      id is recorded, for the client uses it until the server has answered with another one.
 *
 * Ids are learned where nobody can invent them: quic_learn sees those that the server sends, in
 * clear, in long headers. Such an id is pending; a client that uses it has had the server's
 * packet, so its address is its own. Only then does the id, and with it the address, go into what
 * 2 and 3 look up, and no packet from elsewhere evicts it from there. Without such a program, if
 * there is no cgroup v2, an address that a connection was begun from teaches ids instead; two
 * packets from an address that is not the sender's own are enough then.
 *
 * The table has whole ids, which are as large as hashes that nobody can make collide, and can be
 * listed.
 */
#ifndef __QUIC_BPF_H
#define __QUIC_BPF_H

#define QUIC_REFRESH	8	/* ticks, half a second: how exact @seen has to be */
#define QUIC_MAX_PATHS	15

#define QUIC_LONG_HEADER	0x80
#define QUIC_VERSION_2		0x6b3343cf

/* Constant when the program is loaded */
const volatile struct quic_constants quic;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct quic_bucket);
} quic_ids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct quic_cookie);
} quic_cookies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct quic_service);
} quic_service SEC(".maps");

/* What is to be done with the address that an id came from. */
enum quic_path {
	QUIC_PATH_KNOWN,
	QUIC_PATH_LASTS,	/* note that it is still in use */
	QUIC_PATH_NEW,		/* record it */
};

struct quic_match {
	struct quic_target target;
	__u32 depth;
	enum quic_path path;
};

/* What is known of the packet that a CPU handles. On the stack, the verifier would follow each
 * combination of values through the rest of the program, and exceed its limit. Two programs do
 * not use it at the same time: both run with bottom halves disabled.
 */
struct quic_packet {
	struct peer peer;
	struct quic_id id;	/* @len 0: there is none, or its length is not known */
	struct quic_match match;
	__u32 is_long;
	__u32 begins;		/* may be the first packet of a connection */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct quic_packet);
} quic_packets SEC(".maps");

/* -- The table of ids --------------------------------------------------------------- */

static __always_inline struct quic_bucket *quic_bucket(const struct quic_id *id)
{
	__u32 index = ((__u64)quic_hash(&flow_table, id) * flow_table.id_buckets) >> 32;

	return bpf_map_lookup_elem(&quic_ids, &index);
}

static __always_inline bool quic_is(const struct quic_entry *entry, const struct quic_id *id)
{
	return entry->words[0] == id->words[0] && entry->words[1] == id->words[1] &&
	       entry->words[2] == id->words[2] && entry->words[3] == id->words[3] &&
	       entry->words[4] == id->words[4] && entry->len == id->len;
}

static __always_inline bool quic_has_expired(const struct quic_entry *entry, __u32 current,
					     __u32 now)
{
	return quic_entry_has_expired(&flow_table, entry, current, now);
}

/* Find an id that a client has sent from the address that hashes to @path. */
static __always_inline bool quic_find(const struct quic_id *id, __u32 current, __u32 now,
				      __u32 path, struct quic_match *match)
{
	struct quic_bucket *bucket = quic_bucket(id);
	struct quic_entry *entry;
	bool found = false;
	int i;

	if (!bucket)
		return false;
	/* Most packets change nothing and need no lock: a known entry that has not expired keeps
	 * its target, unless a server uses the same id for another connection.
	 */
	for (i = 0; i < FLOW_WAYS; i++) {
		entry = &bucket->entries[i];
		if (!quic_is(entry, id))
			continue;
		if (entry->kind != QUIC_KNOWN || entry->path != path ||
		    now - entry->seen >= QUIC_REFRESH)
			break;
		match->target.generation = entry->generation;
		match->target.slot = entry->slot;
		match->path = QUIC_PATH_KNOWN;
		return true;
	}
	if (i == FLOW_WAYS)
		return false;

	match->path = QUIC_PATH_KNOWN;
	bpf_spin_lock(&bucket->lock);
	for (i = 0; i < FLOW_WAYS; i++) {
		entry = &bucket->entries[i];
		if (!entry->kind || !quic_is(entry, id))
			continue;
		found = !quic_has_expired(entry, current, now);
		if (!found)
			break;
		match->target.generation = entry->generation;
		match->target.slot = entry->slot;
		match->depth = entry->depth;
		if (entry->kind == QUIC_PENDING) {
			entry->kind = QUIC_KNOWN;
			entry->path = ~path;	/* of no address yet */
		}
		if (entry->kind == QUIC_KNOWN && entry->path != path) {
			if (entry->paths < QUIC_MAX_PATHS) {
				match->path = QUIC_PATH_NEW;
				entry->paths++;
			}
			entry->path = path;
		} else if (now - entry->seen >= QUIC_REFRESH && entry->kind == QUIC_KNOWN) {
			match->path = QUIC_PATH_LASTS;
		}
		entry->seen = now;
		break;
	}
	bpf_spin_unlock(&bucket->lock);
	return found;
}

/* Which entry to take for a new id? 0: not this one. */
static __always_inline __u32 quic_rank(const struct quic_entry *entry, enum quic_kind kind,
				       __u32 current, __u32 now)
{
	if (!entry->kind)
		return 4;
	if (quic_has_expired(entry, current, now))
		return 3;
	if (entry->kind == QUIC_FIRST)
		return 2;
	return entry->kind == QUIC_PENDING && kind != QUIC_FIRST;
}

/* Record an id, if there is room: a known one is never evicted, a pending one not by first ones. */
static __always_inline void quic_record(const struct quic_id *id, enum quic_kind kind,
					const struct quic_target *target, __u32 depth,
					__u32 current, __u32 now)
{
	struct quic_bucket *bucket = quic_bucket(id);
	__u32 rank = 0, possible, best = 0;
	__s32 age, oldest = 0;
	struct quic_entry *entry;
	int i;

	if (!bucket)
		return;
	bpf_spin_lock(&bucket->lock);
	for (i = 0; i < FLOW_WAYS; i++) {
		entry = &bucket->entries[i];
		if (entry->kind && quic_is(entry, id)) {
			best = i;
			/* the server repeats its id in each packet */
			rank = entry->kind > kind && entry->generation == target->generation &&
			       entry->slot == target->slot ? 0 : 5;
			break;
		}
		possible = quic_rank(entry, kind, current, now);
		age = now - entry->seen;
		if (possible > rank || (possible && possible == rank && age > oldest)) {
			rank = possible;
			oldest = age;
			best = i;
		}
	}
	if (rank) {
		entry = &bucket->entries[best & (FLOW_WAYS - 1)];
		entry->words[0] = id->words[0];
		entry->words[1] = id->words[1];
		entry->words[2] = id->words[2];
		entry->words[3] = id->words[3];
		entry->words[4] = id->words[4];
		entry->len = id->len;
		entry->slot = target->slot;
		entry->generation = target->generation;
		entry->seen = now;
		entry->path = 0;
		entry->paths = 0;
		entry->depth = depth;
		entry->kind = kind;
	}
	bpf_spin_unlock(&bucket->lock);
}

/* -- Addresses ---------------------------------------------------------------------- */

/* Record that packets from an address go to a slot, or that they still do. */
static __always_inline void quic_record_path(const struct peer *peer,
					     const struct quic_target *target, __u32 depth,
					     __u32 current, __u32 now, bool is_new)
{
	struct flow_bucket *bucket = flow_bucket(peer);
	struct quic_target known;

	if (!bucket)
		return;
	if (!is_new &&
	    flow_find(bucket, peer, current, now, false, &known.generation, &known.slot, NULL) &&
	    known.generation == target->generation && known.slot == target->slot)
		return;
	flow_count(flow_record(bucket, peer, current, now, target->generation, target->slot,
			       depth));
}

/* -- Packets ------------------------------------------------------------------------ */

/* Shorten an id that was read with what follows it. */
static __always_inline void quic_cut(struct quic_id *id, __u32 len)
{
	__u32 i;

	id->len = len;
	for (i = 0; i < QUIC_ID_WORDS; i++) {
		if (len <= 4 * i)
			id->words[i] = 0;
		else if (len < 4 * i + 4)
			id->words[i] &= bpf_htonl(~0U << ((4 * i + 4 - len) * 8 & 31));
	}
}

/* Can a long header of this type and version begin a connection? Of an unknown version, any can. */
static __always_inline bool quic_begins(__u8 first, __u32 version)
{
	if (version == 1)
		return (first >> 4 & 3) <= 1;		/* Initial, 0-RTT */
	if (version == QUIC_VERSION_2)
		return ((first >> 4) - 1 & 3) <= 1;
	return version;
}

struct quic_head {
	__u8 unused[3], first;	/* so that what follows is aligned */
	__be32 words[QUIC_ID_WORDS];
};

/* Read the beginning of a packet, and return false if it is shorter. Each valid one has so many
 * bytes, because the encryption of headers needs them. The helper is slow, but can read packets of
 * which the driver has left that part in another page.
 */
static __always_inline bool quic_read_head(struct sk_reuseport_md *ctx, struct quic_head *head)
{
	const __u8 *data = ctx->data, *end = ctx->data_end;
	const __be32 *words = (const void *)(data + sizeof(struct udphdr) + 1);

	if (!quic.direct_access || data + sizeof(struct udphdr) + 1 + sizeof(head->words) > end)
		return !bpf_skb_load_bytes(ctx, sizeof(struct udphdr), &head->first,
					   1 + sizeof(head->words));
	head->first = data[sizeof(struct udphdr)];
	head->words[0] = words[0];
	head->words[1] = words[1];
	head->words[2] = words[2];
	head->words[3] = words[3];
	head->words[4] = words[4];
	return true;
}

static __always_inline void quic_read_long(struct sk_reuseport_md *ctx,
					   const struct quic_head *head,
					   struct quic_packet *packet)
{
	__u32 len = bpf_ntohl(head->words[1]) >> 24;

	packet->is_long = true;
	packet->begins = len && quic_begins(head->first, bpf_ntohl(head->words[0]));
	packet->id.len = 0;
	if (len && len <= sizeof(head->words) &&
	    !bpf_skb_load_bytes(ctx, sizeof(struct udphdr) + 6, packet->id.words,
				sizeof(head->words)))
		quic_cut(&packet->id, len);
}

static __always_inline __u64 quic_cookie(const __be32 *words)
{
	return (__u64)bpf_ntohl(words[0]) << 32 | bpf_ntohl(words[1]);
}

static __always_inline bool quic_find_cookie(__u64 cookie, struct quic_target *target)
{
	struct quic_cookie *found;
	__u32 index, i;

	for (i = 0; i < QUIC_PROBES; i++) {
		index = (cookie + i) & quic.cookie_mask;
		found = bpf_map_lookup_elem(&quic_cookies, &index);
		if (found && found->cookie == cookie) {
			*target = found->target;
			return true;
		}
	}
	return false;
}

/* Find the id of a short header, of each length that servers have used. If it is not known, and
 * there is one length only, *@packet has the id.
 */
static __always_inline bool quic_find_short(struct quic_packet *packet,
					    const struct quic_service *info, __u32 current,
					    __u32 now, __u32 path, struct quic_match *match)
{
	struct quic_id id;
	__u32 len, i;

	packet->id.len = sizeof(packet->id.words);
	for (i = 0; i < QUIC_LENGTHS; i++) {
		len = info->lengths[i];
		if (!len)
			break;
		id = packet->id;
		quic_cut(&id, len);
		if (quic_find(&id, current, now, path, match))
			return true;
	}
	quic_cut(&packet->id, i == 1 && !info->has_empty ? info->lengths[0] : 0);
	return false;
}

/* A server of the service has chosen an id of this length. */
static __always_inline void quic_add_length(struct quic_service *info, __u32 len)
{
	int i;

	if (!len) {
		info->has_empty = true;
		return;
	}
	for (i = 0; i < QUIC_LENGTHS; i++) {
		if (info->lengths[i] == len)
			return;
		if (!info->lengths[i]) {
			info->lengths[i] = len;
			return;
		}
	}
}

/* Find the slot of a packet by the cookie that its id may begin with. No other socket will ever
 * have that cookie, so it does not matter if another generation has taken the index since.
 */
static __always_inline bool quic_steer_cookie(struct sk_reuseport_md *ctx, const __be32 *words,
					      struct quic_target *target)
{
	__u64 cookie = quic_cookie(words);
	__u32 index;
	void *sockets;

	/* no kernel has made 2^48 sockets, but random ids are as large */
	if (cookie >> 48 || !quic_find_cookie(cookie, target))
		return false;
	index = target->generation % MAX_GENERATIONS;
	sockets = bpf_map_lookup_elem(&generations, &index);
	return sockets && !bpf_sk_select_reuseport(ctx, sockets, &target->slot, 0);
}

/* Find the slot of a packet by its id. */
static __always_inline bool quic_steer_id(struct sk_reuseport_md *ctx,
					  const struct quic_service *info, __u32 current,
					  __u32 now, struct quic_packet *packet,
					  struct quic_target *target)
{
	struct quic_match *match = &packet->match;
	bool found;

	if (packet->is_long)
		found = packet->id.len && quic_find(&packet->id, current, now, ctx->hash, match);
	else
		found = quic_find_short(packet, info, current, now, ctx->hash, match);
	if (!found || !select_slot(ctx, match->target.generation, match->target.slot))
		return false;
	*target = match->target;
	if (match->path != QUIC_PATH_KNOWN && read_peer(ctx, &packet->peer))
		quic_record_path(&packet->peer, target, match->depth, current, now,
				 match->path == QUIC_PATH_NEW);
	return true;
}

/* Find the slot of a packet by its address, and learn the id. */
static __always_inline bool quic_steer_path(struct sk_reuseport_md *ctx,
					    struct quic_service *info, __u32 current, __u32 now,
					    struct quic_packet *packet, struct quic_target *target)
{
	struct flow_bucket *bucket;

	if (packet->begins || !read_peer(ctx, &packet->peer))
		return false;
	bucket = flow_bucket(&packet->peer);
	if (!bucket ||
	    !flow_find(bucket, &packet->peer, current, now, packet->id.len, &target->generation,
		       &target->slot, &packet->match.depth) ||
	    !select_slot(ctx, target->generation, target->slot))
		return false;
	if (packet->match.depth)
		quic_record(&packet->id, QUIC_KNOWN, target, packet->match.depth, current, now);
	if (packet->is_long && !info->learns)
		quic_add_length(info, packet->id.len);
	return true;
}

/* Find the slot that a packet belongs to, 1 to 3 above. */
static __always_inline bool quic_steer(struct sk_reuseport_md *ctx, __u32 current, __u32 now,
				       struct quic_packet **known, struct quic_target *target)
{
	struct quic_service *info;
	struct quic_packet *packet;
	struct quic_head head;
	__u32 zero = 0;

	if (!quic_read_head(ctx, &head))
		return false;
	if (!(head.first & QUIC_LONG_HEADER) && quic_steer_cookie(ctx, head.words, target))
		return true;
	info = bpf_map_lookup_elem(&quic_service, &zero);
	packet = bpf_map_lookup_elem(&quic_packets, &zero);
	if (!info || !packet)
		return false;
	*known = packet;
	if (head.first & QUIC_LONG_HEADER) {
		quic_read_long(ctx, &head, packet);
		if (packet->id.len >= 8 && quic_steer_cookie(ctx, packet->id.words, target))
			return true;
	} else {
		packet->is_long = false;
		packet->begins = false;
		__builtin_memcpy(packet->id.words, head.words, sizeof(head.words));
	}
	return quic_steer_id(ctx, info, current, now, packet, target) ||
	       quic_steer_path(ctx, info, current, now, packet, target);
}

/* A slot was selected by hash. */
static __always_inline void quic_note(struct sk_reuseport_md *ctx, struct quic_packet *packet,
				      __u32 current, __u32 now, const struct quic_target *target)
{
	struct quic_service *info;
	__u32 zero = 0;

	if (!packet->begins)
		return;
	if (packet->id.len)
		quic_record(&packet->id, QUIC_FIRST, target, 0, current, now);
	info = bpf_map_lookup_elem(&quic_service, &zero);
	if (info && !info->learns && read_peer(ctx, &packet->peer))
		quic_record_path(&packet->peer, target, 0, current, now, true);
}

/* -- The server's packets ----------------------------------------------------------- */

/* Find where the payload of a datagram begins that is sent from the service's port, or 0. The port
 * is compared first, as few packets have it. IP headers with options are not looked into.
 */
static __always_inline __u32 quic_payload(struct __sk_buff *skb)
{
	const __u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (ip + 28 > end || *(__be16 *)(ip + 20) != quic.port || ip[9] != IPPROTO_UDP ||
		    ip[0] != 0x45 || *(__be16 *)(ip + 6) & bpf_htons(0x1fff))
			return 0;
		return 28;
	}
	if (ip + 48 > end || *(__be16 *)(ip + 40) != quic.port || ip[6] != IPPROTO_UDP)
		return 0;
	return 48;
}

/* Read whom a packet goes to. */
static __always_inline bool quic_receiver(struct __sk_buff *skb, __u32 payload, struct peer *peer)
{
	long err;

	if (payload == 28) {
		peer->address[2] = bpf_htonl(0xffff);
		err = bpf_skb_load_bytes(skb, 16, &peer->address[3], 4);
	} else {
		err = bpf_skb_load_bytes(skb, 24, peer->address, 16);
	}
	return !err && !bpf_skb_load_bytes(skb, payload - 6, &peer->port, sizeof(peer->port));
}

/* Learn from a packet with a long header what the server calls the connection. */
static __always_inline void quic_learn_id(struct __sk_buff *skb, __u32 payload)
{
	__u32 len, zero = 0, now = bpf_ktime_get_ns() >> TICK_SHIFT;
	struct quic_service *info;
	struct quic_target target;
	struct quic_id id = {};
	struct peer peer = {};
	struct state *state_now;
	__u8 head[6], scid_len;
	__u32 offset = payload;
	__u64 cookie;

	/* version 0 negotiates, and has an id that the client has chosen */
	if (bpf_skb_load_bytes(skb, offset, head, sizeof(head)) ||
	    !(head[1] | head[2] | head[3] | head[4]) || head[5] > sizeof(id.words))
		return;
	offset += sizeof(head) + head[5];
	if (bpf_skb_load_bytes(skb, offset, &scid_len, sizeof(scid_len)))
		return;
	len = scid_len;
	if (len > sizeof(id.words) ||
	    bpf_skb_load_bytes(skb, offset + 1, id.words, sizeof(id.words)))
		return;

	cookie = bpf_get_socket_cookie(skb);
	state_now = bpf_map_lookup_elem(&state, &zero);
	info = bpf_map_lookup_elem(&quic_service, &zero);
	if (!quic_find_cookie(cookie, &target) || !state_now || !info)
		return;
	quic_add_length(info, len);
	if (len) {
		quic_cut(&id, len);
		/* found without the table */
		if (len >= sizeof(cookie) && cookie == quic_cookie(id.words))
			return;
		quic_record(&id, QUIC_PENDING, &target, 0, state_now->current, now);
	} else if (quic_receiver(skb, payload, &peer)) {
		quic_record_path(&peer, &target, 0, state_now->current, now, false);
	}
}

SEC("cgroup_skb/egress")
int quic_learn(struct __sk_buff *skb)
{
	__u32 payload = quic_payload(skb);
	__u8 first = 0;

	/* most have short headers */
	if (payload && !bpf_skb_load_bytes(skb, payload, &first, sizeof(first)) &&
	    first & QUIC_LONG_HEADER)
		quic_learn_id(skb, payload);
	return 1;
}

#endif
