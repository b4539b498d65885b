/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The hold pool: request bytes of an endpoint that is nobody's yet, in pieces of IPOS_CHUNK
 * at their place in the head, whatever order they came in.
 */
#ifndef IPOS_HOLD_H
#define IPOS_HOLD_H

#include "select/read.h"
#include "lib/emit.h"

enum hold_result { HOLD_KEPT, HOLD_FULL };

/* Not inlined: its index must not share a stack slot with a caller's dynptr. */
IPOS_APART struct ipos_chunk *chunk_of(struct ipos_holding *h, __u32 nth, int make)
{
	__u32 index;

	if (nth >= IPOS_CHUNKS)
		return NULL;
	if (!h->chunks[nth]) {
		if (!make || bpf_map_pop_elem(&hold_free, &index))
			return NULL;
		h->chunks[nth] = index + 1;
		share_add(h->client_ip, 1);
	}
	index = h->chunks[nth] - 1;
	return bpf_map_lookup_elem(&hold_pool, &index);
}

/* A stretch of the head inside one piece: bytes [from, to). */
#define SPAN(from, to) ((from) << 16 | (to))

/* The span out of the frame at `at`. */
IPOS_FUNCTION int chunk_write(struct __sk_buff *skb, struct ipos_scratch *w, struct ipos_holding *h,
			      __u32 at, __u32 span)
{
	__u32 from = span >> 16, n = (span & 0xffff) - from;
	struct ipos_chunk *chunk;
	struct bpf_dynptr d;

	if (!w || !h)
		return -1;
	chunk = chunk_of(h, from / IPOS_CHUNK, 1);
	if (!chunk)
		return -1;
	IPOS_OPAQUE(n);
	if (n < 1)
		return 0;
	if (n > IPOS_CHUNK || bpf_skb_load_bytes(skb, at, w->bytes, n))
		return -1;
	if (bpf_dynptr_from_mem(chunk->bytes, IPOS_CHUNK, 0, &d))
		return -1;
	return bpf_dynptr_write(&d, from % IPOS_CHUNK, w->bytes, n, 0);
}

/* The span into w->bytes. */
IPOS_FUNCTION int chunk_read(struct ipos_scratch *w, struct ipos_holding *h, __u32 span)
{
	__u32 from = span >> 16, n = (span & 0xffff) - from;
	struct ipos_chunk *chunk;
	struct bpf_dynptr d;

	if (!w || !h)
		return -1;
	chunk = chunk_of(h, from / IPOS_CHUNK, 0);
	if (!chunk)
		return -1;
	IPOS_OPAQUE(n);
	if (n < 1 || n > IPOS_CHUNK)
		return -1;
	if (bpf_dynptr_from_mem(chunk->bytes, IPOS_CHUNK, 0, &d))
		return -1;
	return bpf_dynptr_read(w->bytes, n, &d, from % IPOS_CHUNK, 0);
}

/* The span of the head whose first byte is at `at` in the frame. */
IPOS_FUNCTION int hold_store(struct __sk_buff *skb, struct ipos_scratch *w, struct ipos_holding *h,
			     __u32 at, __u32 span)
{
	__u32 start = span >> 16, end = span & 0xffff;

	if (!w || !h)
		return HOLD_FULL;
	for (__u32 nth = w->zero; nth < IPOS_CHUNKS; nth++) {
		__u32 low = nth * IPOS_CHUNK, high = low + IPOS_CHUNK;

		IPOS_CONVERGES;
		if (low < start)
			low = start;
		if (high > end)
			high = end;
		if (low < high && chunk_write(skb, w, h, at + low - start, SPAN(low, high)))
			return HOLD_FULL;
	}
	return HOLD_KEPT;
}

/* The lowest `n` bits. */
#define BITS(n) ((1U << (n)) - 1)

IPOS_INLINE __u32 bits_count(__u32 x)
{
	x -= x >> 1 & 0x55555555;
	x = (x & 0x33333333) + (x >> 2 & 0x33333333);
	return ((x + (x >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
}

/* Bit n: the row has piece n.  Without a branch, of which fifteen are too many for the verifier. */
IPOS_INLINE __u32 pieces_of(const struct ipos_holding *h)
{
	__u32 mask = 0;

	for (int nth = 0; nth < IPOS_CHUNKS; nth++) {
		__u32 index = h->chunks[nth], minus = -index;

		IPOS_OPAQUE(minus);
		mask |= (index | minus) >> 31 << nth;
	}
	return mask;
}

/* Whether [start, end) touches bytes beyond a gap, or there is room for one more gap; `*bytes` of
 * them are there.  Numbers are below 2^16, so bit 31 is the sign of a difference. */
IPOS_INLINE __u32 gap_fits(const struct ipos_holding *h, __u32 start, __u32 end, __u32 *bytes)
{
	__u32 fits = 0;

	for (int i = 0; i < IPOS_RANGES; i++) {
		__u32 from = h->ranges[i].start, to = h->ranges[i].end;

		*bytes += to - from;
		fits |= (to - 1) | ~((to - start) | (end - from));
	}
	return fits >> 31;
}

/*
 * Whether [start, end) of the head may be held; 0, or the counter of the drop.  All of it is asked
 * before any piece is taken.  What lies behind a gap must be worth its pieces: two, and one more
 * for each half of one that is there, or a few bytes far apart would take the whole row.
 */
IPOS_FUNCTION int hold_refuses(struct ipos_holding *h, __u32 start, __u32 end)
{
	__u32 has, wants, missing, bytes, fits;

	if (!h || start >= end || end > IPOS_HEAD_MAX)
		return 0;
	bytes = h->held + end - start;
	fits = gap_fits(h, start, end, &bytes);
	has = pieces_of(h);
	wants = BITS((end - 1) / IPOS_CHUNK + 1) & ~BITS(start / IPOS_CHUNK);
	missing = wants & ~has;
	if (start > h->held &&
	    (!fits || (missing && bits_count(wants | has) > 2 + bytes / (IPOS_CHUNK / 2))))
		return COUNT_DROP_HOLD_FULL;
	if (!missing)
		return 0;
	return share_refuses(h->client_ip, bits_count(missing), h->server && !h->moving);
}

/* What `held` has reached of the ranges, in their order, becomes part of it. */
IPOS_FUNCTION int hold_join_once(struct ipos_holding *h)
{
	if (!h)
		return 0;
	for (int i = 0; i < IPOS_RANGES; i++) {
		struct ipos_range *r = &h->ranges[i];

		if (!r->end || r->start > h->held)
			continue;
		if (r->end > h->held)
			h->held = r->end;
		r->start = r->end = 0;
	}
	return 0;
}

/* The same whatever their order. */
IPOS_INLINE void hold_join(struct ipos_holding *h)
{
	for (int pass = 0; pass < IPOS_RANGES; pass++)
		hold_join_once(h);
}

/* What touches a range, in their order, becomes part of it. */
IPOS_FUNCTION int hold_widen(struct ipos_holding *h, struct ipos_range *all)
{
	if (!h || !all)
		return 0;
	for (int i = 0; i < IPOS_RANGES; i++) {
		struct ipos_range *r = &h->ranges[i];

		if (!r->end || all->start > r->end || all->end < r->start)
			continue;
		if (r->start < all->start)
			all->start = r->start;
		if (r->end > all->end)
			all->end = r->end;
		r->start = r->end = 0;
	}
	return 0;
}

/* Notes that [start, end) is here.  A fifth gap is one too many. */
IPOS_FUNCTION int hold_note(struct ipos_holding *h, __u32 start, __u32 end)
{
	struct ipos_range all = { .start = start, .end = end };

	if (!h)
		return HOLD_FULL;
	if (start <= h->held) {
		if (end > h->held)
			h->held = end;
		hold_join(h);
		return HOLD_KEPT;
	}
	/* One range out of all that touch it, whatever their order. */
	for (int pass = 0; pass < IPOS_RANGES; pass++)
		hold_widen(h, &all);
	for (int i = 0; i < IPOS_RANGES; i++) {
		struct ipos_range *r = &h->ranges[i];

		if (r->end)
			continue;
		*r = all;
		return HOLD_KEPT;
	}
	return HOLD_FULL;
}

/* Whether this CPU ended the silence of a first flight. */
IPOS_INLINE int silence_ends(struct ipos_holding *h, enum ipos_silent how)
{
	return __sync_val_compare_and_swap(&h->silent, IPOS_SILENT_WAITS, how) == IPOS_SILENT_WAITS;
}

/* Begins it: the agent hears of it, and comes back when the client has had time to go on. */
IPOS_INLINE void silence_begins(struct ipos_holding *h, const struct ipos_tuple *t)
{
	struct ipos_tuple *told = bpf_ringbuf_reserve(&silent, sizeof(*told), 0);

	__sync_val_compare_and_swap(&h->silent, IPOS_SILENT_NO, IPOS_SILENT_WAITS);
	if (!told)
		return;
	*told = *t;
	bpf_ringbuf_submit(told, 0);
}

/* Feeds what is in order and new to the head parser. */
IPOS_FUNCTION int hold_parse(struct ipos_scratch *w, struct ipos_holding *h)
{
	if (!w || !h)
		return 0;
	w->state = h->head_state;
	w->cursor = h->head_left;
	w->more = h->head_more;
	for (__u32 nth = w->zero; nth < IPOS_CHUNKS && !h->complete; nth++) {
		__u32 low = nth * IPOS_CHUNK, high = low + IPOS_CHUNK;

		IPOS_CONVERGES;
		if (low < h->parsed)
			low = h->parsed;
		if (high > h->held)
			high = h->held;
		if (low >= high)
			continue;
		if (chunk_read(w, h, SPAN(low, high)))
			break;
		h->complete = head_scan(w, high - low);
		h->parsed = high;
	}
	h->head_state = w->state;
	h->head_left = w->cursor;
	h->head_more = w->more;
	return h->complete;
}

/* Reads a whole held head into w->request, as a `mode`.  Returns enum ipos_progress. */
IPOS_FUNCTION int hold_read_as(struct ipos_scratch *w, struct ipos_holding *h, __u32 mode)
{
	int progress = IPOS_READ_MORE;

	if (!w || !h)
		return progress;
	request_open(w, h->service, mode);
	for (__u32 nth = w->zero; nth < IPOS_CHUNKS && progress == IPOS_READ_MORE; nth++) {
		__u32 low = nth * IPOS_CHUNK, high = low + IPOS_CHUNK;

		IPOS_CONVERGES;
		if (high > h->held)
			high = h->held;
		if (low >= high || chunk_read(w, h, SPAN(low, high)))
			break;
		progress = request_feed(w, high - low);
	}
	return progress;
}

/* The same, as what it may be. */
IPOS_INLINE int hold_read(struct ipos_scratch *w, struct ipos_holding *h)
{
	return hold_read_as(w, h, h->moving || h->live ? IPOS_MODE_LATER : mode_of(h->service));
}

/* The sum of the first `bytes` of a segment from its TCP header on; -1 if it cannot be read. */
IPOS_FUNCTION __s64 segment_sum(struct __sk_buff *skb, struct ipos_scratch *w, __u32 at,
				__u32 bytes)
{
	__u64 sum = 0;

	if (!w)
		return -1;
	for (__u32 nth = w->zero; nth < IPOS_CHUNKS + 1; nth++) {
		__u32 done = nth * IPOS_CHUNK, left;

		IPOS_CONVERGES;
		if (done >= bytes)
			break;
		left = bytes - done;
		if (left > IPOS_CHUNK)
			left = IPOS_CHUNK;
		IPOS_OPAQUE(left);
		if (left < 1 || left > IPOS_CHUNK)
			return -1;
		bytes_pad(w, left);
		if (bpf_skb_load_bytes(skb, at + done, w->bytes, left))
			return -1;
		sum += bytes_sum(w, left);
	}
	return sum;
}

/*
 * Whether the segment's checksum is right.  Its bytes will be sent again under a checksum
 * of ours, which must not make wrong ones right.
 */
IPOS_INLINE int payload_sound(struct __sk_buff *skb, struct ipos_scratch *w,
			      const struct segment *s)
{
	__u32 tcp_bytes = s->tcp_len + s->length;
	__s64 sum = segment_sum(skb, w, s->l4, tcp_bytes);

	return sum >= 0 &&
	       fold(sum + sum_pseudo(s->tuple.client_ip, s->tuple.service_ip, tcp_bytes)) == 0xffff;
}

#define ASKED_NS 50000000ULL /* nothing is sent again as soon as that after what was sent */

/* Whether a segment of a request that all have refused is too early to ask them anew for. */
IPOS_INLINE int asked_lately(const struct ipos_holding *h, __u32 length, __u64 since)
{
	return h->looked && !h->moving && (!length || since < ASKED_NS);
}

#endif /* IPOS_HOLD_H */
