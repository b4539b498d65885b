/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Our own frames, checked by XDP, and the notice that follows a packet into our kernel.
 */
#ifndef IPOS_OWN_FRAME_H
#define IPOS_OWN_FRAME_H

#include "abi/verdict.h"
#include "lib/measure.h"
#include "tc/hand_back.h"
#include "tc/old_connection.h"
#include "tc/syn.h"
#include "tc/to_box.h"

#define HANDSHAKE_NOTICES 4 /* a lost one is not asked for again */

/* Whether the first server is to hear how the packet fared. */
IPOS_INLINE int notice_due(const struct segment *s, const struct ipos_endpoint *ep)
{
	if (ep->flags & IPOS_EP_HANDSHAKE) /* a reset is the end, which type 4 tells */
		return ep->reason < HANDSHAKE_NOTICES && !(s->flags & TCP_RST);
	return ep->state != IPOS_EP_ATTACHED && s->length &&
	       !seq_before(segment_end(s), ep->rcv_need);
}

/* Puts the packet on front's ingress, and behind it the notice that tells how it went. */
IPOS_APART int deliver(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
		       const struct segment *s, const struct ipos_endpoint *ep)
{
	__u32 front = front_of(set, s->tuple.service_ip);
	struct notice n = { .type = IPOS_ACKNOWLEDGEMENT };
	struct ipos_temporary *t;
	struct ipos_server *first;
	__u32 len;
	int fin;

	skb->mark = IPOS_MARK;
	if (ep) {
		if (!notice_due(s, ep))
			return bpf_redirect(front, BPF_F_INGRESS);
		n.endpoint_ip = ep->endpoint_ip;
		n.endpoint_port = ep->endpoint_port;
		n.iss = ep->hs.iss;
		n.server = ep->giver;
	} else {
		t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
		if (!t || t->state != IPOS_TEMP_SYN_HERE || s->flags & TCP_SYN)
			return bpf_redirect(front, BPF_F_INGRESS);
		n.endpoint_ip = set->self_ip;
		n.endpoint_port = t->port;
		n.server = t->server;
	}
	first = server_at(n.server);
	fin = ep && s->length && s->flags & TCP_FIN && s->seq == ep->adopt_seq;
	if (!first || (fin && fin_cut(skb, w, s)) ||
	    bpf_clone_redirect(skb, front, BPF_F_INGRESS) || (fin && fin_send(skb, set, w, s)))
		return shot(COUNT_DROP_EMIT);
	len = notice_write(set, w, &s->tuple, first->mac, &n);
	if (frame_becomes(skb, w, len))
		return shot(COUNT_DROP_EMIT);
	return bpf_redirect(front, BPF_F_INGRESS);
}

/* ---- our own frames ------------------------------------------------------------------------- */

/* What was offered will never be ours: the row goes, and the offer, should it come again, too. */
IPOS_APART int offer_refused(const struct ipos_tuple *t, const struct ipos_endpoint *ep,
			     __u32 reason)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct ipos_temporary row = {
		.state = IPOS_TEMP_REFUSED,
		.reason = reason,
		.server = ep->giver,
		.offer = ep->migration,
		.hs = ep->hs,
		.created_ns = now,
		.last_seen_ns = now,
	};

	bpf_map_update_elem(&FAMILY(temporary), t, &row, BPF_ANY);
	endpoint_delete(t);
	count(COUNT_REFUSED);
	return IPOS_OFFER_OF(row.offer) << IPOS_REFUSAL_BITS | reason;
}

/* The notice that followed a packet into our kernel. */
IPOS_APART int notice_returns(struct __sk_buff *skb, struct ipos_settings *set,
			      struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_endpoint *ep = endpoint_of(t);
	struct notice n = { .type = IPOS_ACKNOWLEDGEMENT };
	struct ipos_server *first;
	__u32 len;

	if (!ep)
		return TC_ACT_SHOT; /* a handshake that is not finished */
	n.endpoint_ip = ep->endpoint_ip;
	n.endpoint_port = ep->endpoint_port;
	n.iss = ep->hs.iss;
	n.reason = ep->migration;
	first = server_at(ep->giver);
	if (!first)
		return shot(COUNT_DROP_EMIT);
	if (ep->state == IPOS_EP_ATTACHED) {
		if (ep->rcv_need != ep->adopt_seq && !kernel_received(skb, t, ep->rcv_need))
			return TC_ACT_SHOT;   /* the first server will offer it again */
		ep->rcv_need = ep->adopt_seq; /* what comes from now on is the client's */
		if (ep->flags & IPOS_EP_HANDSHAKE)
			ep->reason++;
	} else if (!ep->reason && ep->adopting != this_cpu()) {
		return TC_ACT_SHOT; /* it followed another packet, and proves nothing */
	} else if (ep->flags & IPOS_EP_RETRIED && !(ep->flags & IPOS_EP_NOTICE_RETRIED)) {
		ep->flags |= IPOS_EP_NOTICE_RETRIED;
		return bpf_redirect(front_of(set, t->service_ip), BPF_F_INGRESS);
	} else if (ep->state == IPOS_EP_PENDING) {
		return TC_ACT_SHOT; /* a piece before this was lost; it comes again */
	} else {
		n.type = IPOS_REFUSED;
		n.reason = offer_refused(t, ep, ep->reason ? ep->reason : IPOS_REFUSE_NOT_ADOPTED);
	}
	len = notice_write(set, w, t, first->mac, &n);
	if (frame_becomes(skb, w, len))
		return shot(COUNT_DROP_EMIT);
	leaving(skb, set, set->back_ifindex);
	count(COUNT_FRAMES_SENT);
	return bpf_redirect(set->back_ifindex, 0);
}

/* Type 1 for an endpoint that has its socket: one that comes back, or the offer repeated. */
IPOS_APART int connection_again(struct __sk_buff *skb, struct ipos_settings *set,
				struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_endpoint *ep = endpoint_of(t);

	if (!ep || ep->state != IPOS_EP_ATTACHED || ep->flags & IPOS_EP_MOVING)
		return moved_on(skb, set, w, t);
	if (!kernel_received(skb, t, ep->rcv_need))
		return shot(COUNT_ABSORBED); /* the held bytes follow */
	return notice_returns(skb, set, w, t);
}

/* Type 7, checked by XDP: the request is still held here, so choose again at once. */
IPOS_APART int choose_again(const struct ipos_tuple *t, __u16 reason)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), t);
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);

	if (!f)
		return SYN_AGAIN;
	if (!h || f->acknowledged)
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	if (reason >> IPOS_REFUSAL_BITS != IPOS_OFFER_OF(f->migration))
		return shot(COUNT_DROP_FRAME_ISS); /* of an earlier offer, or of one since */
	h->again = IPOS_REASON_REFUSED;
	h->crowded |= is_crowded(reason & ((1 << IPOS_REFUSAL_BITS) - 1));
	h->crowded |= refuser_add(&h->refused, f->server);
	tally_refuser(f->server);
	forward_delete(t, f->server);
	count(COUNT_CHOSEN_AGAIN);
	return DECIDE_HELD;
}

/*
 * The agent has found an endpoint without a socket, and has waited until no CPU had any packet
 * in its
 * hands that it had then.  If it is still as old as that, there will be no socket.
 */
IPOS_APART int adoption_late(const struct ipos_tuple *t, __u32 ms)
{
	struct ipos_endpoint *ep = endpoint_of(t);

	if (!ep || ep->state == IPOS_EP_ATTACHED ||
	    bpf_ktime_get_boot_ns() - ep->last_seen_ns < ms * 1000000ULL)
		return TC_ACT_SHOT;
	endpoint_delete(t);
	return TC_ACT_SHOT;
}

/*
 * The agent takes a held request whose time is over.  Here, under the connection's lock, no other
 * CPU has the row in its hands: it would give it pieces that are never given back, or write into
 * what is another connection's row by then.  It is taken as the agent has read it, or not at all;
 * its pieces and its count in `roles` are the agent's.
 */
IPOS_APART int holding_taken(const struct ipos_tuple *t, const struct ipos_trailer *read)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);
	__u64 created;

	__builtin_memcpy(&created, read->tag, sizeof(created));
	if (!h || h->created_ns != created || (__u32)h->last_seen_ns != bpf_ntohl(read->iss))
		return TC_ACT_SHOT;
	return bpf_map_delete_elem(&FAMILY(holding), t) ? TC_ACT_SHOT : TC_ACT_STOLEN;
}

/* Fills in s->tuple.  A TC verdict, or DECIDE_HELD. */
IPOS_INLINE int own_frame(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			  struct segment *s)
{
	struct ipos_trailer *trailer = (void *)w->words + HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct ipos_tuple *t = &s->tuple;

	if (bpf_skb_load_bytes(skb, s->l2, w->words, HEADER_LEN + TRAILER_LEN))
		return shot(COUNT_DROP_FRAME_SHORT);
	t->client_ip = header_client(h);
	t->client_port = h->client_port;
	t->service_ip = trailer->service_ip;
	t->service_port = trailer->service_port;
	t->protocol = IPPROTO_TCP;
	if (h->type == IPOS_PROBE_ANSWER)
		return TC_ACT_OK;				    /* to the agent's socket */
	if (skb->mark == IPOS_MARK_LATE && h->type == IPOS_MOVED) { /* it has taken a row away */
		role_taken(t, bpf_ntohl(h->endpoint_ip));
		return TC_ACT_SHOT;
	}
	if (!connection_lock(t))
		return shot(COUNT_DROP_BUSY);
	w->locked = LOCKED;
	if (unlikely(set->flags & IPOS_BOXES))
		box_find(skb, t);
	if (unlikely(skb->mark == IPOS_MARK_LATE)) {
		skb->mark = 0;
		if (h->type == IPOS_ACKNOWLEDGEMENT)
			return hand_back(skb, set, w, t, bpf_ntohl(h->endpoint_ip));
		if (h->type == IPOS_REFUSED && trailer->reason)
			return holding_taken(t, trailer);
		return h->type == IPOS_REFUSED ? adoption_late(t, bpf_ntohl(h->endpoint_ip))
					       : head_late(skb, set, t);
	}
	if (h->type == IPOS_ACKNOWLEDGEMENT && skb->mark == IPOS_MARK)
		return notice_returns(skb, set, w, t);
	if (h->type == IPOS_PROBE_ANSWER)
		return TC_ACT_OK; /* to the agent, which knows what it asked */
	if (s->vlan != set->back_vlan || !frame_vouched(set, trailer))
		return shot(COUNT_DROP_FRAME_UNSEEN);
	if (h->type == IPOS_CONNECTION)
		return trailer->reason ? connection_again(skb, set, w, t)
				       : endpoint_gives_way(skb, set, w, t);
	if (h->type == IPOS_ACKNOWLEDGEMENT || h->type == IPOS_MOVED)
		return moved_on(skb, set, w, t);
	if (h->type == IPOS_CLOSED)
		return offer_closed(skb, set, w, t);
	if (h->type == IPOS_REFUSED)
		return choose_again(t, bpf_ntohs(trailer->reason));
	return shot(COUNT_DROP_FRAME_TYPE);
}

#endif /* IPOS_OWN_FRAME_H */
