/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Datagrams of QUIC read by themselves, and what that is made of. */
#ifndef IPOS_NATIVE_QUIC_CALLS_H
#define IPOS_NATIVE_QUIC_CALLS_H

#include <errno.h>
#include <string.h>

#include "quic/crypto_frames.h"

/* A new first flight. */
void ipos_quic_begin(struct native_node *n)
{
	native_enter(n);
	memset(&quic_work_now()->hello, 0, sizeof(struct ipos_hello));
	native_leave(n);
}

/* The UDP payload of one of its datagrams.  Returns enum quic_read. */
int ipos_quic_read(struct native_node *n, const void *bytes, __u32 len)
{
	struct quic_work *q;
	int said;

	if (len > IPOS_QUIC_PACKET_MAX)
		return -EINVAL;
	native_enter(n);
	q = quic_work_now();
	memset(q->packet, 0xee, sizeof(q->packet)); /* what an earlier one may have left */
	memcpy(q->packet, bytes, len);
	q->length = len;
	said = initials_read(q, &q->hello);
	native_leave(n);
	return said;
}

/* What was collected of it; until the node runs again. */
const struct ipos_hello *ipos_quic_hello(struct native_node *n)
{
	const struct ipos_hello *found;

	native_enter(n);
	found = &quic_work_now()->hello;
	native_leave(n);
	return found;
}

/* HMAC-SHA256 by a key of at most 64 bytes into the 32 bytes of `to`. */
int ipos_quic_hmac(struct native_node *n, const void *key, __u32 key_len, const void *message,
		   __u32 len, __u8 *to)
{
	struct quic_work *q;
	int failed;

	if (key_len > 64 || len > HMAC_MESSAGE_MAX)
		return -EINVAL;
	native_enter(n);
	q = quic_work_now();
	memset(&q->block, 0, sizeof(q->block));
	memcpy(q->block.bytes, key, key_len);
	hmac_key(q);
	memset(&q->block, 0, sizeof(q->block));
	memcpy(q->block.bytes, message, len);
	failed = hmac_message(q, len);
	for (__u32 i = 0; i < 8; i++) {
		__be32 word = bpf_htonl(q->state[i]);

		memcpy(to + 4 * i, &word, sizeof(word));
	}
	native_leave(n);
	return failed;
}

/* AES-128 of 16 bytes. */
void ipos_quic_aes(struct native_node *n, const void *key, const void *bytes, __u8 *to)
{
	__be32 words[8], word;
	struct quic_work *q;

	memcpy(words, key, 16);
	memcpy(words + 4, bytes, 16);
	native_enter(n);
	q = quic_work_now();
	for (__u32 i = 0; i < 4; i++) {
		q->keys[i] = bpf_ntohl(words[i]);
		q->counter[i] = bpf_ntohl(words[4 + i]);
	}
	aes_expand(q);
	aes_block(q);
	for (__u32 i = 0; i < 4; i++) {
		word = bpf_htonl(q->stream[i]);
		memcpy(to + 4 * i, &word, sizeof(word));
	}
	native_leave(n);
}

/* What a client sends to a service of QUIC: the program before ipos_ingress. */
int ipos_run_quic(struct native_node *n, const void *frame, __u32 len, __u32 ifindex, __u32 mark)
{
	return run_tc(n, frame, len, ifindex, mark, ipos_quic);
}

#endif /* IPOS_NATIVE_QUIC_CALLS_H */
