/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * HTTP/1 as nginx and HAProxy both understand it; what they would take for different requests is
 * refused with a reason (enum ipos_ambiguity).  One phase after the other, each in a function
 * that the verifier looks at once; between them everything is in w->request.
 */
#ifndef IPOS_CORE_HTTP_H
#define IPOS_CORE_HTTP_H

#include "http/cookie.h"
#include "http/field.h"
#include "http/host.h"
#include "http/request_line.h"

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
IPOS_INLINE int http_lf(struct ipos_scratch *w, struct http_parser *p, __u32 length)
{
	if (w->end >= length)
		return IPOS_READ_MORE;
	if (http_byte(w, w->end) != '\n')
		return http_refuse(w, IPOS_AMBIGUOUS_CARRIAGE_RETURN);
	w->end++;
	if (p->phase == HTTP_END)
		return http_complete(w, p);
	p->phase = HTTP_LINE;
	return IPOS_READ_MORE;
}

/* The request line, whose phases follow each other; each returns where it needs more bytes. */
IPOS_FUNCTION int http_request_line(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;

	if (!w)
		return IPOS_READ_REFUSED;
	p = http_parser(w);
	if (p->phase == HTTP_METHOD && !p->length)
		http_first_line(w, length);
	if (p->phase == HTTP_METHOD)
		http_method(w, length);
	if (p->phase == HTTP_TARGET || p->phase == HTTP_STAR)
		http_target(w, length);
	if (p->phase == HTTP_SCHEME)
		http_scheme(w, length);
	if (p->phase == HTTP_AUTHORITY)
		http_host(w, length);
	if (p->phase == HTTP_PATH)
		http_path(w, length);
	if (p->phase == HTTP_PATH_UP)
		http_path_up(w);
	if (p->phase == HTTP_QUERY)
		http_query(w, length);
	if (p->phase == HTTP_VERSION)
		http_version(w, length);
	return IPOS_READ_MORE;
}

/* The phase at hand takes some bytes, or hands over to another; and so may those that follow. */
IPOS_INLINE void http_step(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p = http_parser(w);

	if (p->phase <= HTTP_VERSION)
		http_request_line(w, length);
	if (p->phase == HTTP_LINE && w->bytes[w->end & (IPOS_CHUNK - 1)] != '\r')
		http_lines(w, length);
	if (p->phase == HTTP_COOKIE && p->state == COOKIE_START)
		cookies_usual(w, length);
	if (w->end >= length || w->request.progress != IPOS_READ_MORE)
		return;
	switch (p->phase) {
	case HTTP_LINE:
		http_line(w, p);
		if (p->phase == HTTP_END)
			http_lf(w, p, length);
		break;
	case HTTP_VALUE:
		value_pass(w, length);
		break;
	case HTTP_NAME:
		http_name(w, length);
		break;
	case HTTP_HOST:
		http_host(w, length);
		break;
	case HTTP_LENGTH:
		http_length(w, length);
		break;
	case HTTP_TOKENS:
		http_tokens(w, length);
		break;
	case HTTP_TOKEN_END:
		http_token_end(w, length);
		break;
	case HTTP_COOKIE:
		http_cookie(w, length);
		break;
	case HTTP_COOKIE_END:
		http_cookie_end(w);
		break;
	case HTTP_LF:
	case HTTP_END:
		http_lf(w, p, length);
	}
}

#endif /* IPOS_CORE_HTTP_H */
