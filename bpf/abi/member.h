/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Members: whose frames on back are believed, and by what they are named. */
#ifndef IPOS_ABI_MEMBER_H
#define IPOS_ABI_MEMBER_H

#include <linux/types.h>

struct ipos_mac {      /* map `members`: the address of its back interface */
	__u8 bytes[8]; /* six of the address, two zero */
};

struct ipos_member {
	__u16 server; /* index in `servers` */
	__u16 zero;
};

struct ipos_identity { /* map `identities`: by which IPv6 frames and rows name a server */
	__be32 address;
};

#endif /* IPOS_ABI_MEMBER_H */
