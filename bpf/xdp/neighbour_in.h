/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Neighbour solicitations on front for service addresses (RFC 4861), in place of ARP: see
 * xdp/arp_in.h.  They come to a multicast address made of the one they ask for, or to us.
 */
#ifndef IPOS_XDP_NEIGHBOUR_IN_H
#define IPOS_XDP_NEIGHBOUR_IN_H

#include "lib/held_address.h"
#include "lib/neighbour_packet.h"
#include "lib/uplink.h"
#include "xdp/encapsulation.h"

#if IPOS_FAMILY == 6
/* All nodes: ff02::1, and its MAC address. */
#define ALL_NODES ((ipos_ip)0x02ff | (ipos_ip)0x01 << 120)
static const __u8 all_nodes[ETH_ALEN] = { 0x33, 0x33, 0, 0, 0, 1 };

/*
 * The solicitation, whose IPv6 header is at `l2`, is answered.  Its sender may have no address yet
 * and look for another that has this one: then all are told.  The answer is built in scratch.
 */
IPOS_FUNCTION int nd_answer(struct xdp_md *ctx, struct ipos_scratch *w, __u32 l2)
{
	struct ipos_settings *set = settings_now();
	__u32 length = l2 + sizeof(struct nd_answer);
	struct ipv6hdr *asked;
	struct nd_answer *a;
	ip_header *ip;
	struct nd *nd;
	ipos_ip from, target;
	__u8 *frame;

	if (!set || !w || (l2 != sizeof(struct ethhdr) && l2 != L2_MAX))
		return XDP_DROP;
	IPOS_OPAQUE(l2);
	asked = (void *)w->saved;
	nd = (void *)(asked + 1);
	from = ip_source(asked);
	target = IP_AT(nd, offsetof(struct nd, target));
	frame = w->frame;
	a = (void *)frame + (l2 & 31);
	if (bpf_xdp_load_bytes(ctx, ETH_ALEN, w->bytes, ETH_ALEN))
		return XDP_DROP;
	__builtin_memset(a, 0, sizeof(*a));
	l2_write(frame, from ? w->bytes : all_nodes, set->front_mac,
		 l2 == L2_MAX ? set->front_vlan : 0, ETH_P_IPV6);
	ip = (void *)a;
	ip_write(ip, target, from ? from : ALL_NODES, sizeof(*a));
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = ND_HOPS;
	nd = (void *)(ip + 1);
	nd->type = ND_ADVERTISEMENT;
	nd->flags = bpf_htonl(ND_OVERRIDE | (from ? ND_SOLICITED : 0));
	IP_AT(nd, offsetof(struct nd, target)) = target;
	a->option = ND_TARGET_ADDRESS;
	a->option_len = 1;
	mac_copy(a->mac, set->front_mac);
	nd->checksum = (__u16)~fold(sum_words(nd, sizeof(*a) - IP_LEN) + address_sum(target) +
				    address_sum(from ? from : ALL_NODES) +
				    bpf_htons(sizeof(*a) - IP_LEN) + bpf_htons(IPPROTO_ICMPV6));
	if (bpf_xdp_adjust_tail(ctx, (int)length - (int)bpf_xdp_get_buff_len(ctx)) ||
	    (l2 == L2_MAX ? bpf_xdp_store_bytes(ctx, 0, frame, L2_MAX + sizeof(*a))
			  : bpf_xdp_store_bytes(ctx, 0, frame, ETH_HLEN + sizeof(*a))))
		return drop(COUNT_DROP_EMIT);
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

/*
 * A packet of ICMPv6 on front, whose IPv6 header is at `l2`.  What is no solicitation for a service
 * address passes, as with ARP.
 */
IPOS_FUNCTION int front_neighbours(struct xdp_md *ctx, struct ipos_scratch *w, __u32 l2)
{
	struct ipos_settings *set = settings_now();
	struct ipos_address *row;
	struct ipv6hdr *ip;
	struct nd *nd;
	__u8 *to;

	if (!set || !w || l2 < sizeof(struct ethhdr) || l2 > L2_MAX)
		return XDP_PASS;
	ip = (void *)w->saved;
	nd = (void *)(ip + 1);
	to = w->bytes;
	if (bpf_xdp_load_bytes(ctx, l2, w->saved, IP_LEN + sizeof(*nd)) ||
	    bpf_xdp_load_bytes(ctx, 0, to, ETH_ALEN) || nd->type != ND_SOLICITATION || nd->code ||
	    ip->hop_limit != ND_HOPS || ip_total(ip) < IP_LEN + sizeof(*nd))
		return XDP_PASS;
	row = address_alone(IP_AT(nd, offsetof(struct nd, target)));
	if (!row || row->arp == IPOS_ARP_KERNEL)
		return XDP_PASS;
	if (row->arp == IPOS_ARP_SILENT)
		return drop(COUNT_DROP_ND_ELSEWHERE);
	/* To many, or to us: a switch floods what it has not learned. */
	if (!(to[0] & 1) && !mac_same(to, set->front_mac))
		return XDP_PASS;
	if (address_doubts())
		return drop(COUNT_DROP_ND_AWAY);
	return nd_answer(ctx, w, l2);
}
#endif

#endif /* IPOS_XDP_NEIGHBOUR_IN_H */
