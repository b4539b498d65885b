/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Client segments on front: deciding nothing, only who has the connection.  A live one goes
 * to its owner; an unattached endpoint answers for itself; a request goes up to tc, which
 * can send several frames.
 */
#ifndef IPOS_XDP_CLIENT_H
#define IPOS_XDP_CLIENT_H

#include "xdp_unattached.h"

/* A segment of a connection that lives elsewhere. */
IPOS_INLINE int client_forward(struct xdp_md *ctx, struct ipos_settings *set,
			       struct ipos_scratch *w, struct segment *s, struct ipos_forward *f)
{
	struct ipos_candidate to = { .server = f->server, .port = f->destination_port };
	struct ipos_server *owner = server_at(f->server);
	__u32 seq_end = segment_end(s);
	__u64 now = boot_ns_coarse(set);
	int again;

	if (!owner)
		return drop(COUNT_DROP_OWNER_DOWN);
	if (owner->state == IPOS_SERVER_DOWN && f->acknowledged) {
		struct ipos_handshake hs = { .iss = f->iss, .irs = f->irs };

		closed_remember(&s->tuple, &hs, f->client_end, now, IPOS_TEMP_RESET);
		bpf_map_delete_elem(&forward, &s->tuple);
		traffic_add(to.server, 0, 1);
		count(COUNT_DROP_OWNER_DOWN);
		return s->flags & TCP_RST ? XDP_DROP : answer_reset(ctx, w, s);
	}
	if (!f->acknowledged) {
		again = !(s->flags & (TCP_FIN | TCP_SYN | TCP_RST)) &&
			(!s->length || !seq_before(f->request_end, seq_end));
		now = bpf_ktime_get_boot_ns();
		if (again && (owner->state == IPOS_SERVER_DOWN ||
			      now - f->offered_ns > OFFER_AGAIN_NS))
			return pass_alone(ctx);
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
	return encapsulate(ctx, set, w, s, &to);
}

/* ---- ICMP: "fragmentation needed" belongs to the owner (RFC 1191) ----------------------------- */

#define ICMP_DEST_UNREACH 3

struct icmp_header { __u8 type, code; __be16 checksum; __be32 rest; };
struct icmp_quote { struct icmp_header icmp; struct iphdr ip; __be16 source, dest; __be32 seq; };

IPOS_INLINE int client_icmp(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			    struct segment *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct icmp_quote *q = data + (s->l4 & 0x3f);
	struct iphdr *outer = data + (s->l2 & 0x3f);
	struct ipos_candidate to = {};
	struct ipos_forward *f;
	__u32 ip_len;

	if ((void *)(q + 1) > end || (void *)(outer + 1) > end ||
	    q->icmp.type != ICMP_DEST_UNREACH || q->ip.protocol != IPPROTO_TCP || q->ip.ihl != 5)
		return XDP_PASS;
	ip_len = bpf_ntohs(outer->tot_len);
	if (s->l2 + ip_len > bpf_xdp_get_buff_len(ctx) || ip_len < sizeof(*outer) + sizeof(*q))
		return XDP_PASS;
	s->tuple.client_ip = q->ip.daddr;
	s->tuple.client_port = q->dest;
	s->tuple.service_ip = q->ip.saddr;
	s->tuple.service_port = q->source;
	s->tuple.protocol = IPPROTO_TCP;
	f = bpf_map_lookup_elem(&forward, &s->tuple);
	if (!f)
		return XDP_PASS;
	to.server = f->server;
	to.port = f->destination_port;
	s->tcp_len = sizeof(struct icmp_header);
	s->length = ip_len - sizeof(*outer) - sizeof(struct icmp_header);
	count(COUNT_ICMP_FORWARDED);
	return encapsulate(ctx, set, w, s, &to);
}

/* A segment of a connection that lives here. */
IPOS_INLINE int client_owned(struct xdp_md *ctx, const struct ipos_settings *set,
			     const struct segment *s, struct ipos_endpoint *ep, enum parsed what)
{
	enum tc_work work = tc_work(set, ep, s, what);

	if (work != TC_NOTHING)
		return work == TC_ALONE ? pass_alone(ctx) : XDP_PASS;
	seen(&ep->last_seen_ns, boot_ns_coarse(set));
	return pass_settled(ctx);
}

/* ---- front ------------------------------------------------------------------------------------- */

IPOS_INLINE int client_segment(struct xdp_md *ctx, struct ipos_settings *set,
			      struct ipos_scratch *w, struct segment *s, enum parsed what)
{
	struct ipos_service *service;
	struct ipos_endpoint *ep;
	struct ipos_forward *f;
	struct ipos_address *a;
	__u64 now;

	f = what == PARSED_TCP ? bpf_map_lookup_elem(&forward, &s->tuple) : NULL;
	if (f)
		return client_forward(ctx, set, w, s, f);
	a = address_of(s->tuple.service_ip, s->tuple.service_port);
	if (!a) {
		count(COUNT_PASSED);
		return XDP_PASS;
	}
	if (what == PARSED_MALFORMED)
		return drop(COUNT_DROP_MALFORMED);
	if (what == PARSED_FRAGMENT)
		return drop(COUNT_DROP_FRAGMENT);
	if (what == PARSED_OPTIONS)
		return drop(COUNT_DROP_IP_OPTIONS);
	service = service_at(a->service);
	if (!service || !service->used)
		return XDP_PASS;
	ep = endpoint_of(&s->tuple);
	if (ep)
		return client_owned(ctx, set, s, ep, what);
	now = bpf_ktime_get_boot_ns();
	if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN)
		return client_syn(ctx, set, w, s, service, now);
	return client_unattached(ctx, set, w, s, now);
}

#endif /* IPOS_XDP_CLIENT_H */
