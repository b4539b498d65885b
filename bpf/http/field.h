/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * HTTP/1's headers (RFC 9112 5): names are compared as words, values that do not matter are
 * skipped eight bytes at a time, those that do have a machine each.
 */
#ifndef IPOS_CORE_HTTP_FIELD_H
#define IPOS_CORE_HTTP_FIELD_H

#include "http/bytes.h"
#include "http/host.h"

/* Of a header that does not matter. */
IPOS_INLINE int value_pass(struct ipos_scratch *w, __u32 length)
{
	__u8 c;

	w->end = value_skip(w, w->end, length, 0);
	IPOS_RELOAD(); /* where the loop was left is all that counts */
	if (w->end >= length)
		return IPOS_READ_MORE;
	c = http_byte(w, w->end);
	if (c == '\r')
		return http_line_ends(w, w->end, length);
	if (c == '\t')
		w->end++;
	else if (!(http_class[c] & IS_VALUE))
		return http_bad(w, c, IPOS_AMBIGUOUS_CONTROL);
	return IPOS_READ_MORE;
}

/* ---- names ----------------------------------------------------------------------------------- */

#define LOWER EACH(0x20)

/* The name in p->word is whole, its colon was read: what is to be done with the value. */
IPOS_INLINE int http_named(struct ipos_scratch *w, struct http_parser *p)
{
	__u64 first = p->word[0] | LOWER, second = p->word[1];
	__u32 n = p->length;
	__u16 seen = p->seen;

	p->phase = HTTP_VALUE;
	p->state = 0;
	if (n == 4) {
		if ((__u32)first != (__u32)WORD('h', 'o', 's', 't', 0, 0, 0, 0))
			return IPOS_READ_MORE;
		if (seen & HTTP_SEEN_HOST)
			return http_refuse(w, IPOS_AMBIGUOUS_HOST_TWICE);
		p->seen = seen | HTTP_SEEN_HOST;
		p->host_len = 0;
		p->phase = HTTP_HOST;
	} else if (n == 6) {
		first &= 0xffffffffffff;
		if (first == WORD('c', 'o', 'o', 'k', 'i', 'e', 0, 0))
			p->phase = HTTP_COOKIE;
		else if (first == WORD('e', 'x', 'p', 'e', 'c', 't', 0, 0))
			p->header = HTTP_EXPECT;
		else
			return IPOS_READ_MORE;
	} else if (n == 7) {
		if ((first & 0xffffffffffffff) != WORD('u', 'p', 'g', 'r', 'a', 'd', 'e', 0))
			return IPOS_READ_MORE;
		p->header = HTTP_UPGRADE;
	} else if (n == 10) {
		if (first != WORD('c', 'o', 'n', 'n', 'e', 'c', 't', 'i') ||
		    ((second | LOWER) & 0xffff) != WORD('o', 'n', 0, 0, 0, 0, 0, 0))
			return IPOS_READ_MORE;
		p->header = HTTP_CONNECTION;
	} else if (n == 14) {
		if (first != WORD('c', 'o', 'n', 't', 'e', 'n', 't', '-') ||
		    ((second | LOWER) & 0xffffffffffff) != WORD('l', 'e', 'n', 'g', 't', 'h', 0, 0))
			return IPOS_READ_MORE;
		if (seen & HTTP_SEEN_LENGTH)
			return http_refuse(w, IPOS_AMBIGUOUS_LENGTH_TWICE);
		p->seen = seen | HTTP_SEEN_LENGTH;
		p->phase = HTTP_LENGTH;
	} else if (n == 17) {
		if (first != WORD('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') ||
		    (second | LOWER) != WORD('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') ||
		    ((p->word[2] | LOWER) & 0xff) != 'g')
			return IPOS_READ_MORE;
		if (seen & HTTP_SEEN_ENCODING)
			return http_refuse(w, IPOS_AMBIGUOUS_ENCODING);
		p->seen = seen | HTTP_SEEN_ENCODING;
		p->header = HTTP_ENCODING;
	} else {
		return IPOS_READ_MORE;
	}
	p->length = 0;
	if (p->phase == HTTP_VALUE)
		p->phase = HTTP_TOKENS;
	return IPOS_READ_MORE;
}

/* The first byte from `at` on that is no letter and no hyphen, among the first four words. */
IPOS_INLINE __u32 name_skip(struct ipos_scratch *w, __u32 at)
{
	for (__u32 i = 0; i < 4; i++, at += 8) {
		__u64 unusual = bytes_unusual(http_word(w, at));

		if (unusual)
			return at + first_byte(unusual);
	}
	return at;
}

/* ` keep-alive` or ` close` and the line's end at w->end; returns where the next bytes are. */
IPOS_INLINE __u32 connection_usual(struct ipos_scratch *w, struct http_parser *p, __u32 length)
{
	__u64 first = http_word(w, w->end), second = bytes_first(http_word(w, w->end + 8), 5);
	__u32 at = w->end;

	/* Letters are compared in lower case, and nothing else is: CR would become a hyphen. */
	if (at + 8 <= length && (first | (LOWER & WORD(0, 255, 255, 255, 255, 255, 0, 0))) ==
					WORD(' ', 'c', 'l', 'o', 's', 'e', '\r', '\n')) {
		w->request.flags |= IPOS_REQUEST_CLOSE;
		p->phase = HTTP_LINE;
		return at + 8;
	}
	first |= LOWER & WORD(0, 255, 255, 255, 255, 0, 255, 255);
	second |= LOWER & WORD(255, 255, 255, 0, 0, 0, 0, 0);
	if (at + 13 <= length && first == WORD(' ', 'k', 'e', 'e', 'p', '-', 'a', 'l') &&
	    second == WORD('i', 'v', 'e', '\r', '\n', 0, 0, 0)) {
		w->request.flags |= IPOS_REQUEST_KEEP_ALIVE;
		p->phase = HTTP_LINE;
		return at + 13;
	}
	return at;
}

/* Lengths of names that may matter: host, cookie and expect, upgrade, connection, ... */
#define NAME_LENGTHS (1U << 4 | 1U << 6 | 1U << 7 | 1U << 10 | 1U << 14 | 1U << 17)

/* A header's line that begins at w->end, byte by byte; or the line that ends the head. */
IPOS_INLINE int http_line(struct ipos_scratch *w, struct http_parser *p)
{
	__u8 c = http_byte(w, w->end);

	if (c == '\r') {
		p->phase = HTTP_END;
		w->end++;
		return IPOS_READ_MORE;
	}
	if (p->seen & HTTP_SEEN_H2) /* the preface has no headers */
		return http_bad(w, c, IPOS_AMBIGUOUS_VERSION);
	if (c == ' ' || c == '\t')
		return http_refuse(w, p->seen & HTTP_SEEN_HEADER ? IPOS_AMBIGUOUS_FOLD
								 : IPOS_AMBIGUOUS_LEADING_SPACE);
	p->seen |= HTTP_SEEN_HEADER;
	p->phase = HTTP_NAME;
	p->length = 0;
	return IPOS_READ_MORE;
}

/*
 * Whole lines whose name is of letters and hyphens, up to one that needs more: a value that
 * matters, bytes that are rare.  A call costs as much as five words of a value, so this is one.
 */
IPOS_FUNCTION int http_lines(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u32 at;

	if (!w)
		return IPOS_READ_REFUSED;
	p = http_parser(w);
	if (p->seen & HTTP_SEEN_H2)
		return IPOS_READ_MORE;
	for (__u32 i = w->zero; i < IPOS_CHUNK; i++) {
		__u32 from, n;

		IPOS_CONVERGES;
		IPOS_RELOAD();
		from = w->end;
		at = name_skip(w, from);
		n = at - from;
		if (!n || at >= length || w->bytes[at & (IPOS_CHUNK - 1)] != ':')
			break;
		at++;
		p->seen |= HTTP_SEEN_HEADER;
		if (NAME_LENGTHS >> (n & 31) & 1) {
			p->word[0] = http_word(w, from);
			p->word[1] = http_word(w, from + 8);
			p->word[2] = http_word(w, from + 16);
			p->length = n;
			w->end = at;
			if (http_named(w, p))
				return IPOS_READ_REFUSED;
			if (p->phase == HTTP_HOST)
				at = host_usual(w, p, length);
			else if (p->phase == HTTP_TOKENS && p->header == HTTP_CONNECTION)
				at = connection_usual(w, p, length);
			w->end = at;
			if (p->phase == HTTP_LINE)
				continue;
			if (p->phase != HTTP_VALUE)
				break;
		}
		at = value_skip(w, at, length, 0);
		w->end = at;
		if (at + 1 >= length || (__u16)http_word(w, at) != ('\r' | '\n' << 8)) {
			p->phase = HTTP_VALUE;
			break;
		}
		w->end = at + 2;
		p->phase = HTTP_LINE;
	}
	return IPOS_READ_MORE;
}

/* One more byte of a name; one longer than any that matters is not kept. */
IPOS_INLINE void name_append(struct http_parser *p, __u8 c)
{
	__u32 place = p->length;

	p->length = place + 1;
	IPOS_OPAQUE(place);
	if (place < sizeof(p->word))
		((__u8 *)p->word)[place] = c;
}

/* A name that is no usual one, or goes on in the next piece. */
IPOS_FUNCTION int http_name(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u32 at;
	__u8 c;

	if (!w)
		return IPOS_READ_REFUSED;
	p = http_parser(w);
	at = w->end;
	for (__u32 i = w->zero; i < HTTP_BYTES && at < length; i++, at++) {
		IPOS_CONVERGES;
		c = http_byte(w, at);
		if (http_class[c] & IS_NAME) {
			name_append(p, c);
			continue;
		}
		w->end = at + 1;
		if (c == ':' && p->length)
			return http_named(w, p);
		if ((c == ' ' || c == '\t') && p->length)
			return http_refuse(w, IPOS_AMBIGUOUS_SPACE_BEFORE_COLON);
		return http_bad(w, c, IPOS_AMBIGUOUS_HEADER_NAME);
	}
	w->end = at;
	return IPOS_READ_MORE;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* Digits, and spaces around them; a tab is no space to nginx. */
IPOS_FUNCTION int http_length(struct ipos_scratch *w, __u32 length)
{
	struct ipos_request *r;
	struct http_parser *p;
	__u32 at;

	if (!w)
		return IPOS_READ_REFUSED;
	r = &w->request;
	p = http_parser(w);
	at = w->end;
	for (__u32 i = w->zero; i < HTTP_BYTES && at < length; i++, at++) {
		__u64 sum = r->content_length;
		__u8 c = http_byte(w, at);

		IPOS_CONVERGES;
		if (c >= '0' && c <= '9' && p->state < 2) {
			p->state = 1;
			if (sum > 0x7fffffffffffffffULL / 10 ||
			    sum * 10 + (c - '0') > 0x7fffffffffffffffULL)
				return http_refuse(w, IPOS_AMBIGUOUS_LENGTH);
			r->content_length = sum * 10 + (c - '0');
		} else if (c == ' ') {
			if (p->state == 1)
				p->state = 2;
		} else if (c == '\r' && p->state) {
			return http_line_ends(w, at, length);
		} else {
			return c == '\r' ? http_refuse(w, IPOS_AMBIGUOUS_LENGTH)
					 : http_bad(w, c, IPOS_AMBIGUOUS_LENGTH);
		}
	}
	w->end = at;
	return IPOS_READ_MORE;
}

/* ---- lists of tokens ------------------------------------------------------------------------ */

#define TOKEN_OTHER 0xff /* as a length: none that matters */

/* One element of the list is over, at a comma, or with the value, at CR. */
IPOS_FUNCTION int http_token_end(struct ipos_scratch *w, __u32 length)
{
	struct http_parser *p;
	__u64 first, second;
	__u32 n;

	if (!w || w->end >= length)
		return IPOS_READ_MORE;
	p = http_parser(w);
	first = p->word[0];
	second = p->word[1];
	n = p->length;
	if (p->header == HTTP_ENCODING) {
		if (n != 7 || first != WORD('c', 'h', 'u', 'n', 'k', 'e', 'd', 0))
			return http_refuse(w, IPOS_AMBIGUOUS_ENCODING);
	} else if (p->header == HTTP_EXPECT) {
		if (n == 12 && first == WORD('1', '0', '0', '-', 'c', 'o', 'n', 't') &&
		    second == WORD('i', 'n', 'u', 'e', 0, 0, 0, 0))
			w->request.flags |= IPOS_REQUEST_CONTINUE;
	} else if (p->header == HTTP_UPGRADE) {
		if (n)
			p->seen |= HTTP_SEEN_UPGRADE;
	} else if (n == 5 && first == WORD('c', 'l', 'o', 's', 'e', 0, 0, 0)) {
		w->request.flags |= IPOS_REQUEST_CLOSE;
	} else if (n == 10 && first == WORD('k', 'e', 'e', 'p', '-', 'a', 'l', 'i') &&
		   second == WORD('v', 'e', 0, 0, 0, 0, 0, 0)) {
		w->request.flags |= IPOS_REQUEST_KEEP_ALIVE;
	} else if (n == 7 && first == WORD('u', 'p', 'g', 'r', 'a', 'd', 'e', 0)) {
		p->seen |= HTTP_SEEN_UPGRADING;
	}
	p->length = 0;
	p->state = 0;
	if (http_byte(w, w->end) == '\r')
		return http_line_ends(w, w->end, length);
	p->phase = HTTP_TOKENS;
	w->end++;
	return IPOS_READ_MORE;
}

IPOS_FUNCTION int http_tokens(struct ipos_scratch *w, __u32 length)
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
		if (c == '\r' || (c == ',' && p->header == HTTP_CONNECTION)) {
			p->phase = HTTP_TOKEN_END;
			break;
		}
		if (!(http_class[c] & IS_VALUE))
			return http_bad(w, c, IPOS_AMBIGUOUS_CONTROL);
		if (c == ' ' || (c == '\t' && p->header != HTTP_ENCODING)) {
			p->state = n ? 1 : 0; /* another word behind it makes it no token */
		} else if (p->state || n >= 16) {
			p->length = TOKEN_OTHER;
		} else {
			if (!n)
				p->word[0] = p->word[1] = 0;
			p->length = n + 1;
			IPOS_OPAQUE(n);
			if (n < 16)
				((__u8 *)p->word)[n] = http_lower(c);
		}
	}
	w->end = at;
	return IPOS_READ_MORE;
}

#endif /* IPOS_CORE_HTTP_FIELD_H */
