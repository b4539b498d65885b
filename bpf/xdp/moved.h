/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Frames about connections that move while they live: packets that reach a server which has
 * given their connection on, and the notice to the first server that tells it so.
 */
#ifndef IPOS_XDP_MOVE_H
#define IPOS_XDP_MOVE_H

#include "xdp/client.h"

#define TOLD_AGAIN_NS 50000000ULL     /* a type 6 that seems lost is repeated after this */
#define TOLD_BY_DATA_NS 1000000000ULL /* and by then in place of a packet with data */

struct type2 {	     /* a packet in a frame */
	__u32 inner; /* bytes of its headers */
	__u32 end;   /* where it ends in the frame */
};

struct peer { /* the frame's sender */
	__u8 mac[ETH_ALEN];
	__u16 server;
	__u8 to_all; /* and it is for everybody */
};

/* The frame becomes the first `len` bytes of w->frame, a padded one of ours, and goes back. */
IPOS_APART int frame_returns(struct xdp_md *ctx, struct ipos_scratch *w, __u32 len)
{
	if (bpf_xdp_adjust_tail(ctx, (int)len - (int)bpf_xdp_get_buff_len(ctx)))
		return drop(COUNT_DROP_EMIT);
	if (len != NOTICE_LEN && len != NOTICE_LEN + sizeof(struct vlan_tag) &&
	    len != LOCATED_LEN && len != LOCATED_LEN + sizeof(struct vlan_tag))
		return XDP_DROP;
	if (bpf_xdp_store_bytes(ctx, 0, w->frame, len))
		return drop(COUNT_DROP_EMIT);
	count(COUNT_FRAMES_SENT);
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

/* The frame becomes a notice to its sender. */
IPOS_APART int notify(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
		      const struct segment *s, const struct notice *n)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u8 to[ETH_ALEN];

	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(to, eth->h_source, ETH_ALEN);
	return frame_returns(ctx, w, notice_write(set, w, &s->tuple, to, n));
}

/* Whether a packet with `length` bytes shows that the first server has not heard of the move. */
IPOS_INLINE int tell_due(const struct ipos_left *left, __u16 from, __u32 length, __u64 now)
{
	return from == left->first &&
	       now - left->told_ns > (length ? TOLD_BY_DATA_NS : TOLD_AGAIN_NS);
}

/* Type 6 made of the frame at hand; the client sends again what was in it. */
IPOS_INLINE int tell_first(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   const struct segment *s, struct ipos_left *left)
{
	struct notice n = { .type = IPOS_MOVED,
			    .endpoint_ip = left->destination_ip,
			    .endpoint_port = left->destination_port,
			    .reason = left->migration,
			    .iss = left->iss };

	left->told_ns = bpf_ktime_get_boot_ns();
	return notify(ctx, set, w, s, &n);
}

/*
 * Sends a type 2 on to where its connection lives now.  Each such hop takes one from the TTL, so
 * that no mistake of ours goes round for ever.
 */
IPOS_APART int bounce(struct xdp_md *ctx, const struct ipos_settings *set, const struct segment *s,
		      const struct type2 *in)
{
	struct ipos_left *left = bpf_map_lookup_elem(&FAMILY(left_behind), &s->tuple);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipos_server *to;
	ip_header *ip;
	__u64 tag = 0;

	if (!left)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	to = server_at(left->server);
	data += s->l2 & 63;
	ip = data + HEADER_LEN;
	if (!to || (void *)(eth + 1) > end || (void *)(ip + 1) > end)
		return drop(COUNT_DROP_EMIT);
	if (!ip_hop(ip))
		return drop(COUNT_DROP_LOOP);
	header_write(data, &s->tuple, to->address, left->destination_port, IPOS_PACKET);
	mac_copy(eth->h_dest, to->mac);
	mac_copy(eth->h_source, set->back_mac);
	if (set->flags & IPOS_AUTHENTICATE)
		tag = packet_tag(ctx, s->l2, in->inner,
				 payload_tagged(in->end - s->l2 - HEADER_LEN - in->inner), 0);
	if (bpf_xdp_store_bytes(ctx, in->end, &tag, IPOS_TAG_LEN))
		return drop(COUNT_DROP_EMIT);
	count(COUNT_BOUNCED);
	return bpf_redirect(set->back_ifindex, 0);
}

/* Type 6: a connection we are the first server of lives at another server now. */
IPOS_INLINE int back_moved(struct xdp_md *ctx, const struct ipos_settings *set,
			   const struct segment *s, const struct ipos_header *h,
			   struct ipos_forward *f, __u16 move)
{
	__u16 owner = server_named(h->endpoint_ip, s->tuple.service_port);
	__u64 before = f->migration;
	__s16 newer = move - (__u16)before;
	struct ipos_holding *held;

	if (!owner || newer <= 0)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	if (!f->acknowledged) { /* its type 3 was lost, and it has moved on since */
		held = holding_among(roles_of(&s->tuple), &s->tuple);
		if (held && held->moving)
			return pass_vouched(ctx, set, s->l2);
		f->acknowledged = 1;
		holding_release(&s->tuple);
		count(COUNT_ACKNOWLEDGED);
	}
	if (__sync_val_compare_and_swap(&f->migration, before, before + newer) != before)
		return drop(COUNT_DROP_FRAME_UNKNOWN); /* it came twice, on two CPUs */
	traffic_add(f->server, 0, 1);
	traffic_add(owner, 1, 0);
	f->server = owner;
	f->destination_ip = h->endpoint_ip;
	f->destination_port = h->endpoint_port;
	count(COUNT_MOVE_TOLD);
	return XDP_DROP;
}

#endif /* IPOS_XDP_MOVE_H */
