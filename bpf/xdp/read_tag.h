/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The tag of a type 2, read from the frame as it is. */
#ifndef IPOS_XDP_READ_TAG_H
#define IPOS_XDP_READ_TAG_H

#include "lib/packet_tag.h"

#define HEADERS_USUAL (IP_LEN + 32) /* TCP's only option is timestamps */

/* The ipOS header and usual inner headers at `at`. */
IPOS_INLINE void nh_usual(struct nh *sum, const struct ipos_tag_key *key, const void *at)
{
#pragma unroll
	for (__u32 i = 0; i < (HEADER_LEN + HEADERS_USUAL) / 8; i++)
		nh_word(sum, key, i, AT64(at, i * 8));
	if ((HEADER_LEN + HEADERS_USUAL) % 8)
		nh_word(sum, key, (HEADER_LEN + HEADERS_USUAL) / 8,
			AT32(at, (HEADER_LEN + HEADERS_USUAL) / 8 * 8));
}

/*
 * The same for any: `bytes` at `at` of the frame, zero padded.  Returns 0, or -1 when the frame is
 * shorter.
 */
IPOS_INLINE int nh_run(struct xdp_md *ctx, struct nh *sum, const struct ipos_tag_key *key, __u32 at,
		       __u32 bytes, __u32 first, __u32 words)
{
	void *begin = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 whole = bytes / 8, rest = bytes & 7, before = (at + bytes - 8) & 0x7ff;
	void *data = begin + (at & 255), *last = begin + before;

	for (__u32 i = 0; i < words; i++) {
		if (i >= whole)
			break;
		if (data + i * 8 + 8 > end)
			return -1;
		nh_word(sum, key, first + i, AT64(data, i * 8));
	}
	if (!rest)
		return 0;
	whole += first;
	IPOS_OPAQUE(whole);
	if (last + 8 > end || whole >= IPOS_NH_KEYS / 2 - 1)
		return -1;
	nh_word(sum, key, whole, AT64(last, 0) >> (64 - 8 * rest)); /* eight bytes, the rest last */
	return 0;
}

/*
 * The tag over the frame's ipOS header at `at`, the `inner` bytes of IP and TCP headers behind it
 * and the first `n` of the payload.  Of a frame that is too short for them a number that nobody
 * knows, because no message has such a length.
 */
IPOS_FUNCTION __u64 packet_tag_any(struct xdp_md *ctx, __u32 at, __u32 inner, __u32 n, __u32 other)
{
	const struct ipos_tag_key *key = tag_key(other);
	struct nh sum = {};

	if (!key)
		return 0;
	if (nh_run(ctx, &sum, key, at, HEADER_LEN + inner, 0, NH_HEADERS) ||
	    (n &&
	     nh_run(ctx, &sum, key, at + HEADER_LEN + inner, n, NH_HEADERS, IPOS_TAGGED_MAX / 8)))
		return nh_end(&sum, key, 0, 0);
	return nh_end(&sum, key, HEADER_LEN + inner, n);
}

/* The same; that of a bare acknowledgement with timestamps, the most frequent packet, at once. */
IPOS_INLINE __u64 packet_tag(struct xdp_md *ctx, __u32 at, __u32 inner, __u32 n, __u32 other)
{
	void *data = (void *)(long)ctx->data + (at & 31), *end = (void *)(long)ctx->data_end;
	const struct ipos_tag_key *key;
	struct nh sum = {};

	if (unlikely(inner != HEADERS_USUAL || n || other ||
		     data + HEADER_LEN + HEADERS_USUAL > end))
		return packet_tag_any(ctx, at, inner, n, other);
	key = tag_key(0);
	if (!key)
		return 0;
	nh_usual(&sum, key, data);
	return nh_end(&sum, key, HEADER_LEN + HEADERS_USUAL, 0);
}

IPOS_INLINE int packet_tag_right(struct xdp_md *ctx, const struct ipos_settings *set, __u32 at,
				 __u32 inner, __u32 length, __u64 sent)
{
	__u32 n = payload_tagged(length);

	if (!(set->flags & IPOS_AUTHENTICATE) || likely(packet_tag(ctx, at, inner, n, 0) == sent))
		return 1;
	if (!keys_change(set) || packet_tag(ctx, at, inner, n, 1) != sent)
		return 0;
	count(COUNT_FRAMES_OTHER_KEY);
	return 1;
}

#endif /* IPOS_XDP_READ_TAG_H */
