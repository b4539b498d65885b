/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The choice of a server alone, to be timed: many choices in each run, each by other numbers. */
#include "lib/packet.h"
#include "select/policy.h"

#define POOL 1
#define CHOICES 64 /* of each run */

SEC("tc") int bench_empty(struct __sk_buff *skb)
{
	return 1;
}

SEC("tc") int bench_choose(struct __sk_buff *skb)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	struct ipos_tuple t = {};
	struct choice c = {};

	if (!w)
		return 0;
	for (__u32 i = w->zero; i < CHOICES; i++) {
		struct draw d;

		IPOS_CONVERGES;
		d = draw_for(&t);
		choose(w, POOL, refused_by_none(w), &d, &c);
	}
	return c.server ? 1 : 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
