/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * AES-128 (FIPS 197), encryption alone.  It takes different times for different keys, which tells
 * nobody anything: the keys of Initial packets are public.
 */
#ifndef IPOS_QUIC_AES_H
#define IPOS_QUIC_AES_H

#include "quic/aes_table.h"
#include "quic/quic_work.h"

#define AES_ROUNDS 10
#define TURNED(x, n) ((x) >> (n) | (x) << (32 - (n)))

/* S(x) of the lowest byte. */
IPOS_INLINE __u32 aes_sub(__u32 x)
{
	return aes_table[x & 0xff] >> 8 & 0xff;
}

/* The key is in q->keys[0] to [3], the first byte highest: those of all rounds behind it. */
IPOS_FUNCTION int aes_expand(struct quic_work *q)
{
	__u32 constant = 1;

	if (!q)
		return -1;
	for (__u32 i = 4; i < 4 * (AES_ROUNDS + 1); i += 4) {
		__u32 x = q->keys[i - 1];

		x = aes_sub(x >> 16) << 24 | aes_sub(x >> 8) << 16 | aes_sub(x) << 8 |
		    aes_sub(x >> 24);
		q->keys[i] = q->keys[i - 4] ^ x ^ constant << 24;
		q->keys[i + 1] = q->keys[i - 3] ^ q->keys[i];
		q->keys[i + 2] = q->keys[i - 2] ^ q->keys[i + 1];
		q->keys[i + 3] = q->keys[i - 1] ^ q->keys[i + 2];
		constant = constant << 1 ^ (constant >> 7) * 0x11b;
	}
	return 0;
}

/* A column of a round, out of four columns of the one before. */
#define AES_COLUMN(a, b, c, d, key) \
	(aes_table[(a) >> 24] ^ TURNED(aes_table[(b) >> 16 & 0xff], 8) ^ \
	 TURNED(aes_table[(c) >> 8 & 0xff], 16) ^ TURNED(aes_table[(d)&0xff], 24) ^ (key))

/* The same in the last round. */
#define AES_LAST(a, b, c, d, key) \
	((aes_sub((a) >> 24) << 24 | aes_sub((b) >> 16) << 16 | aes_sub((c) >> 8) << 8 | \
	  aes_sub(d)) ^ \
	 (key))

/* q->counter under q->keys: into q->stream. */
IPOS_FUNCTION int aes_block(struct quic_work *q)
{
	__u32 a, b, c, d, e, f, g, h, i;

	if (!q)
		return -1;
	a = q->counter[0] ^ q->keys[0], b = q->counter[1] ^ q->keys[1];
	c = q->counter[2] ^ q->keys[2], d = q->counter[3] ^ q->keys[3];
	for (i = 4; i < 4 * AES_ROUNDS; i += 4) {
		e = AES_COLUMN(a, b, c, d, q->keys[i]);
		f = AES_COLUMN(b, c, d, a, q->keys[i + 1]);
		g = AES_COLUMN(c, d, a, b, q->keys[i + 2]);
		h = AES_COLUMN(d, a, b, c, q->keys[i + 3]);
		a = e, b = f, c = g, d = h;
	}
	q->stream[0] = AES_LAST(a, b, c, d, q->keys[40]);
	q->stream[1] = AES_LAST(b, c, d, a, q->keys[41]);
	q->stream[2] = AES_LAST(c, d, a, b, q->keys[42]);
	q->stream[3] = AES_LAST(d, a, b, c, q->keys[43]);
	return 0;
}

#endif /* IPOS_QUIC_AES_H */
