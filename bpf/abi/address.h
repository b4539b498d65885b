/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Clients' and services' addresses.  The programs are compiled once for each family: IPOS_FAMILY is
 * 4 or 6.  A struct with an `ipos_ip` has two layouts, and two names in Python: ipos_tuple and
 * ipos_tuple6.  A server is named by four bytes in both families.
 */
#ifndef IPOS_ABI_ADDRESS_H
#define IPOS_ABI_ADDRESS_H

#include <linux/types.h>

#ifndef IPOS_FAMILY
#define IPOS_FAMILY 4
#endif

/* Wire bytes, aligned by no more than what a longest-prefix key has before them. */
typedef unsigned __int128 ipos_ip6 __attribute__((aligned(4)));

#if IPOS_FAMILY == 6
typedef ipos_ip6 ipos_ip;
#define IPOS_ALIGNED __attribute__((aligned(8)))
#else
typedef __be32 ipos_ip;
#define IPOS_ALIGNED
#endif

#endif /* IPOS_ABI_ADDRESS_H */
