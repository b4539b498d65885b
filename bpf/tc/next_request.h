/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every request of a kept-alive connection, where the service decides at each.  Our kernel gets
 * the bytes of requests that are ours, up to ep->request_end.  What comes after is looked at
 * first: a head that may be served here moves that mark, any other is held, as a first server
 * holds a first one.
 */
#ifndef IPOS_FOLLOW_H
#define IPOS_FOLLOW_H

#include "abi/verdict.h"
#include "http/response.h"
#include "select/decide.h"
#include "lib/decision.h"
#include "lib/measure.h"
#include "lib/reading.h"
#include "tc/send.h"

#define HEADS_AT_ONCE 32 /* in one go: the packet comes by again for more */
/* requests that may await their answers, one of them HEAD */
#define UNANSWERED 63
#define CHUNK_PIECE 128	   /* bytes of chunk framing that are looked for at once */
#define PIECES_AT_ONCE 256 /* of chunk framing and data between them; likewise */

/*
 * Where the next head starts, by what w->request says of this one.  A request to leave HTTP has
 * a body like any other, before it leaves (RFC 9110 7.8).
 */
IPOS_INLINE __u64 request_measure(struct ipos_scratch *w, __u8 *body)
{
	struct ipos_request *r = &w->request;
	__u16 seen = http_parser(w)->seen;
	__u64 len = r->head_len;

	*body = IPOS_BODY_OPAQUE;
	if (r->grammar != IPOS_GRAMMAR_HTTP1)
		return len;
	*body = r->body;
	if (r->body == IPOS_BODY_OPAQUE)
		*body = seen & HTTP_SEEN_CONNECT    ? IPOS_BODY_CONNECT
			: seen & HTTP_SEEN_ENCODING ? IPOS_BODY_CHUNKED | IPOS_BODY_LEAVES
						    : IPOS_BODY_UPGRADE;
	if (*body == IPOS_BODY_LENGTH || *body == IPOS_BODY_UPGRADE)
		len += r->content_length;
	if (r->flags & IPOS_REQUEST_HEAD)
		*body |= IPOS_BODY_OF_HEAD;
	return len;
}

enum place { PLACE_ELSEWHERE, PLACE_ALLOWED, PLACE_HERE };

/*
 * Whether the request in w->request may stay where its connection is: moving has a cost, so
 * it does unless its route or its session says otherwise.
 */
IPOS_FUNCTION int request_place(struct ipos_scratch *w, __u32 self)
{
	struct ipos_server *server = server_at(self);
	struct choice c = {};

	if (!w || !server)
		return PLACE_ELSEWHERE;
	w->now = bpf_ktime_get_boot_ns();
	c.server = decide_pool(w, refused_by_none(w), w->now, &c);
	w->pool = c.pool;
	w->rule = c.rule;
	if (c.server)
		return c.server == self ? PLACE_HERE : PLACE_ELSEWHERE;
	if (!pool_port(c.pool, self))
		return PLACE_ELSEWHERE;
	return server->state == IPOS_SERVER_READY ? PLACE_HERE : PLACE_ALLOWED;
}

/* The request that request_place() was asked about last stays: our application is to answer it. */
IPOS_INLINE void tally_stays(const struct ipos_scratch *w, __u32 self, struct ipos_endpoint *ep)
{
	tally_decided(ep->service, self, w->pool, w->rule, IPOS_DECIDED_STAYS);
	request_timed(ep, w->now);
}

/* Tells that the request in w->request stays, and by which rule it may. */
IPOS_FUNCTION int report_stays(struct ipos_scratch *w, const struct ipos_tuple *t, __u32 first)
{
	struct verdict v = { .first = first,
			     .outcome = IPOS_OUTCOME_STAYS,
			     .reason = IPOS_REASON_MAY_STAY };
	struct ipos_settings *set = settings_now();
	struct choice c = {};

	if (!w || !t || !set)
		return 0;
	if (decide_pool(w, refused_by_none(w), bpf_ktime_get_boot_ns(), &c))
		v.reason = IPOS_REASON_SESSION;
	v.service = w->request.service;
	v.server = set->self;
	v.rule = c.rule;
	v.pool = c.pool;
	return decision_write(w, t, &v);
}

/* Reads the head whose first byte is at `at` in the frame, `left` bytes before its end. */
IPOS_FUNCTION int head_read(struct __sk_buff *skb, struct ipos_scratch *w, __u32 at, __u32 left)
{
	int progress = IPOS_READ_MORE;

	if (!w)
		return progress;
	for (__u32 nth = 0; nth < IPOS_CHUNKS && progress == IPOS_READ_MORE; nth++) {
		__u32 n = left > IPOS_CHUNK ? IPOS_CHUNK : left;

		IPOS_OPAQUE(n);
		if (n < 1 || n > IPOS_CHUNK || bpf_skb_load_bytes(skb, at, w->bytes, n))
			break;
		progress = request_feed(w, n);
		at += n;
		left -= n;
	}
	return progress;
}

enum heads {
	HEADS_PASS,  /* the whole segment may go to our kernel */
	HEADS_MORE,  /* there is more to be read than in one go */
	HEADS_HOLD,  /* what is at request_end must be held, or is another's */
	HEADS_CUT,   /* what is there must come again */
	HEADS_WRONG, /* and no chunk: where a request starts is unknown */
};

/* Our kernel may have all of a chunk's data, in any order. */
IPOS_INLINE void chunk_skip(struct ipos_endpoint *ep)
{
	__u64 near = ep->body_left < STRETCH ? ep->body_left : STRETCH;

	if (!near) {
		ep->chunk = IPOS_CHUNK_CR;
		return;
	}
	ep->request_end += near;
	ep->body_left -= near;
}

/* The first `length` bytes of w->bytes, which are at ep->request_end. */
IPOS_FUNCTION int chunks_feed(struct ipos_scratch *w, struct ipos_endpoint *ep, __u32 length)
{
	if (!w || !ep)
		return 0;
	w->cursor = 0;
	IPOS_REPEAT(IPOS_CHUNK)
	{
		__u32 at = w->cursor;

		if (at >= length || at >= IPOS_CHUNK || ep->chunk == IPOS_CHUNK_DATA ||
		    ep->chunk == IPOS_CHUNK_OVER)
			break;
		ep->chunk = chunk_step(ep->chunk, &ep->body_left, w->bytes[at & (IPOS_CHUNK - 1)]);
		if (ep->chunk == IPOS_CHUNK_WRONG)
			break;
		ep->request_end++;
		ep->read_end = ep->request_end;
		w->cursor = at + 1;
	}
	return 0;
}

/* Moves ep->request_end over the chunks in a segment, as far as they go. */
IPOS_FUNCTION int chunks_read(struct __sk_buff *skb, struct ipos_scratch *w,
			      const struct segment *s, struct ipos_endpoint *ep)
{
	if (!w || !s || !ep)
		return 0;
	IPOS_REPEAT(PIECES_AT_ONCE)
	{
		__u32 at = ep->request_end - s->seq, n;

		if (at >= s->length || ep->follow != IPOS_FOLLOW_CHUNKED ||
		    ep->chunk == IPOS_CHUNK_WRONG)
			break;
		if (ep->chunk == IPOS_CHUNK_DATA) {
			chunk_skip(ep);
			continue;
		}
		n = s->length - at;
		if (n > CHUNK_PIECE)
			n = CHUNK_PIECE;
		IPOS_OPAQUE(n);
		if (n < 1 || n > CHUNK_PIECE ||
		    bpf_skb_load_bytes(skb, s->payload + at, w->bytes, n))
			break;
		chunks_feed(w, ep, n);
		if (ep->chunk == IPOS_CHUNK_DATA)
			chunk_skip(ep);
		if (ep->chunk == IPOS_CHUNK_OVER) /* the next head starts here, or a tunnel */
			ep->follow = ep->leaves == IPOS_LEAVES_TAKEN ? IPOS_FOLLOW_OPAQUE
				     : ep->leaves		     ? IPOS_FOLLOW_UPGRADE
								     : IPOS_FOLLOW_LENGTH;
	}
	return 0;
}

/*
 * Whether our application may have one more request before it has answered those it has.  Which
 * of the last 64 were HEAD is known, so there may be any number if none was.
 */
IPOS_INLINE int asking_allowed(const struct ipos_endpoint *ep, __u8 body)
{
	return ep->asked - ep->answered < UNANSWERED || ep->answer == IPOS_ANSWER_UNKNOWN ||
	       !(ep->heads || body & IPOS_BODY_OF_HEAD);
}

/*
 * Reads the heads that start in a segment, as long as they are complete and may be served
 * here, and the bodies between them.
 */
IPOS_FUNCTION int heads_read(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			     struct ipos_endpoint *ep)
{
	struct ipos_settings *set = settings_now();
	__u8 body;
	__u64 len;

	if (!set || !w || !s || !ep)
		return HEADS_CUT;
	IPOS_REPEAT(HEADS_AT_ONCE)
	{
		__u32 at;

		if (ep->follow == IPOS_FOLLOW_CHUNKED)
			chunks_read(skb, w, s, ep);
		at = ep->request_end - s->seq;
		if (ep->follow == IPOS_FOLLOW_OPAQUE || at >= s->length)
			return HEADS_PASS;
		if (ep->follow == IPOS_FOLLOW_CHUNKED)
			return ep->chunk == IPOS_CHUNK_WRONG ? HEADS_WRONG : HEADS_MORE;
		if (ep->follow >= IPOS_FOLLOW_UPGRADE && ep->answered == ep->asked)
			ep->follow = IPOS_FOLLOW_LENGTH; /* declined before its end came */
		if (ep->follow >= IPOS_FOLLOW_UPGRADE)
			return HEADS_CUT;
		request_open(w, ep->service, IPOS_MODE_LATER);
		if (head_read(skb, w, s->payload + at, s->length - at) != IPOS_READ_DONE ||
		    request_place(w, set->self) != PLACE_HERE)
			return HEADS_HOLD;
		len = request_measure(w, &body);
		if (!asking_allowed(ep, body))
			return HEADS_HOLD;
		tally_stays(w, set->self, ep);
		if (decision_wanted(set, service_at(ep->service)))
			report_stays(w, &s->tuple, ep->first);
		ep->read_end = ep->request_end + w->request.head_len;
		endpoint_follow(ep, ep->request_end, len, body);
	}
	return HEADS_MORE;
}

/* Cuts the segment's payload to its first `keep` bytes, and its FIN with the rest. */
IPOS_APART int segment_trim(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			    __u32 keep)
{
	__u32 tcp_bytes = s->tcp_len + keep, ip_at = s->l2, check_at = s->l4 + 16;
	ip_header *ip = (void *)w->saved;
	__u8 flags = s->flags & ~(TCP_FIN | TCP_PSH);
	__u16 check = 0;
	__s64 sum;

	if (bpf_skb_load_bytes(skb, ip_at, ip, sizeof(*ip)))
		return -1;
	ip_resize(ip, sizeof(*ip) + tcp_bytes);
	if (bpf_skb_change_tail(skb, s->payload + keep, 0) ||
	    bpf_skb_store_bytes(skb, ip_at, ip, sizeof(*ip), 0) ||
	    bpf_skb_store_bytes(skb, s->l4 + 13, &flags, 1, 0) ||
	    bpf_skb_store_bytes(skb, check_at, &check, 2, 0))
		return -1;
	sum = segment_sum(skb, w, s->l4, tcp_bytes);
	if (sum < 0)
		return -1;
	check = (__u16)~fold(sum + sum_pseudo(s->tuple.client_ip, s->tuple.service_ip, tcp_bytes));
	return bpf_skb_store_bytes(skb, check_at, &check, 2, 0);
}

/*
 * Our kernel makes no socket of a packet with a FIN.  A request that has one comes by once more
 * without it, and the FIN behind it as a packet of its own.  fin_cut() makes the frame at hand the
 * first of them, fin_send() sends the second, out of the first.
 */
IPOS_INLINE int fin_cut(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s)
{
	return segment_trim(skb, w, s, s->length);
}

IPOS_APART int fin_send(struct __sk_buff *skb, const struct ipos_settings *set,
			struct ipos_scratch *w, const struct segment *s)
{
	__u32 check = s->l4 + offsetof(struct tcphdr, check), seq_at = s->l4 + 4;
	__be32 was = bpf_htonl(s->seq), is = bpf_htonl(s->seq + s->length);
	__be16 bits, fin;

	if (segment_trim(skb, w, s, 0) || bpf_skb_load_bytes(skb, s->l4 + 12, &bits, 2))
		return -1;
	fin = bits | bpf_htons(TCP_FIN);
	if (bpf_l4_csum_replace(skb, check, was, is, 4) ||
	    bpf_l4_csum_replace(skb, check, bits, fin, 2) ||
	    bpf_skb_store_bytes(skb, seq_at, &is, 4, 0) ||
	    bpf_skb_store_bytes(skb, s->l4 + 12, &fin, 2, 0))
		return -1;
	return bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS);
}

/* Both, from the request's packet, which is consumed. */
IPOS_APART int fin_apart(struct __sk_buff *skb, const struct ipos_settings *set,
			 struct ipos_scratch *w, const struct segment *s)
{
	int failed;

	skb->mark = IPOS_MARK_PIECE; /* it was read here, or by its sender */
	failed = fin_cut(skb, w, s) || bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS);
	skb->mark = 0;
	return failed || fin_send(skb, set, w, s) ? shot(COUNT_DROP_EMIT) : CONSUMED;
}

/* ---- once more through ingress -------------------------------------------------------------- */

#define ROUNDS_MAX 8

/* Of a packet at hand: how often it has come by here already. */
IPOS_INLINE void reading_begin(struct reading *r, __u32 mark)
{
	r->rounds = (mark & ~15U) == IPOS_MARK_AGAIN ? mark & 15 : 0;
	r->refused = 0;
}

/* The packet at hand comes by once more, behind those that were before it. */
IPOS_INLINE int go_round(struct __sk_buff *skb, const struct ipos_settings *set, __u32 rounds)
{
	count(COUNT_WENT_ROUND);
	skb->mark = IPOS_MARK_AGAIN | ((rounds + 1) & 15);
	return bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
}

/*
 * Our kernel gets the segment's first `keep` bytes.  The whole of it comes by once more, when it
 * has them: then the rest is looked at.  Not for ever: a socket whose memory is full takes nothing.
 */
IPOS_APART int pass_until(struct __sk_buff *skb, const struct ipos_settings *set,
			  struct ipos_scratch *w, const struct segment *s, __u32 keep)
{
	__u32 rounds = w->reading.refused ? w->reading.rounds : 0;

	if (rounds < ROUNDS_MAX) {
		count(COUNT_WENT_ROUND);
		skb->mark = IPOS_MARK_AGAIN | ((rounds + 1) & 15);
		if (bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS))
			count(COUNT_DROP_EMIT); /* the client sends it again */
		skb->mark = 0;
	}
	return segment_trim(skb, w, s, keep) ? shot(COUNT_DROP_EMIT) : TC_ACT_OK;
}

#endif /* IPOS_FOLLOW_H */
