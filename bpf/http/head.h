/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where a request head ends.  The first byte tells the grammar, as far as the service leaves that
 * open (enum ipos_mode): 0x16 a TLS record, anything else HTTP/1, and HTTP/1 whose first 24 bytes
 * are the preface of HTTP/2 is that.
 *
 * A head of HTTP/1 ends with its empty line, or at a byte that none can have in that place, so
 * that a client that sends something else does not wait; http.h then says what is wrong with it.  A
 * ClientHello is as long as its handshake message says, over however many records; a first
 * flight of HTTP/2 ends with the first header block.  What breaks their framing ends the head
 * where it is seen: a server has to say what is wrong with it.
 *
 * A state is w->state, w->cursor and w->more, which a holding row keeps; its numbers stay.
 */
#ifndef IPOS_CORE_HEAD_H
#define IPOS_CORE_HEAD_H

#include "http/bytes.h"

/* Where a head begins, by enum ipos_mode. */
IPOS_INLINE __u8 head_first(__u8 mode)
{
	if (mode == IPOS_MODE_LATER)
		return HEAD_BLANK;
	if (mode == IPOS_MODE_TCP || mode == IPOS_MODE_ANY)
		return HEAD_START_OPAQUE;
	return mode == IPOS_MODE_TLS	? HEAD_START_TLS
	       : mode == IPOS_MODE_HTTP ? HEAD_START_HTTP
					: HEAD_START;
}

/* `more` of TLS: bytes of the message's header seen, then its length: what is missing of it. */
#define HEAD_TLS_SEEN(more) ((more) >> 24)
#define HEAD_TLS_LEFT(more) ((more)&0xffffff)

/* `more` of HTTP/2: bytes of the frame's header seen, its type, its flags, a block is open. */
#define HEAD_H2_SEEN(more) ((more)&0xff)
#define HEAD_H2_TYPE(more) ((more) >> 8 & 0xff)
#define HEAD_H2_FLAGS(more) ((more) >> 16 & 0xff)
#define HEAD_H2_OPEN (1U << 24)

#define H2_PREFACE_LEN 24
const char h2_preface[32] = /* not static: libbpf gives BTF no place for one that is */
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#define H2_FRAME_MAX 16384 /* before any SETTINGS of the server's */
#define TLS_RECORD_MAX 16384
#define TLS_CLIENT_HELLO 1
#define TLS_MAJOR 3 /* of every version, from SSL 3.0 on */

enum h2_frame { H2_HEADERS = 1, H2_CONTINUATION = 9 };
enum h2_flags { H2_END_HEADERS = 4, H2_PADDED = 8, H2_PRIORITY = 32 };

IPOS_TABLE char head_version[8] = "HTTP/1.";

/* A byte of the request line; what none can have there is the last of this head. */
IPOS_INLINE __u32 head_request_line(struct ipos_scratch *w, __u32 state, __u8 c)
{
	__u32 at = w->cursor;

	switch (state) {
	case HEAD_BLANK:
		if (c == '\r')
			return HEAD_BLANK_CR;
		return http_class[c] & IS_METHOD ? HEAD_METHOD : HEAD_DONE;
	case HEAD_BLANK_CR:
		return c == '\n' ? HEAD_BLANK : HEAD_DONE;
	case HEAD_METHOD:
		if (c == ' ')
			return HEAD_TARGET_FIRST;
		return http_class[c] & IS_METHOD ? HEAD_METHOD : HEAD_DONE;
	case HEAD_TARGET_FIRST:
	case HEAD_TARGET:
		if (c > ' ' && c < 0x7f)
			return HEAD_TARGET;
		w->cursor = 0;
		return c == ' ' && state == HEAD_TARGET ? HEAD_VERSION : HEAD_DONE;
	default: /* HEAD_VERSION */
		w->cursor = at + 1;
		IPOS_OPAQUE(at); /* a mask that the compiler keeps */
		if (at < 7)
			return c == head_version[at & 7] ? HEAD_VERSION : HEAD_DONE;
		if (at == 7)
			return c == '0' || c == '1' ? HEAD_VERSION : HEAD_DONE;
		return c == '\r' ? HEAD_LINE_CR : HEAD_DONE;
	}
}

/* A byte behind it; likewise. */
IPOS_INLINE __u32 head_header(__u32 state, __u8 c)
{
	switch (state) {
	case HEAD_LINE_CR:
		return c == '\n' ? HEAD_FIELD : HEAD_DONE;
	case HEAD_FIELD:
		if (c == '\r')
			return HEAD_END;
		return http_class[c] & IS_NAME ? HEAD_NAME : HEAD_DONE;
	case HEAD_NAME:
		if (c == ':')
			return HEAD_VALUE;
		return http_class[c] & IS_NAME ? HEAD_NAME : HEAD_DONE;
	case HEAD_VALUE:
		if (c == '\r')
			return HEAD_LINE_CR;
		return http_class[c] & IS_VALUE ? HEAD_VALUE : HEAD_DONE;
	default: /* HEAD_END: LF, or what is wrong */
		return HEAD_DONE;
	}
}

#define H2_TARGET 4   /* bytes of the preface before its target */
#define H2_VERSION 6  /* and before its version */
#define H2_DIFFERS 11 /* and before what no HTTP/1 has */

/* The byte at `at` of the preface; what is not in it is HTTP/1 so far. */
IPOS_INLINE __u32 head_preface(struct ipos_scratch *w, __u8 c)
{
	__u32 at = w->cursor;

	if (at < H2_PREFACE_LEN && c == (__u8)h2_preface[at]) {
		w->cursor = at + 1;
		w->more = 0;
		return at + 1 < H2_PREFACE_LEN ? HEAD_H2_PREFACE : HEAD_H2_FIRST;
	}
	if (at > H2_DIFFERS)
		return HEAD_DONE;
	w->cursor = at < H2_VERSION ? 0 : at - H2_VERSION;
	return head_request_line(w,
				 at < H2_TARGET	   ? HEAD_METHOD
				 : at == H2_TARGET ? HEAD_TARGET_FIRST
				 : at < H2_VERSION ? HEAD_TARGET
						   : HEAD_VERSION,
				 c);
}

/* The first byte of a connection. */
IPOS_INLINE __u32 head_begin(struct ipos_scratch *w, __u32 state, __u8 c)
{
	w->cursor = w->more = 0;
	if (state == HEAD_START_OPAQUE)
		return HEAD_DONE;
	if (c == 0x16 && state != HEAD_START_HTTP)
		return HEAD_TLS_TYPE;
	if (state == HEAD_START_TLS)
		return HEAD_DONE;
	return c == 'P' ? head_preface(w, c) : head_request_line(w, HEAD_BLANK, c);
}

/* A byte of a record: of the message's header, or of the message. */
IPOS_INLINE __u32 head_tls_body(struct ipos_scratch *w, __u8 c)
{
	__u32 seen = HEAD_TLS_SEEN(w->more), left = HEAD_TLS_LEFT(w->more);

	w->cursor -= 1;
	if (seen < 4) {
		if (!seen && c != TLS_CLIENT_HELLO)
			return HEAD_DONE;
		left = seen ? (left << 8 | c) & 0xffffff : 0;
		seen++;
	} else {
		left--;
	}
	w->more = seen << 24 | left;
	if (seen == 4 && !left)
		return HEAD_DONE;
	return w->cursor ? HEAD_TLS_BODY : HEAD_TLS_NEXT;
}

/* A frame has ended. */
IPOS_INLINE __u32 head_h2_end(struct ipos_scratch *w)
{
	__u32 type = HEAD_H2_TYPE(w->more);

	if (type != H2_HEADERS && type != H2_CONTINUATION) {
		w->more = 0;
		return HEAD_H2_NEXT;
	}
	if (HEAD_H2_FLAGS(w->more) & H2_END_HEADERS)
		return HEAD_DONE;
	w->more = HEAD_H2_OPEN;
	return HEAD_H2_HEADER;
}

/* A byte of a frame's header (RFC 9113, 4.1). */
IPOS_INLINE __u32 head_h2_header(struct ipos_scratch *w, __u8 c)
{
	__u32 seen = HEAD_H2_SEEN(w->more);

	if (seen < 3) {
		w->cursor = seen ? w->cursor << 8 | c : c;
		if (seen == 2 && w->cursor > H2_FRAME_MAX)
			return HEAD_DONE;
	} else if (seen == 3) {
		/* An open header block goes on, and nothing else goes on. */
		if (!(w->more & HEAD_H2_OPEN) != (c != H2_CONTINUATION))
			return HEAD_DONE;
		w->more |= (__u32)c << 8;
	} else if (seen == 4) {
		w->more |= (__u32)c << 16;
	}
	w->more += 1;
	if (seen < 8)
		return HEAD_H2_HEADER;
	return w->cursor ? HEAD_H2_PAYLOAD : head_h2_end(w);
}

/* The state after one more byte. */
IPOS_INLINE __u32 head_step(struct ipos_scratch *w, __u8 c)
{
	__u32 state = w->state;

	switch (state) {
	case HEAD_START:
	case HEAD_START_HTTP:
	case HEAD_START_TLS:
	case HEAD_START_OPAQUE:
		return head_begin(w, state, c);
	case HEAD_BLANK:
	case HEAD_BLANK_CR:
	case HEAD_METHOD:
	case HEAD_TARGET_FIRST:
	case HEAD_TARGET:
	case HEAD_VERSION:
		return head_request_line(w, state, c);
	case HEAD_LINE_CR:
	case HEAD_FIELD:
	case HEAD_NAME:
	case HEAD_VALUE:
	case HEAD_END:
		return head_header(state, c);
	case HEAD_TLS_NEXT:
		return c == 0x16 ? HEAD_TLS_TYPE : HEAD_DONE;
	case HEAD_TLS_TYPE:
		return c == TLS_MAJOR ? HEAD_TLS_MAJOR : HEAD_DONE;
	case HEAD_TLS_MAJOR:
		return HEAD_TLS_MINOR;
	case HEAD_TLS_MINOR:
		w->cursor = (__u32)c << 8;
		return HEAD_TLS_LENGTH;
	case HEAD_TLS_LENGTH:
		w->cursor |= c;
		return w->cursor && w->cursor <= TLS_RECORD_MAX ? HEAD_TLS_BODY : HEAD_DONE;
	case HEAD_TLS_BODY:
		return head_tls_body(w, c);
	case HEAD_H2_PREFACE:
		return head_preface(w, c);
	case HEAD_H2_FIRST:
	case HEAD_H2_NEXT:
	case HEAD_H2_HEADER:
		return head_h2_header(w, c);
	case HEAD_H2_PAYLOAD:
		w->cursor -= 1;
		return w->cursor ? HEAD_H2_PAYLOAD : head_h2_end(w);
	default:
		return HEAD_DONE;
	}
}

/* Of the bytes that come next, how many tell nothing about the end but the last of them. */
IPOS_INLINE __u32 head_blind(const struct ipos_scratch *w)
{
	__u32 left = HEAD_TLS_LEFT(w->more);

	if (w->state == HEAD_H2_PAYLOAD)
		return w->cursor - 1;
	if (w->state != HEAD_TLS_BODY || HEAD_TLS_SEEN(w->more) != 4)
		return 0;
	return (left < w->cursor ? left : w->cursor) - 1;
}

/* The same inside a target or a value, of the next eight: tabs are looked at, too. */
IPOS_INLINE __u32 text_blind(struct ipos_scratch *w, __u32 at)
{
	__u64 x = http_word(w, at);
	__u64 stops = w->state == HEAD_VALUE ? bytes_control(x) : bytes_hidden(x);

	return stops ? first_byte(stops) : 8;
}

/* Passes over `n` of those. */
IPOS_INLINE void head_pass(struct ipos_scratch *w, __u32 n)
{
	w->end += n;
	if (w->state == HEAD_VALUE || w->state == HEAD_TARGET)
		return;
	w->cursor -= n;
	if (w->state == HEAD_TLS_BODY)
		w->more -= n;
}

/* From byte w->end of the piece on. */
IPOS_FUNCTION int head_resume(struct ipos_scratch *w, __u32 length)
{
	if (!w)
		return 0;
	for (__u32 i = w->zero; i < IPOS_CHUNK; i++) {
		__u32 at, blind;

		IPOS_CONVERGES;
		IPOS_RELOAD();
		at = w->end;
		if (at >= length || at >= IPOS_CHUNK)
			return 0;
		blind = w->state == HEAD_VALUE || w->state == HEAD_TARGET ? text_blind(w, at)
									  : head_blind(w);
		if (blind > length - at)
			blind = length - at;
		if (blind) {
			head_pass(w, blind);
			continue;
		}
		w->state = head_step(w, w->bytes[at]);
		w->end = at + 1;
		if (w->state == HEAD_DONE)
			return 1;
	}
	return 0;
}

/*
 * Feed the first `length` bytes of w->bytes; the state carries the parser from piece to piece.
 * Returns 1 when the head is complete, with w->end bytes of this piece belonging to it.
 */
IPOS_INLINE int head_scan(struct ipos_scratch *w, __u32 length)
{
	w->end = 0;
	return head_resume(w, length);
}

/* Whether what the window holds is all there will be to decide by: no HTTP/1 head is. */
IPOS_INLINE int head_bounded(__u32 state)
{
	return (state >= HEAD_TLS_TYPE && state <= HEAD_TLS_BODY) || state == HEAD_TLS_NEXT ||
	       (state >= HEAD_H2_FIRST && state <= HEAD_H2_PAYLOAD);
}

#endif /* IPOS_CORE_HEAD_H */
