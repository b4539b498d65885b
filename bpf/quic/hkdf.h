/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* HMAC-SHA256 (RFC 2104) and HKDF-Expand-Label (RFC 8446, 7.1) of what fits into one block. */
#ifndef IPOS_QUIC_HKDF_H
#define IPOS_QUIC_HKDF_H

#include "quic/sha256.h"

#define HMAC_MESSAGE_MAX 55 /* bytes that leave room for the end mark and the length */
#define SHA256_LEN 32

/* The state of a new hash. */
IPOS_INLINE void sha256_begin(struct quic_work *q)
{
	for (__u32 i = 0; i < 8; i++)
		q->state[i] = sha256_first[i];
}

/* The key is the 64 bytes of q->block, zero padded: into q->inner and q->outer. */
IPOS_FUNCTION int hmac_key(struct quic_work *q)
{
	if (!q)
		return -1;
	for (__u32 i = 0; i < 16; i++)
		q->block.words[i] ^= 0x36363636;
	sha256_begin(q);
	sha256_block(q);
	for (__u32 i = 0; i < 8; i++)
		q->inner[i] = q->state[i];
	for (__u32 i = 0; i < 16; i++)
		q->block.words[i] ^= 0x36363636 ^ 0x5c5c5c5c;
	sha256_begin(q);
	sha256_block(q);
	for (__u32 i = 0; i < 8; i++)
		q->outer[i] = q->state[i];
	return 0;
}

/* The MAC of the first `length` bytes of q->block, zero padded: into q->state. */
IPOS_FUNCTION int hmac_message(struct quic_work *q, __u32 length)
{
	if (!q || length > HMAC_MESSAGE_MAX)
		return -1;
	q->block.bytes[length] = 0x80;
	q->block.words[15] = bpf_htonl(8 * (64 + length));
	for (__u32 i = 0; i < 8; i++)
		q->state[i] = q->inner[i];
	sha256_block(q);
	for (__u32 i = 0; i < 8; i++) {
		q->block.words[i] = bpf_htonl(q->state[i]);
		q->block.words[8 + i] = 0;
		q->state[i] = q->outer[i];
	}
	q->block.bytes[SHA256_LEN] = 0x80;
	q->block.words[15] = bpf_htonl(8 * (64 + SHA256_LEN));
	return sha256_block(q);
}

/* What was made last becomes the key of what follows. */
IPOS_INLINE void hmac_key_made(struct quic_work *q)
{
	for (__u32 i = 0; i < 8; i++) {
		q->block.words[i] = bpf_htonl(q->state[i]);
		q->block.words[8 + i] = 0;
	}
	hmac_key(q);
}

/* HkdfLabel with the number of the output's only block behind it. */
struct hkdf_label {
	__u8 length;
	__u8 bytes[23] IPOS_BYTES;
};

enum quic_label {
	QUIC_LABEL_CLIENT,
	QUIC_LABEL_KEY,
	QUIC_LABEL_IV,
	QUIC_LABEL_HP,
	QUIC_LABEL_V2_KEY,
	QUIC_LABEL_V2_IV,
	QUIC_LABEL_V2_HP,
	QUIC_LABELS = 8, /* a power of two */
};
#define QUIC_LABELS_V2 (QUIC_LABEL_V2_KEY - QUIC_LABEL_KEY) /* how much further they are */

IPOS_TABLE struct hkdf_label quic_labels[QUIC_LABELS] = {
	[QUIC_LABEL_CLIENT] = { 20, "\0\x20\x0ftls13 client in\0\1" },
	[QUIC_LABEL_KEY] = { 19, "\0\x10\x0etls13 quic key\0\1" },
	[QUIC_LABEL_IV] = { 18, "\0\x0c\x0dtls13 quic iv\0\1" },
	[QUIC_LABEL_HP] = { 18, "\0\x10\x0dtls13 quic hp\0\1" },
	[QUIC_LABEL_V2_KEY] = { 21, "\0\x10\x10tls13 quicv2 key\0\1" },
	[QUIC_LABEL_V2_IV] = { 20, "\0\x0c\x0ftls13 quicv2 iv\0\1" },
	[QUIC_LABEL_V2_HP] = { 20, "\0\x10\x0ftls13 quicv2 hp\0\1" },
};

/* HKDF-Expand-Label by the secret that is HMAC's key, with no context: into q->state. */
IPOS_INLINE int hkdf_expand(struct quic_work *q, __u32 label)
{
	const struct hkdf_label *one;

	if (!q)
		return -1;
	one = &quic_labels[IPOS_PLACE(label, QUIC_LABELS)];
	__builtin_memset(&q->block, 0, sizeof(q->block));
	for (__u32 i = 0; i < sizeof(one->bytes); i++)
		q->block.bytes[i] = one->bytes[i];
	return hmac_message(q, one->length);
}

#endif /* IPOS_QUIC_HKDF_H */
