/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a request head says, read once, piece by piece: request_open(), request_feed() for
 * every piece in order, until it returns something else than IPOS_READ_MORE.
 *
 * The first byte tells the grammar, as in head.h, as far as the service leaves that open (enum
 * ipos_mode), and each grammar has a reader in a header of its own.  A reader takes w->bytes
 * from w->end up to `length`, leaves w->end behind the last
 * byte that it took, and returns enum ipos_progress; what it must remember from piece to piece
 * is in w->request.parser.
 */
#ifndef IPOS_CORE_READ_H
#define IPOS_CORE_READ_H

#include "http/head.h"
#include "http/h2.h"
#include "http/request_head.h"
#include "tls/client_hello.h"

/* What the first request of a connection to a service may be: enum ipos_mode. */
IPOS_INLINE __u8 mode_of(__u32 service)
{
	struct ipos_service *configured = service_at(service);

	return configured ? configured->mode : IPOS_MODE_AUTO;
}

IPOS_INLINE void request_open(struct ipos_scratch *w, __u16 service, __u8 mode)
{
	struct ipos_request *r = &w->request;

	/*
	 * What follows the host is not written to, and path and cookie are not read beyond their
	 * end.
	 */
	__builtin_memset(r, 0, offsetof(struct ipos_request, host_end));
	r->service = service;
	r->mode = mode;
	w->state = HEAD_START;
	w->cursor = w->more = 0;
}

/*
 * The byte at w->end, which is the first of a connection or follows empty lines, says what this is.
 * Empty lines come before nothing but HTTP/1.
 */
IPOS_FUNCTION int grammar_find(struct ipos_scratch *w)
{
	struct ipos_request *r;
	struct http_parser *p;
	__u8 c;

	if (!w)
		return IPOS_READ_MORE;
	r = &w->request;
	p = http_parser(w);
	c = http_byte(w, w->end);
	if (r->mode == IPOS_MODE_TCP || r->mode == IPOS_MODE_ANY) {
		r->grammar = IPOS_GRAMMAR_OPAQUE;
		return IPOS_READ_MORE;
	}
	if (c == 0x16 && (r->mode == IPOS_MODE_AUTO || r->mode == IPOS_MODE_TLS)) {
		r->grammar = IPOS_GRAMMAR_TLS;
		return IPOS_READ_MORE;
	}
	if (r->mode == IPOS_MODE_TLS)
		return http_refuse(w, IPOS_AMBIGUOUS_NOT_TLS);
	if (p->state ? c == '\n' : c == '\r') {
		p->state ^= 1;
		w->end++;
		r->mode = IPOS_MODE_LATER;
		return IPOS_READ_MORE;
	}
	r->grammar = IPOS_GRAMMAR_HTTP1;
	if (p->state)
		return http_refuse(w, IPOS_AMBIGUOUS_CARRIAGE_RETURN);
	if (c == '\n')
		return http_refuse(w, IPOS_AMBIGUOUS_LINE_FEED);
	r->blank = r->head_len + w->end;
	return IPOS_READ_MORE;
}

/* A step of a piece takes a byte or more, or changes what takes the next: more than enough. */
#define STEPS (2 * IPOS_CHUNK)

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
	for (__u32 i = w->zero; i < STEPS; i++) {
		IPOS_CONVERGES;
		IPOS_RELOAD();
		if (w->end >= length || r->progress != IPOS_READ_MORE)
			break;
		if (r->grammar == IPOS_GRAMMAR_HTTP1)
			http_step(w, length);
		else if (r->grammar == IPOS_GRAMMAR_UNKNOWN)
			grammar_find(w);
		else
			break;
	}
	if (r->grammar == IPOS_GRAMMAR_H2) {
		r->progress = h2_feed(w, length);
	} else if (r->grammar == IPOS_GRAMMAR_TLS) {
		r->progress = tls_feed(w, length);
	} else if (r->grammar == IPOS_GRAMMAR_OPAQUE) {
		w->end += 1; /* one byte is its whole head */
		r->progress = IPOS_READ_DONE;
	}
	if (r->grammar > IPOS_GRAMMAR_HTTP1) /* known, and not HTTP/1 */
		r->body = IPOS_BODY_OPAQUE;
	r->head_len += w->end;
	if (r->grammar == IPOS_GRAMMAR_HTTP1 && r->progress == IPOS_READ_MORE &&
	    r->head_len >= IPOS_HEAD_MAX)
		http_refuse(w, IPOS_AMBIGUOUS_TOO_LONG);
	return r->progress;
}

#endif /* IPOS_CORE_READ_H */
