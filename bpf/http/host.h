/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A host and a port, from the target or from Host: letters, digits, `-`, `.`, `_`, `~`, or an
 * IPv6 address in brackets.  Lower case, without port and one trailing dot; two dots in a row,
 * user information and percent signs are refused.
 */
#ifndef IPOS_CORE_HTTP_HOST_H
#define IPOS_CORE_HTTP_HOST_H

#include "http/bytes.h"

enum host_state {
	HOST_START,
	HOST_NAME,
	HOST_LITERAL,
	HOST_CLOSED,
	HOST_PORT,
	HOST_PORT_DIGIT,
	HOST_TAIL
};

/* Whether the bytes at hand are Host's, and the target has named the host before. */
IPOS_INLINE int host_second(const struct http_parser *p)
{
	return p->phase == HTTP_HOST && p->seen & HTTP_SEEN_AUTHORITY;
}

/* Byte `at` of the host, which must be the target's if that named one. */
IPOS_INLINE void host_put(struct ipos_request *r, struct http_parser *p, __u32 at, __u8 c)
{
	IPOS_OPAQUE(at);
	if (at >= IPOS_HOST_MAX)
		return;
	if (!host_second(p))
		r->host[at] = c;
	else if (r->host[at] != c)
		p->seen |= HTTP_SEEN_DIFFERS;
}

/* A dot of Host counts when another byte follows it. */
IPOS_INLINE void host_byte(struct ipos_request *r, struct http_parser *p, __u32 at, __u8 c)
{
	if (host_second(p) && p->dots)
		host_put(r, p, at - 1, '.');
	if (!host_second(p) || c != '.')
		host_put(r, p, at, c);
}

/* Without a port it is the scheme's, of which the head says nothing sure: 80 or 443. */
IPOS_INLINE int ports_differ(__u16 one, __u16 other)
{
	if (one && other)
		return one != other;
	one |= other;
	return one && one != 80 && one != 443;
}

/*
 * A server that uses Host, as Node and Python's servers do, must not find another one than a
 * server that uses the target, as nginx does and routes do.
 */
IPOS_INLINE int host_differs(struct ipos_scratch *w, const struct http_parser *p, __u32 n)
{
	if (!(p->seen & HTTP_SEEN_DIFFERS) && n == w->request.host_len &&
	    !ports_differ(p->port, p->authority_port))
		return IPOS_READ_MORE;
	return http_refuse(w, IPOS_AMBIGUOUS_HOST_DIFFERS);
}

/* The host is over; what follows is the caller's affair. */
IPOS_INLINE int host_ends(struct ipos_scratch *w, struct http_parser *p)
{
	struct ipos_request *r = &w->request;
	__u32 n = p->host_len;

	if (n && p->dots) {
		n--;
		if (!host_second(p))
			host_put(r, p, n, 0);
		p->dots = 0;
	}
	if (!n || p->state == HOST_LITERAL)
		return http_refuse(w, IPOS_AMBIGUOUS_HOST);
	if (host_second(p))
		return host_differs(w, p, n);
	if (p->phase == HTTP_AUTHORITY) {
		p->seen |= HTTP_SEEN_AUTHORITY;
		p->authority_port = p->port;
	}
	r->host_len = n;
	return IPOS_READ_MORE;
}

/*
 * Where the authority of a target ends.  Without a path behind it, and CONNECT's has none, what is
 * asked for is /, as RFC 9110, 4.2.3 has it and as Apache serves CONNECT.  Not with a query behind
 * it: HAProxy begins the path at the first slash, wherever that is.
 */
IPOS_INLINE int authority_ends(struct ipos_scratch *w, struct http_parser *p, __u8 c)
{
	if (p->seen & HTTP_SEEN_CONNECT && (p->state != HOST_PORT_DIGIT || p->host_len <= p->dots))
		return http_refuse(w, IPOS_AMBIGUOUS_TARGET);
	if (host_ends(w, p))
		return IPOS_READ_REFUSED;
	p->length = 0;
	if (c == '/') {
		p->dots = 3; /* PATH_NAME */
		p->phase = HTTP_PATH;
		return IPOS_READ_MORE;
	}
	w->request.path[0] = '/';
	w->request.path_len = 1;
	p->phase = HTTP_VERSION;
	w->end++;
	return IPOS_READ_MORE;
}

IPOS_INLINE int host_stops(const struct http_parser *p, __u8 c)
{
	if (c == ' ')
		return 1;
	if (p->phase == HTTP_HOST)
		return c == '\r';
	return c == '/' && !(p->seen & HTTP_SEEN_CONNECT);
}

/* Takes the bytes that most hosts consist of, eight at a time; not those of a second host. */
IPOS_INLINE __u32 host_plain(struct ipos_scratch *w, struct http_parser *p, __u32 at, __u32 length)
{
	struct ipos_request *r = &w->request;
	__u64 behind = p->dots ? 0x80 : 0; /* bit 7: behind a dot */
	__u32 len = p->host_len;

	for (__u32 i = w->zero; i < IPOS_HOST_MAX / 8 && at < length; i++) {
		__u32 n = 8, left = length - at, place = len;
		__u64 x, dot, stop;

		IPOS_CONVERGES;
		x = http_word(w, at);
		dot = bytes_exactly(x, '.');
		stop = bytes_unlike_host(x) | ((dot << 8 | behind) & dot);
		if (stop)
			n = first_byte(stop);
		if (n > left)
			n = left;
		IPOS_OPAQUE(place);
		if (!n || place >= IPOS_HOST_MAX - 8)
			break;
		/* Letters become lower case, and the others have that bit. */
		*(__u64 *)(r->host + place) = bytes_first(x | EACH(0x20), n);
		behind = dot >> 8 * ((n - 1) & 7) & 0x80;
		len += n;
		at += n;
		if (n < 8)
			break;
	}
	p->dots = !!behind;
	p->host_len = len;
	return at;
}

/*
 * The value of Host as it mostly is, at w->end, up to the line's end; returns where the next bytes
 * are, which http_host() goes on with unless the line has ended.
 */
IPOS_INLINE __u32 host_usual(struct ipos_scratch *w, struct http_parser *p, __u32 length)
{
	__u32 at = w->end;

	if (at + 1 >= length || host_second(p))
		return at;
	if (w->bytes[at & (IPOS_CHUNK - 1)] == ' ')
		at++;
	if (bytes_unlike_host(http_word(w, at)) & 0x80)
		return at;
	p->dots = 0;
	p->state = HOST_NAME;
	at = host_plain(w, p, at, length);
	if (at + 1 >= length || (__u16)http_word(w, at) != ('\r' | '\n' << 8))
		return at;
	w->end = at;
	if (host_ends(w, p))
		return at;
	p->phase = HTTP_LINE;
	return at + 2;
}

/* p->dots: the last byte of the host was a dot. */
IPOS_FUNCTION int http_host(struct ipos_scratch *w, __u32 length)
{
	struct ipos_request *r;
	struct http_parser *p;
	__u32 at;

	if (!w)
		return IPOS_READ_REFUSED;
	r = &w->request;
	p = http_parser(w);
	at = w->end;
	if (p->state == HOST_NAME && !host_second(p))
		at = host_plain(w, p, at, length);
	for (__u32 i = w->zero; i < HTTP_BYTES && at < length; i++, at++) {
		__u8 c = http_byte(w, at), state = p->state;
		__u32 n = p->host_len;

		IPOS_CONVERGES;
		if (state == HOST_START) {
			p->dots = 0;
			p->port = 0;
			if (c == ' ' && p->phase == HTTP_HOST)
				continue;
			p->state = state = c == '[' ? HOST_LITERAL : HOST_NAME;
		}
		if (host_stops(p, c)) {
			w->end = at;
			if (p->phase == HTTP_AUTHORITY)
				return authority_ends(w, p, c);
			if (c == ' ') {
				if (state != HOST_TAIL && host_ends(w, p))
					return IPOS_READ_REFUSED;
				p->state = HOST_TAIL;
				continue;
			}
			if (state != HOST_TAIL && host_ends(w, p))
				return IPOS_READ_REFUSED;
			return http_line_ends(w, at, length);
		}
		if (c == ':' && (state == HOST_NAME || state == HOST_CLOSED)) {
			p->state = HOST_PORT;
			continue;
		}
		if (state >= HOST_CLOSED) {
			if (c < '0' || c > '9' || state == HOST_CLOSED || state == HOST_TAIL)
				return http_bad(w, c, IPOS_AMBIGUOUS_HOST);
			p->state = HOST_PORT_DIGIT;
			p->port = p->port > 6552 ? 0xffff : p->port * 10 + (c - '0');
			continue;
		}
		if (state == HOST_LITERAL) {
			if (c == ']' && n > 1)
				p->state = HOST_CLOSED;
			else if (!(c == '[' && !n) && c != ':' && c != '.' && http_hex(c) > 15)
				return http_bad(w, c, IPOS_AMBIGUOUS_HOST);
		} else if (!(http_class[c] & IS_HOST)) {
			return http_bad(w, c, IPOS_AMBIGUOUS_HOST);
		}
		if (n >= IPOS_HOST_MAX - 1 || (c == '.' && p->dots))
			return http_refuse(w, IPOS_AMBIGUOUS_HOST);
		host_byte(r, p, n, http_lower(c));
		p->dots = c == '.';
		p->host_len = n + 1;
	}
	w->end = at;
	return IPOS_READ_MORE;
}

#endif /* IPOS_CORE_HTTP_HOST_H */
