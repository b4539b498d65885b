/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What is done with a client's segment, whichever server has its connection: up to tc, answered in
 * an endpoint's place, or on to its owner.
 */
#ifndef IPOS_XDP_SEGMENT_H
#define IPOS_XDP_SEGMENT_H

#include "abi/verdict.h"
#include "select/policy.h"
#include "lib/decision.h"
#include "lib/rows.h"
#include "lib/reading.h"
#include "lib/frame.h"
#include "lib/reply.h"
#include "xdp/read_tag.h"

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

/* Up to tc: a frame of ours on back, with our header at `l2`, whose sender has proved itself. */
IPOS_INLINE int pass_vouched(struct xdp_md *ctx, const struct ipos_settings *set, __u32 l2)
{
	__u32 at = l2 + HEADER_LEN + offsetof(struct ipos_trailer, tag);
	__u64 word = set->vouch;

	if (bpf_xdp_store_bytes(ctx, at, &word, sizeof(word)))
		return drop(COUNT_DROP_FRAME_SHORT);
	return pass_alone(ctx);
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
	TC_TRACKS, /* it takes note */
	TC_ALONE,  /* it may make another frame of it */
};

/*
 * Once our kernel has the connection and neither side has closed, its packets change nothing but
 * the time, unless every request is looked at.
 */
IPOS_INLINE enum tc_work tc_work(const struct ipos_settings *set, const struct ipos_endpoint *ep,
				 const struct segment *s, enum parsed what)
{
	if (goes_alone(ep, s) || (what == PARSED_TCP && may_join(set, ep, s)))
		return TC_ALONE;
	if (what != PARSED_TCP || ep->state != IPOS_EP_ATTACHED || ep->server_fin_seen ||
	    s->flags & (TCP_SYN | TCP_FIN | TCP_RST) || set->front_vlan || set->back_vlan ||
	    (ep->follow != IPOS_FOLLOW_NOT && ep->follow != IPOS_FOLLOW_OPAQUE) ||
	    ep->flags & (IPOS_EP_HANDSHAKE | IPOS_EP_BOXED) || ep->line.length)
		return TC_TRACKS;
	return TC_NOTHING;
}

/*
 * Without the urgent flag and pointer, what we read is what the application reads: its kernel would
 * take the byte that they name out of the stream (RFC 6093).  The checksum stays right, or wrong.
 */
IPOS_APART int urgent_clear(struct xdp_md *ctx, struct segment *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcphdr *tcp = data + (s->l4 & 0x7f);
	__u16 *bits, was;

	if ((void *)(tcp + 1) > end)
		return 0;
	bits = (__u16 *)tcp + 6;
	was = *bits;
	*bits &= ~bpf_htons(TCP_URG);
	/* RFC 1624 */
	tcp->check = (__u16)~fold((__u64)(__u16)~tcp->check + (__u16)~was + *bits +
				  (__u16)~tcp->urg_ptr);
	tcp->urg_ptr = 0;
	s->flags &= ~TCP_URG;
	count(COUNT_URGENT_CLEARED);
	return 1;
}

/*
 * Of a service that reads what its clients send; one whose server speaks first may use it.  Also of
 * a segment without data, whose pointer may name a byte that is still to come.
 */
IPOS_INLINE void urgent_look(struct xdp_md *ctx, struct segment *s,
			     const struct ipos_service *service)
{
	if (unlikely((s->flags & (TCP_URG | TCP_SYN)) == TCP_URG) &&
	    service->select == IPOS_SELECT_REQUEST)
		urgent_clear(ctx, s);
}

/* The segment's TCP header into w->tcp, its options parsed.  Returns 0 when it is unsound. */
IPOS_APART int load_tcp(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s)
{
	__u32 len = s->tcp_len & 63, all = s->tcp_len + s->length;
	int whole = all <= sizeof(w->tcp);

	if (!whole) /* the kernel, or tc, will check the payload's sum */
		all = len;
	IPOS_OPAQUE(all);
	__builtin_memset(w->tcp, 0, sizeof(w->tcp));
	if (all < sizeof(struct tcphdr) || all > sizeof(w->tcp) ||
	    (IPOS_FAMILY == 4 && bpf_xdp_load_bytes(ctx, s->l2, w->saved, IP_LEN)) ||
	    bpf_xdp_load_bytes(ctx, s->l4, w->tcp, all))
		return 0;
	options_parse(w, len);
	if (!ip_header_right(w->saved))
		return 0;
	return !whole || fold(sum_dwords(w->tcp, sizeof(w->tcp)) +
			      sum_pseudo(s->tuple.client_ip, s->tuple.service_ip, all)) == 0xffff;
}

/*
 * The sum of a whole segment, of which load_tcp() has looked at no more than its first 64 bytes:
 * asked before anything is stored or forgotten for it.  What goes up to tc is summed there.
 */
IPOS_FUNCTION int segment_right(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s)
{
	__u32 bytes, at;
	__u64 sum = 0;

	if (!w || !s)
		return 0;
	bytes = s->tcp_len + s->length;
	at = s->l4;
	if (bytes <= sizeof(w->tcp))
		return 1;
	for (__u32 nth = w->zero; nth < 2 * IPOS_CHUNKS; nth++) {
		__u32 done = nth * IPOS_CHUNK, left;

		IPOS_CONVERGES;
		if (done >= bytes)
			break;
		left = bytes - done;
		if (left > IPOS_CHUNK)
			left = IPOS_CHUNK;
		IPOS_OPAQUE(left);
		if (left < 1 || left > IPOS_CHUNK)
			return 0;
		bytes_pad(w, left);
		if (bpf_xdp_load_bytes(ctx, at + done, w->bytes, left))
			return 0;
		sum += bytes_sum(w, left);
	}
	return fold(sum + sum_pseudo(s->tuple.client_ip, s->tuple.service_ip, bytes)) == 0xffff;
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
	struct reply r = { .seq = hs->iss + 1,
			   .ack = hs->irs + 1 + held,
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

/* What stands around a client's packet on back. */
struct wrapping {
	const __u8 *mac; /* the frame's receiver */
	__u32 ip;	 /* of its header; network */
	__u16 port, type;
};

/* Said by wrap() of a frame that has no room: XDP can do nothing more with it. */
#define NO_ROOM (-1)

/* The frame is wrapped, and leaves on back.  Its tag is left in `*tagged`. */
IPOS_INLINE int wrap(struct xdp_md *ctx, const struct ipos_settings *set, const struct segment *s,
		     const struct wrapping *by, __u64 *tagged)
{
	__u32 inner = s->l4 - s->l2 + s->tcp_len, l2 = l2_length(set->back_vlan);
	__u32 end_at = l2 + HEADER_LEN + inner + s->length;
	__u32 grown = l2 + HEADER_LEN - s->l2, back;
	void *data, *end, *tail;
	__u64 tag = 0;

	/*
	 * Everything behind the IP packet (padding of a short frame) goes.  A veth may hand
	 * us a buffer without room behind its data: tc can grow any frame.
	 */
	if (bpf_xdp_adjust_tail(ctx, (int)(end_at - grown + IPOS_TAG_LEN) - (int)frame_length(ctx)))
		return NO_ROOM;
	if (bpf_xdp_adjust_head(ctx, -(int)grown))
		return drop(COUNT_DROP_EMIT);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + L2_MAX + HEADER_LEN > end)
		return drop(COUNT_DROP_EMIT);
	l2_write(data, by->mac, set->back_mac, set->back_vlan, set->ethertype);
	header_write(data + l2, &s->tuple, by->ip, by->port, by->type);
	if (likely(set->flags & IPOS_AUTHENTICATE))
		tag = packet_tag(ctx, l2, inner, payload_tagged(s->length), 0);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	tail = data + (end_at & 0x3fff);
	if (tail + IPOS_TAG_LEN > end || end_at > 0x3fff)
		return drop(COUNT_DROP_EMIT);
	AT64(tail, 0) = *tagged = tag;
	/* Else a compiler has one load for this and the context's ifindex, at the same offset. */
	back = set->back_ifindex;
	IPOS_OPAQUE(back);
	return bpf_redirect(back, 0);
}

/* The frame becomes a type 2 for `to` and leaves on back. */
IPOS_INLINE int encapsulate_inline(struct xdp_md *ctx, const struct ipos_settings *set,
				   const struct segment *s, const struct ipos_candidate *to)
{
	struct ipos_server *owner = server_at(to->server);
	struct wrapping by = { .port = to->port, .type = IPOS_PACKET };
	__u64 tag;
	int verdict;

	if (!owner)
		return drop(COUNT_DROP_EMIT);
	by.mac = owner->mac;
	by.ip = owner->address;
	verdict = wrap(ctx, set, s, &by, &tag);
	if (verdict == NO_ROOM)
		return pass_alone(ctx);
	if (likely(verdict == XDP_REDIRECT))
		count(COUNT_FORWARDED);
	return verdict;
}

/* The same, where a call is not much. */
IPOS_APART int encapsulate(struct xdp_md *ctx, const struct ipos_settings *set,
			   const struct segment *s, const struct ipos_candidate *to)
{
	return encapsulate_inline(ctx, set, s, to);
}

#endif /* IPOS_XDP_SEGMENT_H */
