/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Client segments on front: deciding nothing, only who has the connection.  A live one goes
 * to its owner; an unattached endpoint answers for itself; a request goes up to tc, which
 * can send several frames.
 */
#ifndef IPOS_XDP_CLIENT_H
#define IPOS_XDP_CLIENT_H

#include "core/select.h"
#include "decision.h"
#include "endpoints.h"
#include "frame.h"
#include "reply.h"

IPOS_INLINE int drop(__u32 reason)
{
	count(reason);
	return XDP_DROP;
}

/*
 * Up to tc.  Eight bytes of metadata that differ from frame to frame keep GRO from merging
 * request segments: a merged one has a partial checksum that a NIC would finish later, in
 * whatever we make of the frame.
 */
IPOS_INLINE int pass_alone(struct xdp_md *ctx)
{
	__u32 *meta;

	if (bpf_xdp_adjust_meta(ctx, -8))
		return XDP_PASS;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 2) > (void *)(long)ctx->data)
		return XDP_PASS;
	meta[0] = bpf_get_prandom_u32();
	meta[1] = (__u32)bpf_ktime_get_boot_ns();
	return XDP_PASS;
}

/*
 * Up to the kernel: tc leaves it alone by its four bytes of metadata, all alike, so that GRO may
 * merge it with others.
 */
IPOS_INLINE int pass_settled(struct xdp_md *ctx)
{
	__u32 *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return XDP_PASS;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) <= (void *)(long)ctx->data)
		*meta = IPOS_META_SETTLED;
	return XDP_PASS;
}

/* Whether tc may make another frame of a packet for this endpoint. */
IPOS_INLINE int goes_alone(const struct ipos_endpoint *ep, const struct segment *s)
{
	return ep->state != IPOS_EP_ATTACHED || ep->flags & (IPOS_EP_WAITING | IPOS_EP_MOVING) ||
	       follows(ep, s);
}

/* What tc is to make of a packet for an endpoint of ours. */
enum tc_work {
	TC_NOTHING,
	TC_TRACKS,			/* it takes note */
	TC_ALONE,			/* it may make another frame of it */
};

/*
 * Once our kernel has the connection and neither side has closed, its packets change nothing but
 * the time, unless every request is looked at.
 */
IPOS_INLINE enum tc_work tc_work(const struct ipos_settings *set, const struct ipos_endpoint *ep,
				 const struct segment *s, enum parsed what)
{
	if (goes_alone(ep, s))
		return TC_ALONE;
	if (what != PARSED_TCP || ep->state != IPOS_EP_ATTACHED || ep->server_fin_seen ||
	    s->flags & (TCP_SYN | TCP_FIN | TCP_RST) || set->front_vlan || set->back_vlan ||
	    (ep->follow != IPOS_FOLLOW_NOT && ep->follow != IPOS_FOLLOW_OPAQUE) ||
	    ep->flags & IPOS_EP_HANDSHAKE)
		return TC_TRACKS;
	return TC_NOTHING;
}

/* The segment's TCP header into w->tcp, its options parsed.  Returns 0 when it is unsound. */
IPOS_APART int load_tcp(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s)
{
	__u32 len = s->tcp_len & 63, all = s->tcp_len + s->length;
	int whole = all <= sizeof(w->tcp);

	if (!whole)			/* the kernel, or tc, will check the payload's sum */
		all = len;
	IPOS_OPAQUE(all);
	__builtin_memset(w->tcp, 0, sizeof(w->tcp));
	if (all < sizeof(struct tcphdr) || all > sizeof(w->tcp) ||
	    bpf_xdp_load_bytes(ctx, s->l2, w->saved, sizeof(struct iphdr)) ||
	    bpf_xdp_load_bytes(ctx, s->l4, w->tcp, all))
		return 0;
	options_parse(w, len);
	if (fold(sum_words(w->saved, sizeof(struct iphdr))) != 0xffff)
		return 0;
	return !whole || fold(sum_words(w->tcp, sizeof(w->tcp)) +
			      sum_pseudo(s->tuple.client_ip, s->tuple.service_ip, all)) == 0xffff;
}

/* The reply, with timestamps where the client's segment has them. */
IPOS_INLINE int answer(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
		       const struct reply *of)
{
	struct reply r = *of;

	r.ts_value = w->ts_echo;
	r.ts_echo = w->ts_value;
	r.options = w->option_flags & IPOS_OPT_TIMESTAMPS ? REPLY_TIMESTAMPS : REPLY_BARE;
	return reply_send(ctx, w, s, &r);
}

/* An acknowledgement by an unattached endpoint that has `held` bytes of its window taken. */
IPOS_INLINE int acknowledge(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			    const struct ipos_handshake *hs, __u32 held, __u8 more_flags)
{
	struct reply r = { .seq = hs->iss + 1, .ack = hs->irs + 1 + held,
			   .flags = TCP_ACK | more_flags,
			   .window = reply_window(hs, held) };

	if (more_flags & TCP_FIN)
		r.ack++;
	return answer(ctx, w, s, &r);
}

/* RFC 9293 3.5.2: the reset a segment provokes. */
IPOS_INLINE int answer_reset(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s)
{
	struct reply r = { .seq = s->ack, .flags = TCP_RST };

	if (!(s->flags & TCP_ACK)) {
		r.seq = 0;
		r.ack = segment_end(s);
		r.flags |= TCP_ACK;
	}
	count(COUNT_RST_SENT);
	return reply_send(ctx, w, s, &r);
}

/* ---- encapsulation: type 2 ----------------------------------------------------------------- */

/* The frame becomes a type 2 for `server` and leaves on back. */
IPOS_APART int encapsulate(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s, const struct ipos_candidate *to)
{
	__u32 inner = (s->l4 - s->l2 + s->tcp_len) & 127, l2 = l2_length(set->back_vlan);
	__u32 ip_len = s->l4 - s->l2 + s->tcp_len + s->length, tag_at;
	struct ipos_server *owner = server_at(to->server);
	struct ipos_header *h = (void *)w->words;
	void *data, *end, *tail;
	__u64 tag;

	if (!owner)
		return drop(COUNT_DROP_EMIT);
	header_write(h, &s->tuple, owner->address, to->port, IPOS_PACKET);
	if (headers_load(ctx, w, s->l2, inner))
		return drop(COUNT_DROP_EMIT);
	tag = tag_of(set, w, IPOS_HEADER_LEN + inner);
	/*
	 * Everything behind the IP packet (padding of a short frame) goes.  A veth may hand
	 * us a buffer without room behind its data: tc can grow any frame.
	 */
	if (bpf_xdp_adjust_tail(ctx, (int)(s->l2 + ip_len + IPOS_TAG_LEN) -
				(int)bpf_xdp_get_buff_len(ctx)))
		return pass_alone(ctx);
	if (bpf_xdp_adjust_head(ctx, (int)s->l2 - (int)(l2 + IPOS_HEADER_LEN)))
		return drop(COUNT_DROP_EMIT);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	tag_at = l2 + IPOS_HEADER_LEN + ip_len;
	tail = data + (tag_at & 0x3fff);
	if (data + L2_MAX + IPOS_HEADER_LEN > end || tail + IPOS_TAG_LEN > end ||
	    tag_at > 0x3fff)
		return drop(COUNT_DROP_EMIT);
	l2_write(data, owner->mac, set->back_mac, set->back_vlan, set->ethertype);
	header_copy(data + l2, h);
	AT64(tail, 0) = tag;
	count(COUNT_FORWARDED);
	return bpf_redirect(set->back_ifindex, 0);
}

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

/* ---- unattached endpoints ------------------------------------------------------------------- */

/* Tells who watches what became of a SYN; server 0: its client is reset. */
IPOS_APART int report_syn(const struct ipos_settings *set, const struct segment *s, __u16 server)
{
	struct ipos_address *a = address_of(s->tuple.service_ip, s->tuple.service_port);
	struct verdict v = { .server = server, .first = set->self,
			     .outcome = server ? IPOS_OUTCOME_NEW : IPOS_OUTCOME_REFUSED,
			     .reason = server ? IPOS_REASON_POLICY : IPOS_REASON_NO_SERVER };
	struct ipos_service *service;

	if (!a)
		return 0;
	service = service_at(a->service);
	if (!service || !decision_wanted(set, service))
		return 0;
	v.service = a->service;
	v.pool = service->pool;
	return decision_write(NULL, &s->tuple, &v);
}

/* The server speaks first: its own kernel must shake hands, the SYN itself travels. */
IPOS_INLINE int client_syn_on_connection(struct xdp_md *ctx, struct ipos_settings *set,
					 struct ipos_scratch *w, struct segment *s,
					 struct ipos_service *service, __u64 now)
{
	struct ipos_temporary *t = bpf_map_lookup_elem(&temporary, &s->tuple), row = {};
	struct ipos_candidate to = {};
	struct ipos_server *owner;
	struct draw d = draw_for(&s->tuple);
	struct choice c = {};

	/* Sent again: another choice would be a second owner. */
	if (t && t->hs.irs == s->seq && (t->state == IPOS_TEMP_SYN ||
	    (t->state == IPOS_TEMP_SYN_HERE && t->server == set->self))) {
		owner = server_at(t->server);
		if (owner && owner->state != IPOS_SERVER_DOWN) {
			c.server = t->server;
			c.port = t->port;
		}
	}
	if (!c.server) {
		choose(w, service->pool, 0, &d, &c);
		report_syn(set, s, c.server);
	}
	if (!c.server) {
		count(COUNT_DROP_NO_SERVER);
		return answer_reset(ctx, w, s);
	}
	row.state = c.server == set->self ? IPOS_TEMP_SYN_HERE : IPOS_TEMP_SYN;
	row.server = c.server;
	row.port = c.port;
	row.hs.irs = s->seq;
	row.created_ns = row.last_seen_ns = now;
	bpf_map_update_elem(&temporary, &s->tuple, &row, BPF_ANY);
	if (c.server == set->self)
		return pass_alone(ctx);
	count(COUNT_SYN_FORWARDED);
	to.server = c.server;
	to.port = c.port;
	return encapsulate(ctx, set, w, s, &to);
}

/* Our sequence number behind the answer and its FIN. */
IPOS_INLINE __u32 answer_end(const struct ipos_holding *h)
{
	return h->hs.iss + 1 + h->answer + 1;
}

IPOS_INLINE int client_syn(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s, struct ipos_service *service, __u64 now)
{
	struct reply r = { .flags = TCP_SYN | TCP_ACK, .window = IPOS_WINDOW,
			   .options = REPLY_SYN };
	struct ipos_holding *h;
	struct cookie c = {};

	if (!load_tcp(ctx, w, s))
		return drop(COUNT_DROP_BAD_CHECKSUM);
	if (service->select == IPOS_SELECT_CONNECTION)
		return client_syn_on_connection(ctx, set, w, s, service, now);
	h = bpf_map_lookup_elem(&holding, &s->tuple);
	if (h && h->acknowledged) {	/* RFC 5961 4: the client resets exactly, then asks again */
		count(COUNT_ACK_REPEATED);
		if (h->answer) {
			r.seq = answer_end(h);
			r.ack = h->client_end;
			r.flags = TCP_ACK;
			r.window = reply_window(&h->hs, 0);
			return answer(ctx, w, s, &r);
		}
		return acknowledge(ctx, w, s, &h->hs, h->acknowledged, 0);
	}
	if (!pool_has_server(service->listening) ||
	    !cookie_make(w, s, now + set->wall_offset_ns, &c)) {
		count(COUNT_DROP_NO_SERVER);
		report_syn(set, s, 0);
		return answer_reset(ctx, w, s);
	}
	if (w->option_flags & IPOS_OPT_TIMESTAMPS && c.options & COOKIE_ECN)
		r.flags |= TCP_ECE;
	r.seq = c.isn;
	r.ack = s->seq + 1;
	r.ts_value = c.ts_value;
	r.ts_echo = w->ts_value;
	count(COUNT_SYN_ACK);
	return reply_send(ctx, w, s, &r);
}

/* Our reset was lost, or the client had more on its way. */
IPOS_INLINE int reset_again(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s)
{
	count(COUNT_DROP_COOKIE_USED);
	return answer_reset(ctx, w, s);
}

/* After the end: answer a repeated FIN, let nothing be served twice. */
IPOS_INLINE int client_after_end(struct xdp_md *ctx, struct ipos_scratch *w,
				 const struct segment *s, const struct ipos_temporary *t)
{
	__u32 end = segment_end(s);

	if (s->flags & TCP_RST)
		return drop(COUNT_ABSORBED);
	if (t->state == IPOS_TEMP_RESET)
		return reset_again(ctx, w, s);
	if (s->flags & TCP_FIN && end == t->client_end) {
		struct reply r = { .seq = s->ack, .ack = end, .flags = TCP_ACK,
				   .window = reply_window(&t->hs, 0) };

		count(COUNT_FIN_REPEATED);
		if (s->ack == t->hs.iss + 1)	/* it saw nothing of ours: our FIN was lost */
			r.flags |= TCP_FIN;
		return answer(ctx, w, s, &r);
	}
	if (!s->length && end == t->client_end)
		return drop(COUNT_ABSORBED);
	return drop(COUNT_DROP_COOKIE_USED);
}

/*
 * A reset proves itself by the exact sequence number, or by knowing our ISN.  It ends the stream
 * where we have it: what a reset carries is no data (RFC 9293 3.5.3), nor is what it skips.
 */
IPOS_INLINE int reset_proven(const struct segment *s, const struct ipos_handshake *hs, __u32 held)
{
	__u32 offset = s->seq - (hs->irs + 1);

	return offset == held ||
	       (s->flags & TCP_ACK && s->ack == hs->iss + 1 && offset <= IPOS_HEAD_MAX);
}

/*
 * A segment for an endpoint that has answered by itself.  Returns the reason to drop it, 0 for one
 * that is tc's, which has the answer; after COUNT_ABSORBED, the client has reset, there is no endpoint.
 */
IPOS_INLINE int answered_refuses(const struct segment *s, const struct ipos_holding *h, __u64 now)
{
	int known = s->flags & TCP_ACK && answer_end(h) - s->ack <= (__u32)h->answer + 1;
	int near = s->seq - h->client_end + IPOS_HEAD_MAX <= 2 * IPOS_HEAD_MAX;
	struct ipos_handshake hs = h->hs;

	if (s->flags & TCP_RST) {
		if (s->seq != h->client_end && !(known && near))
			return COUNT_DROP_BAD_SEQUENCE;
		hs.iss = h->iss;	/* what the cookie was made of */
		hs.irs = h->irs;
		closed_remember(&s->tuple, &hs, h->client_end, now, IPOS_TEMP_CLOSED);
		holding_release(&s->tuple);
		return COUNT_ABSORBED;
	}
	if (!known)
		return COUNT_DROP_NO_COOKIE;
	return near ? 0 : COUNT_DROP_BAD_SEQUENCE;
}

IPOS_INLINE int client_answered(struct xdp_md *ctx, const struct segment *s,
				const struct ipos_holding *h, __u64 now)
{
	int reason = answered_refuses(s, h, now);

	return reason ? drop(reason) : pass_alone(ctx);
}

/* A segment for an endpoint that holds part of a request. */
IPOS_INLINE int client_held(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			    const struct ipos_holding *h, __u64 now)
{
	__u32 offset = s->seq - (h->hs.irs + 1);

	if (h->answer)
		return client_answered(ctx, s, h, now);
	if (s->flags & TCP_RST) {
		if (!reset_proven(s, &h->hs, h->acknowledged) && !reset_proven(s, &h->hs, h->held))
			return drop(COUNT_DROP_BAD_SEQUENCE);
		closed_remember(&s->tuple, &h->hs, h->hs.irs + 1 + h->held, now,
				IPOS_TEMP_CLOSED);
		holding_release(&s->tuple);
		return drop(COUNT_ABSORBED);
	}
	if (s->ack != h->hs.iss + 1)
		return drop(COUNT_DROP_NO_COOKIE);
	/* RFC 9293 3.8.4: at most one byte, from before what we acknowledged. */
	if (s->length <= 1 && !(s->flags & TCP_FIN) && (__s32)(offset - h->acknowledged) < 0 &&
	    (__s32)offset >= -1) {
		count(COUNT_KEEPALIVE_ANSWERED);
		return acknowledge(ctx, w, s, &h->hs, h->acknowledged, 0);
	}
	if (offset > IPOS_HEAD_MAX - !!s->length)
		return drop(COUNT_DROP_BAD_SEQUENCE);
	if (s->length)
		return pass_alone(ctx);
	if (!(s->flags & TCP_FIN))
		return drop(COUNT_ABSORBED);
	return offset <= h->held ? pass_alone(ctx) : drop(COUNT_DROP_BAD_SEQUENCE);
}

/* A segment for an endpoint that holds nothing yet. */
IPOS_INLINE int client_open(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			    struct ipos_temporary *t, __u64 now)
{
	__u32 offset = s->seq - (t->hs.irs + 1);

	t->last_seen_ns = now;
	if (s->flags & TCP_RST) {
		if (!reset_proven(s, &t->hs, 0))
			return drop(COUNT_DROP_BAD_SEQUENCE);
		t->state = IPOS_TEMP_CLOSED;
		t->client_end = t->hs.irs + 1;
		return drop(COUNT_ABSORBED);
	}
	if (offset == (__u32)-1 && s->length <= 1 && !(s->flags & TCP_FIN)) {	/* RFC 9293 3.8.4 */
		count(COUNT_KEEPALIVE_ANSWERED);
		return acknowledge(ctx, w, s, &t->hs, 0, 0);
	}
	if (offset > IPOS_HEAD_MAX - !!s->length)
		return drop(COUNT_DROP_BAD_SEQUENCE);
	if (s->length)
		return pass_alone(ctx);
	if (!(s->flags & TCP_FIN))
		return drop(COUNT_ABSORBED);
	if (offset)			/* a FIN ahead of data that is still to come */
		return drop(COUNT_DROP_BAD_SEQUENCE);
	t->state = IPOS_TEMP_CLOSED;
	t->client_end = s->seq + 1;
	count(COUNT_FIN_ANSWERED);
	return acknowledge(ctx, w, s, &t->hs, 0, TCP_FIN);
}

/* Nobody's yet: the handshake's third segment, or a stranger. */
IPOS_INLINE int client_unattached(struct xdp_md *ctx, struct ipos_settings *set,
				  struct ipos_scratch *w, struct segment *s, __u64 now)
{
	struct ipos_temporary *t, row = {};
	struct ipos_holding *h;

	if (!(s->flags & (TCP_ACK | TCP_RST)) || s->flags & TCP_SYN)
		return drop(COUNT_DROP_BAD_FLAGS);
	if (!load_tcp(ctx, w, s))
		return drop(COUNT_DROP_BAD_CHECKSUM);
	h = bpf_map_lookup_elem(&holding, &s->tuple);
	if (h && !h->acknowledged && s->ack != h->hs.iss + 1 && !(s->flags & TCP_RST) &&
	    cookie_check(w, s, now + set->wall_offset_ns, &row.hs)) {
		holding_release(&s->tuple);	/* the client began anew on the same port */
		h = NULL;
	}
	if (h)
		return client_held(ctx, w, s, h, now);
	t = bpf_map_lookup_elem(&temporary, &s->tuple);
	if (t && t->state == IPOS_TEMP_SYN) {
		struct ipos_candidate to = { .server = t->server, .port = t->port };

		return encapsulate(ctx, set, w, s, &to);
	}
	if (t && t->state == IPOS_TEMP_SYN_HERE)
		return pass_alone(ctx);
	if (t && t->state == IPOS_TEMP_OPEN && (s->ack == t->hs.iss + 1 || s->flags & TCP_RST))
		return client_open(ctx, w, s, t, now);
	if (t && (s->ack == t->hs.iss + 1 ||
		  (t->state == IPOS_TEMP_CLOSED && segment_end(s) == t->client_end)))
		return client_after_end(ctx, w, s, t);
	if (s->flags & TCP_RST)
		return drop(COUNT_DROP_NO_COOKIE);
	if (!cookie_check(w, s, now + set->wall_offset_ns, &row.hs)) {
		/* Older than the data plane, or our own kernel's: not ours to judge. */
		if (t && t->state == IPOS_TEMP_RESET)
			return reset_again(ctx, w, s);
		if (kernel_has(ctx, &s->tuple))
			return XDP_PASS;
		return drop(COUNT_DROP_NO_COOKIE);
	}
	count(COUNT_COOKIE_ACCEPTED);
	row.state = IPOS_TEMP_OPEN;
	row.created_ns = row.last_seen_ns = now;
	bpf_map_update_elem(&temporary, &s->tuple, &row, BPF_ANY);
	t = bpf_map_lookup_elem(&temporary, &s->tuple);
	return t ? client_open(ctx, w, s, t, now) : drop(COUNT_DROP_TABLE_FULL);
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
