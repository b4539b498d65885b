/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What is done with a client's segment, whoever has its connection: up to tc, answered in an
 * endpoint's place, or on to its owner.
 */
#ifndef IPOS_XDP_SEGMENT_H
#define IPOS_XDP_SEGMENT_H

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

#endif /* IPOS_XDP_SEGMENT_H */
