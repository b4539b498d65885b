/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What our kernel says on front, unasked or not, of service addresses that another server holds. */
#ifndef IPOS_TC_NEIGHBOUR_OUT_H
#define IPOS_TC_NEIGHBOUR_OUT_H

#include "abi/verdict.h"
#include "lib/emit.h"
#include "lib/held_address.h"
#include "lib/neighbour_packet.h"

#if IPOS_FAMILY == 6
/* ICMPv6 leaves, whose IPv6 header is at `l2`: an advertisement may have to be dropped. */
IPOS_FUNCTION int neighbour_leaves(struct __sk_buff *skb, __u32 l2)
{
	struct ipos_address *row;
	struct nd nd;

	if (l2 < sizeof(struct ethhdr) || l2 > L2_MAX ||
	    bpf_skb_load_bytes(skb, l2 + IP_LEN, &nd, sizeof(nd)) || nd.type != ND_ADVERTISEMENT)
		return TC_ACT_OK;
	row = address_alone(nd.target);
	return row && row->arp == IPOS_ARP_SILENT ? shot(COUNT_DROP_ND_ELSEWHERE) : TC_ACT_OK;
}
#endif

#endif /* IPOS_TC_NEIGHBOUR_OUT_H */
