/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What this server may be to a connection, known before any table of connections is asked: `roles`
 * counts the rows of Forward, Local, Forward-Connect and `holding` by a hash of the four-tuple.
 * Where a count is 0 there is no row, so that table is not asked.
 *
 * The order that keeps this true on all CPUs: a row is counted before it is made, and is counted
 * off after it has gone.  Between the two a count is one too high, and a table is asked in vain; it
 * is never too low.  Rows of two connections may share a count, to the same effect.
 */
#ifndef IPOS_ROLES_H
#define IPOS_ROLES_H

#include "lib/maps.h"

#define ROLE_BITS 16 /* of each count in its word */
#define ROLE_ONE(role) (1ULL << (role)*ROLE_BITS)
#define ROLE_MASK(role) (ROLE_ONE(role) * ((1ULL << ROLE_BITS) - 1))
/* More rows than that of one slot are refused: a count does not run over into the next one. */
#define ROLE_MOST ((1ULL << ROLE_BITS) - 4096)

#define MIX 0x9e3779b97f4a7c15ULL

/* The high bits are the well mixed ones. */
IPOS_INLINE __u64 tuple_mix(const struct ipos_tuple *t)
{
#if IPOS_FAMILY == 6
	__u64 mix = ip_first(t->client_ip) * MIX ^ ip_last(t->client_ip);

	mix = (mix ^ mix >> 32) * MIX ^ ip_last(t->service_ip) ^ ip_first(t->service_ip) >> 32;
	mix = (mix ^ mix >> 32) ^ ((__u64)t->client_port << 16 | t->service_port) << 24;
#else
	__u64 mix = ((__u64)t->client_ip << 32 | (__u32)t->client_port << 16 | t->service_port) ^
		    t->service_ip;
#endif
	return mix * MIX;
}

IPOS_INLINE __u64 *roles_slot(const struct ipos_tuple *t)
{
	__u32 nth = tuple_mix(t) >> 46 & (IPOS_ROLES - 1);

	return bpf_map_lookup_elem(&FAMILY(roles), &nth);
}

/* The counts as they are now; test them with ROLE_MASK(). */
IPOS_INLINE __u64 roles_of(const struct ipos_tuple *t)
{
	const __u64 *slot = roles_slot(t);

	return slot ? *(volatile const __u64 *)slot : 0;
}

/* Before a row is made.  Returns 0, or -1 when there may be no more of them. */
IPOS_INLINE int role_begins(const struct ipos_tuple *t, enum ipos_role role)
{
	__u64 *slot = roles_slot(t);

	if (!slot)
		return -1;
	/* Its result is used, so the instruction orders what is before and after it. */
	if ((__sync_fetch_and_add(slot, ROLE_ONE(role)) & ROLE_MASK(role)) <
	    ROLE_MOST * ROLE_ONE(role))
		return 0;
	__sync_fetch_and_add(slot, -ROLE_ONE(role));
	return -1;
}

/* After a row has gone, or was not made. */
IPOS_INLINE void role_ends(const struct ipos_tuple *t, enum ipos_role role)
{
	__u64 *slot = roles_slot(t);

	if (slot)
		__sync_fetch_and_add(slot, -ROLE_ONE(role));
}

/* The agent has taken a row of that role away. */
IPOS_FUNCTION int role_taken(const struct ipos_tuple *t, __u32 role)
{
	if (t && role <= IPOS_ROLE_HOLDING)
		role_ends(t, role);
	return 0;
}

/* ---- the rows, with `now` from roles_of() ------------------------------------------------- */

IPOS_INLINE struct ipos_forward *forward_among(__u64 now, const struct ipos_tuple *t)
{
	return now & ROLE_MASK(IPOS_ROLE_FORWARD) ? bpf_map_lookup_elem(&FAMILY(forward), t) : NULL;
}

IPOS_INLINE struct ipos_holding *holding_among(__u64 now, const struct ipos_tuple *t)
{
	return now & ROLE_MASK(IPOS_ROLE_HOLDING) ? bpf_map_lookup_elem(&FAMILY(holding), t) : NULL;
}

/* The endpoint that is ours: in `local` if we gave it to ourselves. */
IPOS_INLINE struct ipos_endpoint *endpoint_among(__u64 now, const struct ipos_tuple *t)
{
	struct ipos_endpoint *ep = NULL;

	if (now & ROLE_MASK(IPOS_ROLE_LOCAL))
		ep = bpf_map_lookup_elem(&FAMILY(local), t);
	if (!ep && now & ROLE_MASK(IPOS_ROLE_CONNECT))
		ep = bpf_map_lookup_elem(&FAMILY(connect), t);
	return ep;
}

IPOS_INLINE struct ipos_endpoint *endpoint_of(const struct ipos_tuple *t)
{
	return endpoint_among(roles_of(t), t);
}

#endif /* IPOS_ROLES_H */
