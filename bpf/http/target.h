/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * HTTP/1's request line (RFC 9112 3): method, target and version, with one space between them.
 * The path becomes what nginx calls $uri: decoded once, then without empty and dot segments.
 */
#ifndef IPOS_CORE_HTTP_TARGET_H
#define IPOS_CORE_HTTP_TARGET_H

#include "http/bytes.h"

/* the last segment so far */
enum path_dots { PATH_SLASH, PATH_DOT, PATH_DOTDOT, PATH_NAME };

/* A method by its bytes, zero padded: enum ipos_method. */
IPOS_INLINE __u8 method_of(__u64 word)
{
	switch (word) {
	case WORD('G', 'E', 'T', 0, 0, 0, 0, 0):
		return IPOS_METHOD_GET;
	case WORD('H', 'E', 'A', 'D', 0, 0, 0, 0):
		return IPOS_METHOD_HEAD;
	case WORD('P', 'O', 'S', 'T', 0, 0, 0, 0):
		return IPOS_METHOD_POST;
	case WORD('P', 'U', 'T', 0, 0, 0, 0, 0):
		return IPOS_METHOD_PUT;
	case WORD('D', 'E', 'L', 'E', 'T', 'E', 0, 0):
		return IPOS_METHOD_DELETE;
	case WORD('C', 'O', 'N', 'N', 'E', 'C', 'T', 0):
		return IPOS_METHOD_CONNECT;
	case WORD('O', 'P', 'T', 'I', 'O', 'N', 'S', 0):
		return IPOS_METHOD_OPTIONS;
	case WORD('T', 'R', 'A', 'C', 'E', 0, 0, 0):
		return IPOS_METHOD_TRACE;
	case WORD('P', 'A', 'T', 'C', 'H', 0, 0, 0):
		return IPOS_METHOD_PATCH;
	}
	return IPOS_METHOD_NONE;
}

IPOS_FUNCTION int http_method(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u32 at;

	if (!w)
		return IPOS_READ_REFUSED;
	p = http_parser(w);
	at = w->end;
	for (__u32 i = w->zero; i < HTTP_BYTES && at < length; i++, at++) {
		__u8 c = http_byte(w, at);
		__u32 n = p->length;

		IPOS_CONVERGES;
		if (!(http_class[c] & IS_METHOD)) {
			if (c != ' ' || !n)
				return http_bad(w, c, IPOS_AMBIGUOUS_METHOD);
			w->request.method = method_of(p->word[0]);
			if (w->request.method == IPOS_METHOD_HEAD)
				w->request.flags |= IPOS_REQUEST_HEAD;
			else if (w->request.method == IPOS_METHOD_CONNECT)
				p->seen |= HTTP_SEEN_CONNECT;
			else if (w->request.method == IPOS_METHOD_OPTIONS)
				p->seen |= HTTP_SEEN_OPTIONS;
			else if (p->word[0] == WORD('P', 'R', 'I', 0, 0, 0, 0, 0) &&
				 w->request.mode != IPOS_MODE_LATER)
				p->seen |= HTTP_SEEN_PRI;
			p->phase = HTTP_TARGET;
			at++;
			break;
		}
		IPOS_OPAQUE(n);
		if (n < 8) {
			((__u8 *)p->word)[n] = c;
			p->length = n + 1;
		}
	}
	w->end = at;
	return IPOS_READ_MORE;
}

/* The byte at hand is the target's first, or follows its `*`. */
IPOS_FUNCTION int http_target(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u8 c;

	if (!w || w->end >= length)
		return IPOS_READ_MORE;
	p = http_parser(w);
	c = http_byte(w, w->end);
	p->state = 0;
	p->length = 0;
	if (p->phase == HTTP_STAR) {
		if (c != ' ')
			return http_bad(w, c, IPOS_AMBIGUOUS_TARGET);
		w->end++;
		p->phase = HTTP_VERSION;
	} else if (p->seen & HTTP_SEEN_CONNECT) {
		p->phase = HTTP_AUTHORITY;
	} else if (c == '/') {
		p->dots = PATH_NAME;
		p->phase = HTTP_PATH;
	} else if (c == '*' && p->seen & (HTTP_SEEN_OPTIONS | HTTP_SEEN_PRI)) {
		w->end++;
		p->phase = HTTP_STAR;
	} else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') {
		p->phase = HTTP_SCHEME;
	} else {
		return http_bad(w, c, IPOS_AMBIGUOUS_TARGET);
	}
	return IPOS_READ_MORE;
}

/* A scheme and `://`; which one makes no difference. */
IPOS_FUNCTION int http_scheme(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u32 at;

	if (!w)
		return IPOS_READ_REFUSED;
	p = http_parser(w);
	at = w->end;
	for (__u32 i = w->zero; i < HTTP_BYTES && at < length; i++, at++) {
		__u8 c = http_byte(w, at), state = p->state;

		IPOS_CONVERGES;
		if (state == 2 && c == '/') {
			p->state = 0;
			p->phase = HTTP_AUTHORITY;
			at++;
			break;
		}
		if (state == 0 && ((http_class[c] & IS_HOST && c != '_' && c != '~') || c == '+'))
			continue;
		if ((state == 0 && c == ':') || (state == 1 && c == '/'))
			p->state = state + 1;
		else
			return http_bad(w, c, IPOS_AMBIGUOUS_TARGET);
	}
	w->end = at;
	return IPOS_READ_MORE;
}

/* ---- path ------------------------------------------------------------------------------------ */

IPOS_INLINE void path_put(struct ipos_request *r, __u32 at, __u8 c)
{
	IPOS_OPAQUE(at);
	if (at < IPOS_PATH_MAX)
		r->path[at] = c;
}

/*
 * Bytes that stand for themselves: names, and single slashes between them.  No store crosses the
 * end of what is kept of a path: the bytes before it are left to path_byte().
 */
IPOS_INLINE void path_plain(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p = http_parser(w);
	struct ipos_request *r = &w->request;
	__u64 behind = p->dots == PATH_SLASH ? 0x80 : 0; /* bit 7: behind a slash */
	__u32 at = w->end;

	for (__u32 i = w->zero; i < HTTP_WORDS && at < length; i++) {
		__u32 n = 8, left = length - at, place;
		__u64 x, slash, after, stop;

		IPOS_CONVERGES;
		IPOS_RELOAD();
		place = p->out;
		x = http_word(w, at);
		slash = bytes_exactly(x, '/');
		after = slash << 8 | behind;
		stop = bytes_hidden(x) | bytes_exactly(x, '%') | bytes_exactly(x, '?') |
		       bytes_exactly(x, '#') | (after & (slash | bytes_exactly(x, '.')));
		if (stop)
			n = first_byte(stop);
		if (n > left)
			n = left;
		if (!n || (place > IPOS_PATH_MAX - 8 && place < IPOS_PATH_MAX))
			break;
		p->out = place + n;
		IPOS_OPAQUE(place);
		if (place <= IPOS_PATH_MAX - 8)
			*(__u64 *)(r->path + place) = bytes_first(x, n);
		behind = slash >> 8 * ((n - 1) & 7) & 0x80;
		at += n;
		if (n < 8)
			break;
	}
	p->dots = behind ? PATH_SLASH : PATH_NAME;
	w->end = at;
}

/* A byte of the path's meaning, decoded if it was spelled with a percent sign. */
IPOS_INLINE int path_byte(struct ipos_scratch *w, struct http_parser *p, __u8 c)
{
	struct ipos_request *r = &w->request;
	__u32 out = p->out;
	__u8 dots = p->dots;

	if (c == '/') {
		if (dots == PATH_DOTDOT) {
			p->phase = HTTP_PATH_UP; /* and this byte again */
			return IPOS_READ_MORE;
		}
		if (dots == PATH_DOT)
			path_put(r, --out, 0);
		else if (dots == PATH_NAME)
			path_put(r, out++, c);
		p->dots = PATH_SLASH;
	} else {
		path_put(r, out++, c);
		p->dots = c == '.' && dots != PATH_NAME ? dots + 1 : PATH_NAME;
	}
	p->out = out;
	p->percent = 0;
	w->end++;
	return IPOS_READ_MORE;
}

/* The path is over, at a byte that is no part of it. */
IPOS_INLINE int path_end(struct ipos_scratch *w, struct http_parser *p, __u8 c)
{
	struct ipos_request *r = &w->request;
	__u32 out = p->out;

	if (p->dots == PATH_DOTDOT) {
		p->phase = HTTP_PATH_UP;
		return IPOS_READ_MORE;
	}
	if (p->dots == PATH_DOT)
		path_put(r, --out, 0);
	r->path_len = out < IPOS_PATH_MAX ? out : IPOS_PATH_MAX;
	if (out > IPOS_PATH_MAX)
		r->flags |= IPOS_REQUEST_PATH_CUT;
	p->phase = c == ' ' ? HTTP_VERSION : HTTP_QUERY;
	w->end++;
	return IPOS_READ_MORE;
}

/* One byte that does not stand for itself, behind any that do. */
IPOS_FUNCTION int http_path(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u8 c, digit;

	if (!w)
		return IPOS_READ_REFUSED;
	p = http_parser(w);
	if (!p->percent && (p->dots == PATH_NAME || p->dots == PATH_SLASH))
		path_plain(w, length);
	if (w->end >= length)
		return IPOS_READ_MORE;
	c = http_byte(w, w->end);
	if (p->percent) {
		digit = http_hex(c);
		if (digit > 15)
			return http_bad(w, c, IPOS_AMBIGUOUS_PERCENT);
		if (p->percent == 1) {
			p->nibble = digit;
			p->percent = 2;
			w->end++;
			return IPOS_READ_MORE;
		}
		c = p->nibble << 4 | digit;
		if (!c)
			return http_refuse(w, IPOS_AMBIGUOUS_PERCENT);
		if (c == '/' && p->seen & HTTP_SEEN_UP)
			return http_refuse(w, IPOS_AMBIGUOUS_ENCODED_SLASH);
		if (c == '/')
			p->seen |= HTTP_SEEN_SLASH;
		return path_byte(w, p, c);
	}
	if (c == '%') {
		p->percent = 1;
		w->end++;
		return IPOS_READ_MORE;
	}
	if (c == ' ' || c == '?' || c == '#')
		return path_end(w, p, c);
	if (c == '/' || c == '.' || http_class[c] & IS_PATH)
		return path_byte(w, p, c);
	return http_bad(w, c, IPOS_AMBIGUOUS_TARGET);
}

/*
 * Takes `..` and the segment before it back.  Which segment that is, servers do not agree on where
 * a slash is encoded: Apache decodes it afterwards, nginx before.
 */
IPOS_FUNCTION int http_path_up(struct ipos_scratch *w)
{
	struct ipos_request *r;
	struct http_parser *p;
	__u32 out;

	if (!w)
		return IPOS_READ_REFUSED;
	r = &w->request;
	p = http_parser(w);
	out = p->out;
	if (p->seen & HTTP_SEEN_SLASH)
		return http_refuse(w, IPOS_AMBIGUOUS_ENCODED_SLASH);
	p->seen |= HTTP_SEEN_UP;
	if (out > IPOS_PATH_MAX || out <= 3) /* "/.." */
		return http_refuse(w, IPOS_AMBIGUOUS_ABOVE_ROOT);
	path_put(r, --out, 0);
	path_put(r, --out, 0);
	path_put(r, --out, 0);
	for (__u32 i = 0; i < IPOS_PATH_MAX; i++) {
		__u32 last = out - 1;

		IPOS_OPAQUE(last);
		if (last >= IPOS_PATH_MAX || r->path[last] == '/')
			break;
		r->path[last] = 0;
		out--;
	}
	p->out = out;
	p->dots = PATH_SLASH;
	p->phase = HTTP_PATH;
	return IPOS_READ_MORE;
}

IPOS_FUNCTION int http_query(struct ipos_scratch *w, __u32 length)
{
	__u8 c;

	if (!w)
		return IPOS_READ_REFUSED;
	w->end = query_skip(w, w->end, length);
	if (w->end >= length)
		return IPOS_READ_MORE;
	c = http_byte(w, w->end);
	if (c == ' ') {
		w->end++;
		http_parser(w)->phase = HTTP_VERSION;
	} else if (!(http_class[c] & IS_VALUE) || c >= 0x80 || c == '\t') {
		return http_bad(w, c, IPOS_AMBIGUOUS_TARGET);
	}
	return IPOS_READ_MORE;
}

#endif /* IPOS_CORE_HTTP_TARGET_H */
