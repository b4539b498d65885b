/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Client segments on front: which server has the connection.  Nothing is decided here.  A live one
 * goes to its owner; an unattached endpoint answers for itself; a request goes up to tc, which can
 * send several frames.
 */
#ifndef IPOS_XDP_CLIENT_H
#define IPOS_XDP_CLIENT_H

#include "xdp/handshake.h"

/* A segment of a connection that lives elsewhere. */
IPOS_INLINE int client_forward(struct xdp_md *ctx, struct ipos_settings *set,
			       struct ipos_scratch *w, struct segment *s, struct ipos_forward *f)
{
	struct ipos_candidate to = { .server = f->server, .port = f->destination_port };
	struct ipos_server *owner = server_at(f->server);
	__u32 seq_end = segment_end(s);
	__u64 now = boot_ns_tick(set, w);
	int again;

	if (!owner)
		return drop(COUNT_DROP_OWNER_DOWN);
	if (owner->state == IPOS_SERVER_DOWN && f->acknowledged) {
		struct ipos_handshake hs = { .iss = f->iss, .irs = f->irs };

		closed_remember(&s->tuple, &hs, f->client_end, now, IPOS_TEMP_RESET);
		forward_delete(&s->tuple, to.server);
		count(COUNT_DROP_OWNER_DOWN);
		return s->flags & TCP_RST ? XDP_DROP : answer_reset(ctx, w, s);
	}
	if (!f->acknowledged) {
		again = !goes_beyond(f, s);
		now = bpf_ktime_get_boot_ns();
		if (again &&
		    (owner->state == IPOS_SERVER_DOWN || offered_since(f, now) > OFFER_AGAIN_MS))
			return pass_alone(ctx);
		if (again && s->length)
			return drop(COUNT_ABSORBED);
	}
	f->packets++;
	f->last_seen_ns = now;
	f->ending |= s->flags & (TCP_FIN | TCP_RST);
	if (s->flags & TCP_SYN) {
		f->last_syn = s->seq;
	} else {
		if (seq_before(f->client_end, seq_end))
			f->client_end = seq_end;
		if (s->flags & TCP_ACK && seq_before(f->client_ack, s->ack))
			f->client_ack = s->ack;
	}
	return encapsulate_inline(ctx, set, s, &to);
}

/* ---- ICMP: "fragmentation needed" belongs to the owner (RFC 1191, RFC 8201) ----------------- */

#if IPOS_FAMILY == 6
#define ICMP_UNREACHED 1
#define ICMP_TOO_BIG 2
#else
#define ICMP_UNREACHED 3 /* of which it is one code */
#define ICMP_TOO_BIG 3
#endif

struct icmp_header {
	__u8 type, code;
	__be16 checksum;
	__be32 rest;
};
struct icmp_quote {
	struct icmp_header icmp;
	ip_header ip;
	__be16 source, dest;
	__be32 seq;
};

IPOS_INLINE int quote_is_tcp(const struct icmp_quote *q)
{
#if IPOS_FAMILY == 6
	return q->ip.nexthdr == IPPROTO_TCP;
#else
	return q->ip.protocol == IPPROTO_TCP && q->ip.ihl == 5;
#endif
}

/* The connection that the quoted packet is of, which we sent. */
IPOS_INLINE void quote_tuple(struct ipos_tuple *t, const struct icmp_quote *q)
{
	t->client_ip = ip_destination(&q->ip);
	t->client_port = q->dest;
	t->service_ip = ip_source(&q->ip);
	t->service_port = q->source;
	t->protocol = IPPROTO_TCP;
}

IPOS_INLINE int client_icmp(struct xdp_md *ctx, const struct ipos_settings *set, struct segment *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct icmp_quote *q = data + (s->l4 & 0x3f);
	ip_header *outer = data + (s->l2 & 0x3f);
	struct ipos_candidate to = {};
	struct ipos_forward *f;
	__u32 ip_len;

	if ((void *)(q + 1) > end || (void *)(outer + 1) > end ||
	    (q->icmp.type != ICMP_UNREACHED && q->icmp.type != ICMP_TOO_BIG) || !quote_is_tcp(q))
		return XDP_PASS;
	ip_len = ip_total(outer);
	if (s->l2 + ip_len > bpf_xdp_get_buff_len(ctx) || ip_len < sizeof(*outer) + sizeof(*q))
		return XDP_PASS;
	quote_tuple(&s->tuple, q);
	f = forward_among(roles_of(&s->tuple), &s->tuple);
	if (!f)
		return XDP_PASS;
	to.server = f->server;
	to.port = f->destination_port;
	s->tcp_len = sizeof(struct icmp_header);
	s->length = ip_len - sizeof(*outer) - sizeof(struct icmp_header);
	count(COUNT_ICMP_FORWARDED);
	return encapsulate(ctx, set, s, &to);
}

/* A segment of a connection that lives here. */
IPOS_INLINE int client_owned(struct xdp_md *ctx, const struct ipos_settings *set,
			     struct ipos_scratch *w, struct segment *s, struct ipos_endpoint *ep)
{
	const struct ipos_service *service = service_at(ep->service);
	enum tc_work work;

	if (service)
		urgent_look(ctx, s, service);
	work = tc_work(set, ep, s, PARSED_TCP);
	if (work != TC_NOTHING)
		return work == TC_ALONE ? pass_alone(ctx) : XDP_PASS;
	seen(&ep->last_seen_ns, boot_ns_tick(set, w));
	return pass_settled(ctx);
}

/* ---- front ---------------------------------------------------------------------------------- */

IPOS_INLINE int gate_bit(const __u8 *bits, __u32 n)
{
	return bits[n >> 3] >> (n & 7) & 1;
}

/* Whether no row of any table can be about it; a fragment has no port of its own. */
IPOS_INLINE int is_foreign(const struct segment *s, enum parsed what)
{
	const struct ipos_gates *g = gates_now();
	__u32 kind = bpf_ntohl(ip_folded(s->tuple.service_ip)) * IPOS_GATE_MIX >> 19;

	if (!g)
		return 0;
	return gate_bit(g->foreign_addresses, kind) ||
	       (has_ports(what) && gate_bit(g->foreign_ports, bpf_ntohs(s->tuple.service_port)));
}

/*
 * Where own programs are clients, no reverse path filter keeps a neighbour on front from calling in
 * the name of a server.  Their packets come by the pair, and to other servers in frames.
 */
IPOS_INLINE int is_forged(const struct xdp_md *ctx, const struct ipos_settings *set,
			  const struct segment *s)
{
	struct ipos_address_key key = { .ip = s->tuple.client_ip };

	return unlikely(set->own_front_ifindex) && ctx->ingress_ifindex != set->own_front_ifindex &&
	       bpf_map_lookup_elem(&FAMILY(addresses), &key);
}

IPOS_INLINE int client_segment(struct xdp_md *ctx, struct ipos_settings *set,
			       struct ipos_scratch *w, struct segment *s, enum parsed what)
{
	struct ipos_service *service;
	struct ipos_endpoint *ep;
	struct ipos_forward *f;
	struct ipos_address *a;
	__u64 now, roles = 0;

	if (is_foreign(s, what)) {
		count(COUNT_PASSED);
		return XDP_PASS;
	}
	if (what == PARSED_TCP) {
		roles = roles_of(&s->tuple);
		f = forward_among(roles, &s->tuple);
		if (f)
			return client_forward(ctx, set, w, s, f);
		ep = endpoint_among(roles, &s->tuple);
		if (ep)
			return client_owned(ctx, set, w, s, ep);
	}
	a = address_parsed(s, what);
	if (!a) {
		count(COUNT_PASSED);
		return XDP_PASS;
	}
	if (what == PARSED_MALFORMED)
		return drop(COUNT_DROP_MALFORMED);
	if (what == PARSED_FRAGMENT)
		return drop(COUNT_DROP_FRAGMENT);
	if (what == PARSED_OPTIONS)
		return drop(IPOS_FAMILY == 6 ? COUNT_DROP_EXTENSION_HEADER : COUNT_DROP_IP_OPTIONS);
	service = service_at(a->service);
	if (!service || !service->used)
		return XDP_PASS;
	if (is_forged(ctx, set, s))
		return drop(COUNT_DROP_OWN_ADDRESS);
	urgent_look(ctx, s, service);
	now = boot_ns_tick(set, w);
	if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN)
		return client_syn(ctx, set, w, s, service, roles, now);
	return client_unattached(ctx, set, w, s, roles, now);
}

#endif /* IPOS_XDP_CLIENT_H */
