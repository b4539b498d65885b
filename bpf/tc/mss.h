/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The MSS of handshakes that a kernel of the farm does itself. */
#ifndef IPOS_TC_MSS_H
#define IPOS_TC_MSS_H

#include "abi/wire.h"
#include "lib/maps.h"
#include "lib/packet.h"

/*
 * A SYN or SYN-ACK of our kernel's; the MSS it offers must leave room on back, as the iNIC's own
 * does.
 */
IPOS_INLINE void clamp_mss(struct __sk_buff *skb, const struct segment *s)
{
	__u32 at = s->l4 + sizeof(struct tcphdr);
	__be16 offered, ours = bpf_htons(FAMILY_MSS);
	__be16 kind;

	/* Linux writes MSS first. */
	if (s->tcp_len < 24 || bpf_skb_load_bytes(skb, at, &kind, 2) || kind != bpf_htons(0x0204) ||
	    bpf_skb_load_bytes(skb, at + 2, &offered, 2) || bpf_ntohs(offered) <= FAMILY_MSS)
		return;
	if (bpf_l4_csum_replace(skb, s->l4 + offsetof(struct tcphdr, check), offered, ours, 2) ||
	    bpf_skb_store_bytes(skb, at + 2, &ours, 2, 0))
		count(COUNT_DROP_EMIT);
}

#endif /* IPOS_TC_MSS_H */
