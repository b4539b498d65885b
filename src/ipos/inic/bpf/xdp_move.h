/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Frames about connections that move while they live: packets that reach a server which has
 * given their connection on, and the notice to the first server that tells it so.
 */
#ifndef IPOS_XDP_MOVE_H
#define IPOS_XDP_MOVE_H

#include "xdp_client.h"

#define TOLD_AGAIN_NS 50000000ULL	/* a type 6 that seems lost is repeated after this */
#define TOLD_BY_DATA_NS 1000000000ULL	/* and by then in place of a packet with data */

struct type2 {				/* a packet in a frame */
	__u32 inner;			/* bytes of its headers */
	__u32 end;			/* where it ends in the frame */
};

struct peer {				/* who sent the frame */
	__u8 mac[ETH_ALEN];
	__u16 server;
};

/* The frame becomes a notice to its sender. */
IPOS_APART int notify(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
		      const struct segment *s, const struct notice *n)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u8 to[ETH_ALEN];
	__u32 len;

	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(to, eth->h_source, ETH_ALEN);
	len = notice_write(set, w, &s->tuple, to, n);
	if (bpf_xdp_adjust_tail(ctx, (int)len - (int)bpf_xdp_get_buff_len(ctx)))
		return drop(COUNT_DROP_EMIT);
	if (len != FRAME_MIN && len != FRAME_MIN + sizeof(struct vlan_tag))
		return XDP_DROP;
	if (bpf_xdp_store_bytes(ctx, 0, w->frame, len))
		return drop(COUNT_DROP_EMIT);
	count(COUNT_FRAMES_SENT);
	return bpf_redirect(ctx->ingress_ifindex, 0);
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
	struct notice n = { .type = IPOS_MOVED, .endpoint_ip = left->destination_ip,
			    .endpoint_port = left->destination_port, .reason = left->migration,
			    .iss = left->iss };

	left->told_ns = bpf_ktime_get_boot_ns();
	return notify(ctx, set, w, s, &n);
}

/*
 * Sends a type 2 on to where its connection lives now.  w->words has its header and the inner
 * headers.  Each such hop takes one from the TTL, so that no mistake of ours goes round for ever.
 */
IPOS_APART int bounce(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
		      const struct segment *s, const struct type2 *in)
{
	struct ipos_left *left = bpf_map_lookup_elem(&left_behind, &s->tuple);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = (void *)w->words + IPOS_HEADER_LEN;
	struct ethhdr *eth = data;
	struct ipos_server *to;
	__u64 tag;

	if (!left)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	to = server_at(left->server);
	if (!to || (void *)(eth + 1) > end)
		return drop(COUNT_DROP_EMIT);
	if (ip->ttl <= 1)
		return drop(COUNT_DROP_LOOP);
	ip->ttl--;
	ip->check = 0;
	ip->check = (__u16)~fold(sum_words(ip, sizeof(*ip)));
	header_write((void *)w->words, &s->tuple, left->destination_ip, left->destination_port,
		     IPOS_PACKET);
	tag = tag_of(set, w, IPOS_HEADER_LEN + in->inner);
	__builtin_memcpy(eth->h_dest, to->mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, set->back_mac, ETH_ALEN);
	if (bpf_xdp_store_bytes(ctx, s->l2, w->words, IPOS_HEADER_LEN + sizeof(*ip)) ||
	    bpf_xdp_store_bytes(ctx, in->end, &tag, IPOS_TAG_LEN))
		return drop(COUNT_DROP_EMIT);
	count(COUNT_BOUNCED);
	return bpf_redirect(set->back_ifindex, 0);
}

/* Type 6: a connection we are the first server of lives at another server now. */
IPOS_INLINE int back_moved(struct xdp_md *ctx, const struct segment *s,
			   const struct ipos_header *h, struct ipos_forward *f, __u16 move)
{
	struct ipos_address *a = address_of(h->endpoint_ip, s->tuple.service_port);
	__s16 newer = move - (__u16)f->migration;
	struct ipos_holding *held;

	if (!a || newer <= 0)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	if (!f->acknowledged) {		/* its type 3 was lost, and it has moved on since */
		held = bpf_map_lookup_elem(&holding, &s->tuple);
		if (held && held->moving)
			return pass_alone(ctx);
		f->acknowledged = 1;
		holding_release(&s->tuple);
		count(COUNT_ACKNOWLEDGED);
	}
	traffic_add(f->server, 0, 1);
	traffic_add(a->holder, 1, 0);
	f->migration += newer;
	f->server = a->holder;
	f->destination_ip = h->endpoint_ip;
	f->destination_port = h->endpoint_port;
	count(COUNT_MOVE_TOLD);
	return XDP_DROP;
}

#endif /* IPOS_XDP_MOVE_H */
