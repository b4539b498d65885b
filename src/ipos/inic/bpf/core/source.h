/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * source-hash: the client's address names a way through the pool's table of slots, the same
 * on every server.  The first slot on it whose server can take the request decides.
 */
#ifndef IPOS_CORE_SOURCE_H
#define IPOS_CORE_SOURCE_H

#include "candidates.h"

#define SOURCE_STEPS 32			/* slots that are looked at before any server will do */
#define SOURCE_STRIDE 0x9e3779b9U
#define SOURCE_PART 0x51ed270bU

/* MurmurHash3's last step: every bit of the result depends on every bit of `x`. */
IPOS_INLINE __u32 source_mix(__u32 x)
{
	x = (x ^ x >> 16) * 0x85ebca6bU;
	x = (x ^ x >> 13) * 0xc2b2ae35U;
	return x ^ x >> 16;
}

/* A server's place among the usable ones; -1: it is none of them, or has not started enough. */
IPOS_FUNCTION int source_place(const struct ipos_scratch *w, const struct ipos_pool *pool,
			       __u32 server, __u32 part)
{
	if (!w || !pool)
		return -1;
	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < w->found; i++) {
		const struct ipos_candidate *one = candidate_at(pool, w, i);

		if (one->server == server)
			return candidate_started(w, one, part & 0xff) ? i : -1;
	}
	return -1;
}

IPOS_FUNCTION int choose_by_source(const struct ipos_scratch *w, const struct ipos_pool *pool,
				   __u32 pool_index, __u32 client_ip)
{
	__u32 client = bpf_ntohl(client_ip), part = source_mix(client ^ SOURCE_PART) & 0xff;
	int place;

	if (!w || !pool || !w->found)
		return 0;
	for (__u32 step = 0; step < SOURCE_STEPS; step++) {
		__u32 x = source_mix(client + step * SOURCE_STRIDE);
		__u32 slot = (__u64)x * IPOS_SLOTS >> 32;
		__u32 key = pool_index * IPOS_SLOTS_BLOCKS + slot / IPOS_SLOTS_BLOCK;
		struct ipos_slots *block = bpf_map_lookup_elem(&slots, &key);

		if (!block)
			break;
		place = source_place(w, pool, block->servers[slot & (IPOS_SLOTS_BLOCK - 1)], part);
		if (place >= 0)
			return place;
	}
	return (__u64)source_mix(client) * w->found >> 32;
}

#endif /* IPOS_CORE_SOURCE_H */
