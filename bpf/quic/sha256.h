/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* SHA-256 (FIPS 180-4) of whole blocks. */
#ifndef IPOS_QUIC_SHA256_H
#define IPOS_QUIC_SHA256_H

#include "quic/quic_work.h"

IPOS_TABLE __u32 sha256_first[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
	0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

IPOS_TABLE __u32 sha256_rounds[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

#define ROTATED(x, n) ((x) >> (n) | (x) << (32 - (n)))

/* Words 16 to 63 of the schedule, from the first 16. */
IPOS_INLINE void sha256_schedule(struct quic_work *q)
{
	for (__u32 i = 16; i < 64; i++) {
		__u32 a = q->schedule[i - 15], b = q->schedule[i - 2];

		q->schedule[i] = q->schedule[i - 16] + q->schedule[i - 7] +
				 (ROTATED(a, 7) ^ ROTATED(a, 18) ^ a >> 3) +
				 (ROTATED(b, 17) ^ ROTATED(b, 19) ^ b >> 10);
	}
}

/* One round; `d` and `h` are what changes. */
#define SHA256_ROUND(a, b, c, d, e, f, g, h, i) \
	do { \
		__u32 one = h + (ROTATED(e, 6) ^ ROTATED(e, 11) ^ ROTATED(e, 25)) + \
			    ((e & f) ^ (~e & g)) + sha256_rounds[i] + q->schedule[i]; \
		d += one; \
		h = one + (ROTATED(a, 2) ^ ROTATED(a, 13) ^ ROTATED(a, 22)) + \
		    ((a & b) ^ (a & c) ^ (b & c)); \
	} while (0)

/* q->block into q->state. */
IPOS_FUNCTION int sha256_block(struct quic_work *q)
{
	__u32 a, b, c, d, e, f, g, h;

	if (!q)
		return -1;
	for (__u32 i = 0; i < 16; i++)
		q->schedule[i] = bpf_ntohl(q->block.words[i]);
	sha256_schedule(q);
	a = q->state[0], b = q->state[1], c = q->state[2], d = q->state[3];
	e = q->state[4], f = q->state[5], g = q->state[6], h = q->state[7];
	for (__u32 i = 0; i < 64; i += 8) {
		SHA256_ROUND(a, b, c, d, e, f, g, h, i);
		SHA256_ROUND(h, a, b, c, d, e, f, g, i + 1);
		SHA256_ROUND(g, h, a, b, c, d, e, f, i + 2);
		SHA256_ROUND(f, g, h, a, b, c, d, e, i + 3);
		SHA256_ROUND(e, f, g, h, a, b, c, d, i + 4);
		SHA256_ROUND(d, e, f, g, h, a, b, c, i + 5);
		SHA256_ROUND(c, d, e, f, g, h, a, b, i + 6);
		SHA256_ROUND(b, c, d, e, f, g, h, a, i + 7);
	}
	q->state[0] += a, q->state[1] += b, q->state[2] += c, q->state[3] += d;
	q->state[4] += e, q->state[5] += f, q->state[6] += g, q->state[7] += h;
	return 0;
}

#endif /* IPOS_QUIC_SHA256_H */
