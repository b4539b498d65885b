/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * SipHash-2-4 (Aumasson, Bernstein 2012), 64 and 128 bits of output, over words that the
 * caller has laid out as the little-endian reading of the message, last word included.
 */
#ifndef IPOS_CORE_SIPHASH_H
#define IPOS_CORE_SIPHASH_H

#include "lib/seam.h"

struct sip {
	__u64 a, b, c, d;
};

IPOS_INLINE __u64 sip_rotate(__u64 x, int bits)
{
	return x << bits | x >> (64 - bits);
}

IPOS_INLINE void sip_round(struct sip *s)
{
	s->a += s->b;
	s->b = sip_rotate(s->b, 13);
	s->b ^= s->a;
	s->a = sip_rotate(s->a, 32);
	s->c += s->d;
	s->d = sip_rotate(s->d, 16);
	s->d ^= s->c;
	s->a += s->d;
	s->d = sip_rotate(s->d, 21);
	s->d ^= s->a;
	s->c += s->b;
	s->b = sip_rotate(s->b, 17);
	s->b ^= s->c;
	s->c = sip_rotate(s->c, 32);
}

IPOS_INLINE void sip_word(struct sip *s, __u64 word)
{
	s->d ^= word;
	sip_round(s);
	sip_round(s);
	s->a ^= word;
}

IPOS_INLINE void sip_start(struct sip *s, const __u64 key[2], int wide)
{
	s->a = key[0] ^ 0x736f6d6570736575ULL;
	s->b = key[1] ^ 0x646f72616e646f6dULL ^ (wide ? 0xee : 0);
	s->c = key[0] ^ 0x6c7967656e657261ULL;
	s->d = key[1] ^ 0x7465646279746573ULL;
}

IPOS_INLINE void sip_rounds(struct sip *s)
{
	sip_round(s);
	sip_round(s);
	sip_round(s);
	sip_round(s);
}

IPOS_INLINE __u64 sip_sum(const struct sip *s)
{
	return s->a ^ s->b ^ s->c ^ s->d;
}

/* The final word carries the message's length in its top byte. */
IPOS_INLINE __u64 sip_end(struct sip *s, __u64 tail, __u32 length)
{
	sip_word(s, tail | (__u64)length << 56);
	s->c ^= 0xff;
	sip_rounds(s);
	return sip_sum(s);
}

/*
 * SipHash-1-3 of `a`, `b` and the four bytes of `tail`: one round for a word and three at the end.
 * The message must be one that nobody without the key can choose.
 */
IPOS_INLINE __u64 sip_short(const __u64 key[2], __u64 a, __u64 b, __u32 tail)
{
	__u64 last = tail | 20ULL << 56;
	struct sip s;

	sip_start(&s, key, 0);
	s.d ^= a;
	sip_round(&s);
	s.a ^= a;
	s.d ^= b;
	sip_round(&s);
	s.a ^= b;
	s.d ^= last;
	sip_round(&s);
	s.a ^= last;
	s.c ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return sip_sum(&s);
}

/* The same for 16 bytes of output: out[0] is the first eight bytes, little-endian. */
IPOS_INLINE void sip_end_wide(struct sip *s, __u64 tail, __u32 length, __u64 out[2])
{
	sip_word(s, tail | (__u64)length << 56);
	s->c ^= 0xee;
	sip_rounds(s);
	out[0] = sip_sum(s);
	s->b ^= 0xdd;
	sip_rounds(s);
	out[1] = sip_sum(s);
}

#endif /* IPOS_CORE_SIPHASH_H */
