/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The first hook: every frame on front and back, before the kernel sees it. */
#include "lib/capture.h"
#include "xdp/families.h"
#include "xdp/notice.h"
#if IPOS_FAMILY == 6
#include "xdp/neighbour_in.h"
#else
#include "xdp/arp_in.h"
#endif

/* Where clients come in, or this server's own programs. */
IPOS_INLINE int front_is(const struct ipos_settings *set, __u32 ifindex, __u16 vlan)
{
	return (is_front(set, ifindex) && vlan == set->front_vlan) ||
	       (set->own_front_ifindex && ifindex == set->own_front_ifindex);
}

/*
 * Whether a packet for a service came by another uplink than its service address's.  Its answers
 * would not leave as they are to, or a reverse-path filter would drop it where nobody counts.
 */
IPOS_APART int is_astray(__u32 came, const struct ipos_settings *set, const struct segment *s,
			 enum parsed what)
{
	return what != PARSED_ICMP && front_of(set, s->tuple.service_ip) != came &&
	       address_parsed(s, what) != NULL;
}

/*
 * A frame on front whose destination is no service: a neighbour may ask for the address of one.  A
 * verdict; XDP_PASS: it does not.
 */
IPOS_INLINE int front_asks(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			   enum parsed what)
{
#if IPOS_FAMILY == 6
	return what == PARSED_ICMP ? front_neighbours(ctx, w, s->l2) : XDP_PASS;
#else
	(void)w;
	return what == PARSED_OTHER ? front_arp(ctx, s->l2) : XDP_PASS;
#endif
}

IPOS_INLINE int xdp_frame(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 came = ctx->ingress_ifindex;
	const __u8 *mac;
	SEGMENT(s, w);
	int verdict, to_all;
	enum parsed what = parse_l2(data, end, set->ethertype, s);

	IPOS_OPAQUE(came); /* read once, from where the verifier knows it */
	mac = front_mac_on(set, came);
	if (unlikely(what == PARSED_TAGS) && (is_front(set, came) || came == set->back_ifindex))
		return drop(COUNT_DROP_VLAN_TAGS);
	if (IPOS_FAMILY == 4 && unlikely(what == PARSED_OTHER))
		to_family(ctx, s->l2);
	if (what == PARSED_IPOS) {
		to_all = frame_to_all(data, end);
		return to_all || frame_to(data, end, set->back_mac)
			       ? back_frame(ctx, set, w, s, to_all)
			       : drop(COUNT_DROP_FRAME_ELSEWHERE);
	}
	if (what == PARSED_IP)
		what = parse_ip(data, end, end - data, s);
	/* A switch floods what it has not learned: a frame to another's address is not ours. */
	if (what <= PARSED_TAGS || !frame_to(data, end, mac) || !front_is(set, came, s->vlan)) {
		/* tc would take it for one that came in a frame, and believe it. */
		if (what >= PARSED_TCP && what != PARSED_ICMP &&
		    interface_is(came, s->vlan, set->back_ifindex, set->back_vlan) &&
		    address_parsed(s, what))
			return drop(COUNT_DROP_BACK_DIRECT);
		if (IPOS_FAMILY == 4 && what == PARSED_OTHER && s->tuple.protocol == IPPROTO_UDP &&
		    interface_is(came, s->vlan, set->back_ifindex, set->back_vlan) &&
		    set->back_ifindex != set->front_ifindex && flow_direct(ctx, s->l2, s->l4))
			return drop(COUNT_DROP_BACK_DIRECT);
		if (is_front(set, came) && s->vlan == set->front_vlan) {
			verdict = front_asks(ctx, w, s, what);
			if (verdict != XDP_PASS)
				return verdict;
		}
		count(COUNT_PASSED);
		return XDP_PASS;
	}
	if (unlikely(set->uplinks) && is_astray(came, set, s, what))
		return drop(COUNT_DROP_UPLINK);
	if (denied(s->tuple.client_ip))
		return drop(COUNT_DROP_DENIED);
	if (what == PARSED_ICMP) {
		verdict = IPOS_FAMILY == 6 ? front_asks(ctx, w, s, what) : XDP_PASS;
		return verdict == XDP_PASS ? client_icmp(ctx, set, s) : verdict;
	}
	return client_segment(ctx, set, w, s, what);
}

SEC("xdp")
int FAMILY(ipos_xdp)(struct xdp_md *ctx)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_XDP);
	struct ipos_settings *set = settings_now();
	__u32 came = ctx->ingress_ifindex;
	int verdict;

	if (!w || !set || set->abi != IPOS_ABI)
		return XDP_PASS;
	if (likely(!(set->flags & IPOS_CAPTURE)))
		return xdp_frame(ctx, set, w);
	if (IPOS_FAMILY == 4) /* of IPv6 it was captured before it was given on */
		capture_xdp(ctx, came, 0);
	verdict = xdp_frame(ctx, set, w);
	if (verdict == XDP_REDIRECT)
		capture_xdp(ctx, came, 1);
	return verdict;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
