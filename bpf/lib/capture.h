/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* `ipos capture`: copies of frames as the iNIC sees them; tcpdump sees no handshake. */
#ifndef IPOS_CAPTURE_H
#define IPOS_CAPTURE_H

#include "lib/maps.h"

#define VLAN_HLEN 4

struct capture_slot {
	struct ipos_captured head;
	__u8 bytes[IPOS_CAPTURE_LEN];
};

IPOS_INLINE struct capture_slot *capture_begin(__u32 ifindex, __u32 length, __u32 outbound)
{
	__u32 zero = 0;
	__u64 *until = bpf_map_lookup_elem(&capture_until, &zero);
	__u64 now = bpf_ktime_get_boot_ns();
	struct capture_slot *slot;

	/* The flag outlives a capture that was killed: its reader's word is good for seconds. */
	if (!until || *until < now)
		return NULL;
	slot = bpf_ringbuf_reserve(&captured, sizeof(*slot), 0);
	if (!slot) {
		count(COUNT_CAPTURE_LOST);
		return NULL;
	}
	slot->head.when_ns = now;
	slot->head.ifindex = ifindex;
	slot->head.length = length;
	slot->head.captured = length < IPOS_CAPTURE_LEN ? length : IPOS_CAPTURE_LEN;
	slot->head.outbound = outbound;
	return slot;
}

IPOS_FUNCTION int capture_xdp(struct xdp_md *ctx, __u32 ifindex, __u32 outbound)
{
	__u32 length = bpf_xdp_get_buff_len(ctx);
	struct capture_slot *slot = capture_begin(ifindex, length, outbound);

	if (!slot)
		return 0;
	length = slot->head.captured;
	IPOS_OPAQUE(length);
	if (length < ETH_HLEN)
		slot->head.captured = 0;
	else if (length <= IPOS_CAPTURE_LEN && bpf_xdp_load_bytes(ctx, 0, slot->bytes, length))
		slot->head.captured = 0;
	bpf_ringbuf_submit(slot, 0);
	return 0;
}

/* A VLAN tag that the kernel keeps beside the frame is shown where it stands on the wire. */
IPOS_INLINE int capture_tagged(struct __sk_buff *skb, __u8 *bytes, __u32 length)
{
	__u32 macs = 2 * ETH_ALEN, rest = macs + VLAN_HLEN;
	__u16 tag[2] = { skb->vlan_proto, bpf_htons(skb->vlan_tci) };

	if (bpf_skb_load_bytes(skb, 0, bytes, macs))
		return -1;
	__builtin_memcpy(bytes + macs, tag, sizeof(tag));
	return bpf_skb_load_bytes(skb, macs, bytes + rest, length - rest);
}

IPOS_FUNCTION int capture_skb(struct __sk_buff *skb, __u32 ifindex, __u32 outbound)
{
	__u32 length = skb->len + (skb->vlan_present ? VLAN_HLEN : 0);
	struct capture_slot *slot = capture_begin(ifindex, length, outbound);

	if (!slot)
		return 0;
	length = slot->head.captured;
	IPOS_OPAQUE(length);
	if (length < ETH_HLEN + VLAN_HLEN)
		slot->head.captured = 0;
	else if (length <= IPOS_CAPTURE_LEN &&
		 (skb->vlan_present ? capture_tagged(skb, slot->bytes, length)
				    : bpf_skb_load_bytes(skb, 0, slot->bytes, length)))
		slot->head.captured = 0;
	bpf_ringbuf_submit(slot, 0);
	return 0;
}

#endif /* IPOS_CAPTURE_H */
