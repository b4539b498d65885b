/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The Cookie map's news on its way: noticed on egress in a response, told to all by a frame
 * that leaves before the response does, so that its client finds every server informed.
 *
 * A frame is made of the packet at hand, and the response must stay whole: so egress sends a
 * copy of it to front's ingress, where it turns into the frame, and the response itself after
 * it the same way, from where it leaves on front again.
 */
#ifndef IPOS_LEARNED_H
#define IPOS_LEARNED_H

#include "abi/verdict.h"
#include "select/learn.h"
#include "lib/emit.h"

#define LEARN_PIECES 16 /* of one packet: a longer head is looked at no further */

/* ---- on egress ---------------------------------------------------------------------------- */

/* The head's bytes in the segment.  Returns whether there is something to tell. */
IPOS_FUNCTION int learn_segment(struct __sk_buff *skb, struct ipos_scratch *w,
				const struct segment *s, struct ipos_learning *l)
{
	__u32 left, n;

	if (!w || !s || !l)
		return 0;
	left = s->length;
	for (__u32 nth = 0; nth < LEARN_PIECES && left; nth++) {
		n = left > IPOS_CHUNK ? IPOS_CHUNK : left;
		IPOS_OPAQUE(n);
		if (n < 1 || n > IPOS_CHUNK ||
		    bpf_skb_load_bytes(skb, s->payload + nth * IPOS_CHUNK, w->bytes, n))
			break;
		left -= n;
		if (!learn_feed(w, l, n))
			break;
	}
	if (left)
		l->phase = IPOS_LEARN_DONE;
	return l->news;
}

/*
 * A response's head begins with a segment: its client has asked for it after the bytes before
 * it, and has all of them.  So a segment that is new, the first since the client sent
 * something, either begins a head or is none of one.
 */
IPOS_APART int learn_sent(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			  const struct ipos_endpoint *ep)
{
	struct ipos_learning *l = bpf_map_lookup_elem(&FAMILY(learning), &s->tuple);
	struct ipos_learning fresh = {};

	if (!l) {
		fresh.next = ep->snd_nxt;
		fresh.asked = s->ack - 1;
		fresh.phase = IPOS_LEARN_DONE;
		fresh.service = ep->service;
		if (bpf_map_update_elem(&FAMILY(learning), &s->tuple, &fresh, BPF_ANY))
			return 0;
		l = bpf_map_lookup_elem(&FAMILY(learning), &s->tuple);
		if (!l)
			return 0;
	}
	if (l->phase == IPOS_LEARN_DONE) {
		if (l->asked == s->ack || s->seq != ep->snd_nxt)
			return 0;
		learn_phase(l, IPOS_LEARN_BEGIN);
	} else if (s->seq != l->next) {
		return 0; /* sent again */
	}
	l->next = s->seq + s->length;
	learn_segment(skb, w, s, l);
	if (l->phase == IPOS_LEARN_DONE)
		l->asked = s->ack;
	return l->news;
}

/* Sends the response by way of front's ingress, behind a copy that tells. */
IPOS_APART int learn_detour(struct __sk_buff *skb)
{
	__u32 mark = skb->mark;

	skb->mark = IPOS_MARK_TELL;
	if (bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS)) {
		skb->mark = mark;
		count(COUNT_COOKIE_UNTOLD);
		return TC_ACT_OK;
	}
	skb->mark = IPOS_MARK_AFTER;
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

/* ---- on front's ingress --------------------------------------------------------------------- */

/* Types 10 and 11 to everybody on back, at w->frame.  Returns the frame's length. */
IPOS_APART int learned_write(const struct ipos_settings *set, struct ipos_scratch *w,
			     const struct ipos_tuple *service, __u64 hash, __u32 type)
{
	__u8 everybody[ETH_ALEN];
	__u32 l2 = l2_length(set->back_vlan);
	struct ipos_learned *body;
	struct ipos_header *h;
	struct ipos_tuple t = {
		.client_ip = service->service_ip,
		.client_port = service->service_port,
	};
	__u64 tag;

	__builtin_memset(everybody, 0xff, ETH_ALEN);
	__builtin_memset(w->frame, 0, SHORT_ROOM);
	l2_write(w->frame, everybody, set->back_mac, set->back_vlan, set->ethertype);
	h = (void *)w->frame + l2;
	body = (void *)h + HEADER_LEN;
	header_write(h, &t, set->self_ip, 0, type);
	__builtin_memcpy(body->hash, &hash, sizeof(hash));
	body->sent_s = bpf_htonl(wall_s(set, bpf_ktime_get_boot_ns()));
	w->words[3] = 0;
	words_take(w, h, HEADER_LEN + LEARNED_TAGGED);
	tag = tag_of(set, w, HEADER_LEN + LEARNED_TAGGED, 0);
	__builtin_memcpy(body->tag, &tag, IPOS_TAG_LEN);
	return l2 - sizeof(struct ethhdr) + LEARNED_LEN;
}

/* The copy of a response turns into the frame that tells what it says. */
IPOS_APART int learned_tell(struct __sk_buff *skb, const struct ipos_settings *set,
			    struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_learning *l = bpf_map_lookup_elem(&FAMILY(learning), t);
	__u32 len;

	if (!l || !l->news)
		return TC_ACT_SHOT;
	l->news = 0;
	len = learned_write(set, w, t, l->hash, l->forgotten ? IPOS_FORGOTTEN : IPOS_LEARNED);
	skb->mark = 0;
	if (frame_becomes(skb, w, len)) {
		count(COUNT_COOKIE_UNTOLD);
		return shot(COUNT_DROP_EMIT);
	}
	leaving(skb, set, set->back_ifindex);
	count(COUNT_FRAMES_SENT);
	return bpf_redirect(set->back_ifindex, 0);
}

/* A response of our own, or its copy, on its detour. */
IPOS_APART int learned_returns(struct __sk_buff *skb, const struct ipos_settings *set,
			       struct ipos_scratch *w, const struct segment *s)
{
	struct ipos_tuple t = s->tuple;

	if (skb->mark == IPOS_MARK_AFTER) {
		skb->mark = 0;
		return bpf_redirect(skb->ifindex, 0);
	}
	t.client_ip = s->tuple.service_ip;
	t.client_port = s->tuple.service_port;
	t.service_ip = s->tuple.client_ip;
	t.service_port = s->tuple.client_port;
	return learned_tell(skb, set, w, &t);
}

#endif /* IPOS_LEARNED_H */
