/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * An interface has one XDP program, which is IPv4's.  It gives on what is IPv6's, or a frame of
 * ours about a connection of IPv6.  Where the other program is not loaded all goes on as if it were
 * not known.
 */
#ifndef IPOS_XDP_FAMILIES_H
#define IPOS_XDP_FAMILIES_H

#include "lib/frame.h"

#if IPOS_FAMILY == 4
/* Writer: the loader.  Empty where no service has an IPv6 address. */
IPOS_JUMPS(families_xdp, 1);
#endif

/* Does not return where the other program is loaded. */
IPOS_INLINE void family_jump(struct xdp_md *ctx)
{
#if IPOS_FAMILY == 4
	bpf_tail_call(ctx, &families_xdp, 0);
#else
	(void)ctx;
#endif
}

/* A frame that is neither IPv4 nor ours, whose header is at `l2`. */
IPOS_INLINE void to_family(struct xdp_md *ctx, __u32 l2)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__be16 type;

	if (data + L2_MAX > end)
		return;
	type = l2 == L2_MAX ? AT16(data, L2_MAX - 2) : AT16(data, ETH_HLEN - 2);
	if (type == bpf_htons(ETH_P_IPV6))
		family_jump(ctx);
}

#endif /* IPOS_XDP_FAMILIES_H */
