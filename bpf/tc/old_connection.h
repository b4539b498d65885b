/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A connection that its client has given up: it resets it, or begins another one on the same ports.
 * Our kernel's socket must be told.
 *
 * Connection tracking sees neither our handshakes nor, if we can help it, a SYN: what it knows of
 * the ports is of all their connections since it began, one after another.  It lets through any
 * segment of them but a reset with a number before one that the last connection had; a firewall
 * drops that.
 */
#ifndef IPOS_OLD_CONNECTION_H
#define IPOS_OLD_CONNECTION_H

#include "tc/closing.h"

#define OLD_BYTES (1U << 30) /* so far before what the client sends that no window reaches it */

/* A bare segment of the client's for our own kernel, in place of the frame at hand. */
IPOS_APART int segment_becomes(struct __sk_buff *skb, const struct ipos_settings *set,
			       struct ipos_scratch *w, const struct ipos_tuple *t,
			       const struct reply *r)
{
	__u32 l2 = l2_length(set->front_vlan) & 31;
	struct tcphdr *tcp = (void *)w->saved;
	__u8 from[ETH_ALEN] __attribute__((aligned(4))); /* it is copied as 4 bytes and 2 */

	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = t->client_port;
	tcp->dest = t->service_port;
	tcp->seq = bpf_htonl(r->seq);
	tcp->ack_seq = bpf_htonl(r->ack);
	((__u8 *)tcp)[12] = sizeof(*tcp) / 4 << 4;
	((__u8 *)tcp)[13] = r->flags;
	tcp->check = (__u16)~fold((__u64)bpf_csum_diff(NULL, 0, (void *)tcp, sizeof(*tcp), 0) +
				  sum_pseudo(t->client_ip, t->service_ip, sizeof(*tcp)));
	if (bpf_skb_load_bytes(skb, ETH_ALEN, from, ETH_ALEN))
		return -1;
	l2_write(w->frame, front_mac_of(set, t->service_ip), from, set->front_vlan, ETH_P_FAMILY);
	l2 += IP_LEN;
	ip_write((void *)w->frame + l2 - IP_LEN, t->client_ip, t->service_ip,
		 IP_LEN + sizeof(*tcp));
	__builtin_memcpy(w->frame + l2, tcp, sizeof(*tcp));
	if (frame_becomes(skb, w, l2 + sizeof(*tcp)))
		return -1;
	skb->mark = IPOS_MARK_OURS;
	return 0;
}

/*
 * A SYN on the ports of a connection of ours: our kernel is to answer as it answers a SYN, with
 * where it stands (RFC 5961 4), so that a client that has begun anew resets the old connection.  It
 * gets an old segment instead, which it answers in the same way: connection tracking would take the
 * SYN for the beginning of a connection, and what we adopt from next for no part of that.  Without
 * timestamps: an old one would get no answer.
 */
IPOS_APART int owned_syn(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			 const struct segment *s, struct ipos_endpoint *ep)
{
	struct reply r = { .flags = TCP_ACK };
	struct stands at;

	if (ep->flags & IPOS_EP_HANDSHAKE && kernel_has(skb, &s->tuple))
		return TC_ACT_OK; /* which connection tracking has seen */
	if (!socket_stands(skb, &s->tuple, &at)) {
		endpoint_end(skb, set, w, &s->tuple, ep, bpf_ktime_get_boot_ns(), 0);
		return shot(COUNT_DROP_BAD_FLAGS);
	}
	r.seq = at.rcv_nxt - OLD_BYTES;
	r.ack = at.snd_una;
	if (segment_becomes(skb, set, w, &s->tuple, &r))
		return shot(COUNT_DROP_EMIT);
	return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
}

/*
 * Our kernel's socket ends, whatever connection tracking has seen: a FIN of the client's, which
 * opens the way for a reset.  The frame at hand is consumed.
 */
IPOS_APART int socket_ends(struct __sk_buff *skb, const struct ipos_settings *set,
			   struct ipos_scratch *w, const struct ipos_tuple *t,
			   const struct stands *at)
{
	struct reply r = { .seq = at->rcv_nxt, .ack = at->snd_una, .flags = TCP_FIN | TCP_ACK };

	if (at->state == BPF_TCP_ESTABLISHED || at->state == BPF_TCP_FIN_WAIT1 ||
	    at->state == BPF_TCP_FIN_WAIT2) {
		if (segment_becomes(skb, set, w, t, &r) ||
		    bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS))
			return shot(COUNT_DROP_EMIT);
		r.seq++;
	}
	r.flags = TCP_RST;
	if (segment_becomes(skb, set, w, t, &r))
		return shot(COUNT_DROP_EMIT);
	return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
}

/* A copy of the packet comes by once more, behind whatever is in the queue, with a mark. */
IPOS_INLINE void comes_behind(struct __sk_buff *skb, const struct ipos_settings *set, __u32 mark)
{
	skb->mark = mark;
	if (bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS))
		count(COUNT_DROP_EMIT);
	skb->mark = 0;
}

/* A reset on the ports of a connection of ours.  With a mark it comes by for the second time. */
IPOS_APART int owned_reset(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			   const struct segment *s, struct ipos_endpoint *ep)
{
	int again = skb->mark == IPOS_MARK;
	__u32 next;

	skb->mark = 0;
	if (reset_taken(skb, s)) {
		endpoint_end(skb, set, w, &s->tuple, ep, bpf_ktime_get_boot_ns(),
			     IPOS_DECISION_BY_CLIENT);
		if (!again && socket_expects(skb, &s->tuple, &next))
			comes_behind(skb, set, IPOS_MARK_ROUND); /* see reset_behind() */
	} else {
		ep->last_seen_ns = IPOS_IN_DOUBT; /* the copy may be lost, too */
		if (!again)
			comes_behind(skb, set, IPOS_MARK);
	}
	return TC_ACT_OK;
}

/*
 * The copy of a reset that was the end of its connection.  If the socket stands where it stood, and
 * no process has kept the reset waiting, a firewall has dropped it.
 */
IPOS_APART int reset_behind(struct __sk_buff *skb, const struct ipos_settings *set,
			    struct ipos_scratch *w, const struct segment *s)
{
	struct stands at;

	if (!socket_stands(skb, &s->tuple, &at) || at.busy || at.rcv_nxt != s->seq)
		return TC_ACT_SHOT;
	return socket_ends(skb, set, w, &s->tuple, &at);
}

/*
 * Type 4 of the server that our endpoint was offered to: it took the connection, and that has ended
 * before we heard of it.  Our application sees the end as behind a move.
 */
IPOS_APART int offer_closed(struct __sk_buff *skb, struct ipos_settings *set,
			    struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), t);
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);
	struct ipos_endpoint *ep = endpoint_of(t);
	struct notice n = { .type = IPOS_CLOSED };

	if (!f || !h || !ep || f->acknowledged || !(ep->flags & IPOS_EP_MOVING))
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	n.endpoint_ip = ep->endpoint_ip;
	n.endpoint_port = ep->endpoint_port;
	n.server = told_of(&ep->hs, ep->first);
	n.iss = ep->hs.iss;
	closed_remember(t, &ep->hs, f->client_end, bpf_ktime_get_boot_ns(), IPOS_TEMP_CLOSED);
	count(COUNT_CLOSED);
	if (n.server != set->self && n.server != f->server)
		notice_instead(skb, set, w, t, &n);
	socket_leaves(skb, set, w, t, h);
	holding_release(t);
	forward_delete(t, f->server);
	return CONSUMED;
}

/*
 * The first server of our endpoint offers another connection on its ports: its client has shaken
 * hands anew, and no way leads to the old one.  The offer comes again, when the client does.
 */
IPOS_APART int endpoint_gives_way(struct __sk_buff *skb, struct ipos_settings *set,
				  struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), t);
	struct ipos_endpoint *ep = endpoint_of(t);
	struct stands at;
	int alive;

	if (!ep || ep->state != IPOS_EP_ATTACHED)
		return TC_ACT_SHOT;
	alive = socket_stands(skb, t, &at);
	closed_remember(t, &ep->hs, ep->rcv_nxt, bpf_ktime_get_boot_ns(), IPOS_TEMP_CLOSED);
	if (ep->flags & (IPOS_EP_WAITING | IPOS_EP_MOVING))
		holding_release(t);
	if (f && ep->flags & IPOS_EP_MOVING)
		forward_delete(t, f->server);
	if (!endpoint_delete(t))
		count(COUNT_CLOSED);
	return alive ? socket_ends(skb, set, w, t, &at) : TC_ACT_SHOT;
}

#endif /* IPOS_OLD_CONNECTION_H */
