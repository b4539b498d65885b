/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * IP packets of UDP flows that are too long for one frame on back: split in two where the sender
 * allows it (RFC 791 3.2), else the sender is told how long they may be (RFC 1191).
 */
#ifndef IPOS_FLOW_LONG_H
#define IPOS_FLOW_LONG_H

#include "tc/flow_send.h"

/* bytes behind the IP header of the first of the two; a multiple of eight */
#define FLOW_PIECE ((IPOS_FLOW_PACKET_MAX - sizeof(struct iphdr)) / 8 * 8)
#define IP_MORE 0x2000
#define ICMP_UNREACHABLE 3
#define ICMP_TOO_LONG 4
#define FLOW_TOLD 36 /* bytes: ICMP's header, and the headers of the packet */

/* An IP header at `at`, four bytes aligned, gets its checksum. */
IPOS_INLINE void ip_sum(void *at)
{
	struct iphdr *ip = at;

	ip->check = 0;
	ip->check = (__u16)~fold(sum_dwords(at, sizeof(*ip)));
}

/* "Fragmentation needed" to the sender of the packet at hand. */
IPOS_FUNCTION int flow_too_long(struct __sk_buff *skb, struct ipos_scratch *w, struct flow_work *k)
{
	struct ipos_settings *set = settings_now();
	struct iphdr *ip;
	__u8 *icmp;
	__u32 l2;

	if (!set || !w || !k)
		return TC_ACT_SHOT;
	count(COUNT_DROP_FLOW_LONG);
	l2 = l2_length(set->front_vlan);
	icmp = w->saved + 32;
	__builtin_memset(w->saved, 0, 72);
	if (bpf_skb_load_bytes(skb, ETH_ALEN, w->saved, ETH_ALEN) ||
	    bpf_skb_load_bytes(skb, k->gram.l2, icmp + 8, FLOW_TOLD - 8))
		return TC_ACT_SHOT;
	icmp[0] = ICMP_UNREACHABLE;
	icmp[1] = ICMP_TOO_LONG;
	icmp[6] = IPOS_FLOW_PACKET_MAX >> 8;
	icmp[7] = IPOS_FLOW_PACKET_MAX & 0xff;
	AT16(icmp, 2) = (__u16)~fold(sum_dwords(icmp, FLOW_TOLD));
	l2_write(w->frame, w->saved, front_mac_of(set, k->gram.tuple.service_ip), set->front_vlan,
		 ETH_P_IP);
	ip = (void *)w->saved;
	__builtin_memset(ip, 0, sizeof(*ip));
	w->saved[0] = 0x45;
	ip->tot_len = bpf_htons(sizeof(*ip) + FLOW_TOLD);
	ip->ttl = 64;
	ip->protocol = IPPROTO_ICMP;
	ip->saddr = k->gram.tuple.service_ip;
	ip->daddr = k->gram.tuple.client_ip;
	ip_sum(ip);
	__builtin_memcpy(w->frame + l2, ip, sizeof(*ip));
	__builtin_memcpy(w->frame + l2 + sizeof(*ip), icmp, FLOW_TOLD);
	if (frame_becomes(skb, w, l2 + sizeof(*ip) + FLOW_TOLD))
		return shot(COUNT_DROP_EMIT);
	leaving(skb, set, skb->ifindex);
	return bpf_redirect(skb->ifindex, 0);
}

/* The second piece, `n` bytes in w->bytes, in the place of the first; w->saved: its IP header. */
IPOS_FUNCTION int flow_second(struct __sk_buff *skb, struct ipos_scratch *w, __u32 n)
{
	struct ipos_settings *set = settings_now();
	__u32 l2, at;
	__u64 tag;

	if (!set || !w)
		return -1;
	l2 = l2_length(set->back_vlan);
	__builtin_memset(w->words, 0, 40);
	__builtin_memcpy(w->words, w->frame + l2, IPOS_HEADER_LEN);
	__builtin_memcpy(&w->words[2], w->saved, sizeof(struct iphdr));
	at = l2 + IPOS_HEADER_LEN;
	__builtin_memcpy(w->frame + at, w->saved, sizeof(struct iphdr));
	at += sizeof(struct iphdr);
	tag = packet_tag_made(w, IPOS_HEADER_LEN + sizeof(struct iphdr), n);
	tag_off(skb);
	IPOS_OPAQUE(n);
	if (n < 1 || n > IPOS_CHUNK)
		return -1;
	if (bpf_skb_change_tail(skb, at + n + IPOS_TAG_LEN, 0) ||
	    bpf_skb_store_bytes(skb, 0, w->frame, at, 0) ||
	    bpf_skb_store_bytes(skb, at, w->bytes, n, 0) ||
	    bpf_skb_store_bytes(skb, at + n, &tag, IPOS_TAG_LEN, 0))
		return -1;
	leaving(skb, set, set->back_ifindex);
	return 0;
}

/* Two type 2 frames of one packet, or fragment, that is too long for one. */
IPOS_FUNCTION int flow_split(struct __sk_buff *skb, struct ipos_scratch *w, struct flow_work *k,
			     const struct flow_way *way)
{
	struct ipos_settings *set = settings_now();
	__u32 n, at;
	__be16 bits;
	struct iphdr *ip;

	if (!set || !w || !k || !way)
		return TC_ACT_SHOT;
	n = k->gram.length - sizeof(*ip) - FLOW_PIECE;
	at = k->gram.l2 + sizeof(*ip) + FLOW_PIECE;
	IPOS_OPAQUE(n);
	if (n < 1 || n > IPOS_CHUNK)
		return shot(COUNT_DROP_FLOW_LONG);
	bytes_pad(w, n);
	ip = (void *)w->saved;
	if (bpf_skb_load_bytes(skb, at, w->bytes, n) ||
	    bpf_skb_load_bytes(skb, k->gram.l2, ip, sizeof(*ip)))
		return shot(COUNT_DROP_EMIT);
	bits = ip->frag_off;
	ip->frag_off = bits | bpf_htons(IP_MORE);
	ip->tot_len = bpf_htons(sizeof(*ip) + FLOW_PIECE);
	ip_sum(ip);
	k->gram.length = sizeof(*ip) + FLOW_PIECE;
	if (bpf_skb_store_bytes(skb, k->gram.l2, ip, sizeof(*ip), 0) || flow_wrap(skb, w, k, way) ||
	    bpf_clone_redirect(skb, set->back_ifindex, 0))
		return shot(COUNT_DROP_EMIT);
	ip->frag_off = bpf_htons(bpf_ntohs(bits) + FLOW_PIECE / 8);
	ip->tot_len = bpf_htons(sizeof(*ip) + n);
	ip_sum(ip);
	if (flow_second(skb, w, n))
		return shot(COUNT_DROP_EMIT);
	count(COUNT_FLOW_SPLIT);
	return bpf_redirect(set->back_ifindex, 0);
}

#endif /* IPOS_FLOW_LONG_H */
