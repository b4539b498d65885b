/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The ClientHello out of the CRYPTO frames of Initial packets (RFC 9000, 17.2.2), which may come
 * in any order and in any pieces.  Bytes that come twice may differ only if their client lies; the
 * later ones count.
 */
#ifndef IPOS_QUIC_CRYPTO_FRAMES_H
#define IPOS_QUIC_CRYPTO_FRAMES_H

#include "quic/initial_keys.h"

enum quic_read {		  /* what a datagram was to its flow's ClientHello */
		 QUIC_UNREADABLE, /* nothing of one, as far as anybody can tell */
		 QUIC_PART,
		 QUIC_WHOLE,	/* the ClientHello is whole with it */
		 QUIC_TOO_LONG, /* it is longer than what is collected */
};

enum quic_frame {
	QUIC_PADDING = 0,
	QUIC_PING = 1,
	QUIC_ACK = 2,
	QUIC_ACK_ECN = 3,
	QUIC_CRYPTO = 6,
};

#define QUIC_FRAME_HEAD 24 /* bytes that hold all numbers of a frame but an ACK's last ones */
/* Each step takes a byte or more, or decrypts sixteen. */
#define QUIC_STEPS (QUIC_PACKET_ROOM + QUIC_PACKET_ROOM / 16)
#define QUIC_NUMBERS_MAX (1ULL << 62)

/* Bytes q->start up to q->to of the ClientHello are here. */
IPOS_FUNCTION int hello_mark(struct quic_work *q, struct ipos_hello *h)
{
	if (!q || !h)
		return -1;
	for (__u32 i = 0; i < IPOS_QUIC_HELLO_WORDS; i++) {
		__u32 base = 64 * i, from, to;
		__u64 bits = ~0ULL;

		IPOS_RELOAD(); /* or the verifier would follow what it learns of both */
		from = q->start;
		to = q->to;
		if (to <= base || from >= base + 64)
			continue;
		if (from > base)
			bits = ~0ULL << (from - base);
		if (to < base + 64)
			bits &= ~(~0ULL << (to - base));
		h->here[i] |= bits;
	}
	return 0;
}

/* How many of the bits of a word are set, without a branch. */
IPOS_INLINE __u32 bits_set(__u64 x)
{
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return x * 0x0101010101010101ULL >> 56;
}

/* How many bytes are here from the first one on. */
IPOS_FUNCTION int hello_length(const struct ipos_hello *h)
{
	if (!h)
		return 0;
	for (__u32 i = 0; i < IPOS_QUIC_HELLO_WORDS; i++) {
		__u64 missing = ~h->here[i];

		if (missing)
			return 64 * i + bits_set((missing & -missing) - 1);
	}
	return IPOS_QUIC_HELLO_MAX;
}

/* Whether the ClientHello is whole.  Returns enum quic_read. */
IPOS_FUNCTION int hello_state(const struct ipos_hello *h)
{
	__u32 n, whole;

	if (!h)
		return QUIC_UNREADABLE;
	n = hello_length(h);
	if (n < 4)
		return QUIC_PART;
	whole = 4 + (h->hello[1] << 16 | h->hello[2] << 8 | h->hello[3]);
	if (h->hello[0] != 1) /* no ClientHello; its reader says the same */
		return QUIC_UNREADABLE;
	if (whole > IPOS_QUIC_HELLO_MAX)
		return QUIC_TOO_LONG;
	return n >= whole ? QUIC_WHOLE : QUIC_PART;
}

/* A byte of a CRYPTO frame, or eight, into its place.  Returns enum quic_read. */
IPOS_INLINE int crypto_copy(struct quic_work *q, struct ipos_hello *h)
{
	__u32 at = q->at, to = q->to, n = 1;
	const __u8 *from = &q->packet[IPOS_PLACE(at, QUIC_PACKET_ROOM)];
	__u8 *place = &h->hello[IPOS_PLACE(to, IPOS_QUIC_HELLO_MAX)];

	if (q->left >= 8 && q->clear - at >= 8) {
		__builtin_memcpy(place, from, 8);
		n = 8;
	} else {
		*place = *from;
	}
	q->at = at + n;
	q->to = to + n;
	q->left -= n;
	if (q->left)
		return QUIC_PART;
	hello_mark(q, h);
	return hello_state(h);
}

/* A CRYPTO frame behind its type.  Returns enum quic_read. */
IPOS_INLINE int crypto_begin(struct quic_work *q)
{
	__u64 start;

	if (quic_number(q, q->end))
		return QUIC_UNREADABLE;
	start = q->value;
	if (quic_number(q, q->end) || q->value > q->end - q->at)
		return QUIC_UNREADABLE;
	if (start + q->value > IPOS_QUIC_HELLO_MAX)
		return QUIC_TOO_LONG;
	q->start = q->to = start;
	q->left = q->value;
	q->found |= q->left != 0;
	return QUIC_PART;
}

/* An ACK frame behind its type: up to its ranges.  Returns enum quic_read. */
IPOS_INLINE int ack_begin(struct quic_work *q, __u32 type)
{
	if (quic_number(q, q->end) || quic_number(q, q->end) || quic_number(q, q->end) ||
	    q->value > QUIC_PACKET_ROOM)
		return QUIC_UNREADABLE;
	q->skip = 1 + 2 * q->value + (type == QUIC_ACK_ECN ? 3 : 0);
	return QUIC_PART;
}

/* What is at q->at, decrypted.  Returns enum quic_read. */
IPOS_FUNCTION int frame_step(struct quic_work *q, struct ipos_hello *h)
{
	__u32 at, type;

	if (!q || !h)
		return QUIC_UNREADABLE;
	at = q->at;
	if (q->left)
		return crypto_copy(q, h);
	if (q->skip) {
		q->skip--;
		return quic_number(q, q->end) ? QUIC_UNREADABLE : QUIC_PART;
	}
	type = q->packet[IPOS_PLACE(at, QUIC_PACKET_ROOM)];
	q->at = at + 1;
	if (type == QUIC_PADDING || type == QUIC_PING)
		return QUIC_PART;
	if (type == QUIC_CRYPTO)
		return crypto_begin(q);
	return type == QUIC_ACK || type == QUIC_ACK_ECN ? ack_begin(q, type) : QUIC_UNREADABLE;
}

/*
 * The frames of the Initial that initial_open() has opened, into `h`, up to the ClientHello's end.
 * Returns enum quic_read.
 */
IPOS_FUNCTION int frames_read(struct quic_work *q, struct ipos_hello *h)
{
	int said = QUIC_UNREADABLE;

	if (!q || !h)
		return QUIC_UNREADABLE;
	q->left = q->skip = q->found = 0;
	IPOS_REPEAT(QUIC_STEPS)
	{
		if (q->at >= q->end)
			break;
		if (q->clear < q->end && q->clear < q->at + (q->left ? 1 : QUIC_FRAME_HEAD)) {
			initial_decrypt(q);
			continue;
		}
		said = frame_step(q, h);
		if (said != QUIC_PART)
			return said;
	}
	if (q->left || q->skip || !q->found)
		return QUIC_UNREADABLE;
	return QUIC_PART;
}

/* The datagram's Initial packets, one after another, into `h`.  Returns enum quic_read. */
IPOS_FUNCTION int initials_read(struct quic_work *q, struct ipos_hello *h)
{
	int said = QUIC_UNREADABLE, one;
	__u32 first = 0;

	if (!q || !h)
		return QUIC_UNREADABLE;
	for (__u32 i = 0; i < IPOS_QUIC_HELD; i++) {
		q->at = first;
		if (quic_header_read(q) != QUIC_INITIAL || initial_open(q, first))
			return said;
		first = q->header.end;
		one = frames_read(q, h);
		if (one != QUIC_PART)
			return one == QUIC_UNREADABLE ? said : one;
		said = QUIC_PART;
	}
	return said;
}

#endif /* IPOS_QUIC_CRYPTO_FRAMES_H */
