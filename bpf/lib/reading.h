/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where the next request of a connection starts, and what of it our kernel was given. */
#ifndef IPOS_READING_H
#define IPOS_READING_H

#include "lib/rows.h"

#define STRETCH (1U << 29) /* of sequence numbers that are compared */

/*
 * Before a segment is read that our kernel is given next: where reading stands.  Returns 0 when
 * too much is on its way already.
 */
IPOS_INLINE int mark_set(struct ipos_endpoint *ep)
{
	__u32 at = ep->marks_used;
	struct ipos_mark *m;

	if (at >= IPOS_MARKS)
		return 0;
	if (!at)
		ep->given_by = 0;
	m = &ep->marks[at & (IPOS_MARKS - 1)];
	m->request_end = ep->request_end;
	m->read_end = ep->read_end;
	m->asked = ep->asked;
	m->follow = ep->follow;
	m->chunk = ep->chunk;
	m->leaves = ep->leaves;
	m->body_left = ep->body_left;
	ep->marks_used = at + 1;
	return 1;
}

#define GIVEN_BY_SEVERAL 0xffffffffU
#define GIVEN_MS 1000 /* longer than any CPU has one packet in its hands */

IPOS_INLINE __u32 coarse_ms(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000;
}

/* This CPU gives our kernel bytes that were read, or puts them into its own queue. */
IPOS_INLINE void given_here(struct ipos_endpoint *ep)
{
	__u32 me = this_cpu();

	ep->given_by = !ep->given_by || ep->given_by == me ? me : GIVEN_BY_SEVERAL;
	ep->given_ms = coarse_ms();
}

/*
 * Whether what our kernel was given may still be in another CPU's hands, where it cannot be seen. 
 * A packet that came by on this CPU once more is behind all that this CPU gave.
 */
IPOS_INLINE int given_elsewhere(const struct ipos_endpoint *ep)
{
	return ep->given_by && ep->given_by != this_cpu();
}

/* Whether no CPU has had a packet in its hands for as long as that; it is no proof. */
IPOS_INLINE int given_long_ago(const struct ipos_endpoint *ep)
{
	return coarse_ms() - ep->given_ms >= GIVEN_MS;
}

/*
 * Our kernel has taken what comes before `next`, and will take nothing more of what it was given:
 * reading goes on from there.  Returns 0 if it has a part only of what was read in one go.
 */
IPOS_INLINE int marks_rewind(struct ipos_endpoint *ep, __u32 next)
{
	for (__u32 at = 0; at < IPOS_MARKS; at++) {
		const struct ipos_mark *m = &ep->marks[at];

		if (at >= ep->marks_used)
			return 0;
		if (seq_before(m->request_end, next))
			continue;
		if (seq_before(next, m->read_end))
			return 0;
		ep->request_end = m->request_end;
		ep->read_end = m->read_end;
		ep->asked = m->asked;
		ep->follow = m->follow;
		ep->chunk = m->chunk;
		ep->leaves = m->leaves;
		ep->body_left = m->body_left;
		ep->marks_used = 0;
		ep->given = next;
		return 1;
	}
	return 0;
}

/* The request of `len` bytes at `from` is our application's. */
IPOS_INLINE void endpoint_follow(struct ipos_endpoint *ep, __u32 from, __u64 len, __u8 body)
{
	__u32 near = len < STRETCH ? len : STRETCH;
	__u64 head = 1ULL << (ep->asked & 63);

	ep->heads = body & IPOS_BODY_OF_HEAD ? ep->heads | head : ep->heads & ~head;
	ep->asked++;
	ep->leaves = body & IPOS_BODY_LEAVES ? IPOS_LEAVES_ASKED : IPOS_LEAVES_NOT;
	body &= ~(IPOS_BODY_OF_HEAD | IPOS_BODY_LEAVES);
	ep->follow = body == IPOS_BODY_OPAQUE	 ? IPOS_FOLLOW_OPAQUE
		     : body == IPOS_BODY_CHUNKED ? IPOS_FOLLOW_CHUNKED
		     : body == IPOS_BODY_UPGRADE ? IPOS_FOLLOW_UPGRADE
		     : body == IPOS_BODY_CONNECT ? IPOS_FOLLOW_CONNECT
						 : IPOS_FOLLOW_LENGTH;
	ep->request_end = from + near;
	ep->body_left = len - near;
	ep->chunk = IPOS_CHUNK_FIRST;
}

/* Whether our application has answered all it was asked. */
IPOS_INLINE int endpoint_answered(const struct ipos_endpoint *ep)
{
	return ep->answered == ep->asked || ep->answer == IPOS_ANSWER_UNKNOWN;
}

/*
 * Whether a packet goes on to the server to which the connection is offered, before its type 3. 
 * Bytes of the request that it is offered come from us, as we have read them, and from nobody
 * else.
 */
IPOS_INLINE int goes_beyond(const struct ipos_forward *f, const struct segment *s)
{
	if (!s->length)
		return s->flags & (TCP_FIN | TCP_SYN | TCP_RST);
	return !seq_before(s->seq, f->request_end);
}

/* Whether a segment has bytes behind the requests that are known. */
IPOS_INLINE int overhangs(const struct ipos_endpoint *ep, const struct segment *s)
{
	return ep->follow != IPOS_FOLLOW_NOT && ep->follow != IPOS_FOLLOW_OPAQUE && s->length &&
	       seq_before(ep->request_end, s->seq + s->length);
}

/*
 * Whether a segment of a followed connection has bytes that must be looked at.  As long as our
 * kernel owes what was read before, what it gets is looked at, whatever follows.
 */
IPOS_INLINE int follows(const struct ipos_endpoint *ep, const struct segment *s)
{
	return overhangs(ep, s) || (ep->marks_used && s->length);
}

/*
 * Whether a segment may begin the next request of a connection that is decided once, and of which
 * nobody has read so far where its requests begin.
 */
IPOS_INLINE int may_join(const struct ipos_settings *set, const struct ipos_endpoint *ep,
			 const struct segment *s)
{
	return unlikely(set->flags & IPOS_DRAINS) && ep->follow == IPOS_FOLLOW_NOT && s->length &&
	       ep->state == IPOS_EP_ATTACHED && !ep->server_fin_seen &&
	       !(ep->flags & (IPOS_EP_HANDSHAKE | IPOS_EP_MOVING));
}

/* A body longer than half of the sequence space: the mark goes on with the stream. */
IPOS_INLINE void follow_stretch(struct ipos_endpoint *ep, __u32 end)
{
	__u64 more = ep->body_left < STRETCH ? ep->body_left : STRETCH;

	if (!more || ep->follow == IPOS_FOLLOW_NOT || ep->follow == IPOS_FOLLOW_OPAQUE ||
	    (ep->follow == IPOS_FOLLOW_CHUNKED && ep->chunk != IPOS_CHUNK_DATA) ||
	    seq_before(end + STRETCH / 2, ep->request_end))
		return;
	ep->request_end += more;
	ep->body_left -= more;
}

#endif /* IPOS_READING_H */
