/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a request head says, read once, piece by piece: request_open(), request_feed() for
 * every piece in order, until it returns something else than IPOS_READ_MORE.  Each grammar has
 * a header of its own; its state between pieces is w->request.parser.
 */
#ifndef IPOS_CORE_READ_H
#define IPOS_CORE_READ_H

#include "head.h"

IPOS_INLINE void request_open(struct ipos_scratch *w, __u16 service)
{
	__builtin_memset(&w->request, 0, sizeof(w->request));
	w->request.service = service;
	w->state = HEAD_START;
	w->cursor = 0;
}

/* The first `length` bytes of w->bytes come next.  Returns enum ipos_progress. */
IPOS_FUNCTION int request_feed(struct ipos_scratch *w, __u32 length)
{
	struct ipos_request *r;

	if (!w)
		return IPOS_READ_MORE;
	r = &w->request;
	if (head_scan(w, length))
		r->progress = IPOS_READ_DONE;
	r->head_len += w->end;
	return r->progress;
}

#endif /* IPOS_CORE_READ_H */
