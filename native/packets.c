/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The packet helpers: one linear buffer, with the kernel's bounds and refusals. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/if_ether.h>

#include "native/helpers.h"

#define FILL 0xee /* what the kernel leaves undefined is never zero here */

static __u8 *limit(void)
{
	return native_now()->buffer + NATIVE_BUFFER - 64;
}

/* ---- XDP ------------------------------------------------------------------------------------ */

long bpf_xdp_adjust_head(struct xdp_md *ctx, int delta)
{
	unsigned long data = ctx->data + (long)delta;

	if (data < (unsigned long)native_now()->buffer + 40 || data + ETH_HLEN > ctx->data_end)
		return -EINVAL;
	if (data < ctx->data)
		memset((void *)data, FILL, ctx->data - data);
	ctx->data = ctx->data_meta = data;
	return 0;
}

long bpf_xdp_adjust_tail(struct xdp_md *ctx, int delta)
{
	unsigned long end = ctx->data_end + (long)delta;

	if (end > (unsigned long)limit() || end < ctx->data + ETH_HLEN)
		return -EINVAL;
	if (end > ctx->data_end)
		memset((void *)ctx->data_end, 0, end - ctx->data_end);
	ctx->data_end = end;
	return 0;
}

long bpf_xdp_adjust_meta(struct xdp_md *ctx, int delta)
{
	unsigned long meta = ctx->data_meta + (long)delta;

	if (meta < ctx->data - 32 || meta > ctx->data || (ctx->data - meta) & 3)
		return -EINVAL;
	ctx->data_meta = meta;
	return 0;
}

__u64 bpf_xdp_get_buff_len(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 offset, void *to, __u32 len)
{
	if ((__u64)offset + len > ctx->data_end - ctx->data)
		return -EINVAL;
	memcpy(to, (void *)(ctx->data + offset), len);
	return 0;
}

long bpf_xdp_store_bytes(struct xdp_md *ctx, __u32 offset, const void *from, __u32 len)
{
	if ((__u64)offset + len > ctx->data_end - ctx->data)
		return -EINVAL;
	memcpy((void *)(ctx->data + offset), from, len);
	return 0;
}

/* ---- tc ------------------------------------------------------------------------------------- */

long bpf_skb_load_bytes(const struct __sk_buff *skb, __u32 offset, void *to, __u32 len)
{
	if ((__u64)offset + len > skb->len) {
		memset(to, 0, len);
		return -EFAULT;
	}
	memcpy(to, (void *)(skb->data + offset), len);
	return 0;
}

long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len,
			 __u64 flags)
{
	(void)flags;
	if ((__u64)offset + len > skb->len)
		return -EFAULT;
	memcpy((void *)(skb->data + offset), from, len);
	return 0;
}

long bpf_skb_change_type(struct __sk_buff *skb, __u32 type)
{
	(void)skb, (void)type;
	return 0;
}

long bpf_skb_change_tail(struct __sk_buff *skb, __u32 len, __u64 flags)
{
	unsigned long end = skb->data + len;

	/* The kernel wants the link and network headers left. */
	if (flags || len < ETH_HLEN || end > (unsigned long)limit())
		return -EINVAL;
	if (end > skb->data_end)
		memset((void *)skb->data_end, FILL, end - skb->data_end);
	skb->data_end = end;
	skb->len = len;
	return 0;
}

long bpf_skb_change_head(struct __sk_buff *skb, __u32 len, __u64 flags)
{
	if (flags || skb->data - len < (unsigned long)native_now()->buffer)
		return -EINVAL;
	skb->data -= len;
	skb->len += len;
	memset((void *)skb->data, 0, len);
	return 0;
}

/* A tag stands in the frame here, as under TEST_RUN: there is never one beside it. */
long bpf_skb_vlan_pop(struct __sk_buff *skb)
{
	__u8 *at = (__u8 *)skb->data + 2 * ETH_ALEN;

	if (!skb->vlan_present) { /* inside, where a kernel has taken it out before tc */
		memmove(at, at + 4, skb->len - 4 - 2 * ETH_ALEN);
		return bpf_skb_change_tail(skb, skb->len - 4, 0);
	}
	skb->vlan_present = skb->vlan_tci = 0;
	return 0;
}

long bpf_skb_vlan_push(struct __sk_buff *skb, __u16 protocol, __u16 tci)
{
	__u16 tag[2] = { protocol, __builtin_bswap16(tci) };
	__u8 *at;

	if (bpf_skb_change_tail(skb, skb->len + sizeof(tag), 0))
		return -ENOMEM;
	at = (__u8 *)skb->data + 2 * ETH_ALEN;
	memmove(at + sizeof(tag), at, skb->len - sizeof(tag) - 2 * ETH_ALEN);
	memcpy(at, tag, sizeof(tag));
	return 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

int native_send(struct native_node *n, __u32 ifindex, __u32 inward, __u32 mark, const void *bytes,
		__u32 length)
{
	struct native_frame *f;

	if (length > NATIVE_BUFFER)
		return -EMSGSIZE;
	if (n->sent == n->out_room) {
		__u32 room = n->out_room ? n->out_room * 2 : 4;

		f = realloc(n->out, room * sizeof(*f));
		if (!f)
			return -ENOMEM;
		n->out = f;
		n->out_room = room;
	}
	f = &n->out[n->sent++];
	f->ifindex = ifindex;
	f->inward = inward;
	f->mark = mark;
	f->length = length;
	memcpy(f->bytes, bytes, length);
	return 0;
}

long bpf_redirect(__u32 ifindex, __u64 flags)
{
	native_now()->redirect_ifindex = ifindex;
	native_now()->redirect_inward = !!(flags & BPF_F_INGRESS);
	return native_now()->redirect_verdict;
}

long bpf_redirect_peer(__u32 ifindex, __u64 flags)
{
	(void)flags;
	native_now()->redirect_ifindex = ifindex;
	native_now()->redirect_inward = NATIVE_PEER;
	return native_now()->redirect_verdict;
}

long bpf_redirect_neigh(__u32 ifindex, void *parameters, int length, __u64 flags)
{
	(void)parameters, (void)length, (void)flags;
	native_now()->redirect_ifindex = ifindex;
	native_now()->redirect_inward = NATIVE_NEIGH;
	return native_now()->redirect_verdict;
}

long bpf_clone_redirect(struct __sk_buff *skb, __u32 ifindex, __u64 flags)
{
	if (native_now()->emit_fails)
		return -ENETDOWN;
	return native_send(native_now(), ifindex, !!(flags & BPF_F_INGRESS), skb->mark,
			   (void *)skb->data, skb->len);
}

/* ---- checksums: RFC 1071, RFC 1624 ---------------------------------------------------------- */

static __u32 carry(__u64 sum)
{
	while (sum >> 32)
		sum = (sum & 0xffffffff) + (sum >> 32);
	return sum;
}

static __u16 fold_sum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

__s64 bpf_csum_diff(const void *from, __u32 from_size, const void *to, __u32 to_size, __u32 seed)
{
	__u64 sum = seed;
	__u32 word;

	if ((from_size | to_size) & 3 || from_size + to_size > 512)
		return -EINVAL;
	for (__u32 i = 0; i < from_size; i += 4) {
		memcpy(&word, (const __u8 *)from + i, 4);
		sum += (__u32)~word;
	}
	for (__u32 i = 0; i < to_size; i += 4) {
		memcpy(&word, (const __u8 *)to + i, 4);
		sum += word;
	}
	return carry(sum);
}

long bpf_l3_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size)
{
	return bpf_l4_csum_replace(skb, offset, from, to, size);
}

long bpf_l4_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 flags)
{
	__u16 sum;

	/* Of no size: `to` is a difference of sums. */
	if (((flags & 15) != 2 && (flags & 15) != 4 && ((flags & 15) || from)) ||
	    bpf_skb_load_bytes(skb, offset, &sum, 2))
		return -EINVAL;
	if (flags & BPF_F_MARK_MANGLED_0 && !sum)
		return 0; /* UDP without a checksum */
	sum = fold_sum(
		carry((__u64)(__u16)~sum + (flags & 15 ? (__u32) ~(__u32)from : 0) + (__u32)to));
	if (flags & BPF_F_MARK_MANGLED_0 && !sum)
		sum = 0xffff;
	return bpf_skb_store_bytes(skb, offset, &sum, 2, 0);
}

/* ---- bounded memory ------------------------------------------------------------------------- */

long bpf_dynptr_from_mem(void *data, __u32 size, __u64 flags, struct bpf_dynptr *d)
{
	(void)flags;
	d->data = data;
	d->size = size;
	return 0;
}

long bpf_dynptr_read(void *to, __u32 len, const struct bpf_dynptr *d, __u32 offset, __u64 flags)
{
	if (flags || (__u64)offset + len > d->size)
		return -E2BIG;
	memcpy(to, d->data + offset, len);
	return 0;
}

long bpf_dynptr_write(const struct bpf_dynptr *d, __u32 offset, const void *from, __u32 len,
		      __u64 flags)
{
	if (flags || (__u64)offset + len > d->size)
		return -E2BIG;
	memcpy(d->data + offset, from, len);
	return 0;
}
