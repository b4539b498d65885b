/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the first request of an HTTP/2 connection asks for (RFC 9113): head.h knows the frames,
 * hpack.h the header block in them, and HTTP/1's readers what its host, path and cookies mean, so
 * that a rule fits whichever version the client speaks.  What breaks a rule here is no
 * request: the connection is decided without one, and the server tells its client.
 */
#ifndef IPOS_CORE_H2_H
#define IPOS_CORE_H2_H

#include "http/head.h"
#include "http/hpack.h"
#include "http/request_head.h"

#define H2_HTTP1_LEN 18 /* bytes of the preface that are HTTP/1's head */
#define H2_PRIORITY_LEN 5

struct h2_parser { /* in ipos_request.parser */
	struct hpack hpack;
	__u8 begun;   /* the payload's first byte was there */
	__u8 padded;  /* the padding's length comes first */
	__u8 padding; /* bytes at the end */
	__u8 skip;    /* bytes of a priority that are missing */
};

IPOS_INLINE struct h2_parser *h2_parser(struct ipos_scratch *w)
{
	_Static_assert(sizeof(struct h2_parser) <= sizeof(w->request.parser), "the parser's room");
	return (void *)w->request.parser;
}

IPOS_INLINE int h2_in_block(const struct ipos_scratch *w)
{
	__u32 type = HEAD_H2_TYPE(w->more);

	return w->state == HEAD_H2_PAYLOAD && (type == H2_HEADERS || type == H2_CONTINUATION);
}

/* A byte of the payload of HEADERS or CONTINUATION, `left` of which follow. */
IPOS_INLINE void h2_byte(struct ipos_scratch *w, __u8 type, __u8 flags, __u8 c, __u32 left)
{
	struct h2_parser *p = h2_parser(w);

	if (!p->begun) {
		p->begun = 1;
		p->padding = 0;
		p->padded = type == H2_HEADERS && flags & H2_PADDED;
		p->skip = type == H2_HEADERS && flags & H2_PRIORITY ? H2_PRIORITY_LEN : 0;
		if (left + 1 < p->padded + p->skip)
			p->hpack.step = HPACK_BROKEN;
	}
	if (p->padded) {
		p->padded = 0;
		p->padding = c;
		if (c + p->skip > left)
			p->hpack.step = HPACK_BROKEN;
	} else if (p->skip) {
		p->skip--;
	} else if (left >= p->padding) {
		hpack_byte(w, c);
	}
	if (!left)
		p->begun = 0;
}

/* Of the bytes that come next, how many tell nothing. */
IPOS_INLINE __u32 h2_blind(struct ipos_scratch *w)
{
	struct h2_parser *p = h2_parser(w);
	__u32 blind = head_blind(w), string, padding = p->padding;

	if (!blind || !h2_in_block(w))
		return blind;
	if (!p->begun || p->padded || p->skip || p->hpack.step != HPACK_VALUE ||
	    p->hpack.kind != HPACK_OTHER || p->hpack.left < 2 || blind <= padding)
		return 0;
	string = p->hpack.left - 1;
	blind -= padding;
	return string < blind ? string : blind;
}

/* ---- what the values mean ------------------------------------------------------------------- */

/* Runs HTTP/1's readers over w->bytes from w->end to `length`, while it is one of these phases. */
IPOS_INLINE int h2_read(struct ipos_scratch *w, __u32 first, __u32 second, __u32 length)
{
	struct http_parser *p = http_parser(w);

	IPOS_REPEAT(IPOS_PATH_MAX)
	{
		IPOS_RELOAD();
		if (w->end >= length || (p->phase != first && p->phase != second))
			return IPOS_READ_MORE;
		if (p->phase == HTTP_PATH)
			http_path(w, length);
		else if (p->phase == HTTP_PATH_UP)
			http_path_up(w);
		else if (p->phase == HTTP_HOST)
			http_host(w, length);
		else if (p->phase == HTTP_COOKIE)
			http_cookie(w, length);
		else
			http_cookie_end(w);
		if (w->request.progress != IPOS_READ_MORE)
			return IPOS_READ_REFUSED;
	}
	return IPOS_READ_REFUSED;
}

IPOS_INLINE void h2_put(struct ipos_scratch *w, __u32 at, __u8 c)
{
	IPOS_OPAQUE(at); /* a mask that the compiler keeps */
	w->bytes[at & (IPOS_CHUNK - 1)] = c;
}

/* What HTTP/1 would refuse is no path and no host here. */
IPOS_INLINE void h2_nothing(struct ipos_request *r)
{
	r->refusal = 0;
	r->progress = IPOS_READ_MORE;
	r->host_len = r->path_len = r->cookie_len = 0;
	__builtin_memset(r->host, 0, sizeof(r->host));
	__builtin_memset(r->path, 0, sizeof(r->path));
	__builtin_memset(r->cookie, 0, sizeof(r->cookie));
}

/* The block is whole: from the values in w->text to what they mean. */
IPOS_INLINE void h2_finish(struct ipos_scratch *w)
{
	__u32 path = hpack_of(w)->path_len, host = hpack_of(w)->host_len;
	__u32 cookie = hpack_of(w)->cookie_len, taken = w->end;
	struct http_parser *p = http_parser(w);
	struct ipos_request *r = &w->request;
	int good = 1;

	__builtin_memset(r->parser, 0, sizeof(r->parser));
	__builtin_memcpy(w->bytes, w->text, IPOS_CHUNK);
	if (path && path < TEXT_PATH_ROOM) {
		h2_put(w, TEXT_PATH + path, ' ');
		p->phase = HTTP_PATH;
		p->dots = PATH_NAME;
		w->end = TEXT_PATH;
		good = w->bytes[0] == '/' &&
		       !h2_read(w, HTTP_PATH, HTTP_PATH_UP, TEXT_PATH + path + 1) &&
		       w->end == TEXT_PATH + path + 1;
	} else if (path) {
		good = 0;
	}
	__builtin_memset(r->parser, 0, sizeof(r->parser));
	if (good && host && host < TEXT_HOST_ROOM) {
		h2_put(w, TEXT_HOST + host, '\r');
		h2_put(w, TEXT_HOST + host + 1, '\n');
		p->phase = HTTP_HOST;
		w->end = TEXT_HOST;
		good = !h2_read(w, HTTP_HOST, HTTP_HOST, TEXT_HOST + host + 2) &&
		       w->end == TEXT_HOST + host + 2;
	} else if (host) {
		good = 0;
	}
	__builtin_memset(r->parser, 0, sizeof(r->parser));
	if (good && cookie && cookie <= TEXT_COOKIE_ROOM) {
		__builtin_memcpy(w->bytes, w->text + IPOS_CHUNK, IPOS_CHUNK);
		h2_put(w, cookie, '\r');
		h2_put(w, cookie + 1, '\n');
		p->phase = HTTP_COOKIE;
		w->end = 0;
		good = !h2_read(w, HTTP_COOKIE, HTTP_COOKIE_END, cookie + 2);
	}
	if (!good)
		h2_nothing(r);
	else
		r->flags &= ~IPOS_REQUEST_UNREAD;
	w->end = taken;
}

/* From w->end up to `length`, behind HTTP/1's part of the preface.  Returns enum ipos_progress. */
IPOS_INLINE int h2_feed(struct ipos_scratch *w, __u32 length)
{
	if (w->state == HEAD_START) {
		w->state = HEAD_H2_PREFACE;
		w->cursor = H2_HTTP1_LEN;
		w->more = 0;
		w->request.flags |= IPOS_REQUEST_UNREAD;
	}
	IPOS_REPEAT(IPOS_CHUNK)
	{
		__u32 at = w->end, blind, more = w->more;
		int inside, preface = w->state == HEAD_H2_PREFACE;
		__u8 c;

		if (at >= length || at >= IPOS_CHUNK)
			return IPOS_READ_MORE;
		blind = h2_blind(w);
		if (blind > length - at)
			blind = length - at;
		if (blind) {
			if (h2_in_block(w))
				hpack_of(w)->left -= blind;
			head_pass(w, blind);
			continue;
		}
		c = w->bytes[at];
		inside = h2_in_block(w);
		if (inside)
			h2_byte(w, HEAD_H2_TYPE(more), HEAD_H2_FLAGS(more), c, w->cursor - 1);
		w->state = head_step(w, c);
		w->end = at + 1;
		if (w->state != HEAD_DONE)
			continue;
		if (preface) { /* a server that takes its first half for a request reads on here */
			w->request.grammar = IPOS_GRAMMAR_HTTP1;
			return http_refuse(w, IPOS_AMBIGUOUS_VERSION);
		}
		/* The block's last frame is whole; anything else is broken framing. */
		if (HEAD_H2_SEEN(w->more) == 9 && HEAD_H2_FLAGS(w->more) & H2_END_HEADERS &&
		    hpack_of(w)->step == HPACK_FIELD)
			break;
		return IPOS_READ_DONE;
	}
	if (w->state != HEAD_DONE)
		return IPOS_READ_MORE;
	h2_finish(w);
	return IPOS_READ_DONE;
}

#endif /* IPOS_CORE_H2_H */
