/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The tag of a type 2.  Every packet between servers has one, so it is made of two parts: NH
 * (Black, Halevi, Krawczyk, Krovetz, Rogaway 1999; RFC 4418 5.2), twice, with keys two words
 * apart, which is a multiplication for each word of the message; and SipHash-1-3 of the two sums.
 * Two messages of one length have equal sums with probability 2^-64 under secret keys, and the
 * input of SipHash is never seen.
 */
#ifndef IPOS_PACKET_TAG_H
#define IPOS_PACKET_TAG_H

#include "lib/frame.h"

struct nh {
	__u64 one, two;
};

/* `nth`: of the message's words. */
IPOS_INLINE void nh_word(struct nh *sum, const struct ipos_tag_key *key, __u32 nth, __u64 word)
{
	const __u32 *k = &key->nh[2 * nth];
	__u32 low = word, high = word >> 32;

	sum->one += (__u64)(__u32)(low + k[0]) * (__u32)(high + k[1]);
	sum->two += (__u64)(__u32)(low + k[2]) * (__u32)(high + k[3]);
	IPOS_OPAQUE(sum->one); /* one word at a time: registers are few */
	IPOS_OPAQUE(sum->two);
}

IPOS_INLINE __u64 nh_end(const struct nh *sum, const struct ipos_tag_key *key, __u32 headers,
			 __u32 n)
{
	return sip_short(key->sip, sum->one, sum->two, headers | n << 16);
}

/* `other`: the key that is believed too, while keys change. */
IPOS_INLINE const struct ipos_tag_key *tag_key(__u32 other)
{
	__u32 zero = 0;
	struct ipos_tag_keys *keys = bpf_map_lookup_elem(&tag_keys, &zero);

	return keys ? &keys->keys[other & 1] : NULL;
}

/* How much of a payload of `length` bytes a type 2's tag covers. */
IPOS_INLINE __u32 payload_tagged(__u32 length)
{
	return length <= IPOS_TAGGED_MAX ? length : 0;
}

/*
 * The tag where tc makes the frame: over the first `headers` bytes of w->words and the first `n`
 * of w->bytes, both zero padded.
 */
IPOS_FUNCTION __u64 packet_tag_made(struct ipos_scratch *w, __u32 headers, __u32 n)
{
	const struct ipos_tag_key *key = tag_key(0);
	struct ipos_settings *set = settings_now();
	struct nh sum = {};

	if (!key || !set || !w || !(set->flags & IPOS_AUTHENTICATE))
		return 0;
	for (__u32 i = 0; i < NH_HEADERS; i++) {
		if (i * 8 >= headers)
			break;
		nh_word(&sum, key, i, w->words[i]);
	}
	for (__u32 i = 0; i < IPOS_TAGGED_MAX / 8; i++) {
		if (i * 8 >= n)
			break;
		nh_word(&sum, key, NH_HEADERS + i, AT64(w->bytes, i * 8));
	}
	return nh_end(&sum, key, headers, n);
}

#endif /* IPOS_PACKET_TAG_H */
