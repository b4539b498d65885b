/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Endpoints without an application that have something: part of a request, an answer of ours, or a
 * connection that an application has had, and which waits for its next request.
 */
#ifndef IPOS_XDP_HELD_H
#define IPOS_XDP_HELD_H

#include "xdp/encapsulation.h"

/* Our sequence number behind the answer and its FIN. */
IPOS_INLINE __u32 answer_end(const struct ipos_holding *h)
{
	return h->hs.iss + 1 + h->answer + 1;
}

/*
 * A reset proves itself by the exact sequence number, or by knowing our ISN.  It ends the stream
 * where we have it: what a reset carries is no data (RFC 9293 3.5.3), nor is what it skips.
 */
IPOS_INLINE int reset_proven(const struct segment *s, const struct ipos_handshake *hs, __u32 held)
{
	__u32 offset = s->seq - (hs->irs + 1);

	return offset == held ||
	       (s->flags & TCP_ACK && s->ack == hs->iss + 1 && offset <= IPOS_HEAD_MAX);
}

/* Its client has reset it: what its cookie was made of opens nothing any more. */
IPOS_APART void held_ends(const struct ipos_tuple *t, const struct ipos_holding *h, __u64 now)
{
	struct ipos_handshake hs = h->hs;
	__u32 end = hs.irs + 1 + h->held;

	hs.iss = h->iss;
	hs.irs = h->irs;
	closed_remember(t, &hs, end, now, IPOS_TEMP_CLOSED);
	holding_release(t);
}

/*
 * A segment for an endpoint that has answered by itself.  Returns the reason to drop it, 0 for one
 * that is tc's, which has the answer; after COUNT_ABSORBED, the client has reset, there is no
 * endpoint.
 */
IPOS_INLINE int answered_refuses(const struct segment *s, const struct ipos_holding *h, __u64 now)
{
	int known = s->flags & TCP_ACK && answer_end(h) - s->ack <= (__u32)h->answer + 1;
	int near = s->seq - h->client_end + IPOS_HEAD_MAX <= 2 * IPOS_HEAD_MAX;
	struct ipos_handshake hs = h->hs;

	if (s->flags & TCP_RST) {
		if (s->seq != h->client_end && !(known && near))
			return COUNT_DROP_BAD_SEQUENCE;
		hs.iss = h->iss; /* what the cookie was made of */
		hs.irs = h->irs;
		closed_remember(&s->tuple, &hs, h->client_end, now, IPOS_TEMP_CLOSED);
		holding_release(&s->tuple);
		return COUNT_ABSORBED;
	}
	if (!known)
		return COUNT_DROP_NO_COOKIE;
	return near ? 0 : COUNT_DROP_BAD_SEQUENCE;
}

IPOS_INLINE int client_answered(struct xdp_md *ctx, const struct segment *s,
				const struct ipos_holding *h, __u64 now)
{
	int reason = answered_refuses(s, h, now);

	return reason ? drop(reason) : pass_alone(ctx);
}

/* The client closes a connection that an application has had, and which is between two requests. */
IPOS_APART int idle_closes(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			   const struct ipos_holding *h, __u64 now)
{
	struct ipos_temporary *row = (void *)w->saved;
	struct ipos_handshake hs = h->hs;

	__builtin_memset(row, 0, sizeof(*row));
	row->state = IPOS_TEMP_CLOSED;
	row->reason = IPOS_CLOSED_IDLE;
	row->hs = hs;
	row->hs.iss = h->iss; /* what the cookie was made of */
	row->hs.irs = h->irs;
	row->client_end = s->seq + 1;
	row->created_ns = row->last_seen_ns = now;
	bpf_map_update_elem(&FAMILY(temporary), &s->tuple, row, BPF_ANY);
	holding_release(&s->tuple);
	count(COUNT_FIN_ANSWERED);
	return acknowledge(ctx, w, s, &hs, 0, TCP_FIN);
}

/* A segment for an endpoint that holds part of a request, or that waits for its next one. */
IPOS_INLINE int client_held(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			    const struct ipos_holding *h, __u64 now)
{
	__u32 offset = s->seq - (h->hs.irs + 1);

	if (h->answer)
		return client_answered(ctx, s, h, now);
	if (s->flags & TCP_RST) {
		if (!reset_proven(s, &h->hs, h->acknowledged) && !reset_proven(s, &h->hs, h->held))
			return drop(COUNT_DROP_BAD_SEQUENCE);
		held_ends(&s->tuple, h, now);
		return drop(COUNT_ABSORBED);
	}
	if (s->ack != h->hs.iss + 1)
		return drop(COUNT_DROP_NO_COOKIE);
	/* RFC 9293 3.8.4: at most one byte, from before what we acknowledged. */
	if (s->length <= 1 && !(s->flags & TCP_FIN) && (__s32)(offset - h->acknowledged) < 0 &&
	    (__s32)offset >= -1) {
		count(COUNT_KEEPALIVE_ANSWERED);
		return acknowledge(ctx, w, s, &h->hs, h->acknowledged, 0);
	}
	if (offset > IPOS_HEAD_MAX - !!s->length)
		return drop(COUNT_DROP_BAD_SEQUENCE);
	if (s->length)
		return pass_alone(ctx);
	if (!(s->flags & TCP_FIN))
		return drop(COUNT_ABSORBED);
	if (h->live && !h->held && !offset && !hold_gap(h))
		return idle_closes(ctx, w, s, h, now);
	return offset <= h->held ? pass_alone(ctx) : drop(COUNT_DROP_BAD_SEQUENCE);
}

#endif /* IPOS_XDP_HELD_H */
