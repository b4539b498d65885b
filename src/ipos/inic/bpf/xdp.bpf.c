/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The first hook: every frame on front and back, before the kernel sees it. */
#include "capture.h"
#include "xdp_back.h"

IPOS_INLINE int denied(__u32 ip)
{
	struct ipos_prefix key = { .prefix_len = 32, .ip = ip };

	return bpf_map_lookup_elem(&deny, &key) != NULL;
}

IPOS_INLINE int xdp_frame(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct segment s;
	enum parsed what = parse_l2(data, end, set->ethertype, &s);

	if (what == PARSED_IPOS) {
		if (frame_to_all(data, end))
			return back_to_all(ctx, w, s.l2, s.vlan);
		return frame_to(data, end, set->back_mac) ? back_frame(ctx, set, w, &s) :
							    drop(COUNT_DROP_FRAME_ELSEWHERE);
	}
	if (what == PARSED_IP)
		what = parse_ip(data, end, bpf_xdp_get_buff_len(ctx), &s);
	/* A switch floods what it has not learned: a frame to another's address is not ours. */
	if (what == PARSED_OTHER || !frame_to(data, end, set->front_mac) ||
	    !interface_is(ctx->ingress_ifindex, s.vlan, set->front_ifindex, set->front_vlan)) {
		/* tc would take it for one that came in a frame, and believe it. */
		if (what >= PARSED_TCP && what != PARSED_ICMP &&
		    interface_is(ctx->ingress_ifindex, s.vlan, set->back_ifindex, set->back_vlan) &&
		    address_of(s.tuple.service_ip, s.tuple.service_port))
			return drop(COUNT_DROP_BACK_DIRECT);
		count(COUNT_PASSED);
		return XDP_PASS;
	}
	if (denied(s.tuple.client_ip))
		return drop(COUNT_DROP_DENIED);
	if (what == PARSED_ICMP)
		return client_icmp(ctx, set, w, &s);
	return client_segment(ctx, set, w, &s, what);
}

SEC("xdp")
int ipos_xdp(struct xdp_md *ctx)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_XDP);
	struct ipos_settings *set = settings_now();
	__u32 came = ctx->ingress_ifindex;
	int verdict;

	if (!w || !set || set->abi != IPOS_ABI)
		return XDP_PASS;
	if (likely(!(set->flags & IPOS_CAPTURE)))
		return xdp_frame(ctx, set, w);
	capture_xdp(ctx, came, 0);
	verdict = xdp_frame(ctx, set, w);
	if (verdict == XDP_REDIRECT)
		capture_xdp(ctx, came, 1);
	return verdict;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
