/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Reading a request head by itself, to be timed: the packet's bytes behind its Ethernet header
 * are the head.  bench_floor does all but read it.
 */
#include "core/read.h"

IPOS_INLINE struct ipos_scratch *head_load(struct __sk_buff *skb, __u32 *length)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	__u32 n = skb->len - ETH_HLEN;

	IPOS_OPAQUE(n);
	if (!w || n < 1 || n > IPOS_CHUNK || bpf_skb_load_bytes(skb, ETH_HLEN, w->bytes, n))
		return NULL;
	*length = n;
	return w;
}

SEC("tc")
int bench_read(struct __sk_buff *skb)
{
	struct ipos_scratch *w;
	__u32 n;

	w = head_load(skb, &n);
	if (!w)
		return -1;
	request_open(w, 1);
	return request_feed(w, n);
}

SEC("tc")
int bench_floor(struct __sk_buff *skb)
{
	__u32 n;

	return head_load(skb, &n) ? IPOS_READ_DONE : -1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
