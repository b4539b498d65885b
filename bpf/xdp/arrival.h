/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Type 2: a client's packet arrives from another server. */
#ifndef IPOS_XDP_ARRIVAL_H
#define IPOS_XDP_ARRIVAL_H

#include "lib/roles.h"
#include "lib/uplink.h"
#include "xdp/offer.h"
#include "xdp/read_tag.h"

/*
 * Takes the client's packet out of the frame, as if it had come in on front; one tc has
 * nothing to do with as if sent to back's own address.
 */
IPOS_INLINE int decapsulate(struct xdp_md *ctx, struct ipos_settings *set, __u32 inner_at,
			    __u32 ip_len, enum tc_work work)
{
	__u32 l2 = l2_length(set->front_vlan);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const __u8 *to = work == TC_NOTHING ? set->back_mac : set->front_mac;
	ip_header *ip;
	__u8 from[8] __attribute__((aligned(8)));

	if (data + sizeof(struct ethhdr) > end)
		return XDP_DROP;
	mac_copy(from, ((struct ethhdr *)data)->h_source);
	if (bpf_xdp_adjust_tail(ctx, (int)(inner_at + ip_len) - (int)frame_length(ctx)) ||
	    bpf_xdp_adjust_head(ctx, (int)inner_at - (int)l2))
		return drop(COUNT_DROP_EMIT);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + l2;
	if (data + L2_MAX > end || (void *)(ip + 1) > end)
		return drop(COUNT_DROP_EMIT);
	if (unlikely(set->uplinks) && work != TC_NOTHING)
		to = front_mac_of(set, ip_destination(ip));
	l2_write(data, to, from, set->front_vlan, ETH_P_FAMILY);
	count(COUNT_DECAPSULATED);
	return work == TC_ALONE ? pass_alone(ctx) : XDP_PASS;
}

struct arrived {	     /* a type 2 */
	struct segment in;   /* the client's packet, whose IP header is at in.l2 */
	enum parsed what;    /* PARSED_TCP or PARSED_ICMP */
	__u32 inner, ip_len; /* bytes of its headers, and of all of it */
};

/* Where a program has it: see SEGMENT(). */
#if IPOS_FAMILY == 6
#define ARRIVED(p, w) struct arrived *p = (void *)(w)->arrived
_Static_assert(sizeof(struct arrived) <= sizeof(((struct ipos_scratch *)0)->arrived), "its place");
#else
#define ARRIVED(p, w) struct arrived p##_here, *p = &p##_here
#endif

/* The sender of the frame, by its MAC address.  Returns 0 if that is no member's. */
IPOS_INLINE int peer_of(struct xdp_md *ctx, struct peer *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipos_member *member;
	struct ipos_mac mac = {};

	if ((void *)(eth + 1) > end)
		return 0;
	mac_copy(mac.bytes, eth->h_source);
	mac_copy(from->mac, eth->h_source);
	member = bpf_map_lookup_elem(&members, &mac);
	if (!member)
		return 0;
	from->server = member->server;
	return 1;
}

/* Whether a member sent the frame: probably the server with this index. */
IPOS_INLINE int is_from(struct xdp_md *ctx, __u32 expected)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipos_server *server = server_at(expected);
	struct peer from = {};

	if (likely(server && data + sizeof(struct ethhdr) <= end &&
		   mac_same(server->mac, data + ETH_ALEN)))
		return 1;
	return peer_of(ctx, &from);
}

/* A packet whose tag was not looked at, or is wrong: a stranger's counts as that. */
IPOS_APART int packet_refused(struct xdp_md *ctx, __u32 reason)
{
	struct peer from = {};

	return drop(peer_of(ctx, &from) ? reason : COUNT_DROP_FRAME_FOREIGN);
}

/* The inner packet's ports and lengths.  Returns 0 if it is none of a connection's. */
IPOS_INLINE int arrived_read(struct xdp_md *ctx, struct arrived *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct icmp_quote *q;
	ip_header *outer;

	p->what = parse_ip(data, end, frame_length(ctx), &p->in);
	if (likely(p->what == PARSED_TCP)) {
		p->inner = p->in.l4 - p->in.l2 + p->in.tcp_len;
		p->ip_len = p->inner + p->in.length;
		return 1;
	}
	if (p->what != PARSED_ICMP)
		return 0;
	q = data + (p->in.l4 & 0x7f);
	outer = data + (p->in.l2 & 0x3f);
	if ((void *)(q + 1) > end || (void *)(outer + 1) > end)
		return 0;
	quote_tuple(&p->in.tuple, q);
	p->ip_len = ip_total(outer);
	p->inner = sizeof(*outer) + sizeof(struct icmp_header);
	return 1;
}

/*
 * A packet for a connection that is not ours, or not any more; w->words has our header.  A verdict,
 * or BOUNCE, which takes more of the stack than is left here.
 */
IPOS_APART int packet_not_ours(struct xdp_md *ctx, struct ipos_settings *set,
			       struct ipos_scratch *w, struct segment *s, struct arrived *p)
{
	struct ipos_header *h = (void *)w->words;
	struct ipos_temporary *t, *row = (void *)w->saved;
	__u64 now = bpf_ktime_get_boot_ns();
	struct segment *in = &p->in;
	struct ipos_service *service;
	struct ipos_holding *held;
	struct ipos_address *a;
	struct ipos_left *left;
	struct peer from = {};
	int on_connection, reason;

	if (!peer_of(ctx, &from))
		return drop(COUNT_DROP_FRAME_FOREIGN);
	count(COUNT_FRAMES_RECEIVED);
	held = holding_among(roles_of(&s->tuple), &s->tuple);
	/* our application has left it, see tc/later_decision.h */
	if (unlikely(held && held->answer && p->what == PARSED_TCP)) {
		reason = answered_refuses(in, held, now);
		if (!reason)
			return decapsulate(ctx, set, in->l2, p->ip_len, TC_ALONE);
		if (reason != COUNT_ABSORBED)
			return drop(reason);
	}
	/* it waits here without an application, and its client's packets go to another server */
	if (unlikely(held && is_kept(held) && !held->answer && !held->moving &&
		     p->what == PARSED_TCP && (in->flags & (TCP_ACK | TCP_RST)) == TCP_ACK &&
		     in->ack == held->hs.iss + 1))
		return in->length && in->seq - (held->hs.irs + 1) < IPOS_HEAD_MAX
			       ? decapsulate(ctx, set, in->l2, p->ip_len, TC_ALONE)
			       : drop(COUNT_ABSORBED);
	left = bpf_map_lookup_elem(&FAMILY(left_behind), &s->tuple);
	if (left && left->server && left->server != from.server)
		return tell_due(left, from.server, in->length, now)
			       ? tell_first(ctx, set, w, s, left)
			       : BOUNCE;
	t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	a = address_of(s->tuple.service_ip, s->tuple.service_port);
	service = a ? service_at(a->service) : NULL;
	on_connection =
		service && service->select == IPOS_SELECT_CONNECTION && p->what == PARSED_TCP;
	if (t && t->state == IPOS_TEMP_CLOSED && !(on_connection && in->flags & TCP_SYN)) {
		struct notice n = { .endpoint_ip = h->endpoint_ip,
				    .endpoint_port = h->endpoint_port,
				    .type = IPOS_CLOSED,
				    .iss = t->hs.iss };

		return notify(ctx, set, w, s, &n);
	}
	if (on_connection && t && t->state == IPOS_TEMP_SYN_HERE && t->server == from.server &&
	    t->port == h->endpoint_port && now - t->created_ns < HANDSHAKE_NS) {
		; /* a handshake goes on, which no other SYN may change */
	} else if (on_connection && (in->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		__builtin_memset(row, 0, sizeof(*row));
		row->state = IPOS_TEMP_SYN_HERE;
		row->server = from.server;
		row->port = h->endpoint_port;
		row->hs.irs = in->seq;
		row->created_ns = row->last_seen_ns = now;
		bpf_map_update_elem(&FAMILY(temporary), &s->tuple, row, BPF_ANY);
	} else if (!on_connection || !t || t->state != IPOS_TEMP_SYN_HERE) {
		count(COUNT_DROP_FRAME_UNKNOWN);
		return p->what == PARSED_TCP && !(in->flags & TCP_RST)
			       ? refuse(ctx, set, w, s, in->flags & TCP_SYN ? in->seq : in->ack,
					IPOS_REFUSE_UNKNOWN)
			       : XDP_DROP;
	}
	return decapsulate(ctx, set, in->l2, p->ip_len, TC_ALONE);
}

/* With our header at `s->l2`.  Whose the MAC address is, is asked last: few tags are wrong. */
IPOS_INLINE int back_packet(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			    struct segment *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *h = data + (s->l2 & 63), *tail;
	struct ipos_service *service;
	struct ipos_endpoint *ep;
	ARRIVED(p, w);

	__builtin_memset(p, 0, sizeof(*p));
	if (h + HEADER_LEN > end)
		return packet_refused(ctx, COUNT_DROP_FRAME_SHORT);
	if (!header_checksum_right(h))
		return packet_refused(ctx, COUNT_DROP_FRAME_CHECKSUM);
	p->in.l2 = s->l2 + HEADER_LEN;
	if (!arrived_read(ctx, p))
		return packet_refused(ctx, COUNT_DROP_FRAME_SHORT);
	tail = data + (p->in.l2 & 63) + (p->ip_len & 0x3fff);
	if (p->ip_len > 0x3fff || tail + IPOS_TAG_LEN > end)
		return packet_refused(ctx, COUNT_DROP_FRAME_SHORT);
	if (!packet_tag_right(ctx, set, s->l2, p->inner, p->ip_len - p->inner, AT64(tail, 0)))
		return packet_refused(ctx, COUNT_DROP_FRAME_TAG);
	if (AT32(h, offsetof(struct ipos_header, endpoint_ip)) != set->self_ip)
		return packet_refused(ctx, COUNT_DROP_FRAME_RECEIVER);
	s->tuple = p->in.tuple;
	if (s->tuple.client_ip != header_client(h) || s->tuple.client_port != AT16(h, 4))
		return packet_refused(ctx, COUNT_DROP_FRAME_UNKNOWN);
	ep = endpoint_among(roles_of(&s->tuple), &s->tuple);
	if (unlikely(!ep)) {
		struct type2 packet = { .inner = p->inner, .end = p->in.l2 + p->ip_len };
		int verdict;

		header_copy(w->words, h);
		verdict = packet_not_ours(ctx, set, w, s, p);
		return verdict == BOUNCE ? bounce(ctx, set, s, &packet) : verdict;
	}
	if (!is_from(ctx, ep->first))
		return drop(COUNT_DROP_FRAME_FOREIGN);
	count(COUNT_FRAMES_RECEIVED);
	if (unlikely(p->in.flags & TCP_URG) && p->what == PARSED_TCP) {
		service = service_at(ep->service);
		if (service)
			urgent_look(ctx, &p->in, service);
	}
	seen(&ep->last_seen_ns, boot_ns_tick(set, w));
	return decapsulate(ctx, set, p->in.l2, p->ip_len, tc_work(set, ep, &p->in, p->what));
}

#endif /* IPOS_XDP_ARRIVAL_H */
