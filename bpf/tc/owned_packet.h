/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Packets of an endpoint that is ours, with a socket or without one yet.
 */
#ifndef IPOS_OWNED_PACKET_H
#define IPOS_OWNED_PACKET_H

#include "abi/verdict.h"
#include "lib/measure.h"
#include "tc/join.h"
#include "tc/old_connection.h"

IPOS_APART int owned_attached(struct __sk_buff *skb, struct ipos_settings *set,
			      struct ipos_scratch *w, const struct segment *s,
			      struct ipos_endpoint *ep)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 mark = skb->mark;

	skb->mark = 0;
	ep->last_seen_ns = now;
	if (ep->flags & IPOS_EP_MOVING)
		return moving(skb, set, w, s, now);
	if (s->flags & TCP_RST) {
		skb->mark = mark;
		return owned_reset(skb, set, w, s, ep);
	}
	if (s->flags & TCP_SYN)
		return owned_syn(skb, set, w, s, ep);
	follow_stretch(ep, s->seq + s->length);
	/*
	 * A request may be held by another CPU just now, and wait for this; no stranger knows it.
	 */
	if (ep->follow != IPOS_FOLLOW_NOT && s->flags & TCP_ACK && seq_before(ep->heard, s->ack) &&
	    !seq_before(ep->snd_nxt, s->ack))
		ep->heard = s->ack;
	if (may_join(set, ep, s))
		join(skb, w, s, ep);
	/* When our application has closed, our kernel resets what comes after. */
	if (follows(ep, s))
		return FOLLOW;
	if (s->length && ep->follow != IPOS_FOLLOW_NOT && ep->follow != IPOS_FOLLOW_OPAQUE)
		given(ep, s, s->length);
	if (ep->flags & IPOS_EP_WAITING && !ep->server_fin_seen)
		return waiting(skb, w, s, ep);
	return closing(skb, set, w, s, ep);
}

/*
 * The packet goes to the end of this CPU's queue, to come by once more: when TCP has seen what is
 * before it.  Not for ever, because the other CPU may take long.
 */
IPOS_INLINE int goes_round(struct __sk_buff *skb, const struct ipos_settings *set,
			   const struct segment *s, __u32 round)
{
	if (round >= IPOS_ROUNDS)
		return shot(COUNT_DROP_OUT_OF_ORDER);
	skb->mark = IPOS_MARK_ROUND + round;
	return bpf_redirect(front_of(set, s->tuple.service_ip), BPF_F_INGRESS);
}

#define ADOPTION_OVER (-1)

/*
 * Our kernel has a packet to adopt from in its hands, and no socket of it.  That there will be none
 * is known on the CPU that gave it the packet, to what is behind it in that CPU's queue, and
 * nowhere else.  Returns ADOPTION_OVER when it is known, else a verdict.
 */
IPOS_APART int adoption_open(struct __sk_buff *skb, const struct ipos_settings *set,
			     const struct segment *s, const struct ipos_endpoint *ep, __u32 round)
{
	int first = s->seq == ep->adopt_seq && s->length;

	if (ep->adopting != this_cpu())
		return first ? shot(COUNT_DROP_OUT_OF_ORDER) : goes_round(skb, set, s, round);
	if (ep->giver != set->self)
		return first ? ADOPTION_OVER : shot(COUNT_DROP_OUT_OF_ORDER);
	/*
	 * In one NAPI batch with the packet to adopt from: netfilter sees a batch before TCP
	 * sees its
	 * first packet, and connection tracking drops the second of a connection that it does not
	 * know yet.  So it goes behind.
	 */
	if (!round)
		return goes_round(skb, set, s, round);
	if (!first)
		return overhangs(ep, s) ? shot(COUNT_DROP_OUT_OF_ORDER) : TC_ACT_OK;
	return ADOPTION_OVER;
}

/* An endpoint given to us (or to ourselves) that has no socket yet. */
IPOS_APART int owned_unattached(struct __sk_buff *skb, struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s,
				struct ipos_endpoint *ep)
{
	/* What was decided by is held; a client's bytes may be others by now. */
	int first, ours = ep->giver != set->self || w->ours != OURS_NOT;
	struct ipos_holding *h;
	int verdict = ADOPTION_OVER;

	if (s->flags & TCP_SYN) /* what our kernel does with its listener's is not ours to say */
		return shot(COUNT_DROP_BAD_FLAGS);
	if (ep->state == IPOS_EP_ADOPTING && !ep->reason) {
		verdict = adoption_open(skb, set, s, ep, w->round);
		if (verdict != ADOPTION_OVER)
			return verdict;
		if (ep->giver != set->self)
			ep->state = IPOS_EP_PENDING; /* it is offered again, so try again */
	}
	first = s->seq == ep->adopt_seq && s->length;
	if (ep->state == IPOS_EP_PENDING && first && !ours && !w->round)
		return goes_round(skb, set, s, w->round); /* behind the pieces */
	if (ep->state == IPOS_EP_PENDING && first && ours) {
		if (s->flags & TCP_FIN)
			return fin_apart(skb, set, w, s);
		if (request_alone(skb, set, w, s, ep))
			return shot(COUNT_DROP_EMIT);
		verdict = adopt_here(skb, set, w, s, ep);
		if (verdict == ADOPT_AGAIN)
			return bpf_redirect(front_of(set, s->tuple.service_ip), BPF_F_INGRESS);
		if (verdict == IPOS_REFUSE_NONE)
			return TC_ACT_OK;
		if (ep->giver != set->self)
			return shot(COUNT_DROP_NOT_ADOPTED);
	} else if (ep->giver != set->self) { /* or the first piece goes again, after a socket */
		return ep->state == IPOS_EP_PENDING && ep->flags & IPOS_EP_RETRIED && s->length
			       ? goes_round(skb, set, s, w->round)
			       : shot(COUNT_DROP_OUT_OF_ORDER);
	} else if (s->seq != ep->adopt_seq || !s->length) { /* behind the last of a held head */
		return ep->reason ? shot(COUNT_DROP_OUT_OF_ORDER)
				  : goes_round(skb, set, s, w->round);
	}
	/* Our own kernel did not take it: let another server. */
	count(COUNT_DROP_NOT_ADOPTED);
	count(COUNT_CHOSEN_AGAIN);
	tally_refuser(set->self);
	request_begin(w, &ep->hs, ep->service);
	refuser_add(&w->holding.refused, set->self);
	w->holding.again = IPOS_REASON_NOT_ADOPTED;
	w->holding.crowded = !ep->reason || ep->reason == IPOS_REFUSE_QUEUE_FULL;
	local_delete(&s->tuple);
	h = bpf_map_lookup_elem(&FAMILY(holding), &s->tuple);
	if (!h)
		return FIRST_SEGMENT;
	h->again = IPOS_REASON_NOT_ADOPTED;
	h->crowded |= w->holding.crowded | refuser_add(&h->refused, set->self);
	return DECIDE_HELD;
}

#endif /* IPOS_OWNED_PACKET_H */
