/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Frames about UDP flows on back.  XDP checks them; what they mean is for tc to say, which can look
 * up sockets and put packets on front's ingress.
 */
#ifndef IPOS_XDP_FLOW_BACK_H
#define IPOS_XDP_FLOW_BACK_H

#include "xdp/arrival.h"

#define FLOW_IP_LEN (sizeof(struct iphdr))
#define FLOW_PORTS_LEN 8 /* UDP's header, or ICMP's */

/*
 * Type 2: the inner packet's headers into w->saved, the tag behind it into w->now, the bytes of the
 * headers into w->cursor.  Returns the length of it, or -1.
 */
IPOS_FUNCTION int flow_shape(struct xdp_md *ctx, struct ipos_scratch *w, __u32 l2)
{
	__u32 length, headers;
	struct iphdr *ip;
	__u16 *ports;

	if (!w)
		return -1;
	ip = (void *)w->saved;
	ports = (void *)(ip + 1);
	if (bpf_xdp_load_bytes(ctx, l2 + IPOS_HEADER_LEN, ip, FLOW_IP_LEN))
		return -1;
	headers = FLOW_IP_LEN;
	length = bpf_ntohs(ip->tot_len);
	if (!(ip->frag_off & bpf_htons(0x1fff)))
		headers += FLOW_PORTS_LEN;
	if (w->saved[0] != 0x45 || length < headers ||
	    (ip->protocol != IPPROTO_UDP && ip->protocol != IPPROTO_ICMP) ||
	    bpf_xdp_load_bytes(ctx, l2 + IPOS_HEADER_LEN + FLOW_IP_LEN, ports, 2) ||
	    bpf_xdp_load_bytes(ctx, l2 + IPOS_HEADER_LEN + length, &w->now, sizeof(w->now)))
		return -1;
	w->cursor = headers;
	return length;
}

/* What is wrong with a type 2 that has the right tag, a counter; COUNT_FRAMES_RECEIVED: nothing. */
IPOS_FUNCTION int flow_sound(struct ipos_scratch *w)
{
	struct ipos_settings *set = settings_now();
	struct ipos_header *h;
	struct iphdr *ip;
	__u16 *ports;

	if (!set || !w)
		return COUNT_DROP_FRAME_SHORT;
	h = (void *)w->words;
	ip = (void *)w->saved;
	ports = (void *)(ip + 1);
	if (h->endpoint_ip != set->self_ip)
		return COUNT_DROP_FRAME_RECEIVER;
	if (ip->protocol == IPPROTO_UDP &&
	    (ip->saddr != h->client_ip || (w->cursor > FLOW_IP_LEN && *ports != h->client_port)))
		return COUNT_DROP_FRAME_UNKNOWN;
	return COUNT_FRAMES_RECEIVED;
}

/* Types 1, 3 and 7: the tag over header, trailer and MAC addresses, in frames to one server. */
IPOS_FUNCTION int flow_notice_sound(struct xdp_md *ctx, struct ipos_scratch *w, __u32 l2)
{
	struct ipos_settings *set = settings_now();
	struct ipos_trailer *trailer;
	__u64 sent;

	if (!set || !w)
		return COUNT_DROP_FRAME_SHORT;
	trailer = (void *)w->words + IPOS_HEADER_LEN;
	if (bpf_xdp_load_bytes(ctx, l2 + IPOS_HEADER_LEN, trailer, IPOS_TRAILER_LEN) ||
	    bpf_xdp_load_bytes(ctx, ETH_ALEN, w->saved, ETH_ALEN))
		return COUNT_DROP_FRAME_SHORT;
	__builtin_memcpy(&sent, trailer->tag, IPOS_TAG_LEN);
	notice_macs(w, set->back_mac, w->saved);
	return tag_right(set, w, NOTICE_TAGGED, sent) ? COUNT_FRAMES_RECEIVED
						      : COUNT_DROP_FRAME_TAG;
}

/* A frame of UDP from a member, to us, whose header is right and in w->words. */
IPOS_FUNCTION int flow_back(struct xdp_md *ctx, __u32 l2)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_XDP);
	struct ipos_settings *set = settings_now();
	struct ipos_header *h;
	int said, length;

	if (!w || !set)
		return XDP_DROP;
	h = (void *)w->words;
	if (h->type == IPOS_PACKET) {
		length = flow_shape(ctx, w, l2);
		if (length < 0)
			return drop(COUNT_DROP_FRAME_SHORT);
		if (!packet_tag_right(ctx, set, l2, w->cursor, length - w->cursor, w->now))
			return drop(COUNT_DROP_FRAME_TAG);
		said = flow_sound(w);
		if (said != COUNT_FRAMES_RECEIVED)
			return drop(said);
		count(said);
		return decapsulate(ctx, set, l2 + IPOS_HEADER_LEN, length, TC_ALONE);
	}
	if (h->type != IPOS_CONNECTION && h->type != IPOS_ACKNOWLEDGEMENT &&
	    h->type != IPOS_REFUSED)
		return drop(COUNT_DROP_FRAME_TYPE);
	said = flow_notice_sound(ctx, w, l2);
	if (said != COUNT_FRAMES_RECEIVED)
		return drop(said);
	count(said);
	return pass_vouched(ctx, set, l2);
}

/*
 * Whether a packet on back that is not in a frame is UDP for a service: tc would take it for one
 * that was.  `l4`: bytes before the ports.
 */
IPOS_FUNCTION int flow_direct(struct xdp_md *ctx, __u32 l2, __u32 l4)
{
	struct ipos_settings *set = settings_now();
	struct ipos_address_key key = {};
	struct iphdr ip;

	if (!set || !(set->flags & IPOS_FLOWS) || bpf_xdp_load_bytes(ctx, l2, &ip, sizeof(ip)))
		return 0;
	key.ip = ip.daddr;
	if (!(ip.frag_off & bpf_htons(0x1fff))) {
		if (bpf_xdp_load_bytes(ctx, l4 + 2, &key.port, sizeof(key.port)))
			return 0;
		key.protocol = IPPROTO_UDP;
	}
	return bpf_map_lookup_elem(&FAMILY(addresses), &key) != NULL;
}

#endif /* IPOS_XDP_FLOW_BACK_H */
