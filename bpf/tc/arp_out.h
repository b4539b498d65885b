/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What our kernel asks its neighbours on front.  A request says who asks, and whoever is asked
 * learns from it.  A service address that another server holds may well be this interface's own.
 */
#ifndef IPOS_TC_ARP_OUT_H
#define IPOS_TC_ARP_OUT_H

#include "lib/arp_packet.h"
#include "lib/frame.h"

/* Takes the sender's address out of such a request: a neighbour answers it all the same (RFC 5227).
 */
IPOS_FUNCTION int arp_leaves(struct __sk_buff *skb, __u32 l2)
{
	struct ipos_address *row;
	__u32 nobody = 0;
	struct arp a;
	__be16 type;

	if (l2 < sizeof(struct ethhdr) || l2 > L2_MAX ||
	    bpf_skb_load_bytes(skb, l2 - sizeof(type), &type, sizeof(type)) ||
	    type != bpf_htons(ETH_P_ARP) || bpf_skb_load_bytes(skb, l2, &a, sizeof(a)) ||
	    !arp_is_request(&a))
		return 0;
	row = address_alone(a.sender_ip);
	if (row && row->arp == IPOS_ARP_SILENT)
		bpf_skb_store_bytes(skb, l2 + offsetof(struct arp, sender_ip), &nobody,
				    sizeof(nobody), 0);
	return 0;
}

#endif /* IPOS_TC_ARP_OUT_H */
