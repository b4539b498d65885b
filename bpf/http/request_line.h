/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The end of HTTP/1's request line, its version (RFC 9112 2.3), and request lines as most are,
 * which are read at once.
 */
#ifndef IPOS_REQUEST_LINE_H
#define IPOS_REQUEST_LINE_H

#include "http/target.h"

/* ---- version --------------------------------------------------------------------------------- */

IPOS_TABLE __u8 http_version_text[8] IPOS_BYTES = "HTTP/1.1";

IPOS_FUNCTION int http_version(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u32 at;

	if (!w)
		return IPOS_READ_REFUSED;
	p = http_parser(w);
	at = w->end;
	if (!p->length && at + 8 <= length &&
	    http_word(w, at) == WORD('H', 'T', 'T', 'P', '/', '1', '.', '1')) {
		at += 8;
		p->length = 8;
	}
	for (__u32 i = 0; i < 9 && at < length; i++, at++) {
		__u8 c = http_byte(w, at);
		__u32 n = p->length, place = n;

		IPOS_OPAQUE(place);
		if (n >= 8) {
			if (c != '\r')
				return http_bad(w, c, IPOS_AMBIGUOUS_VERSION);
			return http_line_ends(w, at, length);
		}
		if (n == 5 && c == '2' && p->seen & HTTP_SEEN_PRI && !w->request.path_len)
			p->seen |= HTTP_SEEN_H2;
		else if (n == 7 && c == '0' && !(p->seen & HTTP_SEEN_H2))
			w->request.flags |= IPOS_REQUEST_HTTP10;
		else if (c != http_version_text[place & 7] - (n == 7 && p->seen & HTTP_SEEN_H2))
			return http_bad(w, c, IPOS_AMBIGUOUS_VERSION);
		p->length = n + 1;
	}
	w->end = at;
	return IPOS_READ_MORE;
}

/* ---- most request lines --------------------------------------------------------------------- */

/* A method that most requests have, as the first word of a head begins with it; NONE: another. */
IPOS_INLINE __u8 method_usual(__u64 x)
{
	if (bytes_first(x, 4) == WORD('G', 'E', 'T', ' ', 0, 0, 0, 0))
		return IPOS_METHOD_GET;
	if (bytes_first(x, 5) == WORD('P', 'O', 'S', 'T', ' ', 0, 0, 0))
		return IPOS_METHOD_POST;
	if (bytes_first(x, 4) == WORD('P', 'U', 'T', ' ', 0, 0, 0, 0))
		return IPOS_METHOD_PUT;
	if (bytes_first(x, 5) == WORD('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return IPOS_METHOD_HEAD;
	return IPOS_METHOD_NONE;
}

/*
 * A request line from its first byte on, as far as it is one of most: a method of those, a path
 * without anything to decode, HTTP/1.1.  The phases above go on where it stops.
 */
IPOS_FUNCTION int http_first_line(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u8 c, method;
	__u32 at, n;

	if (!w)
		return IPOS_READ_REFUSED;
	p = http_parser(w);
	at = w->end;
	method = method_usual(http_word(w, at));
	n = method == IPOS_METHOD_GET || method == IPOS_METHOD_PUT ? 4 : 5;
	if (!method || at + n >= length || w->bytes[(at + n) & (IPOS_CHUNK - 1)] != '/')
		return IPOS_READ_MORE;
	w->request.method = method;
	if (method == IPOS_METHOD_HEAD)
		w->request.flags |= IPOS_REQUEST_HEAD;
	p->phase = HTTP_PATH;
	p->dots = PATH_NAME;
	w->end = at + n;
	path_plain(w, length);
	IPOS_RELOAD();
	at = w->end;
	c = w->bytes[at & (IPOS_CHUNK - 1)];
	if (at >= length || (c != ' ' && c != '?'))
		return IPOS_READ_MORE;
	path_end(w, p, c);
	at++;
	if (c == '?') {
		at = query_skip(w, at, length);
		if (at >= length || w->bytes[at & (IPOS_CHUNK - 1)] != ' ') {
			w->end = at;
			return IPOS_READ_MORE;
		}
		at++;
		p->phase = HTTP_VERSION;
	}
	w->end = at;
	if (at + 10 > length || http_word(w, at) != WORD('H', 'T', 'T', 'P', '/', '1', '.', '1') ||
	    (__u16)http_word(w, at + 8) != ('\r' | '\n' << 8))
		return IPOS_READ_MORE;
	p->phase = HTTP_LINE;
	w->end = at + 10;
	return IPOS_READ_MORE;
}

#endif /* IPOS_REQUEST_LINE_H */
