/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * HTTP/1 as nginx and HAProxy both understand it; what they would take for different requests is
 * refused with a reason (enum ipos_ambiguity).  One phase after the other, each in a function
 * that the verifier looks at once; between them everything is in w->request.
 */
#ifndef IPOS_CORE_HTTP_H
#define IPOS_CORE_HTTP_H

#include "http_cookie.h"
#include "http_field.h"
#include "http_host.h"
#include "http_target.h"

/* The empty line is over: what the headers say together. */
IPOS_INLINE int http_complete(struct ipos_scratch *w, struct http_parser *p)
{
	struct ipos_request *r = &w->request;
	__u16 seen = p->seen;

	if (seen & HTTP_SEEN_H2) {
		r->grammar = IPOS_GRAMMAR_H2;
		__builtin_memset(r->parser, 0, sizeof(r->parser));
		return IPOS_READ_MORE;
	}
	if (!(seen & HTTP_SEEN_HOST) && !(r->flags & IPOS_REQUEST_HTTP10))
		return http_refuse(w, IPOS_AMBIGUOUS_HOST_MISSING);
	if (seen & HTTP_SEEN_ENCODING && seen & HTTP_SEEN_LENGTH)
		return http_refuse(w, IPOS_AMBIGUOUS_LENGTH_AND_ENCODING);
	if (seen & HTTP_SEEN_ENCODING && r->flags & IPOS_REQUEST_HTTP10)
		return http_refuse(w, IPOS_AMBIGUOUS_ENCODING);
	if (seen & HTTP_SEEN_CONNECT || (seen & HTTP_SEEN_UPGRADE && seen & HTTP_SEEN_UPGRADING))
		r->body = IPOS_BODY_OPAQUE;
	else if (seen & HTTP_SEEN_ENCODING)
		r->body = IPOS_BODY_CHUNKED;
	else if (r->content_length)
		r->body = IPOS_BODY_LENGTH;
	r->progress = IPOS_READ_DONE;
	return IPOS_READ_DONE;
}

/* A CR was the last byte of the piece before, or of a line with nothing else. */
IPOS_INLINE int http_lf(struct ipos_scratch *w, struct http_parser *p)
{
	if (http_byte(w, w->end) != '\n')
		return http_refuse(w, IPOS_AMBIGUOUS_CARRIAGE_RETURN);
	w->end++;
	if (p->phase == HTTP_END)
		return http_complete(w, p);
	p->phase = HTTP_LINE;
	return IPOS_READ_MORE;
}

/* The phase at hand takes some bytes, or hands over to another. */
IPOS_INLINE int http_step(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p = http_parser(w);

	switch (p->phase) {
	case HTTP_LINE:
	case HTTP_NAME:
		return http_name(w, length);
	case HTTP_VALUE:
		return http_value(w, length);
	case HTTP_METHOD:
		return http_method(w, length);
	case HTTP_TARGET:
	case HTTP_STAR:
		return http_target(w, length);
	case HTTP_PATH:
		return http_path(w, length);
	case HTTP_PATH_UP:
		return http_path_up(w);
	case HTTP_QUERY:
		return http_query(w, length);
	case HTTP_SCHEME:
		return http_scheme(w, length);
	case HTTP_AUTHORITY:
	case HTTP_HOST:
		return http_host(w, length);
	case HTTP_VERSION:
		return http_version(w, length);
	case HTTP_LENGTH:
		return http_length(w, length);
	case HTTP_TOKENS:
		return http_tokens(w, length);
	case HTTP_TOKEN_END:
		return http_token_end(w, length);
	case HTTP_COOKIE:
		return http_cookie(w, length);
	case HTTP_COOKIE_END:
		return http_cookie_end(w);
	default:
		return http_lf(w, p);
	}
}

#endif /* IPOS_CORE_HTTP_H */
