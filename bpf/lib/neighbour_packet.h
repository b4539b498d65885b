/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Neighbour discovery (RFC 4861): solicitations and advertisements, behind an IPv6 header. */
#ifndef IPOS_NEIGHBOUR_PACKET_H
#define IPOS_NEIGHBOUR_PACKET_H

#include "lib/family.h"

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_HOPS 255 /* nobody behind a router has sent it */
#define ND_SOLICITED 0x40000000U
#define ND_OVERRIDE 0x20000000U
#define ND_TARGET_ADDRESS 2 /* an option: the link-layer address of the target */

struct nd { /* either, without options */
	__u8 type, code;
	__sum16 checksum;
	__be32 flags;
	ipos_ip6 target;
} __attribute__((packed));

struct nd_answer { /* an advertisement with its packet's header, and the one option it needs */
	struct ipv6hdr ip;
	struct nd nd;
	__u8 option, option_len; /* in eight bytes */
	__u8 mac[ETH_ALEN];
} __attribute__((packed));

#endif /* IPOS_NEIGHBOUR_PACKET_H */
