/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a request head says, read once, piece by piece: request_open(), request_feed() for
 * every piece in order, until it returns something else than IPOS_READ_MORE.
 *
 * The first byte tells the grammar, as in head.h, and each grammar has a reader in a header of
 * its own.  A reader takes w->bytes from w->end up to `length`, leaves w->end behind the last
 * byte that it took, and returns enum ipos_progress; what it must remember from piece to piece
 * is in w->request.parser.
 */
#ifndef IPOS_CORE_READ_H
#define IPOS_CORE_READ_H

#include "head.h"
#include "tls.h"

IPOS_INLINE void request_open(struct ipos_scratch *w, __u16 service)
{
	__builtin_memset(&w->request, 0, sizeof(w->request));
	w->request.service = service;
	w->state = HEAD_START;
	w->cursor = w->more = 0;
}

/* CR and LF before the first byte that tells; w->end goes to that byte. */
IPOS_FUNCTION int grammar_find(struct ipos_scratch *w, __u32 length)
{
	if (!w)
		return IPOS_GRAMMAR_UNKNOWN;
	for (__u32 i = 0; i < IPOS_CHUNK && i < length; i++) {
		__u8 c = w->bytes[i];

		if (c == '\r' || c == '\n')
			continue;
		w->end = i;
		return c == 0x16 ? IPOS_GRAMMAR_TLS :
		       c >= 'A' && c <= 'Z' ? IPOS_GRAMMAR_HTTP1 : IPOS_GRAMMAR_OPAQUE;
	}
	w->end = length;
	return IPOS_GRAMMAR_UNKNOWN;
}

/* A grammar of which only the end is known yet. */
IPOS_INLINE int end_feed(struct ipos_scratch *w, __u32 length)
{
	return head_scan(w, length) ? IPOS_READ_DONE : IPOS_READ_MORE;
}

/* The first `length` bytes of w->bytes come next.  Returns enum ipos_progress. */
IPOS_FUNCTION int request_feed(struct ipos_scratch *w, __u32 length)
{
	struct ipos_request *r;

	if (!w)
		return IPOS_READ_MORE;
	r = &w->request;
	if (length > IPOS_CHUNK || r->progress != IPOS_READ_MORE)
		return r->progress;
	w->end = 0;
	if (r->grammar == IPOS_GRAMMAR_UNKNOWN)
		r->grammar = grammar_find(w, length);
	if (r->grammar == IPOS_GRAMMAR_HTTP1) {
		r->progress = end_feed(w, length);
	} else if (r->grammar == IPOS_GRAMMAR_TLS) {
		r->progress = tls_feed(w, length);
	} else if (r->grammar == IPOS_GRAMMAR_OPAQUE) {
		w->end += 1;			/* one byte is its whole head */
		r->progress = IPOS_READ_DONE;
	}
	r->head_len += w->end;
	return r->progress;
}

#endif /* IPOS_CORE_READ_H */
