/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What other servers say about UDP flows: types 1, 3 and 7, whose tags XDP has found right. */
#ifndef IPOS_FLOW_FRAME_H
#define IPOS_FLOW_FRAME_H

#include "tc/flow_in.h"
#include "tc/send.h"

/* Beside the number of the offer, in the four bits where a refusal has its reason: of a type 3. */
#define FLOW_IS_ANSWERED 1

/* The member that sent the frame; 0: none. */
IPOS_INLINE __u32 flow_sender(struct __sk_buff *skb)
{
	struct ipos_member *member;
	struct ipos_mac mac = {};

	if (bpf_skb_load_bytes(skb, ETH_ALEN, mac.bytes, ETH_ALEN))
		return 0;
	member = bpf_map_lookup_elem(&members, &mac);
	return member ? member->server : 0;
}

/* Why the flow of k->gram is refused: enum ipos_refusal. */
IPOS_INLINE int flow_refusal(struct __sk_buff *skb, const struct ipos_settings *set,
			     struct flow_work *k)
{
	struct ipos_server *self = server_at(set->self);

	if (self && self->state == IPOS_SERVER_MAINT)
		return IPOS_REFUSE_STATE;
	return flow_listens(skb, k) ? IPOS_REFUSE_NONE : IPOS_REFUSE_NO_LISTENER;
}

/* Type 1: a flow is to be ours.  Its datagrams make its rows, too, if this is lost. */
IPOS_APART int flow_offered(struct __sk_buff *skb, const struct ipos_settings *set,
			    struct ipos_scratch *w, struct flow_work *k, __u32 from)
{
	struct ipos_flow_offer *offer = (void *)w->words + IPOS_HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct notice n = { .type = IPOS_ACKNOWLEDGEMENT,
			    .endpoint_ip = h->endpoint_ip,
			    .endpoint_port = h->endpoint_port,
			    .server = from };
	struct ipos_address *a;
	struct ipos_owned *o;
	__u32 number;
	int why;

	if (h->endpoint_ip != set->self_ip)
		return shot(COUNT_DROP_FRAME_RECEIVER);
	if (!time_believed(set, offer->sent_s, k->gram.now))
		return shot(COUNT_DROP_FRAME_TIME);
	a = flow_address(k->gram.tuple.service_ip, k->gram.tuple.service_port);
	if (!a)
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	k->gram.service = a->service;
	number = bpf_ntohs(offer->offer) & FLOW_OFFER_MASK;
	why = flow_refusal(skb, set, k);
	o = owned_of(&k->gram.tuple);
	if (why) {
		n.type = IPOS_REFUSED;
		n.reason = why;
		count(COUNT_FLOW_REFUSED);
	} else {
		n.reason = o && o->answered_ns ? FLOW_IS_ANSWERED : 0;
		owned_note(k, h->endpoint_port, from);
	}
	n.reason |= number << IPOS_REFUSAL_BITS;
	if (notice_instead(skb, set, w, &k->gram.tuple, &n))
		count(COUNT_DROP_EMIT);
	return CONSUMED;
}

/* The server has refused the flow; when too many have, all are asked anew. */
IPOS_INLINE void flow_refuse(struct ipos_flow *f, __u32 from)
{
	__u32 n = f->refusals;

	f->state = IPOS_FLOW_REFUSED;
	if (n < IPOS_FLOW_REFUSERS) {
		f->refused[n] = from;
		f->refusals = n + 1;
	} else {
		f->refusals = 0;
	}
}

/* Types 3 and 7: what the owner says to our last offer. */
IPOS_APART int flow_told(struct ipos_scratch *w, struct flow_work *k, __u32 from)
{
	struct ipos_trailer *trailer = (void *)w->words + IPOS_HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct ipos_flow *f = flow_of(&k->gram.tuple);
	__u32 reason = bpf_ntohs(trailer->reason);

	if (!f)
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	if (f->server != from || reason >> IPOS_REFUSAL_BITS != f->offer)
		return shot(COUNT_DROP_FRAME_OFFER);
	reason &= (1 << IPOS_REFUSAL_BITS) - 1;
	if (h->type == IPOS_REFUSED) {
		flow_refuse(f, from);
		return CONSUMED;
	}
	if (f->state == IPOS_FLOW_OFFERED) {
		f->state = IPOS_FLOW_ACKNOWLEDGED;
		count(COUNT_FLOW_ACKNOWLEDGED);
	}
	if (reason & FLOW_IS_ANSWERED && f->state == IPOS_FLOW_ACKNOWLEDGED) {
		f->state = IPOS_FLOW_ANSWERED;
		flow_keep(&k->gram.tuple);
	}
	return CONSUMED;
}

/* A frame of UDP with our header at `l2`, in this VLAN. */
IPOS_FUNCTION int flow_frame(struct __sk_buff *skb, __u32 l2, __u32 vlan)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	struct flow_work *k = flow_work_of(IPOS_PROG_INGRESS);
	struct ipos_settings *set = settings_now();
	struct ipos_trailer *trailer;
	struct ipos_header *h;
	__u32 from;

	if (!w || !k || !set)
		return TC_ACT_SHOT;
	h = (void *)w->words;
	trailer = (void *)w->words + IPOS_HEADER_LEN;
	if (bpf_skb_load_bytes(skb, l2, w->words, IPOS_HEADER_LEN + IPOS_TRAILER_LEN))
		return shot(COUNT_DROP_FRAME_SHORT);
	from = flow_sender(skb);
	if (vlan != set->back_vlan || !frame_vouched(set, trailer) || !from)
		return shot(COUNT_DROP_FRAME_UNSEEN);
	__builtin_memset(&k->gram, 0, sizeof(k->gram));
	k->gram.tuple.client_ip = h->client_ip;
	k->gram.tuple.client_port = h->client_port;
	k->gram.tuple.service_ip = trailer->service_ip;
	k->gram.tuple.service_port = trailer->service_port;
	k->gram.tuple.protocol = IPPROTO_UDP;
	k->gram.now = bpf_ktime_get_boot_ns();
	return h->type == IPOS_CONNECTION ? flow_offered(skb, set, w, k, from)
					  : flow_told(w, k, from);
}

#endif /* IPOS_FLOW_FRAME_H */
