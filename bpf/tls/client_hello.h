/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a ClientHello says: its server name (RFC 6066) and the protocols that it offers
 * (RFC 7301).  head.h takes it out of its records; here are the bytes of the message.  What breaks
 * its own lengths is no ClientHello and is refused: nothing behind one is read, so a server that
 * speaks no TLS must not get what only begins like one.  An encrypted ClientHello inside it is not
 * looked for: the name outside stands.
 */
#ifndef IPOS_CORE_TLS_H
#define IPOS_CORE_TLS_H

#include "http/head.h"

enum tls_step {
	TLS_SESSION, /* a number comes: the length of the session id */
	TLS_CIPHERS,
	TLS_COMPRESSION,
	TLS_EXTENSIONS, /* from here on the message may end only at an extension */
	TLS_TYPE,	/* of an extension */
	TLS_LENGTH,
	TLS_NAMES, /* server_name: the length of its list */
	TLS_NAME_TYPE,
	TLS_NAME_LENGTH,
	TLS_NAME,      /* no number: bytes of the name */
	TLS_PROTOCOLS, /* ALPN: the length of its list */
	TLS_PROTOCOL_LENGTH,
	TLS_PROTOCOL, /* no number: bytes of a protocol's name */
	TLS_BROKEN,
};

enum tls_extension { TLS_SERVER_NAME = 0, TLS_ALPN = 16 };

#define TLS_VERSION_AND_RANDOM 34
#define TLS_NAME_MAX 255
#define TLS_SEEN_NAME 1
#define TLS_SEEN_ALPN 2

struct tls_parser {  /* in ipos_request.parser */
	__u8 open;   /* the first byte of the message was there */
	__u8 step;   /* enum tls_step */
	__u8 digits; /* bytes of the number that are missing */
	__u8 seen;   /* TLS_SEEN_... */
	__u16 number;
	__u16 type;   /* of the extension at hand */
	__u32 skip;   /* bytes that nobody looks at */
	__u32 left;   /* of the string, or of the extension or list around it */
	__u32 length; /* of the name so far */
	__u32 full;   /* a protocol had no room in the request's list: none behind it is noted */
};

IPOS_INLINE struct tls_parser *tls_parser(struct ipos_scratch *w)
{
	return (void *)w->request.parser;
}

IPOS_INLINE void tls_expect(struct tls_parser *p, __u8 step, __u8 digits)
{
	p->step = step;
	p->digits = digits;
	p->number = 0;
}

IPOS_INLINE void tls_extension(struct tls_parser *p, __u32 n, __u32 rest)
{
	__u8 seen = p->type == TLS_SERVER_NAME ? TLS_SEEN_NAME
		    : p->type == TLS_ALPN      ? TLS_SEEN_ALPN
					       : 0;

	p->left = n;
	if (n > rest || p->seen & seen) {
		p->step = TLS_BROKEN;
		return;
	}
	p->seen |= seen;
	if (!seen) {
		p->skip = n;
		tls_expect(p, TLS_TYPE, 2);
	} else {
		tls_expect(p, seen == TLS_SEEN_NAME ? TLS_NAMES : TLS_PROTOCOLS, 2);
	}
}

/* The next byte of the list of protocols. */
IPOS_INLINE void tls_offer(struct ipos_request *r, const struct tls_parser *p, __u8 c)
{
	if (p->full)
		return;
	r->offers[r->offers_len & (IPOS_OFFERS_MAX - 1)] = c;
	r->offers_len++;
}

/* A protocol of `n` bytes begins. */
IPOS_INLINE void tls_protocol_begin(struct ipos_request *r, struct tls_parser *p, __u32 n)
{
	p->left -= n + 1;
	p->skip = n; /* of the string; tls_protocol() counts it down */
	p->step = TLS_PROTOCOL;
	p->full |= r->offers_len + 1 + n > IPOS_OFFERS_MAX;
	tls_offer(r, p, n);
}

/* A number is whole; `rest` bytes of the message follow it. */
IPOS_INLINE void tls_number(struct ipos_request *r, struct tls_parser *p, __u32 rest)
{
	__u32 n = p->number;
	int good = 1;

	switch (p->step) {
	case TLS_SESSION:
		good = n <= 32;
		p->skip = n;
		tls_expect(p, TLS_CIPHERS, 2);
		break;
	case TLS_CIPHERS:
		good = n >= 2 && !(n & 1);
		p->skip = n;
		tls_expect(p, TLS_COMPRESSION, 1);
		break;
	case TLS_COMPRESSION:
		good = n >= 1;
		p->skip = n;
		tls_expect(p, TLS_EXTENSIONS, 2);
		break;
	case TLS_EXTENSIONS:
		good = n == rest;
		tls_expect(p, TLS_TYPE, 2);
		break;
	case TLS_TYPE:
		p->type = n;
		tls_expect(p, TLS_LENGTH, 2);
		break;
	case TLS_LENGTH:
		tls_extension(p, n, rest);
		return;
	case TLS_NAMES: /* one name, as long as the extension says */
		good = p->left >= 6 && n == p->left - 2;
		tls_expect(p, TLS_NAME_TYPE, 1);
		break;
	case TLS_NAME_TYPE:
		good = !n;
		tls_expect(p, TLS_NAME_LENGTH, 2);
		break;
	case TLS_NAME_LENGTH:
		good = n == p->left - 5 && n <= TLS_NAME_MAX;
		tls_expect(p, TLS_NAME, 0);
		p->length = 0;
		break;
	case TLS_PROTOCOLS:
		good = p->left >= 4 && n == p->left - 2;
		p->left = n;
		tls_expect(p, TLS_PROTOCOL_LENGTH, 1);
		break;
	case TLS_PROTOCOL_LENGTH:
		good = n && n < p->left;
		tls_protocol_begin(r, p, n);
		break;
	default:
		good = 0;
	}
	if (!good || p->skip > rest)
		p->step = TLS_BROKEN;
}

/* A byte of the name, whose length is left - 5. */
IPOS_INLINE void tls_name(struct ipos_request *r, struct tls_parser *p, __u8 c)
{
	__u32 n = p->length;

	if (!c || n >= TLS_NAME_MAX) {
		p->step = TLS_BROKEN;
		return;
	}
	r->host[n] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
	p->length = ++n;
	if (n + 5 < p->left)
		return;
	if (c == '.')
		r->host[--n] = 0;
	r->host_len = n;
	tls_expect(p, TLS_TYPE, 2);
}

IPOS_INLINE void tls_protocol(struct ipos_request *r, struct tls_parser *p, __u8 c)
{
	tls_offer(r, p, c);
	p->skip--;
	if (p->skip)
		return;
	if (p->left)
		tls_expect(p, TLS_PROTOCOL_LENGTH, 1);
	else
		tls_expect(p, TLS_TYPE, 2);
}

/* A byte of the message behind its header; `rest` follow it. */
IPOS_INLINE void tls_byte(struct ipos_scratch *w, __u8 c, __u32 rest)
{
	struct tls_parser *p = tls_parser(w);

	if (!p->open) {
		p->open = 1;
		p->skip = TLS_VERSION_AND_RANDOM;
		p->step = TLS_SESSION;
		p->digits = 1;
		if (c != TLS_MAJOR)
			p->step = TLS_BROKEN;
	}
	if (p->step == TLS_PROTOCOL) {
		tls_protocol(&w->request, p, c);
	} else if (p->skip) {
		p->skip--;
	} else if (p->step == TLS_NAME) {
		tls_name(&w->request, p, c);
	} else if (p->step != TLS_BROKEN) {
		p->number = p->number << 8 | c;
		if (!--p->digits)
			tls_number(&w->request, p, rest);
	}
}

/* The message is over; it is good where one may end.  Returns enum ipos_progress. */
IPOS_INLINE int tls_end(struct ipos_scratch *w)
{
	struct tls_parser *p = tls_parser(w);

	if (HEAD_TLS_SEEN(w->more) == 4 && !HEAD_TLS_LEFT(w->more) && p->open && !p->skip &&
	    p->digits == 2 && (p->step == TLS_TYPE || p->step == TLS_EXTENSIONS))
		return IPOS_READ_DONE;
	return http_refuse(w, IPOS_AMBIGUOUS_NO_HELLO);
}

/* Of the bytes that come next, how many nobody looks at. */
IPOS_INLINE __u32 tls_blind(const struct ipos_scratch *w)
{
	const struct tls_parser *p = (const void *)w->request.parser;
	__u32 blind = head_blind(w);

	if (!blind || p->step == TLS_BROKEN)
		return blind;
	if (!p->open || p->step == TLS_PROTOCOL)
		return 0;
	return p->skip < blind ? p->skip : blind;
}

/* From w->end up to `length`.  Returns enum ipos_progress. */
IPOS_FUNCTION int tls_feed(struct ipos_scratch *w, __u32 length)
{
	if (!w)
		return IPOS_READ_MORE;
	IPOS_REPEAT(IPOS_CHUNK)
	{
		__u32 at = w->end, blind, inside;
		__u8 c;

		if (at >= length || at >= IPOS_CHUNK)
			return IPOS_READ_MORE;
		blind = tls_blind(w);
		if (blind > length - at)
			blind = length - at;
		if (blind) {
			head_pass(w, blind);
			if (tls_parser(w)->step != TLS_BROKEN)
				tls_parser(w)->skip -= blind;
			continue;
		}
		c = w->bytes[at];
		inside = w->state == HEAD_TLS_BODY && HEAD_TLS_SEEN(w->more) == 4;
		w->state = head_step(w, c);
		w->end = at + 1;
		if (inside)
			tls_byte(w, c, HEAD_TLS_LEFT(w->more));
		if (w->state != HEAD_DONE)
			continue;
		return tls_end(w);
	}
	return IPOS_READ_MORE;
}

#endif /* IPOS_CORE_TLS_H */
