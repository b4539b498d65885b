/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where an application's answers end (RFC 9112 6.3): which of the requests it was given are
 * answered, and whether it took an upgrade.  Bytes come in order, each once.
 */
#ifndef IPOS_CORE_ANSWERS_H
#define IPOS_CORE_ANSWERS_H

#include "lib/rows.h"
#include "http/bytes.h"

/*
 * What comes after a byte that may stand in a chunk's extension or in a trailer's field.  A CR is
 * where the line ends and nowhere else: readers differ in what a bare CR or LF would be.
 */
IPOS_INLINE __u8 chunk_text(__u8 c, __u8 goes_on, __u8 ends)
{
	if (c == '\r')
		return ends;
	return http_class[c] & IS_VALUE ? goes_on : IPOS_CHUNK_WRONG;
}

/* The transition of one byte of chunk framing; `left` is of the chunk's data. */
IPOS_INLINE __u8 chunk_step(__u8 state, __u64 *left, __u8 c)
{
	__u8 lower = c | 0x20, digit = c >= '0' && c <= '9' ? c - '0' : 16;

	switch (state) {
	case IPOS_CHUNK_FIRST:
	case IPOS_CHUNK_SIZE:
		if (lower >= 'a' && lower <= 'f')
			digit = lower - 'a' + 10;
		if (digit < 16) {
			if (*left >> 56)
				return IPOS_CHUNK_WRONG;
			*left = *left << 4 | digit;
			return IPOS_CHUNK_SIZE;
		}
		if (state == IPOS_CHUNK_FIRST)
			return IPOS_CHUNK_WRONG;
		/* fallthrough */
	case IPOS_CHUNK_SPACE:
		if (c == ' ' || c == '\t')
			return IPOS_CHUNK_SPACE;
		return c == ';'	   ? IPOS_CHUNK_LINE
		       : c == '\r' ? IPOS_CHUNK_LINE_LF
				   : IPOS_CHUNK_WRONG;
	case IPOS_CHUNK_LINE:
		return chunk_text(c, IPOS_CHUNK_LINE, IPOS_CHUNK_LINE_LF);
	case IPOS_CHUNK_LINE_LF:
		if (c != '\n')
			return IPOS_CHUNK_WRONG;
		return *left ? IPOS_CHUNK_DATA : IPOS_CHUNK_TRAILER;
	case IPOS_CHUNK_CR:
		return c == '\r' ? IPOS_CHUNK_LF : IPOS_CHUNK_WRONG;
	case IPOS_CHUNK_LF:
		return c == '\n' ? IPOS_CHUNK_FIRST : IPOS_CHUNK_WRONG;
	case IPOS_CHUNK_TRAILER:
		return chunk_text(c, IPOS_CHUNK_FIELD, IPOS_CHUNK_END);
	case IPOS_CHUNK_FIELD:
		return chunk_text(c, IPOS_CHUNK_FIELD, IPOS_CHUNK_FIELD_LF);
	case IPOS_CHUNK_FIELD_LF:
		return c == '\n' ? IPOS_CHUNK_TRAILER : IPOS_CHUNK_WRONG;
	case IPOS_CHUNK_END:
		return c == '\n' ? IPOS_CHUNK_OVER : IPOS_CHUNK_WRONG;
	default:
		return IPOS_CHUNK_WRONG;
	}
}

enum answer_text { ANSWER_VERSION, ANSWER_LENGTH, ANSWER_ENCODING, ANSWER_CHUNKED };

IPOS_TABLE char answer_texts[4][32] = {
	"http/1.",
	"content-length:",
	"transfer-encoding:",
	"chunked",
};

IPOS_INLINE __u8 answer_text(__u32 which, __u8 at)
{
	return answer_texts[which & 3][at & 31];
}

IPOS_INLINE void answer_phase(struct ipos_endpoint *ep, __u8 phase)
{
	ep->answer = phase;
	ep->answer_at = 0;
}

IPOS_INLINE void answer_over(struct ipos_endpoint *ep)
{
	ep->answered++;
	answer_phase(ep, IPOS_ANSWER_STATUS);
}

/* The last request was to leave HTTP: this is the answer, so its end or the tunnel is near. */
IPOS_INLINE int answer_tunnels(struct ipos_endpoint *ep, __u16 status)
{
	int taken =
		ep->follow == IPOS_FOLLOW_CONNECT ? status >= 200 && status < 300 : status == 101;

	if (ep->answered + 1 != ep->asked)
		return 0;
	if (ep->follow == IPOS_FOLLOW_CHUNKED && ep->leaves) {
		ep->leaves = taken ? IPOS_LEAVES_TAKEN : IPOS_LEAVES_NOT;
		return taken;
	}
	if (ep->follow < IPOS_FOLLOW_UPGRADE)
		return 0;
	ep->follow = taken ? IPOS_FOLLOW_OPAQUE : IPOS_FOLLOW_LENGTH;
	return taken;
}

/* The empty line behind a head. */
IPOS_INLINE void answer_head_over(struct ipos_endpoint *ep)
{
	__u16 status = ep->answer_status;

	if (status < 200 && status != 101) {
		answer_phase(ep, IPOS_ANSWER_STATUS);
		return;
	}
	if (answer_tunnels(ep, status) || status == 101)
		answer_phase(ep, IPOS_ANSWER_UNKNOWN);
	else if (status == 204 || status == 304 || ep->heads >> (ep->answered & 63) & 1)
		answer_over(ep);
	else if (ep->answer_seen & IPOS_ANSWER_SEEN_ENCODING)
		answer_phase(ep, ep->answer_seen & IPOS_ANSWER_SEEN_CHUNKED ? IPOS_ANSWER_CHUNKS
									    : IPOS_ANSWER_UNKNOWN);
	else if (!(ep->answer_seen & IPOS_ANSWER_SEEN_LENGTH))
		answer_phase(ep, IPOS_ANSWER_UNKNOWN); /* with the connection */
	else if (ep->answer_left)
		answer_phase(ep, IPOS_ANSWER_BODY);
	else
		answer_over(ep);
	if (ep->answer == IPOS_ANSWER_CHUNKS) {
		ep->answer_left = 0;
		ep->answer_chunk = IPOS_CHUNK_FIRST;
	}
}

/* A byte of "HTTP/1.1 200". */
IPOS_INLINE void answer_status(struct ipos_endpoint *ep, __u8 c)
{
	__u8 at = ep->answer_at, wrong = 0;

	if (!at) {
		ep->answer_status = 0;
		ep->answer_seen = 0;
		ep->answer_left = 0;
		wrong = ep->answered == ep->asked; /* there was no request */
	}
	if (at < 7)
		wrong |= http_lower(c) != answer_text(ANSWER_VERSION, at);
	else if (at == 8)
		wrong = c != ' ';
	else if (at > 8 && (c < '0' || c > '9'))
		wrong = 1;
	else if (at > 8)
		ep->answer_status = ep->answer_status * 10 + c - '0';
	ep->answer_at = at + 1;
	if (wrong)
		answer_phase(ep, IPOS_ANSWER_UNKNOWN);
	else if (at == 11)
		answer_phase(ep, IPOS_ANSWER_SKIP);
}

/* A byte of a field's name that may be one of the two. */
IPOS_INLINE void answer_name(struct ipos_endpoint *ep, __u32 which, __u8 c)
{
	__u8 at = ep->answer_at,
	     seen = which == ANSWER_LENGTH ? IPOS_ANSWER_SEEN_LENGTH : IPOS_ANSWER_SEEN_ENCODING;

	if (http_lower(c) != answer_text(which, at)) {
		answer_phase(ep, IPOS_ANSWER_SKIP);
		return;
	}
	ep->answer_at = at + 1;
	if (c != ':')
		return;
	answer_phase(ep, ep->answer_seen & seen	  ? IPOS_ANSWER_UNKNOWN
			 : which == ANSWER_LENGTH ? IPOS_ANSWER_LENGTH_VALUE
						  : IPOS_ANSWER_ENCODING_VALUE);
	ep->answer_seen |= seen;
}

/* A byte of Content-Length. */
IPOS_INLINE void answer_length(struct ipos_endpoint *ep, __u8 c)
{
	__u8 digit = c - '0';

	if (c == ' ' || c == '\t' || c == '\r')
		return;
	if (digit > 9 || ep->answer_left >> 59)
		answer_phase(ep, IPOS_ANSWER_UNKNOWN);
	else
		ep->answer_left = ep->answer_left * 10 + digit;
}

/* A byte of Transfer-Encoding: chunked alone, or its end is unknown. */
IPOS_INLINE void answer_encoding(struct ipos_endpoint *ep, __u8 c)
{
	__u8 at = ep->answer_at;

	if (c == ' ' || c == '\t' || c == '\r')
		return;
	ep->answer_at = at + 1;
	if (at > 6 || http_lower(c) != answer_text(ANSWER_CHUNKED, at)) {
		answer_phase(ep, IPOS_ANSWER_UNKNOWN);
		return;
	}
	if (at == 6)
		ep->answer_seen |= IPOS_ANSWER_SEEN_CHUNKED;
}

/* One byte of an answer that is not of a body. */
IPOS_FUNCTION int answer_step(struct ipos_endpoint *ep, __u32 byte)
{
	__u8 c = byte;

	if (!ep)
		return 0;
	if (c == '\n' && ep->answer > IPOS_ANSWER_LINE && ep->answer < IPOS_ANSWER_BODY) {
		answer_phase(ep, IPOS_ANSWER_LINE);
		return 0;
	}
	switch (ep->answer) {
	case IPOS_ANSWER_STATUS:
		answer_status(ep, c);
		return 0;
	case IPOS_ANSWER_LINE:
		if (c == '\n')
			answer_head_over(ep);
		else if (c != '\r')
			answer_phase(ep, (c | 0x20) == 'c'   ? IPOS_ANSWER_LENGTH_NAME
					 : (c | 0x20) == 't' ? IPOS_ANSWER_ENCODING_NAME
							     : IPOS_ANSWER_SKIP);
		if (ep->answer == IPOS_ANSWER_LENGTH_NAME ||
		    ep->answer == IPOS_ANSWER_ENCODING_NAME)
			ep->answer_at = 1;
		return 0;
	case IPOS_ANSWER_LENGTH_NAME:
		answer_name(ep, ANSWER_LENGTH, c);
		return 0;
	case IPOS_ANSWER_ENCODING_NAME:
		answer_name(ep, ANSWER_ENCODING, c);
		return 0;
	case IPOS_ANSWER_LENGTH_VALUE:
		answer_length(ep, c);
		return 0;
	case IPOS_ANSWER_ENCODING_VALUE:
		answer_encoding(ep, c);
		return 0;
	case IPOS_ANSWER_CHUNKS:
		ep->answer_chunk = chunk_step(ep->answer_chunk, &ep->answer_left, c);
		if (ep->answer_chunk == IPOS_CHUNK_OVER)
			answer_over(ep);
		else if (ep->answer_chunk == IPOS_CHUNK_WRONG)
			answer_phase(ep, IPOS_ANSWER_UNKNOWN);
		return 0;
	}
	return 0;
}

/* Steps over as much of a body as there is in `left` bytes; 0: they are not of one. */
IPOS_INLINE __u32 answer_skip(struct ipos_endpoint *ep, __u32 left)
{
	if (ep->answer != IPOS_ANSWER_BODY &&
	    (ep->answer != IPOS_ANSWER_CHUNKS || ep->answer_chunk != IPOS_CHUNK_DATA))
		return 0;
	if (left > ep->answer_left)
		left = ep->answer_left;
	ep->answer_left -= left;
	if (ep->answer_left)
		return left;
	if (ep->answer == IPOS_ANSWER_BODY)
		answer_over(ep);
	else
		ep->answer_chunk = IPOS_CHUNK_CR;
	return left;
}

/* The first `length` bytes of w->bytes. */
IPOS_FUNCTION int answer_feed(struct ipos_scratch *w, struct ipos_endpoint *ep, __u32 length)
{
	if (!w || !ep)
		return 0;
	w->cursor = 0;
	IPOS_REPEAT(IPOS_CHUNK)
	{
		__u32 at = w->cursor, skipped;

		if (at >= length || at >= IPOS_CHUNK || ep->answer == IPOS_ANSWER_UNKNOWN)
			break;
		skipped = answer_skip(ep, length - at);
		if (!skipped)
			answer_step(ep, w->bytes[at & (IPOS_CHUNK - 1)]);
		w->cursor = at + (skipped ? skipped : 1);
	}
	return 0;
}

#endif /* IPOS_CORE_ANSWERS_H */
