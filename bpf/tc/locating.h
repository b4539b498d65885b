/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Questions about the owner of a connection: what tc does of them, because it can send a frame
 * beside a packet, and make one longer where XDP has no room.
 */
#ifndef IPOS_LOCATING_H
#define IPOS_LOCATING_H

#include "lib/question.h"
#include "tc/owned_packet.h"

/* The frame that XDP had no room for. */
IPOS_APART int question_ask(struct __sk_buff *skb, struct ipos_settings *set,
			    struct ipos_scratch *w, const struct segment *s)
{
	struct ipos_question *q = bpf_map_lookup_elem(&FAMILY(questions), &s->tuple);
	struct route r = { .server = IPOS_ALL, .endpoint_ip = set->self_ip };
	int verdict;

	if (!q || !q->due)
		return shot(COUNT_DROP_NO_COOKIE);
	r.endpoint_port = question_time(set, q->asked_ns);
	verdict = encapsulate_skb(skb, set, w, s, &r);
	q->question = w->question;
	q->due = 0;
	return verdict;
}

/* Whether a packet that another server asks about may be our client's: near where we are. */
IPOS_APART int question_fits(struct __sk_buff *skb, const struct segment *s,
			     const struct ipos_endpoint *ep)
{
	struct stands at;

	if (!socket_stands(skb, &s->tuple, &at) ||
	    s->seq - at.rcv_nxt + CLIENT_WINDOW > 2 * CLIENT_WINDOW)
		return 0;
	return s->flags & TCP_RST ||
	       (s->flags & TCP_ACK &&
		ack_acceptable(&at, endpoint_ack(ep, s->ack), ep->snd_nxt - s->ack));
}

/*
 * Another server asks for the owner of this packet's connection: it is us.  The packet goes to
 * front's ingress, as if it had come in there, and what is left of it becomes the answer.  From now
 * on that server is the first one, and as others may have been before, all hear of the end.
 */
IPOS_APART int question_answer(struct __sk_buff *skb, struct ipos_settings *set,
			       struct ipos_scratch *w, const struct segment *s,
			       struct ipos_endpoint *ep)
{
	struct ipos_server *asker = server_at(ep->asker);
	__u16 first = ep->asker;
	__u32 len;

	ep->asker = 0;
	if (!asker || !question_fits(skb, s, ep))
		return shot(COUNT_DROP_FRAME_LOCATE);
	if (s->flags & TCP_RST) /* there will be nothing to send on */
		return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
	ep->first = first;
	ep->hs.options |= IPOS_OPT_LOCATED;
	if (bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS))
		return shot(COUNT_DROP_EMIT);
	len = located_write(set, w, &s->tuple, asker->mac, ep);
	if (frame_becomes(skb, w, len))
		return shot(COUNT_DROP_EMIT);
	leaving(skb, set, set->back_ifindex);
	count(COUNT_FRAMES_SENT);
	count(COUNT_LOCATE_ANSWERED);
	return bpf_redirect(set->back_ifindex, 0);
}

/* Whether this is the packet that a question is about. */
IPOS_INLINE int is_asked(const struct __sk_buff *skb, const struct segment *s,
			 const struct ipos_endpoint *ep)
{
	return ep->asker && ep->asked_seq == s->seq && ep->state == IPOS_EP_ATTACHED && !skb->mark;
}

#endif /* IPOS_LOCATING_H */
