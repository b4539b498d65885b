/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What clients send to services of QUIC.  This program is on the hook before ipos_ingress, on
 * fronts, and only while some service has mode = "quic".
 */
#include "tc/flow_quic.h"

/* The IP header's place, if the frame is UDP, no fragment, and came in on front; else 0. */
IPOS_INLINE __u32 quic_place(struct __sk_buff *skb, const struct ipos_settings *set)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct segment s;
	struct iphdr ip;

	if (parse_l2(data, end, set->ethertype, &s) != PARSED_IP ||
	    !frame_to(data, end, front_mac_on(set, skb->ifindex)))
		return 0;
	if (skb->vlan_present) {
		if (s.vlan)
			return 0;
		s.vlan = skb->vlan_tci & 0xfff;
	}
	if (s.vlan != set->front_vlan || !is_front(set, skb->ifindex) ||
	    bpf_skb_load_bytes(skb, s.l2, &ip, sizeof(ip)) || ip.protocol != IPPROTO_UDP ||
	    ip.frag_off & bpf_htons(0x3fff))
		return 0;
	return s.l2;
}

SEC("tc")
int ipos_quic(struct __sk_buff *skb)
{
	struct ipos_settings *set = settings_now();
	__u32 l2;

	if (skb->mark || !set || set->abi != IPOS_ABI)
		return TC_ACT_UNSPEC;
	l2 = quic_place(skb, set);
	return l2 ? quic_packet(skb, l2) : TC_ACT_UNSPEC;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
