/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ARP requests on front for service addresses (RFC 826).  The agent says in `addresses` which
 * server answers.  XDP does, and not the kernel, so that an address can change its holder by one
 * write to a map, whatever addresses are on the interface; and it goes on when the agent is dead.
 */
#ifndef IPOS_XDP_ARP_IN_H
#define IPOS_XDP_ARP_IN_H

#include "lib/arp_packet.h"
#include "xdp/encapsulation.h"

/* The request at `l2` becomes its answer.  Padding stays. */
IPOS_INLINE int arp_answer(struct xdp_md *ctx, const struct ipos_settings *set, struct arp *a,
			   __u32 l2)
{
	__u32 asked = a->target_ip;
	__u8 macs[2 * ETH_ALEN];

	a->operation = bpf_htons(ARP_REPLY);
	a->target_ip = a->sender_ip;
	__builtin_memcpy(a->target_mac, a->sender_mac, ETH_ALEN);
	a->sender_ip = asked;
	__builtin_memcpy(a->sender_mac, set->front_mac, ETH_ALEN);
	__builtin_memcpy(macs, a->target_mac, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, set->front_mac, ETH_ALEN);
	if (bpf_xdp_store_bytes(ctx, l2, a, sizeof(*a)) ||
	    bpf_xdp_store_bytes(ctx, 0, macs, sizeof(macs)))
		return drop(COUNT_DROP_EMIT);
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

/* Whether this server may have been away, see IPOS_AWAY_NS. */
IPOS_INLINE int arp_doubts(void)
{
	struct ipos_heard *any = heard_any();
	__u64 now = bpf_ktime_get_boot_ns();

	if (!any || !any->last_ns || now - any->last_ns <= IPOS_AWAY_NS)
		return 0;
	if (any->since_ns < any->last_ns)
		any->since_ns = now;
	return now - any->since_ns <= IPOS_DOUBT_NS;
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
	__u8 to[ETH_ALEN] __attribute__((aligned(8)));
	struct arp a;
	__be16 type;

	if (!set || l2 < sizeof(struct ethhdr) || l2 > L2_MAX ||
	    bpf_xdp_load_bytes(ctx, l2 - sizeof(type), &type, sizeof(type)) ||
	    type != bpf_htons(ETH_P_ARP) || bpf_xdp_load_bytes(ctx, l2, &a, sizeof(a)) ||
	    bpf_xdp_load_bytes(ctx, 0, to, sizeof(to)) || !arp_is_request(&a))
		return XDP_PASS;
	row = address_alone(a.target_ip);
	if (!row || row->arp == IPOS_ARP_KERNEL)
		return XDP_PASS;
	if (row->arp == IPOS_ARP_SILENT)
		return drop(COUNT_DROP_ARP_ELSEWHERE);
	/* To all, or to us: a switch floods what it has not learned. */
	if (a.sender_ip == a.target_ip || (!(to[0] & 1) && !mac_same(to, set->front_mac)))
		return XDP_PASS;
	if (arp_doubts())
		return drop(COUNT_DROP_ARP_AWAY);
	return arp_answer(ctx, set, &a, l2);
}

#endif /* IPOS_XDP_ARP_IN_H */
