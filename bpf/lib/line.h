/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sequence numbers of a connection whose first response has a line that our kernel does not know of
 * (struct ipos_line).  From `at` on, the client's numbers are `length` higher than our kernel's.
 *
 * Numbers can be compared with `at` while they are near.  Once the client has acknowledged the line
 * and what stands before it, nothing is sent again from before; `final` then says that all numbers
 * are higher, however far the connection goes.
 */
#ifndef IPOS_CORE_LINE_H
#define IPOS_CORE_LINE_H

#include "lib/options.h"

#define OPTION_SACK 5
#define SACK_BLOCKS 4 /* more do not fit into a header (RFC 2018 3) */

IPOS_INLINE int line_final(const struct ipos_endpoint *ep)
{
	return ep->insert == IPOS_INSERT_DONE;
}

/* Our kernel's number behind the application's bytes that stand before the line. */
IPOS_INLINE __u32 line_end(const struct ipos_line *line)
{
	return line->at + line->behind;
}

/* The client's number of a segment of our kernel's with `length` bytes. */
IPOS_INLINE __u32 line_seq(const struct ipos_line *line, int final, __u32 seq, __u32 length)
{
	int before = length ? seq_before(seq, line->at) : !seq_before(line->at, seq);

	return !line->length || (!final && before) ? seq : seq + line->length;
}

/*
 * Our kernel's number for an acknowledgement of the client's.  A client that has only a part of
 * the line has nothing of what follows it.
 */
IPOS_INLINE __u32 line_ack(const struct ipos_line *line, int final, __u32 ack)
{
	if (!line->length || (!final && !seq_before(line->at, ack)))
		return ack;
	return !final && ack - line->at < line->length ? line->at : ack - line->length;
}

/* The same of the connection, as far as it is known. */
IPOS_INLINE __u32 endpoint_ack(const struct ipos_endpoint *ep, __u32 ack)
{
	return line_ack(&ep->line, line_final(ep), ack);
}

/*
 * The same for the left edge of a SACK block.  A block that begins in the line, or right behind it,
 * leaves our kernel's byte at `at` out: when that is sent again, so is the line.
 */
IPOS_INLINE __u32 line_sack_start(const struct ipos_line *line, int final, __u32 edge)
{
	__u32 behind = edge - line->at;

	if (!final && behind - 1 < line->length)
		return line->at + 1;
	return line_ack(line, final, edge);
}

IPOS_INLINE void option_put(struct ipos_scratch *w, __u32 at, __u32 value)
{
	w->tcp[at & 63] = value >> 24;
	w->tcp[(at + 1) & 63] = value >> 16;
	w->tcp[(at + 2) & 63] = value >> 8;
	w->tcp[(at + 3) & 63] = value;
}

/* The blocks of a SACK option that begins at w->cursor and has `len` bytes. */
IPOS_FUNCTION int line_sack_blocks(struct ipos_scratch *w, __u32 len)
{
	__u32 at;

	if (!w)
		return 0;
	at = w->cursor + 2;
	for (__u32 i = 0; i < SACK_BLOCKS; i++) {
		if (8 * i + 10 > len)
			break;
		option_put(w, at, line_sack_start(&w->line, w->line_final, option_u32(w, at)));
		option_put(w, at + 4, line_ack(&w->line, w->line_final, option_u32(w, at + 4)));
		at += 8;
	}
	return 0;
}

/* One option at w->cursor of a header of `header_len` bytes.  Returns 0 behind the last. */
IPOS_FUNCTION int line_option(struct ipos_scratch *w, __u32 header_len)
{
	__u32 at, len;

	if (!w)
		return 0;
	at = w->cursor;
	len = option_length(w, at, header_len);
	if (!len)
		return 0;
	if (option_byte(w, at) == OPTION_SACK)
		line_sack_blocks(w, len);
	w->cursor = at + len;
	return 1;
}

/* The header of a client's segment, in w->tcp, becomes what our kernel understands: w->line. */
IPOS_FUNCTION int line_header(struct ipos_scratch *w, __u32 header_len)
{
	if (!w)
		return 0;
	option_put(w, 8, line_ack(&w->line, w->line_final, option_u32(w, 8)));
	w->cursor = sizeof(struct tcphdr);
	for (int i = 0; i < 40; i++)
		if (!line_option(w, header_len))
			break;
	return 0;
}

#endif /* IPOS_CORE_LINE_H */
