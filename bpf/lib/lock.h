/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One CPU at a time for a connection. */
#ifndef IPOS_LOCK_H
#define IPOS_LOCK_H

#include "lib/maps.h"
#include "lib/roles.h"

/* some tens of microseconds: longer than a decision takes */
#define LOCK_ROUNDS 4096

enum lock { LOCK_NONE, LOCKED, LOCK_BUSY }; /* what of it a packet has: scratch's `locked` */

/* This CPU, as `locks` and an endpoint's `adopting` name it. */
IPOS_INLINE __u32 this_cpu(void)
{
	return 1 + bpf_get_smp_processor_id();
}

IPOS_INLINE __u32 *lock_of(const struct ipos_tuple *t)
{
	__u32 nth = tuple_mix(t) >> 48 & (IPOS_LOCKS - 1);

	return bpf_map_lookup_elem(&locks, &nth);
}

/*
 * Packets of one connection may come in on several CPUs at once, and what tc decides takes several
 * steps, so the program locks the connection first.  Returns 0 when another CPU keeps the lock for
 * longer than any decision takes; then the packet is dropped, and its sender sends it again.  No
 * program here is interrupted by another one that locks, so a lock that is ours already was left
 * by mistake.
 */
IPOS_FUNCTION int connection_lock(const struct ipos_tuple *t)
{
	__u32 me = this_cpu(), was, *lock;

	if (!t)
		return 0;
	lock = lock_of(t);
	if (!lock)
		return 0;
	IPOS_REPEAT(LOCK_ROUNDS)
	{
		was = *(volatile __u32 *)lock;
		if (was == me)
			return 1;
		if (!was && !__sync_val_compare_and_swap(lock, 0, me))
			return 1;
	}
	return 0;
}

IPOS_FUNCTION int connection_unlock(const struct ipos_tuple *t)
{
	__u32 *lock = t ? lock_of(t) : NULL;

	if (lock)
		__sync_val_compare_and_swap(lock, this_cpu(), 0);
	return 0;
}

#endif /* IPOS_LOCK_H */
