/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * source-hash: the client's address names a way through the pool's table of slots, the same
 * on every server.  The first slot on it whose server can take the request decides.
 */
#ifndef IPOS_CORE_SOURCE_H
#define IPOS_CORE_SOURCE_H

#include "select/candidates.h"

#define SOURCE_STEPS 32 /* slots that are looked at before any server will do */
#define SOURCE_STRIDE 0x9e3779b9U
#define SOURCE_PART 0x51ed270bU

/* The place in the pool of the server that gets a request of this client; -1: any usable one. */
IPOS_FUNCTION int choose_by_source(const struct ipos_pool *pool, __u32 pool_index,
				   const struct ipos_refusers *refused, __u32 client_ip)
{
	__u32 client = bpf_ntohl(client_ip), part = mix(client ^ SOURCE_PART) & 0xff;
	int place;

	if (!pool)
		return -1;
	for (__u32 step = 0; step < SOURCE_STEPS; step++) {
		__u32 x = mix(client + step * SOURCE_STRIDE);
		__u32 slot = (__u64)x * IPOS_SLOTS >> 32;
		__u32 key = pool_index * IPOS_SLOTS_BLOCKS + slot / IPOS_SLOTS_BLOCK;
		struct ipos_slots *block = bpf_map_lookup_elem(&slots, &key);

		if (!block)
			break;
		place = pool_place(pool, block->servers[slot & (IPOS_SLOTS_BLOCK - 1)]);
		if (place >= 0 && candidate_fits(pool, refused, place, part))
			return place;
	}
	return -1;
}

#endif /* IPOS_CORE_SOURCE_H */
