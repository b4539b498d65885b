/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The bytes of a connection that is ours are read before our kernel gets them, and those of the
 * next request are held.
 */
#ifndef IPOS_STREAM_H
#define IPOS_STREAM_H

#include "abi/verdict.h"
#include "lib/line.h"
#include "lib/reading.h"
#include "tc/first_request.h"
#include "tc/next_request.h"

/* What is known of the request that starts at ep->request_end, in w->holding. */
IPOS_INLINE void next_begin(struct ipos_scratch *w, const struct segment *s,
			    const struct ipos_endpoint *ep)
{
	struct ipos_holding *h = &w->holding;

	request_begin(w, &ep->hs, ep->service);
	h->hs.irs = ep->request_end - 1;
	h->hs.iss = s->ack - 1;
	if (w->option_flags & IPOS_OPT_TIMESTAMPS) {
		h->hs.ts_recent = w->ts_value;
		h->hs.ts_sent = w->ts_echo;
	}
	h->window = s->window;
	h->migration = ep->migration;
	h->moving = 1;
	h->head_state = head_first(IPOS_MODE_LATER);
	if (h->hs.options & IPOS_OPT_SESSION)
		h->hs.options |= IPOS_OPT_BEGUN;
	h->hs.options &= ~IPOS_OPT_SESSION;
}

/*
 * A body that is broken in its middle: our application and the client are reset, each at its
 * next sequence number.
 */
IPOS_APART int connection_breaks(struct __sk_buff *skb, struct ipos_scratch *w,
				 const struct segment *s, struct ipos_endpoint *ep, __u32 next)
{
	struct ipos_settings *set = settings_now();
	struct notice n = { .type = IPOS_REFUSED, .reason = IPOS_REFUSE_UNKNOWN };
	struct ipos_holding *h = &w->holding;

	if (!set || reset_kernel(skb, set, s, next))
		return shot(COUNT_DROP_EMIT);
	next_begin(w, s, ep);
	h->hs.iss = ep->snd_nxt - 1;
	__builtin_memcpy(h->client_mac, ep->client_mac, ETH_ALEN);
	n.iss = s->ack;
	n.endpoint_ip = ep->endpoint_ip;
	n.endpoint_port = ep->endpoint_port;
	n.server = ep->first;
	count(COUNT_CLOSED);
	if (n.server != set->self)
		notice_instead(skb, set, w, &s->tuple, &n);
	endpoint_delete(&s->tuple);
	return reset_held(skb, set, w, &s->tuple, h);
}

/* The client has acknowledged more of the answers before the held request, which waits for them. */
IPOS_INLINE void answers_go_on(struct ipos_holding *h, __u32 ack)
{
	if (!seq_before(h->hs.iss + 1, ack))
		return;
	h->hs.iss = ack - 1;
	if (h->complete)
		h->created_ns = bpf_ktime_get_boot_ns();
}

/* Bytes of the next request in a segment that begins with bytes of this one, which goes on. */
IPOS_APART int hold_rest(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			 struct ipos_holding *h, __u32 cut)
{
	__u32 start = h->held, end = s->length - cut;

	if (end > IPOS_HEAD_MAX)
		end = IPOS_HEAD_MAX;
	if (start < end && !hold_refuses(h, start, end) &&
	    !hold_store(skb, w, h, s->payload + cut + start, SPAN(start, end))) {
		hold_note(h, start, end);
		hold_parse(w, h);
		count(COUNT_HELD);
	}
	return segment_trim(skb, w, s, cut) ? shot(COUNT_DROP_EMIT) : TC_ACT_OK;
}

/*
 * Whether what is in the segment may count: our kernel would take it, and so may come from the
 * client (RFC 9293 3.10.7.4, RFC 5961, RFC 7323 5.3).  Returns 0, or the reason to drop it.
 */
IPOS_APART int segment_unfit(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			     const struct ipos_endpoint *ep, const struct stands *at)
{
	if ((s->flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK ||
	    !ack_acceptable(at, endpoint_ack(ep, s->ack), ep->snd_nxt - s->ack))
		return COUNT_DROP_BAD_ACK;
	if ((IPOS_FAMILY == 4 && (bpf_skb_load_bytes(skb, s->l2, w->saved, IP_LEN) ||
				  fold(sum_words(w->saved, IP_LEN)) != 0xffff)) ||
	    !payload_sound(skb, w, s) || load_options(skb, w, s))
		return COUNT_DROP_BAD_CHECKSUM;
	if (ep->hs.options & w->option_flags & IPOS_OPT_TIMESTAMPS && at->ts_recent &&
	    seq_before(w->ts_value, at->ts_recent))
		return COUNT_DROP_OLD;
	return 0;
}

enum settled {
	SETTLED_GONE, /* the packet is; `verdict` says how */
	SETTLED_ALL,  /* our kernel has all that was read */
	SETTLED_SOON, /* it waits for the process that has the socket */
};

/*
 * Our kernel does not have all that was read of the connection.  What this CPU gave it before this
 * packet is in its queues by now, if the packet has come by once more: or it never will be.  What
 * another CPU gave it may still be on its way, however often this packet comes by.
 */
IPOS_APART int settle(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
		      const struct segment *s, struct ipos_endpoint *ep)
{
	struct reading *r = &w->reading;

	if (!seq_before(r->at.rcv_nxt, ep->read_end)) {
		ep->marks_used = 0;
		return SETTLED_ALL;
	}
	if (!r->rounds) {
		r->verdict = go_round(skb, set, 0);
		return SETTLED_GONE;
	}
	if (r->at.busy) {
		if (!seq_before(ep->given, s->seq) && !seq_before(s->seq, ep->read_end))
			return SETTLED_SOON;
		r->verdict = shot(COUNT_DROP_AHEAD);
		return SETTLED_GONE;
	}
	if (given_elsewhere(ep) && !given_long_ago(ep)) {
		r->verdict = r->rounds < ROUNDS_MAX ? go_round(skb, set, r->rounds)
						    : shot(COUNT_DROP_AHEAD);
		return SETTLED_GONE;
	}
	if (!r->at.gaps && !given_elsewhere(ep) && marks_rewind(ep, r->at.rcv_nxt)) {
		count(COUNT_READ_AGAIN);
		r->refused = 1;
		return SETTLED_ALL;
	}
	/* Others may take the place of bytes that are lost, or these come when they mean others. */
	count(COUNT_READ_LOST);
	r->verdict = connection_breaks(skb, w, s, ep, r->at.rcv_nxt);
	return SETTLED_GONE;
}

/* Our kernel is given the segment as it is. */
IPOS_INLINE int given(struct ipos_endpoint *ep, const struct segment *s, __u32 length)
{
	__u32 end = s->seq + length;

	if (!seq_before(ep->given, s->seq) && seq_before(ep->given, end))
		ep->given = end;
	given_here(ep);
	return PASS_WHOLE;
}

/* What is at ep->request_end cannot be read in this segment: it goes there as far as that. */
IPOS_INLINE int pass_before(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			    struct ipos_endpoint *ep)
{
	__u32 cut = ep->request_end - s->seq;

	if (!cut || cut >= s->length || segment_trim(skb, w, s, cut))
		return shot(COUNT_DROP_AHEAD);
	given(ep, s, cut);
	return TC_ACT_OK;
}

/* Reads on in a sound segment that continues what our kernel has, or is about to have. */
IPOS_INLINE int read_on(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			const struct segment *s, struct ipos_endpoint *ep)
{
	__u32 from = ep->request_end;
	int heads;

	if (!mark_set(ep))
		return w->reading.rounds < ROUNDS_MAX ? go_round(skb, set, w->reading.rounds)
						      : shot(COUNT_DROP_AHEAD);
	heads = heads_read(skb, w, s, ep);
	if (ep->read_end == ep->marks[(ep->marks_used - 1) & (IPOS_MARKS - 1)].read_end)
		ep->marks_used--; /* nothing new was learned */
	if (heads == HEADS_PASS)
		return given(ep, s, s->length);
	if (ep->request_end != from) {
		given(ep, s, ep->request_end - s->seq);
		return pass_until(skb, set, w, s, ep->request_end - s->seq);
	}
	if (ep->marks_used) /* of what is on its way */
		return pass_before(skb, w, s, ep);
	if (heads == HEADS_WRONG && w->reading.at.rcv_nxt == ep->request_end)
		return connection_breaks(skb, w, s, ep, ep->request_end);
	return heads == HEADS_HOLD ? HOLD : pass_before(skb, w, s, ep);
}

/* A sound segment with bytes of the next request, which is held or is to be. */
IPOS_APART int follow_held(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			   struct ipos_endpoint *ep)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), &s->tuple);
	__u32 cut = ep->request_end - s->seq, snd_una;
	struct segment *now = (struct segment *)s;

	if (!h) {
		next_begin(w, s, ep);
		h = hold_begin(skb, w, &s->tuple, s->length, bpf_ktime_get_boot_ns());
		if (!h)
			return TC_ACT_SHOT;
		__builtin_memcpy(h->client_mac, ep->client_mac, ETH_ALEN);
		ep->flags |= IPOS_EP_WAITING;
	}
	snd_una = line_seq(&ep->line, line_final(ep), w->reading.at.snd_una, 0);
	if (seq_before(snd_una, s->ack))
		snd_una = s->ack;
	if (seq_before(snd_una, ep->heard))
		snd_una = ep->heard;
	answers_go_on(h, snd_una);
	if (cut && cut < s->length && seq_before(w->reading.at.rcv_nxt, ep->request_end))
		return hold_rest(skb, w, s, h, cut);
	if (cut && cut < s->length) { /* our kernel has what is before it */
		now->seq += cut;
		now->payload += cut;
		now->length -= cut;
	}
	return hold_segment(skb, w, s, h);
}

/*
 * A segment that is looked at.  Our kernel is given only what was read, in the order of its
 * numbers and when it has all that comes before, so that nothing else can take its place: not
 * what it throws away, nor what comes again with other bytes.  A TC verdict, DECIDE_HELD,
 * GIVE_UP or PASS_WHOLE.
 */
IPOS_FUNCTION int follow(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s)
{
	struct ipos_settings *set = settings_now();
	int settled = SETTLED_ALL, why;
	struct ipos_endpoint *ep;
	struct reading *r;
	__u32 end;

	if (!set || !w || !s)
		return TC_ACT_SHOT;
	ep = endpoint_of(&s->tuple);
	if (!ep)
		return TC_ACT_SHOT;
	r = &w->reading;
	end = s->seq + s->length;
	/* What a server that holds it has read, our own or the first: see held_need(). */
	if (!r->rounds &&
	    (w->ours == OURS_PIECE || s->seq - ep->adopt_seq < ep->rcv_need - ep->adopt_seq)) {
		if (!overhangs(ep, s))
			return given(ep, s, s->length);
		if (seq_before(s->seq, ep->request_end)) {
			given(ep, s, ep->request_end - s->seq);
			return pass_until(skb, set, w, s, ep->request_end - s->seq);
		}
		r->rounds = 1; /* those before it went up as they were */
	}
	/* Without a socket, or with one that nobody reads, our kernel resets what comes. */
	if (!socket_stands(skb, &s->tuple, &r->at) || r->at.unread)
		return PASS_WHOLE;
	if (!seq_before(r->at.rcv_nxt, end))
		return PASS_WHOLE; /* it has all of it */
	why = segment_unfit(skb, w, s, ep, &r->at);
	if (why)
		return shot(why);
	if (ep->marks_used)
		settled = settle(skb, set, w, s, ep);
	if (settled == SETTLED_GONE)
		return r->verdict;
	if (!overhangs(ep, s))
		return given(ep, s, s->length);
	if (bpf_map_lookup_elem(&FAMILY(holding), &s->tuple))
		return follow_held(skb, w, s, ep);
	/* A gap: what fills it may come by before. */
	if (settled == SETTLED_ALL && seq_before(r->at.rcv_nxt, s->seq))
		return r->rounds < ROUNDS_MAX ? go_round(skb, set, r->rounds)
					      : pass_before(skb, w, s, ep);
	if (seq_before(ep->request_end, r->at.rcv_nxt)) { /* nobody can read on */
		count(COUNT_READ_LOST);
		return connection_breaks(skb, w, s, ep, r->at.rcv_nxt);
	}
	if (seq_before(ep->request_end, s->seq))
		return shot(COUNT_DROP_AHEAD);
	why = read_on(skb, set, w, s, ep);
	if (why != HOLD)
		return why;
	load_options(skb, w, s); /* w was used meanwhile */
	return follow_held(skb, w, s, ep);
}

#endif /* IPOS_STREAM_H */
