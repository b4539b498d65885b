/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The session's cookie out of Cookie (RFC 6265 4.2.1): the first of its name decides, in
 * whichever Cookie header; its value goes up to the next semicolon, quotes are kept.  One
 * longer than IPOS_COOKIE_MAX is none.
 */
#ifndef IPOS_CORE_HTTP_COOKIE_H
#define IPOS_CORE_HTTP_COOKIE_H

#include "http/bytes.h"

enum cookie_state {
	COOKIE_START,
	COOKIE_NAME,
	COOKIE_NAMED,
	COOKIE_EQUAL,
	COOKIE_VALUE,
	COOKIE_OTHER
};

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

/* The same, where nothing is to be taken back; 0: something is, or too much was there. */
IPOS_INLINE int cookie_whole(struct ipos_scratch *w, struct http_parser *p)
{
	struct ipos_request *r = &w->request;
	__u32 n = p->length, last = n - 1;

	IPOS_OPAQUE(last);
	if (last >= IPOS_COOKIE_MAX || r->cookie[last] == ' ' || r->cookie[last] == '\t')
		return 0;
	p->seen |= HTTP_SEEN_COOKIE;
	p->phase = HTTP_VALUE;
	r->cookie_len = n;
	return 1;
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

/* The value that begins at w->end goes to where it is kept, up to what may end it. */
IPOS_INLINE void cookie_value(struct ipos_scratch *w, struct http_parser *p, __u32 length)
{
	struct ipos_request *r = &w->request;
	__u32 at = w->end;

	p->length = 0;
	for (__u32 i = w->zero; i < IPOS_COOKIE_MAX / 8 && at < length; i++) {
		__u32 n = 8, left = length - at, place;
		__u64 x, stop;

		IPOS_CONVERGES;
		IPOS_RELOAD();
		x = http_word(w, at);
		stop = bytes_control(x) | bytes_exactly(x, ';');
		if (stop)
			n = first_byte(stop);
		if (n > left)
			n = left;
		place = p->length;
		p->length = place + n;
		IPOS_OPAQUE(place);
		if (place <= IPOS_COOKIE_MAX - 8)
			*(__u64 *)(r->cookie + place) = bytes_first(x, n);
		at += n;
		if (n < 8)
			break;
	}
	w->end = at;
}

/*
 * Cookies from w->end on: passes over those that are not the session's, and takes the one that is,
 * as far as that can be told from words.  cookie_byte() goes on from there.
 */
IPOS_FUNCTION int cookies_usual(struct ipos_scratch *w, __u32 length)
{
	struct ipos_session *session;
	struct http_parser *p;
	__u32 n, service;
	__u64 wrong = 0;

	if (!w)
		return 0;
	p = http_parser(w);
	service = w->request.service;
	session = bpf_map_lookup_elem(&sessions, &service);
	if (!session || p->seen & HTTP_SEEN_COOKIE)
		return 0;
	n = session->name_len;
	if (!n || n > 16)
		return 0;
	for (__u32 i = w->zero; i < IPOS_CHUNK; i++) {
		__u32 at;
		__u8 c;

		IPOS_CONVERGES;
		at = w->end;
		if (at < length && http_byte(w, at) == ' ')
			w->end = ++at;
		if (at + n + 1 >= length)
			return 0;
		wrong = bytes_first(http_word(w, at) ^ *(const __u64 *)session->name, n);
		if (n > 8)
			wrong |= bytes_first(
				http_word(w, at + 8) ^ *(const __u64 *)(session->name + 8), n - 8);
		c = http_byte(w, at);
		if (!wrong || c == ' ' || c == '\t')
			break;
		p->state = COOKIE_OTHER;
		w->end = value_skip(w, at, length, ';');
		IPOS_RELOAD();
		if (w->end >= length || http_byte(w, w->end) != ';')
			return 0;
		w->end++;
		p->state = COOKIE_START;
	}
	if (wrong)
		return 0;
	p->length = n;
	p->state = COOKIE_NAMED;
	w->end += n;
	if (http_byte(w, w->end) != '=')
		return 0;
	p->state = COOKIE_EQUAL;
	w->end++;
	if (http_byte(w, w->end) == ' ' || http_byte(w, w->end) == '\t')
		return 0;
	p->state = COOKIE_VALUE;
	cookie_value(w, p, length);
	IPOS_RELOAD();
	if (w->end + 1 >= length || (__u16)http_word(w, w->end) != ('\r' | '\n' << 8) ||
	    !cookie_whole(w, p))
		return 0;
	p->phase = HTTP_LINE;
	w->end += 2;
	return 0;
}

IPOS_FUNCTION int http_cookie(struct ipos_scratch *w, __u32 length)
{
	struct ipos_session *session;
	struct ipos_request *r;
	struct http_parser *p;
	__u32 service;

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
	for (__u32 i = w->zero; i < IPOS_CHUNK; i++) {
		__u32 at;
		__u8 c;

		IPOS_CONVERGES;
		IPOS_RELOAD();
		at = w->end;
		if (at >= length)
			break;
		c = http_byte(w, at);
		if (c == ';' || c == '\r') {
			if (p->state == COOKIE_EQUAL || p->state == COOKIE_VALUE) {
				if (p->state == COOKIE_EQUAL)
					p->length = 0;
				p->phase = HTTP_COOKIE_END; /* and this byte again */
				break;
			}
			p->state = COOKIE_START;
			p->length = 0;
			if (c == '\r')
				return http_line_ends(w, at, length);
		} else if (!(http_class[c] & IS_VALUE)) {
			return http_bad(w, c, IPOS_AMBIGUOUS_CONTROL);
		} else if (p->state != COOKIE_OTHER) {
			cookie_byte(r, p, session, c);
		}
		w->end = at + 1;
		if (p->state == COOKIE_OTHER)
			w->end = value_skip(w, at + 1, length, ';');
	}
	return IPOS_READ_MORE;
}

#endif /* IPOS_CORE_HTTP_COOKIE_H */
