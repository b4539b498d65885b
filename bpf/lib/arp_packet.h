/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ARP packets (RFC 826), and which server answers for an address. */
#ifndef IPOS_ARP_PACKET_H
#define IPOS_ARP_PACKET_H

#include "lib/held_address.h"

#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp {
	__be16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u32 sender_ip;
	__u8 target_mac[ETH_ALEN];
	__u32 target_ip;
} __attribute__((packed));

IPOS_INLINE int arp_is_request(const struct arp *a)
{
	return a->hardware == bpf_htons(ARP_ETHERNET) && a->protocol == bpf_htons(ETH_P_IP) &&
	       a->hardware_len == ETH_ALEN && a->protocol_len == 4 &&
	       a->operation == bpf_htons(ARP_REQUEST);
}

#endif /* IPOS_ARP_PACKET_H */
