/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A UDP flow told to its owner (type 1), and its datagrams on their way there (type 2). */
#ifndef IPOS_FLOW_SEND_H
#define IPOS_FLOW_SEND_H

#include "lib/packet_tag.h"
#include "tc/flow_read.h"

#define FLOW_OFFER_TAGGED (IPOS_HEADER_LEN + offsetof(struct ipos_flow_offer, tag) + 2 * ETH_ALEN)

_Static_assert(sizeof(struct ipos_flow_offer) == sizeof(struct ipos_trailer), "one place for tags");

/* Type 1 at w->frame, padded as the wire wants it.  Returns its length. */
IPOS_FUNCTION int flow_offer_write(struct ipos_scratch *w, const struct flow_work *k,
				   const struct ipos_flow *f)
{
	struct ipos_settings *set = settings_now();
	struct ipos_flow_offer *offer;
	struct ipos_server *to;
	struct ipos_header *h;
	__u32 l2;
	__u64 tag;

	if (!set || !w || !k || !f)
		return 0;
	to = server_at(f->server);
	if (!to)
		return 0;
	l2 = l2_length(set->back_vlan);
	__builtin_memset(w->frame, 0, 72);
	l2_write(w->frame, to->mac, set->back_mac, set->back_vlan, set->ethertype);
	h = (void *)w->frame + l2;
	offer = (void *)(h + 1);
	header_write_of(h, &k->gram.tuple, f->destination_ip, f->destination_port, IPOS_CONNECTION,
			IPOS_UDP);
	offer->service_ip = k->gram.tuple.service_ip;
	offer->service_port = k->gram.tuple.service_port;
	offer->sent_s = bpf_htonl(wall_s(set, k->gram.now));
	offer->offer = bpf_htons(f->offer);
	__builtin_memcpy(w->words, h, IPOS_HEADER_LEN + offsetof(struct ipos_flow_offer, tag));
	notice_macs(w, to->mac, set->back_mac);
	tag = tag_of(set, w, FLOW_OFFER_TAGGED, 0);
	__builtin_memcpy(offer->tag, &tag, IPOS_TAG_LEN);
	return l2 - sizeof(struct ethhdr) + FRAME_MIN;
}

/*
 * Tells the owner of the flow, and has the datagram come by once more behind that: a program has
 * one frame at a time, and a datagram cannot be put back into one that was cut.
 */
IPOS_APART int flow_offer(struct __sk_buff *skb, const struct ipos_settings *set,
			  struct ipos_scratch *w, struct flow_work *k, struct ipos_flow *f)
{
	int len, failed;

	f->offered_ns = k->gram.now;
	f->offer = (f->offer + 1) & FLOW_OFFER_MASK;
	skb->mark = IPOS_MARK_FLOW;
	failed = bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS);
	skb->mark = 0;
	len = flow_offer_write(w, k, f);
	if (failed || !len || frame_becomes(skb, w, len))
		return shot(COUNT_DROP_EMIT);
	leaving(skb, set, set->back_ifindex);
	count(COUNT_FLOW_OFFERED);
	count(COUNT_FRAMES_SENT);
	return bpf_redirect(set->back_ifindex, 0);
}

struct flow_way {     /* where a datagram goes */
	__u32 server; /* index */
	__u16 port;   /* the application's there */
	__u16 zero;
};

/* The packet at hand, as k->gram says it, becomes a type 2.  Returns 0, or -1. */
IPOS_FUNCTION int flow_wrap(struct __sk_buff *skb, struct ipos_scratch *w, struct flow_work *k,
			    const struct flow_way *way)
{
	struct ipos_settings *set = settings_now();
	struct ipos_server *to;
	__u32 l2, n, end, headers;
	__u64 tag;

	if (!set || !w || !k || !way)
		return -1;
	to = server_at(way->server);
	headers = k->gram.headers;
	if (!to || (headers != sizeof(struct iphdr) && headers != FLOW_HEADERS))
		return -1;
	__builtin_memset(w->words, 0, 48);
	header_write_of(w->words, &k->gram.tuple, to->address, way->port, IPOS_PACKET, IPOS_UDP);
	if (headers == FLOW_HEADERS
		    ? bpf_skb_load_bytes(skb, k->gram.l2, &w->words[2], FLOW_HEADERS)
		    : bpf_skb_load_bytes(skb, k->gram.l2, &w->words[2], sizeof(struct iphdr)))
		return -1;
	n = payload_tagged(k->gram.length - headers);
	IPOS_OPAQUE(n);
	if (n >= 1 && n <= IPOS_CHUNK) {
		bytes_pad(w, n);
		if (bpf_skb_load_bytes(skb, k->gram.l2 + headers, w->bytes, n))
			return -1;
	}
	tag = packet_tag_made(w, IPOS_HEADER_LEN + headers, n);
	l2 = l2_length(set->back_vlan);
	end = k->gram.l2 + k->gram.length;
	l2_write(w->frame, to->mac, set->back_mac, set->back_vlan, set->ethertype);
	__builtin_memcpy(w->frame + l2, w->words, IPOS_HEADER_LEN);
	tag_off(skb);
	if (bpf_skb_change_tail(skb, end + IPOS_TAG_LEN, 0) ||
	    bpf_skb_store_bytes(skb, end, &tag, IPOS_TAG_LEN, 0) ||
	    bpf_skb_change_head(skb, l2 + IPOS_HEADER_LEN - k->gram.l2, 0) ||
	    bpf_skb_store_bytes(skb, 0, w->frame, l2 + IPOS_HEADER_LEN, 0))
		return -1;
	leaving(skb, set, set->back_ifindex);
	count(COUNT_FORWARDED);
	return 0;
}

#endif /* IPOS_FLOW_SEND_H */
