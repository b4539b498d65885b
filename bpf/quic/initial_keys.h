/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The keys of a client's Initial packets, which are made of a connection ID that the packet shows
 * (RFC 9001, 5.2; RFC 9369, 3.3), and what is under them.  The tag behind the packet is not
 * checked: everybody can make a right one.
 */
#ifndef IPOS_QUIC_INITIAL_KEYS_H
#define IPOS_QUIC_INITIAL_KEYS_H

#include "quic/aes.h"
#include "quic/hkdf.h"
#include "quic/long_header.h"

#define QUIC_TAG_LEN 16
#define QUIC_SAMPLE_AT 4 /* bytes behind the beginning of a packet number, of whatever length */
#define QUIC_SALT_ROOM 20

IPOS_TABLE __u8 quic_salts[2][QUIC_SALT_ROOM] = {
	{ 0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
	  0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a },
	{ 0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
	  0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9 },
};

/* The client's secret, as the key of HMAC. */
IPOS_FUNCTION int initial_secret(struct quic_work *q)
{
	__u32 n;

	if (!q)
		return -1;
	__builtin_memset(&q->block, 0, sizeof(q->block));
	for (__u32 i = 0; i < QUIC_SALT_ROOM; i++)
		q->block.bytes[i] = quic_salts[q->header.second & 1][i];
	hmac_key(q);
	__builtin_memset(&q->block, 0, sizeof(q->block));
	n = q->header.id_length;
	for (__u32 i = 0; i < QUIC_ID_MAX; i++)
		if (i < n)
			q->block.bytes[i] = q->id[i];
	if (hmac_message(q, n))
		return -1;
	hmac_key_made(q);
	if (hkdf_expand(q, QUIC_LABEL_CLIENT))
		return -1;
	hmac_key_made(q);
	return 0;
}

/* q->state as a key of AES. */
IPOS_INLINE void aes_key_made(struct quic_work *q)
{
	for (__u32 i = 0; i < 4; i++)
		q->keys[i] = q->state[i];
	aes_expand(q);
}

/* Four bytes of the datagram, the first one highest. */
IPOS_INLINE __u32 quic_word(const struct quic_work *q, __u32 at)
{
	__be32 word;

	__builtin_memcpy(&word, &q->packet[IPOS_PLACE(at, QUIC_PACKET_ROOM)], sizeof(word));
	return bpf_ntohl(word);
}

/* Takes the header's protection off; returns the length of the packet number, or 0. */
IPOS_FUNCTION int header_unprotect(struct quic_work *q, __u32 first_at)
{
	__u32 at, mask, length, number;
	__u8 first;

	if (!q)
		return 0;
	at = q->header.number_at;
	if (at + QUIC_SAMPLE_AT + QUIC_TAG_LEN > q->header.end || q->header.end > q->length)
		return 0;
	for (__u32 i = 0; i < 4; i++)
		q->counter[i] = quic_word(q, at + QUIC_SAMPLE_AT + 4 * i);
	aes_block(q);
	mask = q->stream[0];
	first = q->packet[IPOS_PLACE(first_at, QUIC_PACKET_ROOM)] ^ (mask >> 24 & 0x0f);
	length = (first & 3) + 1;
	number = (quic_word(q, at) ^ (mask << 8 | q->stream[1] >> 24)) >> (32 - 8 * length);
	q->nonce[3] = number;
	return length;
}

/*
 * The keys of the Initial in q->header, whose first byte is at `first_at`, and where its frames
 * are: q->at, q->clear and q->end.  0, or -1.
 */
IPOS_FUNCTION int initial_open(struct quic_work *q, __u32 first_at)
{
	__u32 shift, length, number;

	if (!q || initial_secret(q))
		return -1;
	shift = q->header.second ? QUIC_LABELS_V2 : 0;
	if (hkdf_expand(q, QUIC_LABEL_HP + shift))
		return -1;
	aes_key_made(q);
	length = header_unprotect(q, first_at);
	if (!length)
		return -1;
	number = q->nonce[3];
	if (hkdf_expand(q, QUIC_LABEL_IV + shift))
		return -1;
	q->nonce[0] = q->state[0];
	q->nonce[1] = q->state[1];
	q->nonce[2] = q->state[2] ^ number;
	if (hkdf_expand(q, QUIC_LABEL_KEY + shift))
		return -1;
	aes_key_made(q);
	q->counter[0] = q->nonce[0];
	q->counter[1] = q->nonce[1];
	q->counter[2] = q->nonce[2];
	q->counter[3] = 1; /* the tag's; the first block of the frames has the next */
	q->at = q->clear = q->header.number_at + length;
	q->end = q->header.end - QUIC_TAG_LEN;
	return q->at < q->end ? 0 : -1;
}

/* The next 16 bytes of the frames, in their place; behind their end it may take the tag, too. */
IPOS_FUNCTION int initial_decrypt(struct quic_work *q)
{
	__u32 at;

	if (!q)
		return -1;
	at = q->clear;
	if (at >= q->end)
		return -1;
	q->counter[3]++;
	aes_block(q);
	for (__u32 i = 0; i < 4; i++) {
		__u8 *to = &q->packet[IPOS_PLACE(at, QUIC_PACKET_ROOM) + 4 * i];
		__be32 word;

		__builtin_memcpy(&word, to, sizeof(word));
		word ^= bpf_htonl(q->stream[i]);
		__builtin_memcpy(to, &word, sizeof(word));
	}
	q->clear = at + 16;
	return 0;
}

#endif /* IPOS_QUIC_INITIAL_KEYS_H */
