/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The session's cookie out of Cookie (RFC 6265 4.2.1): the first of its name decides, in
 * whichever Cookie header; its value goes up to the next semicolon, quotes are kept.  One
 * longer than IPOS_COOKIE_MAX is none.
 */
#ifndef IPOS_CORE_HTTP_COOKIE_H
#define IPOS_CORE_HTTP_COOKIE_H

#include "http_bytes.h"

enum cookie_state { COOKIE_START, COOKIE_NAME, COOKIE_NAMED, COOKIE_EQUAL, COOKIE_VALUE,
		    COOKIE_OTHER };

/* The session's cookie is over: spaces behind it are not its own. */
IPOS_FUNCTION int http_cookie_end(struct ipos_scratch *w)
{
	struct ipos_request *r;
	struct http_parser *p;
	__u32 n;

	if (!w)
		return IPOS_READ_REFUSED;
	r = &w->request;
	p = http_parser(w);
	p->seen |= HTTP_SEEN_COOKIE;
	p->phase = HTTP_VALUE;
	n = p->length;
	if (n > IPOS_COOKIE_MAX) {
		__builtin_memset(r->cookie, 0, sizeof(r->cookie));
		return IPOS_READ_MORE;
	}
	for (__u32 i = 0; i < IPOS_COOKIE_MAX; i++) {
		__u32 last = n - 1;

		IPOS_OPAQUE(last);
		if (last >= IPOS_COOKIE_MAX || (r->cookie[last] != ' ' && r->cookie[last] != '\t'))
			break;
		r->cookie[last] = 0;
		n--;
	}
	r->cookie_len = n;
	return IPOS_READ_MORE;
}

/* One byte of a cookie that may be the session's. */
IPOS_INLINE void cookie_byte(struct ipos_request *r, struct http_parser *p,
			     const struct ipos_session *session, __u8 c)
{
	__u32 n = p->length, named = n;
	int blank = c == ' ' || c == '\t';

	if (p->state <= COOKIE_NAME) {
		if (blank && p->state == COOKIE_START)
			return;
		IPOS_OPAQUE(named);
		if (named >= IPOS_COOKIE_NAME_MAX || c != session->name[named]) {
			p->state = COOKIE_OTHER;
			return;
		}
		p->length = n + 1;
		p->state = n + 1 >= session->name_len ? COOKIE_NAMED : COOKIE_NAME;
	} else if (p->state == COOKIE_NAMED) {
		if (c == '=')
			p->state = COOKIE_EQUAL;
		else if (!blank)
			p->state = COOKIE_OTHER;
	} else if (p->state == COOKIE_VALUE || !blank) {
		if (p->state == COOKIE_EQUAL)
			n = 0;
		p->state = COOKIE_VALUE;
		IPOS_OPAQUE(n);
		if (n < IPOS_COOKIE_MAX)
			r->cookie[n] = c;
		p->length = n + 1;
	}
}

IPOS_FUNCTION int http_cookie(struct ipos_scratch *w, __u32 length)
{
	struct ipos_session *session;
	struct ipos_request *r;
	struct http_parser *p;
	__u32 at, service;

	if (!w)
		return IPOS_READ_REFUSED;
	r = &w->request;
	p = http_parser(w);
	service = r->service;
	session = bpf_map_lookup_elem(&sessions, &service);
	if (!session || !session->name_len || p->seen & HTTP_SEEN_COOKIE) {
		p->phase = HTTP_VALUE;
		return IPOS_READ_MORE;
	}
	at = w->end;
	for (__u32 i = 0; i < HTTP_BYTES && at < length; i++, at++) {
		__u8 c = http_byte(w, at);

		if (c == ';' || c == '\r') {
			if (p->state == COOKIE_EQUAL || p->state == COOKIE_VALUE) {
				if (p->state == COOKIE_EQUAL)
					p->length = 0;
				p->phase = HTTP_COOKIE_END;	/* and this byte again */
				break;
			}
			p->state = COOKIE_START;
			p->length = 0;
			if (c == '\r')
				return http_line_ends(w, at, length);
			continue;
		}
		if (!(http_class[c] & IS_VALUE))
			return http_bad(w, c, IPOS_AMBIGUOUS_CONTROL);
		if (p->state != COOKIE_OTHER)
			cookie_byte(r, p, session, c);
		if (p->state == COOKIE_OTHER) {
			at = value_skip(w, at + 1, length, ';');
			break;
		}
	}
	w->end = at;
	return IPOS_READ_MORE;
}

#endif /* IPOS_CORE_HTTP_COOKIE_H */
