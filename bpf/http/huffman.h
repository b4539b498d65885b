/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * HPACK's Huffman code (RFC 7541, appendix B).  It is canonical: codes of one length follow each
 * other in the order of their symbols, and longer ones are greater.  So a code's length is found
 * by comparing, and the symbol by counting from the first code of that length.
 */
#ifndef IPOS_CORE_HUFFMAN_H
#define IPOS_CORE_HUFFMAN_H

#include "lib/seam.h"

#define HUFFMAN_LENGTHS 21
#define HUFFMAN_SYMBOLS 256 /* the 257th ends a string and may not be sent */

struct huffman_length {
	__u32 first;  /* code of this length, left-aligned */
	__u16 symbol; /* its index in huffman_symbols */
	__u16 length; /* bits */
};

IPOS_TABLE struct huffman_length huffman_lengths[HUFFMAN_LENGTHS] = {
	{ 0x00000000, 0, 5 },	 { 0x50000000, 10, 6 },	  { 0xb8000000, 36, 7 },
	{ 0xf8000000, 68, 8 },	 { 0xfe000000, 74, 10 },  { 0xff400000, 79, 11 },
	{ 0xffa00000, 82, 12 },	 { 0xffc00000, 84, 13 },  { 0xfff00000, 90, 14 },
	{ 0xfff80000, 92, 15 },	 { 0xfffe0000, 95, 19 },  { 0xfffe6000, 98, 20 },
	{ 0xfffee000, 106, 21 }, { 0xffff4800, 119, 22 }, { 0xffffb000, 145, 23 },
	{ 0xffffea00, 174, 24 }, { 0xfffff600, 186, 25 }, { 0xfffff800, 190, 26 },
	{ 0xfffffbc0, 205, 27 }, { 0xfffffe20, 224, 28 }, { 0xfffffff0, 253, 30 },
};

IPOS_TABLE __u8 huffman_symbols[HUFFMAN_SYMBOLS] = {
	48,  49,  50,  97,  99,	 101, 105, 111, 115, 116, 32,  37,  45,	 46,  47,  51,	52,  53,
	54,  55,  56,  57,  61,	 65,  95,  98,	100, 102, 103, 104, 108, 109, 110, 112, 114, 117,
	58,  66,  67,  68,  69,	 70,  71,  72,	73,  74,  75,  76,  77,	 78,  79,  80,	81,  82,
	83,  84,  85,  86,  87,	 89,  106, 107, 113, 118, 119, 120, 121, 122, 38,  42,	44,  59,
	88,  90,  33,  34,  40,	 41,  63,  39,	43,  124, 35,  62,  0,	 36,  64,  91,	93,  126,
	94,  125, 60,  96,  123, 92,  195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161,
	167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154,
	156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232,
	233, 1,	  135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165,
	166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9,	 142, 144, 145, 148, 159,
	171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213,
	218, 219, 238, 240, 242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245,
	246, 247, 248, 250, 251, 252, 253, 254, 2,   3,	  4,   5,   6,	 7,   8,   11,	12,  14,
	15,  16,  17,  18,  19,	 20,  21,  23,	24,  25,  26,  27,  28,	 29,  30,  31,	127, 220,
	249, 10,  13,  22,
};

struct huffman { /* bits that no symbol has yet, left-aligned */
	__u64 bits;
	__u32 count;
	__u32 zero;
};

enum { HUFFMAN_MORE = -1, HUFFMAN_BROKEN = -2 };

IPOS_INLINE void huffman_add(struct huffman *h, __u8 c)
{
	h->bits |= (__u64)c << ((56 - h->count) & 63);
	h->count += 8;
}

/* The next symbol, or what else there is.  A byte completes two at most. */
IPOS_INLINE int huffman_next(struct huffman *h)
{
	__u32 top = h->bits >> 32, at = 0, length, symbol;

	for (__u32 i = 1; i < HUFFMAN_LENGTHS; i++)
		at += top >= huffman_lengths[i].first;
	if (at >= HUFFMAN_LENGTHS)
		return HUFFMAN_BROKEN;
	length = huffman_lengths[at].length;
	if (length > h->count)
		return HUFFMAN_MORE;
	symbol = huffman_lengths[at].symbol +
		 ((top - huffman_lengths[at].first) >> ((32 - length) & 31));
	if (symbol >= HUFFMAN_SYMBOLS)
		return HUFFMAN_BROKEN;
	h->bits <<= length & 31;
	h->count -= length;
	return huffman_symbols[symbol];
}

/* Whether a string may end here: less than a byte is left, and all ones. */
IPOS_INLINE int huffman_ends(const struct huffman *h)
{
	return h->count < 8 && h->bits >> 56 == (0xff00 >> h->count & 0xff);
}

#endif /* IPOS_CORE_HUFFMAN_H */
