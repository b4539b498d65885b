/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Rows of UDP flows, at their first server and at their owner.
 *
 * UDP has no cookie, so any source address may be forged and every row costs its server about 130
 * bytes.  A flow's row may therefore be evicted until its application has answered and its client
 * has sent more; only then it gets one that stays, within the share of its client's network.  A
 * flow without a row is never refused: its next datagram is its first again.
 */
#ifndef IPOS_FLOW_ROWS_H
#define IPOS_FLOW_ROWS_H

#include "lib/network_share.h"
#include "lib/rows.h"

#define FLOW_OFFER_AGAIN_NS 50000000ULL	 /* a type 1 without an answer is repeated after this */
#define FLOW_ANSWERED_NS 1000000000ULL	 /* so often the owner is asked for an answer's sake */
#define FLOW_FRAGMENTS_NS 30000000000ULL /* fragments that are further apart are of two packets */
#define FLOW_OFFER_MASK ((1 << IPOS_FLOW_OFFER_BITS) - 1)

/* One datagram, or a fragment of one, as it came in. */
struct datagram {
	struct ipos_tuple tuple; /* of a later fragment without ports, until its first is found */
	__u16 l2, l4;		 /* bytes before the IP header, and before UDP's */
	__u16 length;		 /* of the IP packet */
	__u16 headers;		 /* of them: IP and, unless it is a later fragment, UDP */
	__be16 id;
	__u16 offset;  /* of a fragment, in bytes */
	__u8 more;     /* fragments follow */
	__u8 whole;    /* it may not be split */
	__u16 service; /* index in `services` */
	__u16 server;  /* of a later fragment: its owner, and the port there */
	__be16 port;
	__u64 now;
};

struct flow_work {
	struct datagram gram;
	struct ipos_flow flow; /* rows being made */
	struct ipos_owned owned;
	struct ipos_fragment fragment;
	struct ipos_fragment_key piece;
	struct ipos_tuple any;
	__u32 zero;
};
/* Working space, as `scratch`. */
IPOS_MAP(flow_work, PERCPU_ARRAY, __u32, struct flow_work, IPOS_PROGRAMS);

IPOS_INLINE struct flow_work *flow_work_of(__u32 program)
{
	return bpf_map_lookup_elem(&flow_work, &program);
}

/* The UDP service at an address, or NULL. */
IPOS_INLINE struct ipos_address *flow_address(__u32 ip, __u16 port)
{
	struct ipos_address_key key = { .ip = ip, .port = port, .protocol = IPPROTO_UDP };

	return bpf_map_lookup_elem(&FAMILY(addresses), &key);
}

IPOS_INLINE struct ipos_flow *flow_of(const struct ipos_tuple *t)
{
	struct ipos_flow *f = bpf_map_lookup_elem(&udp_flows, t);

	return f ? f : bpf_map_lookup_elem(&udp_new, t);
}

IPOS_INLINE int flow_idle(__u64 last_seen_ns, const struct ipos_service *service, __u64 now)
{
	return now - last_seen_ns > service->flow_idle_s * 1000000000ULL;
}

/* Whether the flow stays with its server. */
IPOS_INLINE int flow_lives(const struct ipos_flow *f, const struct ipos_service *service, __u64 now)
{
	struct ipos_server *server = server_at(f->server);

	return server && f->state != IPOS_FLOW_REFUSED &&
	       (server->state == IPOS_SERVER_READY || server->state == IPOS_SERVER_DRAIN) &&
	       !flow_idle(f->last_seen_ns, service, now);
}

/* ---- shares of `udp_flows`, as those of the hold pool --------------------------------------- */

IPOS_INLINE __u32 flow_share_used(__u32 slot)
{
	__u32 *used = bpf_map_lookup_elem(&udp_used, &slot);
	__u32 *back = bpf_map_lookup_elem(&udp_returned, &slot);
	__s32 n = used && back ? (__s32)(*used - *back) : 0;

	return n < 0 ? 0 : n;
}

IPOS_INLINE void flow_share_add(__u32 slot, __u32 rows)
{
	__u32 *used = bpf_map_lookup_elem(&udp_used, &slot);

	if (used)
		__sync_fetch_and_add(used, rows);
}

/* The counter of why a flow's row stays one that can be evicted; 0: it need not. */
IPOS_FUNCTION int flow_share_refuses(__u64 hash)
{
	__u32 all = flow_share_used(IPOS_SHARES_ALL), used, other, most;

	if (all >= IPOS_FLOW_ROWS)
		return COUNT_FLOW_FULL;
	most = (IPOS_FLOW_ROWS - all) / SHARE_PARTS;
	used = flow_share_used(share_slot(hash, 0));
	other = flow_share_used(share_slot(hash, 1));
	return (other < used ? other : used) >= most ? COUNT_FLOW_SHARE : 0;
}

/*
 * Its client has gone on after an answer, and its state says so: the flow gets a row that stays, if
 * there is one for it.
 */
IPOS_FUNCTION int flow_keep(const struct ipos_tuple *t)
{
	struct ipos_settings *set = settings_now();
	struct ipos_flow *f;
	__u64 hash;
	int reason;

	if (!t || !set)
		return 0;
	f = bpf_map_lookup_elem(&udp_new, t);
	if (!f)
		return 0;
	hash = network_hash(set, t->client_ip);
	reason = flow_share_refuses(hash);
	if (!reason && bpf_map_update_elem(&udp_flows, t, f, BPF_NOEXIST))
		reason = COUNT_FLOW_FULL;
	count(reason ? reason : COUNT_FLOW_KEPT);
	if (reason)
		return 0;
	flow_share_add(share_slot(hash, 0), 1);
	flow_share_add(share_slot(hash, 1), 1);
	flow_share_add(IPOS_SHARES_ALL, 1);
	bpf_map_delete_elem(&udp_new, t);
	return 1;
}

/* ---- the owner's rows ----------------------------------------------------------------------- */

IPOS_INLINE struct ipos_owned *owned_of(const struct ipos_tuple *t)
{
	return bpf_map_lookup_elem(&udp_owned, t);
}

/* The key of what a client asked last by the application's port. */
IPOS_INLINE void owned_any(struct ipos_tuple *to, const struct ipos_tuple *t, __u16 port)
{
	__builtin_memset(to, 0, sizeof(*to));
	to->client_ip = t->client_ip;
	to->client_port = t->client_port;
	to->service_port = port;
	to->protocol = IPPROTO_UDP;
}

/*
 * A datagram of the flow is for this server's application at `port`, or the flow was offered; its
 * rows are made if they are not there.  `first`: index of the first server, 0 if that is not known.
 */
IPOS_FUNCTION int owned_note(struct flow_work *k, __u32 port, __u32 first)
{
	const struct ipos_service *service;
	struct ipos_owned *o, *any;

	if (!k)
		return -1;
	service = service_at(k->gram.service);
	if (!service)
		return -1;
	owned_any(&k->any, &k->gram.tuple, port);
	any = owned_of(&k->any);
	o = owned_of(&k->gram.tuple);
	if (o && flow_idle(o->last_seen_ns, service, k->gram.now))
		o->answered_ns = 0;
	if (o) {
		o->packets++;
		seen(&o->last_seen_ns, k->gram.now);
		if (first)
			o->first = first;
	} else {
		__builtin_memset(&k->owned, 0, sizeof(k->owned));
		k->owned.last_seen_ns = k->gram.now;
		k->owned.service_ip = k->gram.tuple.service_ip;
		k->owned.service_port = k->gram.tuple.service_port;
		k->owned.first = first;
		k->owned.service = k->gram.service;
		bpf_map_update_elem(&udp_owned, &k->gram.tuple, &k->owned, BPF_ANY);
	}
	if (any && any->service_ip == k->gram.tuple.service_ip &&
	    any->service_port == k->gram.tuple.service_port) {
		seen(&any->last_seen_ns, k->gram.now);
		return 0;
	}
	__builtin_memset(&k->owned, 0, sizeof(k->owned));
	k->owned.last_seen_ns = k->gram.now;
	k->owned.service_ip = k->gram.tuple.service_ip;
	k->owned.service_port = k->gram.tuple.service_port;
	k->owned.service = k->gram.service;
	return bpf_map_update_elem(&udp_owned, &k->any, &k->owned, BPF_ANY);
}

/* ---- fragments ------------------------------------------------------------------------------ */

IPOS_INLINE void fragment_key(struct ipos_fragment_key *key, __u32 from, __u32 to, __u16 id,
			      __u8 outbound)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->source = from;
	key->destination = to;
	key->id = id;
	key->outbound = outbound;
}

/* The first fragment tells where the others go. */
IPOS_INLINE void fragment_first(struct flow_work *k, __u32 server, __u16 port)
{
	fragment_key(&k->piece, k->gram.tuple.client_ip, k->gram.tuple.service_ip, k->gram.id, 0);
	__builtin_memset(&k->fragment, 0, sizeof(k->fragment));
	k->fragment.seen_ns = k->gram.now;
	k->fragment.service_ip = k->gram.tuple.service_ip;
	k->fragment.client_port = k->gram.tuple.client_port;
	k->fragment.service_port = k->gram.tuple.service_port;
	k->fragment.port = port;
	k->fragment.server = server;
	bpf_map_update_elem(&udp_fragments, &k->piece, &k->fragment, BPF_ANY);
}

IPOS_INLINE struct ipos_fragment *fragment_of(struct flow_work *k)
{
	struct ipos_fragment *one = bpf_map_lookup_elem(&udp_fragments, &k->piece);

	return one && k->gram.now - one->seen_ns < FLOW_FRAGMENTS_NS ? one : NULL;
}

#endif /* IPOS_FLOW_ROWS_H */
