/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Datagrams of QUIC at the first server, before ipos_ingress has them.  An ID that names a server
 * leads there.  What begins a connection is held until its ClientHello is whole, which a
 * route is found by; then all of it comes by once more, behind the row that was made for it.
 */
#ifndef IPOS_FLOW_QUIC_H
#define IPOS_FLOW_QUIC_H

#include "quic/crypto_frames.h"
#include "select/read.h"
#include "select/route.h"
#include "tc/flow_in.h"

#define QUIC_PIECES (IPOS_QUIC_HELLO_MAX / IPOS_CHUNK)
#define QUIC_SECOND_NS 1000000000ULL

/* The server whose number is in q->id, if it serves; 0: none. */
IPOS_FUNCTION int quic_named(struct quic_work *q, __u32 index)
{
	struct ipos_quic_number key = {};
	const struct ipos_service *service = service_at(index);
	const struct ipos_server *server;
	__u32 *row, at, n;

	if (!q || !service)
		return 0;
	at = service->id_at;
	n = service->id_bytes;
	if (!n || at + n > q->header.id_length)
		return 0;
	key.service = index;
	for (__u32 i = 0; i < IPOS_QUIC_NUMBER_MAX; i++)
		if (i < n)
			key.number = key.number << 8 | q->id[IPOS_PLACE(at + i, 32)];
	row = bpf_map_lookup_elem(&quic_numbers, &key);
	server = row ? server_at(*row) : NULL;
	if (!server || (server->state != IPOS_SERVER_READY && server->state != IPOS_SERVER_DRAIN))
		return 0;
	return *row;
}

/* A keyed hash of the connection ID; never 0. */
IPOS_INLINE __u32 quic_id_hash(const struct ipos_settings *set, const struct quic_work *q)
{
	__u64 key[2] = { set->vouch }, words[3];
	struct sip s;

	__builtin_memcpy(words, q->id, sizeof(words));
	sip_start(&s, key, 0);
	sip_word(&s, words[0]);
	sip_word(&s, words[1]);
	sip_word(&s, words[2]);
	return sip_end(&s, q->header.id_length, 25) | 1;
}

/* One more read in this second, of at most `most`; whether it may be. */
IPOS_INLINE int quic_read_counted(__u32 slot, __u32 most, __u64 now)
{
	struct ipos_guesses *g = bpf_map_lookup_elem(&quic_reads, &slot);

	if (!g)
		return 0;
	if (now - g->since_ns > QUIC_SECOND_NS) {
		g->since_ns = now;
		g->wrong = 0;
	}
	return __sync_fetch_and_add(&g->wrong, 1) < most;
}

IPOS_INLINE int quic_may_read(const struct ipos_settings *set, const struct flow_work *k)
{
	__u64 hash = network_hash(set, k->gram.tuple.client_ip);

	return quic_read_counted(hash % (IPOS_QUIC_READS_SLOTS - 1), IPOS_QUIC_READS_NETWORK,
				 k->gram.now) &&
	       quic_read_counted(IPOS_QUIC_READS_SLOTS - 1, IPOS_QUIC_READS, k->gram.now);
}

/* The ClientHello, if it is whole, into w->request; and by that the pool. */
IPOS_FUNCTION int quic_route(struct ipos_scratch *w, struct flow_work *k, struct ipos_hello *h,
			     int said)
{
	struct choice c = {};
	__u32 at = 0, n;

	if (!w || !k || !h)
		return -1;
	request_open(w, k->gram.service, IPOS_MODE_TLS);
	w->request.grammar = IPOS_GRAMMAR_TLS;
	w->state = HEAD_TLS_BODY;
	w->cursor = 2 * IPOS_QUIC_HELLO_MAX; /* of a record that does not end */
	n = hello_length(h);
	for (__u32 i = 0; i < QUIC_PIECES && said == QUIC_WHOLE; i++) {
		__builtin_memcpy(w->bytes, &h->hello[i * IPOS_CHUNK], IPOS_CHUNK);
		at = n > IPOS_CHUNK ? IPOS_CHUNK : n;
		n -= at;
		w->end = 0;
		if (w->request.progress == IPOS_READ_MORE && at)
			w->request.progress = tls_feed(w, at);
	}
	if (w->request.progress != IPOS_READ_DONE) {
		w->request.host_len = w->request.offers_len = 0;
		count(COUNT_QUIC_UNREAD);
	}
	c.pool = k->gram.pool;
	route(w, &c);
	k->gram.pool = c.pool;
	return 0;
}

/* The datagram at hand is kept, as IP packet.  0, or -1: there is no room. */
IPOS_FUNCTION int quic_keep(struct __sk_buff *skb, struct flow_work *k, struct ipos_hello *h)
{
	__u32 i, n;

	if (!k || !h)
		return -1;
	i = h->held;
	n = k->gram.length;
	IPOS_OPAQUE(n);
	if (i >= IPOS_QUIC_HELD || n < FLOW_HEADERS || n > IPOS_QUIC_PACKET_MAX ||
	    bpf_skb_load_bytes(skb, k->gram.l2,
			       &h->packets[IPOS_PLACE(i, IPOS_QUIC_HELD) * IPOS_QUIC_PACKET_ROOM],
			       n))
		return -1;
	h->length[IPOS_PLACE(i, IPOS_QUIC_HELD)] = n;
	h->held = i + 1;
	return 0;
}

/* What has come of the flow's first flight, or a new row in q->hello. */
IPOS_INLINE struct ipos_hello *quic_hello_of(struct quic_work *q, const struct flow_work *k)
{
	struct ipos_hello *h = bpf_map_lookup_elem(&quic_hellos, &k->gram.tuple);

	if (h && h->initial == k->gram.initial && h->held < IPOS_QUIC_HELD &&
	    k->gram.now - h->since_ns < IPOS_QUIC_STALE_MS * 1000000ULL)
		return h;
	h = &q->hello;
	h->since_ns = k->gram.now;
	h->initial = k->gram.initial;
	h->held = 0;
	__builtin_memset(h->here, 0, sizeof(h->here));
	return h;
}

/*
 * A datagram that may begin a connection, read already as far as its header.  Returns GOES_ON, or
 * CONSUMED: it is held, or dropped.
 */
IPOS_INLINE int quic_begins(struct __sk_buff *skb, struct ipos_scratch *w, struct flow_work *k,
			    struct quic_work *q)
{
	struct ipos_settings *set = settings_now();
	struct ipos_hello *h;
	int said = QUIC_PART;

	if (!w || !k || !q || !set)
		return CONSUMED;
	if (!quic_may_read(set, k))
		return shot(COUNT_DROP_QUIC_SHARE);
	h = quic_hello_of(q, k);
	if (q->header.kind == QUIC_INITIAL) {
		count(COUNT_QUIC_READ);
		said = initials_read(q, h);
	}
	if (said == QUIC_UNREADABLE && !h->held) {
		k->gram.initial = 0;
		return GOES_ON;
	}
	if (said != QUIC_WHOLE || h->held) {
		if (quic_keep(skb, k, h))
			return shot(COUNT_DROP_EMIT);
		if (h == &q->hello && bpf_map_update_elem(&quic_hellos, &k->gram.tuple, h, BPF_ANY))
			return shot(COUNT_DROP_EMIT);
		if (said < QUIC_WHOLE && h->held < IPOS_QUIC_HELD) {
			count(COUNT_QUIC_HELD);
			return CONSUMED;
		}
		k->gram.held = 1;
	}
	k->gram.anew = 1;
	quic_route(w, k, h, said);
	return GOES_ON;
}

/* The header, and of an Initial all of it, into q->packet.  Returns enum quic_kind. */
IPOS_INLINE int quic_load(struct __sk_buff *skb, struct quic_work *q, const struct flow_work *k)
{
	__u32 n = k->gram.length - FLOW_HEADERS, kind;
	__u8 first;

	if (k->gram.length <= FLOW_HEADERS || k->gram.length > IPOS_QUIC_PACKET_MAX ||
	    bpf_skb_load_bytes(skb, k->gram.l4 + sizeof(struct flow_udp), &first, 1))
		return QUIC_NONE;
	if (!(first & QUIC_LONG) && n > 1 + QUIC_ID_MAX)
		n = 1 + QUIC_ID_MAX;
	IPOS_OPAQUE(n);
	if (n < 1 || n > IPOS_QUIC_PACKET_MAX ||
	    bpf_skb_load_bytes(skb, k->gram.l4 + sizeof(struct flow_udp), q->packet, n))
		return QUIC_NONE;
	q->length = n;
	q->at = 0;
	kind = quic_header_read(q);
	if (kind == QUIC_SHORT) {
		q->header.id_length = n - 1;
		__builtin_memcpy(q->id, q->packet + 1, QUIC_ID_MAX);
	}
	return kind;
}

/*
 * What the datagram of k->gram says about its server, into k->gram.  Returns GOES_ON, or CONSUMED:
 * it is held, or dropped.
 *
 * A row of a service without numbers is never left, because everybody may send a first packet by
 * somebody else's address.  With numbers it is, and what its connection goes on with finds its
 * server by the numbers.
 */
IPOS_FUNCTION int quic_steer(struct __sk_buff *skb, struct ipos_scratch *w, struct flow_work *k)
{
	const struct ipos_settings *set = settings_now();
	struct quic_work *q = quic_work_now();
	const struct ipos_service *service;
	const struct ipos_flow *f;
	int kind, named, verdict;

	if (!k || !w || !q || !set)
		return CONSUMED;
	service = service_at(k->gram.service);
	if (!service)
		return CONSUMED;
	k->gram.pool = service->pool;
	f = flow_of(&k->gram.tuple);
	if (f && !service->id_bytes && flow_lives(f, service, k->gram.now))
		return GOES_ON;
	kind = quic_load(skb, q, k);
	named = f && f->state == IPOS_FLOW_REFUSED ? 0 : quic_named(q, k->gram.service);
	if (kind == QUIC_SHORT || kind == QUIC_HANDSHAKE) {
		k->gram.named = named;
		return GOES_ON;
	}
	if (kind == QUIC_NONE)
		return GOES_ON;
	k->gram.initial = quic_id_hash(set, q);
	if (f && flow_lives(f, service, k->gram.now) &&
	    (f->initial == k->gram.initial || (q->header.token && named == f->server)))
		return GOES_ON;
	verdict = quic_begins(skb, w, k, q);
	/* Not a connection's first packet, as far as it can be read: its ID may be a server's. */
	if (verdict == GOES_ON && !k->gram.anew) {
		k->gram.named = named;
		if (!named && !(f && flow_lives(f, service, k->gram.now)))
			count(COUNT_QUIC_UNREAD);
	}
	return verdict;
}

/* ---- the flow has a server ------------------------------------------------------------------ */

/* The owner is told of the flow; w->saved keeps the MAC address that its datagrams came from. */
IPOS_INLINE int quic_offer(struct __sk_buff *skb, const struct ipos_settings *set,
			   struct ipos_scratch *w, struct flow_work *k, struct ipos_flow *f)
{
	int len;

	f->offered_ns = k->gram.now;
	f->offer = (f->offer + 1) & FLOW_OFFER_MASK;
	len = flow_offer_write(w, k, f);
	if (!len || frame_becomes(skb, w, len))
		return -1;
	leaving(skb, set, set->back_ifindex);
	if (bpf_clone_redirect(skb, set->back_ifindex, 0))
		return -1;
	count(COUNT_FLOW_OFFERED);
	count(COUNT_FRAMES_SENT);
	return 0;
}

/* Datagram `i` comes in once more; w->saved: the MAC address that it came from.  0, or -1. */
IPOS_FUNCTION int quic_again(struct __sk_buff *skb, struct ipos_scratch *w, struct flow_work *k,
			     struct ipos_hello *h, __u32 i)
{
	struct ipos_settings *set = settings_now();
	__u32 n, l2;
	int failed;

	if (!set || !w || !k || !h)
		return -1;
	l2 = l2_length(set->front_vlan);
	n = h->length[IPOS_PLACE(i, IPOS_QUIC_HELD)];
	IPOS_OPAQUE(n);
	if (n < FLOW_HEADERS || n > IPOS_QUIC_PACKET_MAX)
		return -1;
	l2_write(w->frame, front_mac_of(set, k->gram.tuple.service_ip), w->saved, set->front_vlan,
		 ETH_P_IP);
	tag_off(skb);
	if (bpf_skb_change_tail(skb, l2 + n, 0) || bpf_skb_store_bytes(skb, 0, w->frame, l2, 0) ||
	    bpf_skb_store_bytes(skb, l2,
				&h->packets[IPOS_PLACE(i, IPOS_QUIC_HELD) * IPOS_QUIC_PACKET_ROOM],
				n, 0))
		return -1;
	skb->mark = IPOS_MARK_FLOW;
	failed = bpf_clone_redirect(skb, front_of(set, k->gram.tuple.service_ip), BPF_F_INGRESS);
	skb->mark = 0;
	return failed;
}

/* All that was held of a flow goes to the server in its row, in the order in which it came. */
IPOS_FUNCTION int quic_release(struct __sk_buff *skb, struct ipos_scratch *w, struct flow_work *k)
{
	struct ipos_settings *set = settings_now();
	struct ipos_hello *h;
	struct ipos_flow *f;

	if (!set || !w || !k)
		return CONSUMED;
	f = flow_of(&k->gram.tuple);
	h = bpf_map_lookup_elem(&quic_hellos, &k->gram.tuple);
	if (!f || !h)
		return shot(COUNT_DROP_FLOW_EVICTED);
	if (bpf_skb_load_bytes(skb, ETH_ALEN, w->saved, ETH_ALEN) ||
	    (f->server != set->self && quic_offer(skb, set, w, k, f)))
		return shot(COUNT_DROP_EMIT);
	f->packets += h->held;
	for (__u32 i = 0; i < IPOS_QUIC_HELD; i++) {
		if (i >= h->held)
			break;
		if (quic_again(skb, w, k, h, i))
			count(COUNT_DROP_EMIT);
	}
	bpf_map_delete_elem(&quic_hellos, &k->gram.tuple);
	return CONSUMED;
}

/* The datagram goes to the server that its connection ID names, by no row. */
IPOS_INLINE int quic_by_number(struct __sk_buff *skb, const struct ipos_settings *set,
			       struct ipos_scratch *w, struct flow_work *k,
			       const struct ipos_service *service)
{
	struct flow_way way = { .server = k->gram.named, .port = service->application_port };

	count(COUNT_QUIC_NUMBER);
	if (way.server != set->self)
		return flow_forward(skb, w, k, &way);
	owned_note(k, way.port, set->self);
	return flow_deliver(skb, k);
}

/* Whether the datagram of k->gram is one that a client has sent to a service of QUIC here. */
IPOS_INLINE int quic_is_client(const struct __sk_buff *skb, const struct ipos_settings *set,
			       const struct flow_work *k, const struct ipos_service *service)
{
	struct ipos_address_key key = { .ip = k->gram.tuple.client_ip };

	return service->mode == IPOS_MODE_QUIC && !denied(k->gram.tuple.client_ip) &&
	       !flow_given(skb, set, k) && !bpf_map_lookup_elem(&addresses, &key);
}

/*
 * A packet that is UDP and no fragment, with its IP header at `l2`.  What goes on has a row by then
 * that says to which server, unless it is for the policy to choose one.
 */
IPOS_INLINE int quic_packet(struct __sk_buff *skb, __u32 l2)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	struct flow_work *k = flow_work_of(IPOS_PROG_INGRESS);
	struct ipos_settings *set = settings_now();
	const struct ipos_service *service;
	struct ipos_flow *f;
	int live;

	if (!w || !k || !set || flow_read(skb, k, l2) != FLOW_SOUND)
		return TC_ACT_UNSPEC;
	service = service_at(k->gram.service);
	if (!service || !quic_is_client(skb, set, k, service))
		return TC_ACT_UNSPEC;
	if (quic_steer(skb, w, k) != GOES_ON)
		return CONSUMED;
	f = flow_of(&k->gram.tuple);
	live = f && flow_lives(f, service, k->gram.now);
	if (live && k->gram.named && f->server != k->gram.named)
		return quic_by_number(skb, set, w, k, service);
	if (!k->gram.anew && (live || !k->gram.named))
		return TC_ACT_UNSPEC;
	if (flow_choose(w, k, f != NULL)) {
		bpf_map_delete_elem(&quic_hellos, &k->gram.tuple);
		return shot(COUNT_DROP_FLOW_NO_SERVER);
	}
	if (k->gram.named)
		count(COUNT_QUIC_NUMBER);
	return k->gram.held ? quic_release(skb, w, k) : TC_ACT_UNSPEC;
}

#endif /* IPOS_FLOW_QUIC_H */
