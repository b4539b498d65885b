/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the iNIC answers itself: a whole response and FIN, once a request is refused, by its head or
 * because no server is left for it: the first of a connection, or a later one whose application has
 * left it (tc/later_decision.h).  The answer takes the place of the request in the hold pool and
 * stays until the client has acknowledged it and has closed: the row regenerates it for as long as
 * something is missing.
 * What the client still sends is acknowledged and thrown away; a reset would take from some
 * clients the answer that they have not read yet (RFC 9112 9.6).  The header timeout ends it.
 */
#ifndef IPOS_ANSWER_H
#define IPOS_ANSWER_H

#include "abi/verdict.h"
#include "lib/measure.h"
#include "tc/send.h"

#define ANSWER_HEAD(status) \
	"HTTP/1.1 " status "\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: "
#define ANSWER_BODY_MAX 100 /* two digits of Content-Length */

/* A response, in fields because its Content-Length is only known where it is written. */
#define ANSWER_STRUCT(name, status) \
	struct name { \
		__u64 length; \
		char head[sizeof(ANSWER_HEAD(status)) - 1] IPOS_BYTES; \
		char digits[2]; \
		char end[4] IPOS_BYTES; \
		char body[ANSWER_BODY_MAX] IPOS_BYTES; \
	} __attribute__((packed, aligned(8)))

ANSWER_STRUCT(bad_request, "400 Bad Request");
ANSWER_STRUCT(timed_out, "408 Request Timeout");
ANSWER_STRUCT(too_large, "431 Request Header Fields Too Large");

#define UNAVAILABLE "503 Service Unavailable\r\nRetry-After: 5"
ANSWER_STRUCT(unavailable, UNAVAILABLE);

#define ANSWER_TEXT(status, text) \
	{ \
		sizeof(ANSWER_HEAD(status)) - 1 + 2 + 4 + sizeof(text) - 1, ANSWER_HEAD(status), \
			{ '0' + (sizeof(text) - 1) / 10, '0' + (sizeof(text) - 1) % 10 }, \
			"\r\n\r\n", text \
	}

/* Both are at a multiple of eight, or a compiler calls memcpy(), which there is none of. */
#define ANSWER_COPY(chunk, answer) \
	__builtin_memcpy(__builtin_assume_aligned((chunk)->bytes, 8), \
			 __builtin_assume_aligned((answer)->head, 8), \
			 sizeof(*(answer)) - sizeof(__u64))

static const struct bad_request bad_requests[IPOS_AMBIGUITIES_MAX] = {
	ANSWER_TEXT("400 Bad Request", "refused\n"),
#define X(number, name, text) [number] = ANSWER_TEXT("400 Bad Request", "refused: " text "\n"),
	IPOS_AMBIGUITIES(X)
#undef X
};

/* Beside enum ipos_ambiguity. */
#define ANSWER_LATE IPOS_AMBIGUITIES_MAX
#define ANSWER_NOBODY (IPOS_AMBIGUITIES_MAX + 1)

static const struct timed_out timed_out =
	ANSWER_TEXT("408 Request Timeout", "refused: a head that does not end in time\n");

static const struct too_large too_large =
	ANSWER_TEXT("431 Request Header Fields Too Large",
		    "refused: a head that does not end within 14,600 bytes\n");

static const struct unavailable unavailable =
	ANSWER_TEXT(UNAVAILABLE, "refused: no server is left that may have it\n");

static const struct unavailable unstarted =
	ANSWER_TEXT(UNAVAILABLE, "refused: its application could not be started\n");
static const struct unavailable unready =
	ANSWER_TEXT(UNAVAILABLE, "refused: its application was not started in time\n");

/* Why no server is left: of a service that is started on demand there is more to say. */
IPOS_APART __u32 answer_nobody(const struct ipos_holding *h, struct ipos_chunk *chunk)
{
	struct ipos_service *service = h->moving ? NULL : service_at(h->service);

	if (service && service->starts == IPOS_STARTS_FAILED) {
		ANSWER_COPY(chunk, &unstarted);
		return unstarted.length;
	}
	if (service && service->starts == IPOS_STARTS_WAIT) {
		ANSWER_COPY(chunk, &unready);
		return unready.length;
	}
	ANSWER_COPY(chunk, &unavailable);
	return unavailable.length;
}

/*
 * One segment of the answer, `offset` bytes into it.  Returns how many bytes it took, 0 for none.
 */
IPOS_FUNCTION int answer_piece(struct __sk_buff *skb, struct ipos_scratch *w,
			       const struct ipos_tuple *t, __u32 offset)
{
	struct ipos_settings *set = settings_now();
	struct tc_reply r = {};
	struct ipos_holding *h;
	struct segment s = {};
	__u32 n, room;

	if (!set || !w || !t)
		return 0;
	h = bpf_map_lookup_elem(&FAMILY(holding), t);
	if (!h || offset >= h->answer)
		return 0;
	n = h->answer - offset;
	room = h->hs.mss < FAMILY_MSS ? h->hs.mss : FAMILY_MSS;
	r.reply.flags = TCP_ACK;
	if (h->hs.options & IPOS_OPT_TIMESTAMPS) {
		r.reply.options = REPLY_TIMESTAMPS;
		room -= 12;
	}
	if (n > room)
		n = room;
	else
		r.reply.flags |= TCP_PSH | TCP_FIN;
	__builtin_memset(w->bytes, 0, sizeof(w->bytes));
	if (chunk_read(w, h, SPAN(offset, offset + n)))
		return 0;
	s.tuple = *t;
	r.reply.seq = h->hs.iss + 1 + offset;
	r.reply.ack = h->client_end;
	r.reply.ts_value = h->hs.ts_sent;
	r.reply.ts_echo = h->hs.ts_recent;
	r.reply.window = reply_window(&h->hs, 0);
	r.payload = n;
	__builtin_memcpy(r.mac, h->client_mac, ETH_ALEN);
	if (reply_becomes(skb, set, w, &s, &r)) {
		count(COUNT_DROP_EMIT);
		return 0;
	}
	leaving(skb, set, set->front_ifindex);
	skb->mark = IPOS_MARK_OURS;
	if (bpf_clone_redirect(skb, set->front_ifindex, 0))
		count(COUNT_DROP_EMIT);
	skb->mark = 0;
	return n;
}

/* The answer from `offset` on: two segments where the client's MSS is small. */
IPOS_FUNCTION int answer_send(struct __sk_buff *skb, struct ipos_scratch *w,
			      const struct ipos_tuple *t, __u32 offset)
{
	int n = answer_piece(skb, w, t, offset);

	return n > 0 ? n + answer_piece(skb, w, t, offset + n) : 0;
}

/* The answer is in the first piece: from here on the connection is ours until it ends. */
IPOS_INLINE int answer_begin(struct ipos_holding *h, __u32 length)
{
	h->client_end = h->hs.irs + 1 + h->held + !!h->fin;
	h->acknowledged = h->held;
	h->complete = 1;
	h->created_ns = h->last_seen_ns = bpf_ktime_get_boot_ns();
	h->answer = length;
	count(COUNT_ANSWERED);
	return ANSWER_HELD;
}

/* Why it is refused takes the place of the request.  Says ANSWER_HELD. */
IPOS_FUNCTION int answer_refusal(struct ipos_holding *h, __u32 why)
{
	struct ipos_chunk *chunk;

	if (!h)
		return TC_ACT_SHOT;
	chunk = chunk_of(h, 0, 1);
	if (!chunk)
		return shot(COUNT_DROP_HOLD_FULL);
	if (why == IPOS_AMBIGUOUS_TOO_LONG) {
		tally_refused(h->service, IPOS_REFUSED_BY_431);
		count(COUNT_DROP_HEAD_TOO_LONG);
		ANSWER_COPY(chunk, &too_large);
		return answer_begin(h, too_large.length);
	}
	if (why == ANSWER_LATE) {
		tally_refused(h->service, IPOS_REFUSED_BY_408);
		count(COUNT_HEAD_TIMEOUT);
		ANSWER_COPY(chunk, &timed_out);
		return answer_begin(h, timed_out.length);
	}
	if (why == ANSWER_NOBODY) {
		tally_refused(h->service, IPOS_REFUSED_BY_503);
		tally_nobody(h->pool, h->rule);
		count(COUNT_UNAVAILABLE);
		return answer_begin(h, answer_nobody(h, chunk));
	}
	why &= IPOS_AMBIGUITIES_MAX - 1;
	count(IPOS_COUNTERS_AMBIGUOUS + why);
	tally_refused(h->service, IPOS_REFUSED_BY_400);
	ANSWER_COPY(chunk, &bad_requests[why]);
	return answer_begin(h, bad_requests[why].length);
}

/* What ANSWER_HELD asks for, out of whatever frame is at hand. */
IPOS_INLINE int answer_held(struct __sk_buff *skb, struct ipos_scratch *w,
			    const struct ipos_tuple *t)
{
	answer_send(skb, w, t, 0);
	return CONSUMED;
}

/* An acknowledgement behind the whole answer. */
IPOS_INLINE int answer_acknowledge(struct __sk_buff *skb, const struct ipos_settings *set,
				   struct ipos_scratch *w, const struct segment *s,
				   const struct ipos_holding *h)
{
	struct tc_reply r = { .reply = {
				      .seq = s->ack,
				      .ack = h->client_end,
				      .flags = TCP_ACK,
				      .ts_value = w->ts_echo,
				      .ts_echo = w->ts_value,
				      .options = w->option_flags & IPOS_OPT_TIMESTAMPS
							 ? REPLY_TIMESTAMPS
							 : REPLY_BARE,
			      } };

	r.reply.window = reply_window(&h->hs, 0);
	__builtin_memcpy(r.mac, h->client_mac, ETH_ALEN);
	count(COUNT_ANSWER_ACKED);
	return reply_from_tc(skb, set, w, s, &r);
}

/* The first server of a later request's connection hears of the end. */
IPOS_INLINE void answered_tell(struct __sk_buff *skb, const struct ipos_settings *set,
			       struct ipos_scratch *w, const struct ipos_tuple *t,
			       const struct ipos_holding *h)
{
	struct notice n = { .type = IPOS_CLOSED,
			    .endpoint_ip = set->self_ip,
			    .endpoint_port = h->port,
			    .server = h->server,
			    .iss = h->iss };

	notice_instead(skb, set, w, t, &n);
}

/*
 * A sound segment of a client that was answered; XDP has looked at its numbers.  Consumes the
 * frame.
 */
IPOS_APART int answered_segment(struct __sk_buff *skb, struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), &s->tuple);
	__u32 end = segment_end(s), known, had;
	int heard, verdict = CONSUMED;

	if (!h)
		return TC_ACT_SHOT;
	known = h->client_end;
	had = s->ack - (h->hs.iss + 1);
	heard = had == (__u32)h->answer + 1;
	if (!h->fin && !seq_before(known, s->seq) && seq_before(known, end)) {
		h->client_end = end;
		h->fin = !!(s->flags & TCP_FIN);
	}
	if (w->option_flags & IPOS_OPT_TIMESTAMPS) {
		h->hs.ts_recent = w->ts_value;
		h->hs.ts_sent = w->ts_echo;
	}
	if (!heard) {
		/* An empty one that has seen our acknowledgement misses what came with it. */
		if (end == s->seq && s->seq != known)
			return shot(COUNT_ABSORBED);
		count(COUNT_ANSWER_REPEATED);
		answer_send(skb, w, &s->tuple, had < h->answer ? had : 0);
		return CONSUMED;
	}
	if (h->fin && h->moving && h->server)
		answered_tell(skb, set, w, &s->tuple, h);
	if (end != s->seq || s->seq != known)
		verdict = answer_acknowledge(skb, set, w, s, h);
	else
		count(COUNT_ABSORBED);
	if (h->fin) {
		h->hs.iss = h->iss; /* what the cookie was made of */
		h->hs.irs = h->irs;
		closed_remember(&s->tuple, &h->hs, h->client_end, bpf_ktime_get_boot_ns(),
				IPOS_TEMP_CLOSED);
		holding_release(&s->tuple);
	}
	return verdict;
}

#endif /* IPOS_ANSWER_H */
