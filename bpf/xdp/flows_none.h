/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* UDP services are IPv4's: what the IPv6 program has in place of xdp/flow_back.h. */
#ifndef IPOS_XDP_FLOWS_NONE_H
#define IPOS_XDP_FLOWS_NONE_H

#include "xdp/encapsulation.h"

IPOS_INLINE int flow_back(struct xdp_md *ctx, __u32 l2)
{
	(void)ctx, (void)l2;
	return drop(COUNT_DROP_FRAME_TYPE);
}

IPOS_INLINE int flow_direct(struct xdp_md *ctx, __u32 l2, __u32 l4)
{
	(void)ctx, (void)l2, (void)l4;
	return 0;
}

#endif /* IPOS_XDP_FLOWS_NONE_H */
