/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a client network has of the hold pool.  A network is a /24, of IPv6 a /64, which is known by
 * four bytes of a keyed hash here: client_word().  Its pieces are counted in two
 * slots of a table of fixed size, chosen by a keyed hash, and the lower number of the two counts:
 * a network that shares one slot with a greedy one does not pay for it.
 *
 * A network may hold a quarter of what is free (Choudhury and Hahne 1998): alone a fifth of the
 * pool, and n greedy ones together n parts of n + 4, so there is always room for another.
 */
#ifndef IPOS_SHARES_H
#define IPOS_SHARES_H

#include "lib/siphash.h"
#include "lib/maps.h"

#define SHARE_PARTS 4	/* of what is free, one network may have one part */
#define SHARE_LEAST 16U /* pieces that every network may have: the longest head */
#define RESERVE_PARTS 8 /* of the pool, one part is for requests that are decided */

#if IPOS_FAMILY == 6
/* Four bytes that stand for a client's /64 where clients are counted. */
IPOS_FUNCTION __u32 network_word(__u64 network)
{
	struct ipos_settings *set = settings_now();
	__u64 key[2] = { set ? set->vouch : 0, 3 };
	struct sip s;

	sip_start(&s, key, 0);
	sip_word(&s, network);
	return sip_end(&s, 0, 8);
}

IPOS_INLINE __u32 client_word(ipos_ip ip)
{
	return network_word(ip_first(ip));
}
#else
IPOS_INLINE __u32 client_word(ipos_ip ip)
{
	return ip;
}
#endif

/* The keyed hash of a client's network, which chooses its slots. */
IPOS_INLINE __u64 network_hash(const struct ipos_settings *set, __u32 client_ip)
{
	__u64 key[2] = { set->vouch }; /* no other key stays while rows live */
	struct sip s;

	sip_start(&s, key, 0);
	return sip_end(&s, bpf_ntohl(client_ip) >> 8, 4);
}

IPOS_INLINE __u32 share_slot(__u64 hash, __u32 row)
{
	return row * IPOS_SHARES + ((row ? hash >> 32 : hash) & (IPOS_SHARES - 1));
}

IPOS_INLINE __u32 share_used(__u32 slot)
{
	__u32 *used = bpf_map_lookup_elem(&hold_used, &slot);
	__u32 *back = bpf_map_lookup_elem(&hold_returned, &slot);
	__s32 n = used && back ? (__s32)(*used - *back) : 0;

	return n < 0 ? 0 : n;
}

IPOS_INLINE void share_slot_add(__u32 slot, __u32 pieces)
{
	__u32 *used = bpf_map_lookup_elem(&hold_used, &slot);

	if (used)
		__sync_fetch_and_add(used, pieces);
}

/* Charges a client's network with so many pieces more, or less. */
IPOS_INLINE void share_add(__u32 client_ip, __s32 pieces)
{
	struct ipos_settings *set = settings_now();
	__u64 hash;

	if (!set)
		return;
	hash = network_hash(set, client_ip);
	share_slot_add(share_slot(hash, 0), pieces);
	share_slot_add(share_slot(hash, 1), pieces);
	share_slot_add(IPOS_SHARES_ALL, pieces);
}

/*
 * Whether a client may have `need` more pieces; 0, or the counter of the drop.  A request that is
 * decided goes on at once and may have of the reserve, what waits may not.
 */
IPOS_FUNCTION int share_refuses(__u32 client_ip, __u32 need, __u32 decided)
{
	struct ipos_settings *set = settings_now();
	__u32 used, other, all, most;
	__u64 hash;

	if (!set || !set->hold_pieces)
		return 0;
	all = share_used(IPOS_SHARES_ALL);
	if (!decided)
		all += set->hold_pieces / RESERVE_PARTS;
	if (all + need > set->hold_pieces)
		return COUNT_DROP_HOLD_FULL;
	most = (set->hold_pieces - all) / SHARE_PARTS;
	if (most < SHARE_LEAST)
		most = SHARE_LEAST;
	hash = network_hash(set, client_ip);
	used = share_used(share_slot(hash, 0));
	other = share_used(share_slot(hash, 1));
	if (other < used)
		used = other;
	return used + need > most ? COUNT_DROP_HOLD_SHARE : 0;
}

#endif /* IPOS_SHARES_H */
