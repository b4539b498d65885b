/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Checksums (RFC 1071). */
#ifndef IPOS_CHECKSUM_H
#define IPOS_CHECKSUM_H

#include "lib/seam.h"

IPOS_INLINE __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum of whole 16-bit words in memory order; `bytes` is even and constant. */
IPOS_INLINE __u64 sum_words(const void *at, __u32 bytes)
{
	const __u16 *word = at;
	__u64 sum = 0;

#pragma unroll
	for (__u32 i = 0; i < bytes / 2; i++)
		sum += word[i];
	return sum;
}

/*
 * The same by twice as long ones.  Not for what has just been written in shorter pieces: the
 * processor would wait until they are in its cache.
 */
IPOS_INLINE __u64 sum_dwords(const void *at, __u32 bytes)
{
	const __u32 *word = at;
	__u64 sum = 0;

#pragma unroll
	for (__u32 i = 0; i < bytes / 4; i++)
		sum += word[i];
	return sum;
}

#endif /* IPOS_CHECKSUM_H */
