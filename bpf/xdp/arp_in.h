/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ARP requests on front for service addresses (RFC 826).  The agent says in `addresses` which
 * server answers.  XDP does, and not the kernel, so that an address can change its holder by one
 * write to a map, whatever addresses are on the interface; and it goes on when the agent is dead.
 */
#ifndef IPOS_XDP_ARP_IN_H
#define IPOS_XDP_ARP_IN_H

#include "lib/arp_packet.h"
#include "lib/uplink.h"
#include "xdp/encapsulation.h"

/* The request at `l2` becomes its answer.  Padding stays. */
IPOS_INLINE int arp_answer(struct xdp_md *ctx, const __u8 *mac, struct arp *a, __u32 l2)
{
	__u32 asked = a->target_ip;
	__u8 macs[2 * ETH_ALEN];

	a->operation = bpf_htons(ARP_REPLY);
	a->target_ip = a->sender_ip;
	__builtin_memcpy(a->target_mac, a->sender_mac, ETH_ALEN);
	a->sender_ip = asked;
	__builtin_memcpy(a->sender_mac, mac, ETH_ALEN);
	__builtin_memcpy(macs, a->target_mac, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, mac, ETH_ALEN);
	if (bpf_xdp_store_bytes(ctx, l2, a, sizeof(*a)) ||
	    bpf_xdp_store_bytes(ctx, 0, macs, sizeof(macs)))
		return drop(COUNT_DROP_EMIT);
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

/*
 * A frame on front that is neither IPv4 nor ours, with what its type announces at `l2`.  What is no
 * request for a service address passes: replies, and what others announce, are for our kernel and
 * for the agent, which sees there that another machine answers for an address.
 */
IPOS_FUNCTION int front_arp(struct xdp_md *ctx, __u32 l2)
{
	struct ipos_settings *set = settings_now();
	struct ipos_address *row;
	__u32 came = ctx->ingress_ifindex;
	const __u8 *mac;
	__u8 to[ETH_ALEN] __attribute__((aligned(8)));
	struct arp a;
	__be16 type;

	IPOS_OPAQUE(came);
	if (!set || l2 < sizeof(struct ethhdr) || l2 > L2_MAX ||
	    bpf_xdp_load_bytes(ctx, l2 - sizeof(type), &type, sizeof(type)) ||
	    type != bpf_htons(ETH_P_ARP) || bpf_xdp_load_bytes(ctx, l2, &a, sizeof(a)) ||
	    bpf_xdp_load_bytes(ctx, 0, to, sizeof(to)) || !arp_is_request(&a))
		return XDP_PASS;
	if (unlikely(set->uplinks) && front_of(set, a.target_ip) != came)
		return XDP_PASS; /* our kernel has it on another interface, and is silent */
	mac = front_mac_on(set, came);
	row = address_alone(a.target_ip);
	if (!row || row->arp == IPOS_ARP_KERNEL)
		return XDP_PASS;
	if (row->arp == IPOS_ARP_SILENT)
		return drop(COUNT_DROP_ARP_ELSEWHERE);
	/* To all, or to us: a switch floods what it has not learned. */
	if (a.sender_ip == a.target_ip || (!(to[0] & 1) && !mac_same(to, mac)))
		return XDP_PASS;
	if (address_doubts())
		return drop(COUNT_DROP_ARP_AWAY);
	return arp_answer(ctx, mac, &a, l2);
}

#endif /* IPOS_XDP_ARP_IN_H */
