/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Working space for a datagram of QUIC that is read, one for each CPU; and its tables. */
#ifndef IPOS_QUIC_WORK_H
#define IPOS_QUIC_WORK_H

#include "abi/quic.h"
#include "lib/maps.h"

#define QUIC_PACKET_ROOM 2048 /* a power of two */
#define QUIC_ID_MAX 20	      /* bytes of a connection ID (RFC 9000, 17.2) */

union quic_block { /* of SHA-256, as it is in memory */
	__u8 bytes[64];
	__be32 words[16];
};

struct quic_header { /* of the packet at hand; offsets are from the datagram's first byte */
	__u32 version;
	__u8 kind;	 /* enum quic_kind */
	__u8 second;	 /* 1: version 2 */
	__u8 token;	 /* 1: there is one */
	__u8 id_length;	 /* of the destination connection ID */
	__u16 number_at; /* of the packet number */
	__u16 end;	 /* of the packet */
};

struct quic_work {
	__u32 zero;   /* always 0, unknown to the verifier */
	__u32 length; /* bytes of `packet` */
	__u32 at;     /* where its reader is */
	__u32 end;    /* of the packet's frames */
	__u32 clear;  /* up to here they are decrypted */
	__u32 left;   /* bytes of the CRYPTO frame at hand that are not copied */
	__u32 start,
		to;  /* that frame's offset in the ClientHello, and of the byte that comes next */
	__u32 skip;  /* numbers of an ACK frame that nobody looks at */
	__u32 found; /* 1: some frame was CRYPTO */
	__u64 value; /* of the number that was read last */
	struct quic_header header;
	__u8 id[32]; /* the destination connection ID, zero padded */

	union quic_block block;
	__u32 schedule[64]; /* SHA-256's */
	__u32 state[8];
	__u32 inner[8], outer[8]; /* HMAC's key, hashed */
	__u32 keys[44];		  /* AES-128's, one for each round */
	__u32 nonce[4];
	__u32 counter[4]; /* what AES is given, and what it makes of it */
	__u32 stream[4];
	__u8 packet[QUIC_PACKET_ROOM + 32]; /* the UDP datagram, decrypted as far as it is read */
	struct ipos_hello hello;	    /* a row being made */
};
IPOS_MAP(quic_work, PERCPU_ARRAY, __u32, struct quic_work, 1);

IPOS_INLINE struct quic_work *quic_work_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&quic_work, &zero);
}

#endif /* IPOS_QUIC_WORK_H */
