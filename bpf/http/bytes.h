/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What HTTP/1's readers share: classes of bytes, the parser's state between pieces, and a skip
 * over eight bytes at a time.
 */
#ifndef IPOS_CORE_HTTP_BYTES_H
#define IPOS_CORE_HTTP_BYTES_H

#include "lib/maps.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "names are compared as little-endian words"
#endif

enum http_phase {
	HTTP_METHOD,
	HTTP_TARGET, /* at its first byte, which tells the form */
	HTTP_PATH,
	HTTP_PATH_UP, /* a `..` ends at the byte that comes next */
	HTTP_QUERY,
	HTTP_STAR,
	HTTP_SCHEME,
	HTTP_AUTHORITY,
	HTTP_VERSION,
	HTTP_LF,   /* CR was the last byte */
	HTTP_LINE, /* at the first byte of a header's line */
	HTTP_NAME,
	HTTP_VALUE, /* of a header that does not matter */
	HTTP_HOST,
	HTTP_LENGTH,
	HTTP_TOKENS,
	HTTP_TOKEN_END, /* at the comma, or at the line's CR */
	HTTP_COOKIE,
	HTTP_COOKIE_END, /* the session's was read */
	HTTP_END,	 /* CR was the first byte of a line */
};

enum http_header { HTTP_CONNECTION, HTTP_ENCODING, HTTP_EXPECT, HTTP_UPGRADE };

enum http_seen {
	HTTP_SEEN_HOST = 1,
	HTTP_SEEN_LENGTH = 2,
	HTTP_SEEN_ENCODING = 4,
	HTTP_SEEN_UPGRADE = 8,	  /* the header */
	HTTP_SEEN_UPGRADING = 16, /* the token in Connection */
	HTTP_SEEN_COOKIE = 32,	  /* the session's, whatever it was worth */
	HTTP_SEEN_AUTHORITY = 64, /* the target named the host */
	HTTP_SEEN_HEADER = 128,
	HTTP_SEEN_CONNECT = 256,
	HTTP_SEEN_OPTIONS = 512,
	HTTP_SEEN_PRI = 1024,
	HTTP_SEEN_H2 = 2048,	  /* PRI * HTTP/2.0 */
	HTTP_SEEN_DIFFERS = 4096, /* Host, from the target's host */
	HTTP_SEEN_SLASH = 8192,	  /* %2F in the path */
	HTTP_SEEN_UP = 16384,	  /* .. in the path */
};

struct http_parser {	      /* in w->request.parser */
	__u8 phase;	      /* enum http_phase */
	__u8 state;	      /* of the phase's own machine */
	__u8 header;	      /* HTTP_TOKENS: whose value, enum http_header */
	__u8 dots;	      /* enum path_dots */
	__u8 percent;	      /* digits of a %XX that were seen, plus one */
	__u8 nibble;	      /* the first of them */
	__u16 seen;	      /* enum http_seen */
	__u16 out;	      /* bytes of the path, written or not */
	__u16 host_len;	      /* of the host at hand, which may not be the request's */
	__u16 length;	      /* of what is in `word` */
	__u16 port;	      /* of the host at hand; 0: none; at most 65535 */
	__u16 authority_port; /* of the target's host */
	__u16 zero[3];
	__u64 word[3]; /* a method, a name, a token */
};

_Static_assert(sizeof(struct http_parser) <= sizeof(((struct ipos_request *)0)->parser),
	       "the parser fits");

IPOS_INLINE struct http_parser *http_parser(struct ipos_scratch *w)
{
	return (void *)w->request.parser;
}

/* ---- classes of bytes ---------------------------------------------------------------------- */

#define IS_NAME 1   /* tchar, RFC 9110 5.6.2 */
#define IS_METHOD 2 /* what nginx takes: A-Z, - and _ */
#define IS_HOST 4   /* unreserved, RFC 3986 2.3 */
#define IS_PATH 8   /* visible ASCII but / . % ? # */
#define IS_VALUE 16 /* neither control byte nor DEL; HT is a value's */

#define VISIBLE (IS_PATH | IS_VALUE)
#define SIGN (IS_NAME | VISIBLE)
IPOS_TABLE __u8 http_class[256] = {
	['\t'] = IS_VALUE,
	[' '] = IS_VALUE,
	['!'] = SIGN,
	['"'] = VISIBLE,
	['#'] = IS_NAME | IS_VALUE,
	['$'] = SIGN,
	['%'] = IS_NAME | IS_VALUE,
	['&'] = SIGN,
	['\''] = SIGN,
	['('] = VISIBLE,
	[')'] = VISIBLE,
	['*'] = SIGN,
	['+'] = SIGN,
	[','] = VISIBLE,
	['-'] = SIGN | IS_METHOD | IS_HOST,
	['.'] = IS_NAME | IS_HOST | IS_VALUE,
	['/'] = IS_VALUE,
	['0' ... '9'] = SIGN | IS_HOST,
	[':' ... '>'] = VISIBLE,
	['?'] = IS_VALUE,
	['@'] = VISIBLE,
	['A' ... 'Z'] = SIGN | IS_METHOD | IS_HOST,
	['[' ... ']'] = VISIBLE,
	['^'] = SIGN,
	['_'] = SIGN | IS_METHOD | IS_HOST,
	['`'] = SIGN,
	['a' ... 'z'] = SIGN | IS_HOST,
	['{'] = VISIBLE,
	['|'] = SIGN,
	['}'] = VISIBLE,
	['~'] = SIGN | IS_HOST,
	[0x80 ... 0xff] = IS_VALUE,
};

IPOS_INLINE __u8 http_lower(__u8 c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* The value of a hexadecimal digit, 16 for any other byte. */
IPOS_INLINE __u8 http_hex(__u8 c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

/* ---- refusals ------------------------------------------------------------------------------- */

IPOS_INLINE int http_refuse(struct ipos_scratch *w, __u8 reason)
{
	w->request.refusal = reason;
	w->request.progress = IPOS_READ_REFUSED;
	return IPOS_READ_REFUSED;
}

/* A byte where it may not be; `reason` when the byte itself gives none. */
IPOS_INLINE int http_bad(struct ipos_scratch *w, __u8 c, __u8 reason)
{
	if (c == '\n')
		reason = IPOS_AMBIGUOUS_LINE_FEED;
	else if (c == '\r')
		reason = IPOS_AMBIGUOUS_CARRIAGE_RETURN;
	else if (!c)
		reason = IPOS_AMBIGUOUS_NUL;
	else if (c < 0x20 || c == 0x7f)
		reason = IPOS_AMBIGUOUS_CONTROL;
	return http_refuse(w, reason);
}

/* ---- words ----------------------------------------------------------------------------------- */

#define WORD(a, b, c, d, e, f, g, h) \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define EACH(c) ((c)*0x0101010101010101ULL)

/* Eight bytes from `at` on; behind w->bytes lies w->request, so that any `at` in it will do. */
IPOS_INLINE __u64 http_word(struct ipos_scratch *w, __u32 at)
{
	return *(const __u64 *)((const __u8 *)w + offsetof(struct ipos_scratch, bytes) +
				(at & (IPOS_CHUNK - 1)));
}

/* The high bit of bytes that are `c`; exact. */
IPOS_INLINE __u64 bytes_exactly(__u64 x, __u8 c)
{
	__u64 low = EACH(0x7f), y = x ^ EACH(c);

	return ~(((y & low) + low) | y) & EACH(0x80);
}

/* The high bit of bytes that are no letter and no hyphen, as most names are made of; exact. */
IPOS_INLINE __u64 bytes_unusual(__u64 x)
{
	__u64 low = EACH(0x7f), y = (x | EACH(0x20)) & low, dash = x ^ EACH('-');
	__u64 letter = (y + EACH(0x80 - 'a')) & ~(y + EACH(0x7f - 'z')) & ~x;

	return ~(letter | ~(((dash & low) + low) | dash)) & EACH(0x80);
}

/* The high bit of bytes that are no letter, digit, hyphen or dot, as most hosts have; exact. */
IPOS_INLINE __u64 bytes_unlike_host(__u64 x)
{
	__u64 low = EACH(0x7f), y = x & low, z = (x | EACH(0x20)) & low;
	__u64 letter = (z + EACH(0x80 - 'a')) & ~(z + EACH(0x7f - 'z'));
	__u64 rest = (y + EACH(0x80 - '-')) & ~(y + EACH(0x7f - '9')) & ~bytes_exactly(x, '/');

	return (~(letter | rest) | x) & EACH(0x80);
}

/*
 * Of a mask of high bits, which byte is the first: its lowest bit, moved to bit 8k, has the
 * product's top byte say k.  Without a branch: the verifier would look at eight ways to go on.
 */
IPOS_INLINE __u32 first_byte(__u64 mask)
{
	return ((mask & -mask) >> 7) * 0x0001020304050607ULL >> 56;
}

/* The high bit of bytes that no value has but as a control byte: below 0x20, and DEL; exact. */
IPOS_INLINE __u64 bytes_control(__u64 x)
{
	__u64 y = x & EACH(0x7f);

	return (~(y + EACH(0x60)) | (y + EACH(1))) & ~x & EACH(0x80);
}

/* The high bit of bytes that are no visible ASCII; exact. */
IPOS_INLINE __u64 bytes_hidden(__u64 x)
{
	__u64 y = x & EACH(0x7f);

	return (~(y + EACH(0x5f)) | (y + EACH(1)) | x) & EACH(0x80);
}

/* The first n bytes of a word, all of it from 8 on. */
IPOS_INLINE __u64 bytes_first(__u64 x, __u32 n)
{
	return n > 7 ? x : x & ((1ULL << 8 * (n & 7)) - 1);
}

#define HTTP_WORDS 32 /* of a skip, before it is asked again */
#define HTTP_BYTES 64 /* of any other step */

/* The high bit of bytes of the word at `at` that no value has, or that are `stop`. */
IPOS_INLINE __u64 value_stops(struct ipos_scratch *w, __u32 at, __u8 stop)
{
	__u64 x = http_word(w, at), found = bytes_control(x);

	return stop ? found | bytes_exactly(x, stop) : found;
}

/* The first byte from `at` on that no value has, or that is `stop`; `length` without any. */
IPOS_INLINE __u32 value_skip(struct ipos_scratch *w, __u32 at, __u32 length, __u8 stop)
{
	for (__u32 i = w->zero; i < HTTP_WORDS && at < length; i++) {
		__u64 found;

		IPOS_CONVERGES;
		found = value_stops(w, at, stop);
		if (!found) {
			at += 8;
			found = value_stops(w, at, stop);
		}
		if (!found) {
			at += 8;
			found = value_stops(w, at, stop);
		}
		if (found) {
			at += first_byte(found);
			break;
		}
		at += 8;
	}
	return at < length ? at : length;
}

/* The same for a query: anything but visible ASCII stops it. */
IPOS_INLINE __u32 query_skip(struct ipos_scratch *w, __u32 at, __u32 length)
{
	for (__u32 i = w->zero; i < HTTP_WORDS && at < length; i++, at += 8) {
		__u64 found;

		IPOS_CONVERGES;
		found = bytes_hidden(http_word(w, at));
		if (found) {
			at += first_byte(found);
			break;
		}
	}
	return at < length ? at : length;
}

/* Whatever the compiler holds in registers is read again, see IPOS_RELOAD. */
IPOS_INLINE __u8 http_byte(struct ipos_scratch *w, __u32 at)
{
	IPOS_RELOAD();
	return w->bytes[at & (IPOS_CHUNK - 1)];
}

/* CR is at `at` and the line may end: past its LF, if that is here too. */
IPOS_INLINE int http_line_ends(struct ipos_scratch *w, __u32 at, __u32 length)
{
	struct http_parser *p = http_parser(w);

	at++;
	if (at >= length) {
		p->phase = HTTP_LF;
		w->end = length;
		return IPOS_READ_MORE;
	}
	if (http_byte(w, at) != '\n')
		return http_refuse(w, IPOS_AMBIGUOUS_CARRIAGE_RETURN);
	p->phase = HTTP_LINE;
	w->end = at + 1;
	return IPOS_READ_MORE;
}

#endif /* IPOS_CORE_HTTP_BYTES_H */
