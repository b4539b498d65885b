/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What is done with a request head before a server is chosen, up to one step or another, to be
 * timed.  bench_ has a head of one piece, the packet's bytes behind its Ethernet header, as a
 * request's first segment comes; held_ one in the hold pool, under the tuple that is all zero.
 */
#include "tc/hold.h"
#include "select/decide.h"

#define SERVICE 1 /* index in `services` */

/* Up to which step. */
enum step { FETCHED, READ, ROUTED, DECIDED };

IPOS_INLINE int head_decide(struct ipos_scratch *w, int progress, enum step last)
{
	struct ipos_tuple t = {};
	struct choice c = {};

	if (last == READ || progress != IPOS_READ_DONE)
		return progress;
	if (last == ROUTED)
		return route(w, &c) ? progress : -1;
	decide(w, &t, refused_by_none(w), 0, &c);
	return c.session == CHOICE_KEPT ? progress : -1;
}

IPOS_INLINE int head_here(struct __sk_buff *skb, enum step last)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	__u32 n = skb->len - ETH_HLEN;

	IPOS_OPAQUE(n);
	if (!w || n < 1 || n > IPOS_CHUNK || bpf_skb_load_bytes(skb, ETH_HLEN, w->bytes, n))
		return -1;
	if (last == FETCHED)
		return IPOS_READ_DONE;
	request_open(w, SERVICE, IPOS_MODE_AUTO);
	return head_decide(w, request_feed(w, n), last);
}

IPOS_INLINE int head_held(enum step last)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	struct ipos_tuple t = {};
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, &t);

	if (!w || !h)
		return -1;
	if (last == FETCHED) {
		for (__u32 nth = w->zero; nth < IPOS_CHUNKS; nth++) {
			__u32 low = nth * IPOS_CHUNK, high = low + IPOS_CHUNK;

			IPOS_CONVERGES;
			if (high > h->held)
				high = h->held;
			if (low >= high || chunk_read(w, h, SPAN(low, high)))
				break;
		}
		return IPOS_READ_DONE;
	}
	return head_decide(w, hold_read(w, h), last);
}

SEC("tc") int bench_empty(struct __sk_buff *skb)
{
	return IPOS_READ_DONE;
}
SEC("tc") int bench_fetch(struct __sk_buff *skb)
{
	return head_here(skb, FETCHED);
}
SEC("tc") int bench_read(struct __sk_buff *skb)
{
	return head_here(skb, READ);
}
SEC("tc") int bench_route(struct __sk_buff *skb)
{
	return head_here(skb, ROUTED);
}
SEC("tc") int bench_decide(struct __sk_buff *skb)
{
	return head_here(skb, DECIDED);
}
SEC("tc") int held_fetch(struct __sk_buff *skb)
{
	return head_held(FETCHED);
}
SEC("tc") int held_read(struct __sk_buff *skb)
{
	return head_held(READ);
}
SEC("tc") int held_route(struct __sk_buff *skb)
{
	return head_held(ROUTED);
}
SEC("tc") int held_decide(struct __sk_buff *skb)
{
	return head_held(DECIDED);
}

char _license[] SEC("license") = "Dual BSD/GPL";
