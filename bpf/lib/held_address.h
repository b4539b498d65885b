/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which server answers for a service address, when a neighbour asks. */
#ifndef IPOS_HELD_ADDRESS_H
#define IPOS_HELD_ADDRESS_H

#include "lib/maps.h"

/* The row of an address without a port: what answers for it; NULL: no service's. */
IPOS_INLINE struct ipos_address *address_alone(ipos_ip ip)
{
	struct ipos_address_key key = { .ip = ip };

	return bpf_map_lookup_elem(&FAMILY(addresses), &key);
}

/* Whether this server may have been away, see IPOS_AWAY_NS. */
IPOS_INLINE int address_doubts(void)
{
	struct ipos_heard *any = heard_any();
	__u64 now = bpf_ktime_get_boot_ns();

	if (!any || !any->last_ns)
		return 0;
	if (now - any->last_ns > IPOS_AWAY_NS && any->since_ns < any->last_ns)
		any->since_ns = now;
	return now - any->since_ns <= IPOS_DOUBT_NS;
}

#endif /* IPOS_HELD_ADDRESS_H */
