/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sockets whose first response is to begin a session: what their application sends goes by
 * insert.bpf.c.  That program must not know the map: the map holds the program.
 */
#ifndef IPOS_INSERTING_H
#define IPOS_INSERTING_H

#include "maps.h"

/* Writer: data plane; a socket that closes leaves by itself.  Full: SESSION_UNTOLD. */
IPOS_MAP(inserting, SOCKHASH, struct ipos_tuple, __u64, 65536);

/* An sk_msg program may not take a socket out of the map; what it says leaves by egress. */
IPOS_INLINE void insert_end(const struct ipos_tuple *t, struct ipos_endpoint *ep)
{
	ep->insert = IPOS_INSERT_NONE;
	bpf_map_delete_elem(&inserting, t);
}

#endif /* IPOS_INSERTING_H */
