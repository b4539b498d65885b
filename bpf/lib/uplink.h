/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Front interfaces where there are several.  A service address belongs to the uplink whose prefix
 * it is in: its clients come by that one's interface, and are answered by it.  What is for our own
 * kernel is put on it, too, and has its MAC address: the kernel drops what has another.
 */
#ifndef IPOS_UPLINK_H
#define IPOS_UPLINK_H

#include "lib/maps.h"

/* The place of a service address's uplink in settings, or IPOS_UPLINKS_MAX. */
IPOS_FUNCTION int uplink_of(__be32 ip)
{
	const struct ipos_settings *set = settings_now();

	for (__u32 i = 0; i < IPOS_UPLINKS_MAX; i++)
		if (set && i < set->uplinks && (ip & set->uplink[i].mask) == set->uplink[i].prefix)
			return i;
	return IPOS_UPLINKS_MAX;
}

/* The first uplink of an interface, or IPOS_UPLINKS_MAX. */
IPOS_FUNCTION int uplink_on(__u32 ifindex)
{
	const struct ipos_settings *set = settings_now();

	for (__u32 i = 0; i < IPOS_UPLINKS_MAX; i++)
		if (set && i < set->uplinks && ifindex == set->uplink[i].ifindex)
			return i;
	return IPOS_UPLINKS_MAX;
}

/* What is at a place that uplink_of() or uplink_on() has found, or NULL. */
IPOS_INLINE const struct ipos_uplink *uplink_at(const struct ipos_settings *set, __u32 place)
{
	if (place >= IPOS_UPLINKS_MAX)
		return NULL;
	IPOS_OPAQUE(place);
	return &set->uplink[place & (IPOS_UPLINKS_MAX - 1)];
}

#if IPOS_FAMILY == 6 /* IPv6 has the one front interface */
IPOS_INLINE __u32 front_of(const struct ipos_settings *set, ipos_ip ip)
{
	(void)ip;
	return set->front_ifindex;
}

IPOS_INLINE const __u8 *front_mac_of(const struct ipos_settings *set, ipos_ip ip)
{
	(void)ip;
	return set->front_mac;
}
#else
/* The interface by which the clients of a service address come and are answered. */
IPOS_INLINE __u32 front_of(const struct ipos_settings *set, __be32 ip)
{
	const struct ipos_uplink *found;

	if (likely(!set->uplinks))
		return set->front_ifindex;
	found = uplink_at(set, uplink_of(ip));
	return found ? found->ifindex : set->front_ifindex;
}

/* Its MAC address. */
IPOS_INLINE const __u8 *front_mac_of(const struct ipos_settings *set, __be32 ip)
{
	const struct ipos_uplink *found;

	if (likely(!set->uplinks))
		return set->front_mac;
	found = uplink_at(set, uplink_of(ip));
	return found ? found->mac : set->front_mac;
}
#endif

/* The MAC address of the interface that a packet came in on. */
IPOS_INLINE const __u8 *front_mac_on(const struct ipos_settings *set, __u32 ifindex)
{
	const struct ipos_uplink *found;

	if (likely(!set->uplinks))
		return set->front_mac;
	found = uplink_at(set, uplink_on(ifindex));
	return found ? found->mac : set->front_mac;
}

IPOS_INLINE int is_front(const struct ipos_settings *set, __u32 ifindex)
{
	return ifindex == set->front_ifindex ||
	       (unlikely(set->uplinks) && uplink_on(ifindex) < IPOS_UPLINKS_MAX);
}

#endif /* IPOS_UPLINK_H */
