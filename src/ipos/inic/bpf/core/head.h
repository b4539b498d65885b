/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where a request head ends.  The first byte tells the grammar: 0x16 a TLS record, an upper
 * case letter (or the CR, LF that may come before a request line) HTTP/1, anything else an
 * opaque protocol whose first byte is enough.
 */
#ifndef IPOS_CORE_HEAD_H
#define IPOS_CORE_HEAD_H

#include "../maps.h"

enum head_state {
	HEAD_START,			/* nothing seen, or only CR and LF */
	HEAD_LINE,			/* inside a line */
	HEAD_NEXT,			/* after LF: an empty line ends the head */
	HEAD_NEXT_CR,			/* after LF CR */
	HEAD_TLS_TYPE,			/* record header: 0x16 seen */
	HEAD_TLS_MAJOR,
	HEAD_TLS_MINOR,
	HEAD_TLS_LENGTH,
	HEAD_TLS_BODY,			/* w->cursor bytes of the record are missing */
	HEAD_DONE,
};

/* The transition of one byte; `left` is the missing length of a TLS record. */
IPOS_INLINE __u32 head_step(__u32 state, __u8 c, __u32 *left)
{
	switch (state) {
	case HEAD_START:
		if (c == '\r' || c == '\n')
			return HEAD_START;
		if (c == 0x16)
			return HEAD_TLS_TYPE;
		return c >= 'A' && c <= 'Z' ? HEAD_LINE : HEAD_DONE;
	case HEAD_LINE:
		return c == '\n' ? HEAD_NEXT : HEAD_LINE;
	case HEAD_NEXT:
		return c == '\n' ? HEAD_DONE : c == '\r' ? HEAD_NEXT_CR : HEAD_LINE;
	case HEAD_NEXT_CR:
		return c == '\n' ? HEAD_DONE : HEAD_LINE;
	case HEAD_TLS_TYPE:
		return HEAD_TLS_MAJOR;
	case HEAD_TLS_MAJOR:
		return HEAD_TLS_MINOR;
	case HEAD_TLS_MINOR:
		*left = (__u32)c << 8;
		return HEAD_TLS_LENGTH;
	case HEAD_TLS_LENGTH:
		*left |= c;
		return *left ? HEAD_TLS_BODY : HEAD_DONE;
	case HEAD_TLS_BODY:
		*left -= 1;
		return *left ? HEAD_TLS_BODY : HEAD_DONE;
	default:
		return HEAD_DONE;
	}
}

/*
 * Feed the first `length` bytes of w->bytes; w->state and w->cursor carry the parser from
 * piece to piece.  Returns 1 when the head is complete, with w->end bytes of this piece
 * belonging to it.
 */
IPOS_FUNCTION int head_scan(struct ipos_scratch *w, __u32 length)
{
	if (!w)
		return 0;
	for (__u32 i = 0; i < IPOS_CHUNK; i++) {
		__u32 left = w->cursor;

		if (i >= length)
			break;
		w->state = head_step(w->state, w->bytes[i], &left);
		w->cursor = left;
		if (w->state == HEAD_DONE) {
			w->end = i + 1;
			return 1;
		}
	}
	w->end = length;
	return 0;
}

#endif /* IPOS_CORE_HEAD_H */
