/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The redirect to a server's own name (RFC 9110 15.4.8), in the place of the held request.  The
 * agent has written it up to the target, which follows byte for byte as the client sent it.
 */
#ifndef IPOS_REDIRECT_H
#define IPOS_REDIRECT_H

#include "abi/verdict.h"
#include "tc/own_response.h"

#define REDIRECT_END_LEN 4 /* two empty lines' worth of CR and LF */

static const char redirect_end[REDIRECT_END_LEN] IPOS_BYTES = "\r\n\r\n";

/*
 * Where the request target is in the head's first `length` bytes, in w->bytes: a SPAN; 0 when it
 * does not end there, or does not begin with a slash.  What is read here has been parsed: one
 * space stands before it and one behind.
 */
IPOS_FUNCTION int target_span(struct ipos_scratch *w, __u32 length)
{
	if (!w)
		return 0;
	w->cursor = w->state = 0;
	for (__u32 i = w->zero; i < IPOS_CHUNK && i < length; i++) {
		__u8 c;

		IPOS_CONVERGES;
		c = w->bytes[IPOS_PLACE(i, IPOS_CHUNK)];
		if (w->cursor == i && w->state && c != '/')
			return 0;
		if (c != ' ')
			continue;
		if (w->state)
			return SPAN(w->cursor, i);
		w->state = 1;
		w->cursor = i + 1;
	}
	return 0;
}

/*
 * The redirect to the server takes the place of the request.  Says ANSWER_HELD; 0 when it does
 * not fit into a piece, which is as much as two segments of the smallest MSS hold.
 */
IPOS_FUNCTION int answer_redirect(struct ipos_scratch *w, struct ipos_holding *h, __u32 server)
{
	struct ipos_redirect_key key = { .server = server };
	__u32 start, from, length, span;
	struct ipos_redirect *r;
	struct ipos_chunk *chunk;
	struct bpf_dynptr d;

	if (!w || !h)
		return 0;
	key.service = h->service;
	r = bpf_map_lookup_elem(&redirects, &key);
	if (!r)
		return 0;
	length = h->held > IPOS_CHUNK ? IPOS_CHUNK : h->held;
	if (chunk_read(w, h, SPAN(0, length)))
		return 0;
	span = target_span(w, length);
	from = span >> 16;
	length = (span & 0xffff) - from;
	start = r->length;
	if (!span || start + length + REDIRECT_END_LEN > IPOS_CHUNK || chunk_read(w, h, span))
		return 0;
	chunk = chunk_of(h, 0, 0);
	if (!chunk || bpf_dynptr_from_mem(chunk->bytes, IPOS_CHUNK, 0, &d))
		return 0;
	IPOS_OPAQUE(start);
	IPOS_OPAQUE(length);
	if (start < 1 || start > IPOS_REDIRECT_MAX || length < 1 || length > IPOS_CHUNK)
		return 0;
	bpf_dynptr_write(&d, 0, r->start, start, 0);
	bpf_dynptr_write(&d, start, w->bytes, length, 0);
	bpf_dynptr_write(&d, start + length, (void *)redirect_end, REDIRECT_END_LEN, 0);
	count(COUNT_REDIRECTED);
	return answer_begin(h, start + length + REDIRECT_END_LEN);
}

#endif /* IPOS_REDIRECT_H */
