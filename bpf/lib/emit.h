/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sending from tc.  A tc program makes frames by rewriting the one it has: cut or grow it,
 * store the bytes, send a clone.  Whatever it carried is in the hold pool by then.
 */
#ifndef IPOS_EMIT_H
#define IPOS_EMIT_H

#include "abi/verdict.h"
#include "lib/capture.h"
#include "lib/rows.h"
#include "lib/frame.h"
#include "lib/measure.h"
#include "lib/reply.h"
#include "lib/uplink.h"

#define IPOS_ROUNDS 32

/*
 * The frame at hand has been sent, as clones or as something else.  Not TC_ACT_STOLEN: tcx
 * knows only pass, drop and redirect, and takes every other verdict for "next program".
 */
#define CONSUMED TC_ACT_SHOT

IPOS_INLINE int shot(__u32 reason)
{
	count(reason);
	return TC_ACT_SHOT;
}

/* A frame of ours is about to leave on `ifindex`. */
IPOS_INLINE void leaving(struct __sk_buff *skb, const struct ipos_settings *set, __u32 ifindex)
{
	if (unlikely(set->flags & IPOS_CAPTURE))
		capture_skb(skb, ifindex, 1);
}

/* Frames of ours have their VLAN tag inside; the kernel keeps a received one beside. */
IPOS_INLINE void tag_off(struct __sk_buff *skb)
{
	if (unlikely(skb->vlan_present))
		bpf_skb_vlan_pop(skb);
}

IPOS_INLINE int back_tag_on(struct __sk_buff *skb, const struct ipos_settings *set)
{
	if (!set->back_vlan)
		return 0;
	return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), set->back_vlan);
}

/* The first `len` bytes of w->frame become the whole frame. */
IPOS_INLINE int frame_becomes(struct __sk_buff *skb, struct ipos_scratch *w, __u32 len)
{
	tag_off(skb);
	IPOS_OPAQUE(len);
	if (len < FRAME_MIN - 6 || len > sizeof(w->frame))
		return -1;
	if (bpf_skb_change_tail(skb, len, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, w->frame, len, 0);
}

/*
 * Sends our own kernel a reset at `next`, made of the packet at hand, which stays as it is.
 * Its checksum is changed by what changes, so its payload may stay too.
 */
IPOS_FUNCTION int reset_kernel(struct __sk_buff *skb, const struct ipos_settings *set,
			       const struct segment *s, __u32 next)
{
	__u32 check, seq_at;
	__be16 bits, reset;
	__be32 was, is;

	if (!set || !s)
		return -1;
	check = s->l4 + offsetof(struct tcphdr, check);
	seq_at = s->l4 + 4;
	was = bpf_htonl(s->seq);
	is = bpf_htonl(next);
	if (bpf_skb_load_bytes(skb, s->l4 + 12, &bits, 2))
		return -1;
	reset = (bits & bpf_htons(0xf000)) | bpf_htons(TCP_RST);
	if (bpf_l4_csum_replace(skb, check, was, is, 4) ||
	    bpf_l4_csum_replace(skb, check, bits, reset, 2) ||
	    bpf_skb_store_bytes(skb, seq_at, &is, 4, 0) ||
	    bpf_skb_store_bytes(skb, s->l4 + 12, &reset, 2, 0))
		return -1;
	skb->mark = IPOS_MARK;
	if (!bpf_clone_redirect(skb, front_of(set, s->tuple.service_ip), BPF_F_INGRESS))
		count(COUNT_TIME_WAIT_ENDED);
	skb->mark = 0;
	bpf_l4_csum_replace(skb, check, is, was, 4);
	bpf_l4_csum_replace(skb, check, reset, bits, 2);
	bpf_skb_store_bytes(skb, seq_at, &was, 4, 0);
	return bpf_skb_store_bytes(skb, s->l4 + 12, &bits, 2, 0);
}

/*
 * Sends a notice out of a frame without payload, and puts that frame back as it was.
 * On egress its checksum may be one that a NIC finishes later: at bytes 50 and 51, or 70 and 71
 * of IPv6, which in the notice are padding, or the trailer's spare bytes.  A VLAN tag inside
 * would put the notice's own tag there: it goes beside, from where it is put in front of the
 * checksum's place.
 */
IPOS_FUNCTION int notice_beside(struct __sk_buff *skb, const struct ipos_settings *set,
				struct ipos_scratch *w, const struct ipos_tuple *t,
				const struct notice *n)
{
	__u32 tagged = skb->vlan_present, tci = skb->vlan_tci;
	__u8 to[8] __attribute__((aligned(8)));
	__u32 len = skb->len, frame_len;

	IPOS_OPAQUE(len);
	if (!set || !w || !t || !n || mac_of(n->server, to) || len < 34 || len > sizeof(w->saved))
		return -1;
	if (bpf_skb_load_bytes(skb, 0, w->saved, len))
		return -1;
	frame_len = notice_write(set, w, t, to, n);
	if (frame_becomes(skb, w, frame_len) || back_tag_on(skb, set)) {
		count(COUNT_DROP_EMIT);
	} else {
		leaving(skb, set, set->back_ifindex);
		if (!bpf_clone_redirect(skb, set->back_ifindex, 0))
			count(COUNT_FRAMES_SENT);
	}
	tag_off(skb);
	if (bpf_skb_change_tail(skb, len, 0) || bpf_skb_store_bytes(skb, 0, w->saved, len, 0))
		return -1;
	return unlikely(tagged) ? bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), tci) : 0;
}

/*
 * The end of an endpoint we own: the row goes, the first server is told.  `by` is of enum
 * ipos_decision_flags: who ends it.
 */
IPOS_INLINE void endpoint_end(struct __sk_buff *skb, const struct ipos_settings *set,
			      struct ipos_scratch *w, const struct ipos_tuple *t,
			      struct ipos_endpoint *ep, __u64 now, __u32 by)
{
	__u32 end = ep->client_fin_seen ? ep->client_fin : ep->rcv_nxt;
	struct notice n = { .endpoint_ip = ep->endpoint_ip,
			    .endpoint_port = ep->endpoint_port,
			    .server = told_of(&ep->hs, ep->first),
			    .type = IPOS_CLOSED,
			    .untagged = 1,
			    .iss = ep->hs.iss };

	closed_remember(t, &ep->hs, end, now, IPOS_TEMP_CLOSED);
	if (ep->flags & IPOS_EP_WAITING)
		holding_release(t);
	answers_end(t, ep, by);
	/* Both ways of a connection may end it at once, on two CPUs: one of them tells. */
	if (endpoint_delete(t))
		return;
	count(COUNT_CLOSED);
	if (n.server != set->self)
		notice_beside(skb, set, w, t, &n);
}

/* The frame at hand becomes a segment to the client, by way of r->mac, with the first
 * r->payload bytes of w->bytes, which is zero padded. */
IPOS_FUNCTION int reply_becomes(struct __sk_buff *skb, const struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s,
				const struct tc_reply *r)
{
	__u32 tcp_len, l2, len, n;
	struct tcphdr *tcp;

	if (!set || !w || !s || !r)
		return -1;
	tcp_len = reply_header(w, s, &r->reply) & 63;
	l2 = l2_length(set->front_vlan);
	tcp = (void *)w->frame;
	n = r->payload;
	if (tcp_len < sizeof(struct tcphdr))
		return -1;
	if (n)
		tcp->check = (__u16)~fold((__u16)~tcp->check + bytes_sum(w, n) + bpf_htons(n));
	l2_write(w->saved, r->mac, front_mac_of(set, s->tuple.service_ip), set->front_vlan,
		 ETH_P_FAMILY);
	ip_write((void *)w->saved + l2, s->tuple.service_ip, s->tuple.client_ip,
		 IP_LEN + tcp_len + n);
	l2 += IP_LEN;
	len = l2 + tcp_len;
	tag_off(skb);
	if (bpf_skb_change_tail(skb, len + n, 0) || bpf_skb_store_bytes(skb, 0, w->saved, l2, 0) ||
	    bpf_skb_store_bytes(skb, l2, w->frame, tcp_len, 0))
		return -1;
	IPOS_OPAQUE(n);
	if (n < 1 || n > IPOS_CHUNK)
		return 0;
	return bpf_skb_store_bytes(skb, len, w->bytes, n, 0);
}

/* A reply to the client, out of whatever frame is at hand. */
IPOS_INLINE int reply_from_tc(struct __sk_buff *skb, const struct ipos_settings *set,
			      struct ipos_scratch *w, const struct segment *s,
			      const struct tc_reply *r)
{
	__u32 front = front_of(set, s->tuple.service_ip);

	if (reply_becomes(skb, set, w, s, r))
		return shot(COUNT_DROP_EMIT);
	leaving(skb, set, front);
	skb->mark = IPOS_MARK_OURS; /* a socket that was left behind may have the tuple */
	return bpf_redirect(front, 0);
}

#endif /* IPOS_EMIT_H */
