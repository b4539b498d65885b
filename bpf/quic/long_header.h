/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The header of the packet at q->at of the datagram in q->packet: what all versions of QUIC have
 * (RFC 8999), and of versions 1 and 2 where an Initial packet's number is (RFC 9000, 17.2).
 */
#ifndef IPOS_QUIC_LONG_HEADER_H
#define IPOS_QUIC_LONG_HEADER_H

#include "quic/quic_work.h"

#define QUIC_VERSION_1 0x00000001U
#define QUIC_VERSION_2 0x6b3343cfU
#define QUIC_LONG 0x80
#define QUIC_FIXED 0x40

enum quic_kind {
	QUIC_NONE,  /* no packet that a client sends, or of an unknown version */
	QUIC_SHORT, /* a 1-RTT packet: its connection ID is the server's */
	QUIC_INITIAL,
	QUIC_ZERO_RTT,	/* its connection ID is that of the Initial before it */
	QUIC_HANDSHAKE, /* its connection ID is the server's */
};

/* The byte at `at`; 0 behind the datagram. */
IPOS_INLINE __u8 quic_byte(const struct quic_work *q, __u32 at)
{
	__u8 byte;

	if (at >= q->length)
		return 0;
	byte = q->packet[IPOS_PLACE(at, QUIC_PACKET_ROOM)];
	return byte;
}

/* A number at q->at (RFC 9000, 16) that ends before `end`: into q->value.  0, or -1. */
IPOS_FUNCTION int quic_number(struct quic_work *q, __u32 end)
{
	__u32 at, size;
	__u64 value;

	if (!q)
		return -1;
	at = q->at;
	if (at >= end || end > QUIC_PACKET_ROOM)
		return -1;
	value = q->packet[IPOS_PLACE(at, QUIC_PACKET_ROOM)];
	size = 1 << (value >> 6);
	value &= 0x3f;
	if (at + size > end)
		return -1;
	for (__u32 i = 1; i < 8; i++)
		if (i < size)
			value = value << 8 | q->packet[IPOS_PLACE(at + i, QUIC_PACKET_ROOM)];
	q->value = value;
	q->at = at + size;
	return 0;
}

/* What a long header's first byte and version say.  Returns enum quic_kind. */
IPOS_INLINE int quic_kind_of(__u32 version, __u8 first)
{
	__u32 type = first >> 4 & 3;

	if (!(first & QUIC_FIXED) || (version != QUIC_VERSION_1 && version != QUIC_VERSION_2))
		return QUIC_NONE;
	if (version == QUIC_VERSION_2) /* RFC 9369, 3.2 */
		type = (type - 1) & 3;
	return type == 0   ? QUIC_INITIAL
	       : type == 1 ? QUIC_ZERO_RTT
	       : type == 2 ? QUIC_HANDSHAKE
			   : QUIC_NONE;
}

/* The rest of an Initial's header, from its token on.  0, or -1. */
IPOS_FUNCTION int quic_initial_rest(struct quic_work *q)
{
	if (!q || quic_number(q, q->length))
		return -1;
	if (q->value > q->length)
		return -1;
	q->header.token = q->value != 0;
	q->at += q->value;
	if (quic_number(q, q->length))
		return -1;
	if (q->value > q->length || q->at + q->value > q->length)
		return -1;
	q->header.number_at = q->at;
	q->header.end = q->at + q->value;
	return 0;
}

/* Into q->header and q->id; q->at goes behind what was read.  Returns enum quic_kind. */
IPOS_FUNCTION int quic_header_read(struct quic_work *q)
{
	__u32 at, n, kind, version = 0;
	struct quic_header *h;

	if (!q)
		return QUIC_NONE;
	h = &q->header;
	at = q->at;
	__builtin_memset(h, 0, sizeof(*h));
	__builtin_memset(q->id, 0, sizeof(q->id));
	if (at >= q->length)
		return QUIC_NONE;
	if (!(quic_byte(q, at) & QUIC_LONG))
		return h->kind = QUIC_SHORT;
	for (__u32 i = 1; i < 5; i++)
		version = version << 8 | quic_byte(q, at + i);
	h->version = version;
	h->second = version == QUIC_VERSION_2;
	kind = quic_kind_of(version, quic_byte(q, at));
	n = quic_byte(q, at + 5);
	if (n > QUIC_ID_MAX || at + 7 + n > q->length)
		return QUIC_NONE;
	h->id_length = n;
	for (__u32 i = 0; i < QUIC_ID_MAX; i++)
		if (i < n)
			q->id[i] = quic_byte(q, at + 6 + i);
	at += 6 + n;
	n = quic_byte(q, at);
	if (n > QUIC_ID_MAX || at + 1 + n > q->length)
		return QUIC_NONE;
	q->at = at + 1 + n;
	if (kind == QUIC_INITIAL && quic_initial_rest(q))
		return QUIC_NONE;
	return h->kind = kind;
}

#endif /* IPOS_QUIC_LONG_HEADER_H */
