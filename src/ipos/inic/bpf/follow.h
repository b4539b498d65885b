/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every request of a kept-alive connection, where the service decides at each.  Our kernel gets
 * the bytes of requests that are ours, up to ep->request_end.  What comes after is looked at
 * first: a head that may be served here moves that mark, any other is held, as a first server
 * holds a first one.
 */
#ifndef IPOS_FOLLOW_H
#define IPOS_FOLLOW_H

#include "core/answers.h"
#include "core/decide.h"
#include "decision.h"
#include "send.h"

#define HEADS_AT_ONCE 8			/* pipelined in one segment; more come again */
#define UNANSWERED 63			/* requests whose answers are awaited; likewise */
#define CHUNK_BYTES 256			/* of chunk framing in one segment; likewise */

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
		*body = seen & HTTP_SEEN_CONNECT ? IPOS_BODY_CONNECT :
			seen & HTTP_SEEN_ENCODING ? IPOS_BODY_CHUNKED | IPOS_BODY_LEAVES :
						    IPOS_BODY_UPGRADE;
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
	if (decide_pool(w, 0, bpf_ktime_get_boot_ns(), &c))
		return c.server == self ? PLACE_HERE : PLACE_ELSEWHERE;
	if (!pool_port(c.pool, self))
		return PLACE_ELSEWHERE;
	return server->state == IPOS_SERVER_READY ? PLACE_HERE : PLACE_ALLOWED;
}

/* Tells that the request in w->request stays, and by which rule it may. */
IPOS_FUNCTION int report_stays(struct ipos_scratch *w, const struct ipos_tuple *t, __u32 first)
{
	struct verdict v = { .first = first, .outcome = IPOS_OUTCOME_STAYS,
			     .reason = IPOS_REASON_MAY_STAY };
	struct ipos_settings *set = settings_now();
	struct choice c = {};

	if (!w || !t || !set)
		return 0;
	if (decide_pool(w, 0, bpf_ktime_get_boot_ns(), &c))
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
	HEADS_PASS,			/* the whole segment may go to our kernel */
	HEADS_HOLD,			/* what is at request_end must be held, or is another's */
	HEADS_CUT,			/* what is there must come again */
	HEADS_WRONG,			/* and is no chunk: nobody can tell where a request starts */
};

/* Moves ep->request_end over the chunks in a segment, as far as they go. */
IPOS_FUNCTION int chunks_read(struct __sk_buff *skb, const struct segment *s,
			      struct ipos_endpoint *ep)
{
	__u8 c;

	if (!s || !ep)
		return 0;
	for (__u32 i = 0; i < CHUNK_BYTES && ep->follow == IPOS_FOLLOW_CHUNKED; i++) {
		__u32 at = ep->request_end - s->seq, left = s->length - at;

		if (at >= s->length)
			break;
		if (ep->chunk == IPOS_CHUNK_DATA) {
			if (left > ep->body_left)
				left = ep->body_left;
			ep->request_end += left;
			ep->body_left -= left;
			if (!ep->body_left)
				ep->chunk = IPOS_CHUNK_CR;
			continue;
		}
		if (bpf_skb_load_bytes(skb, s->payload + at, &c, 1))
			break;
		ep->chunk = chunk_step(ep->chunk, &ep->body_left, c);
		if (ep->chunk == IPOS_CHUNK_WRONG)
			break;
		ep->request_end++;
		if (ep->chunk == IPOS_CHUNK_OVER)	/* the next head starts here, or a tunnel */
			ep->follow = ep->leaves == IPOS_LEAVES_TAKEN ? IPOS_FOLLOW_OPAQUE :
				     ep->leaves ? IPOS_FOLLOW_UPGRADE : IPOS_FOLLOW_LENGTH;
	}
	return 0;
}

/*
 * Reads the heads that start in a segment, as long as they are complete and may be served
 * here, and the bodies between them.
 */
IPOS_FUNCTION int heads_read(struct __sk_buff *skb, struct ipos_scratch *w,
			     const struct segment *s, struct ipos_endpoint *ep)
{
	struct ipos_settings *set = settings_now();
	__u8 body;
	__u64 len;

	if (!set || !w || !s || !ep)
		return HEADS_CUT;
	for (__u32 i = 0; i < HEADS_AT_ONCE; i++) {
		__u32 at;

		if (ep->follow == IPOS_FOLLOW_CHUNKED)
			chunks_read(skb, s, ep);
		at = ep->request_end - s->seq;
		if (ep->follow == IPOS_FOLLOW_OPAQUE || at >= s->length)
			return HEADS_PASS;
		if (ep->follow == IPOS_FOLLOW_CHUNKED)
			return ep->chunk == IPOS_CHUNK_WRONG ? HEADS_WRONG : HEADS_CUT;
		if (ep->follow >= IPOS_FOLLOW_UPGRADE && ep->answered == ep->asked)
			ep->follow = IPOS_FOLLOW_LENGTH;	/* declined before its end was here */
		if (ep->follow >= IPOS_FOLLOW_UPGRADE ||
		    (ep->asked - ep->answered >= UNANSWERED && ep->answer != IPOS_ANSWER_UNKNOWN))
			return HEADS_CUT;
		request_open(w, ep->service);
		if (head_read(skb, w, s->payload + at, s->length - at) != IPOS_READ_DONE ||
		    request_place(w, set->self) != PLACE_HERE)
			return HEADS_HOLD;
		if (decision_wanted(set, service_at(ep->service)))
			report_stays(w, &s->tuple, ep->first);
		len = request_measure(w, &body);
		endpoint_follow(ep, ep->request_end, len, body);
	}
	return HEADS_CUT;
}

/* Cuts the segment's payload to its first `keep` bytes, and its FIN with the rest. */
IPOS_APART int segment_trim(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			    __u32 keep)
{
	__u32 tcp_bytes = s->tcp_len + keep, ip_at = s->l2, check_at = s->l4 + 16;
	struct iphdr *ip = (void *)w->saved;
	__u8 flags = s->flags & ~(TCP_FIN | TCP_PSH);
	__u16 check = 0;
	__s64 sum;

	if (bpf_skb_load_bytes(skb, ip_at, ip, sizeof(*ip)))
		return -1;
	ip->tot_len = bpf_htons(sizeof(*ip) + tcp_bytes);
	ip->check = 0;
	ip->check = (__u16)~fold(sum_words(ip, sizeof(*ip)));
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

#endif /* IPOS_FOLLOW_H */
