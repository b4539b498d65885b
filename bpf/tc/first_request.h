/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The first request of a connection, segment by segment, until it can be decided.
 */
#ifndef IPOS_FIRST_REQUEST_H
#define IPOS_FIRST_REQUEST_H

#include "abi/verdict.h"
#include "lib/decision.h"
#include "lib/measure.h"
#include "lib/reading.h"
#include "tc/first_decision.h"

#define PAUSE_NS 5000000ULL   /* a writer this slow waits for acknowledgements */
#define HELD_UNACKNOWLEDGED 4 /* segments held before the client is told */

/* Tells the client what is held in order, and asks for what is missing. */
IPOS_APART int acknowledge_held(struct __sk_buff *skb, const struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s,
				struct ipos_holding *h)
{
	struct tc_reply r = { .reply = {
				      .seq = h->hs.iss + 1,
				      .ack = h->hs.irs + 1 + h->held,
				      .flags = TCP_ACK,
				      .ts_value = w->ts_echo,
				      .ts_echo = w->ts_value,
				      .options = w->option_flags & IPOS_OPT_TIMESTAMPS
							 ? REPLY_TIMESTAMPS
							 : REPLY_BARE,
			      } };

	r.reply.window = reply_window(&h->hs, h->held);
	__builtin_memcpy(r.mac, h->client_mac, ETH_ALEN);
	h->acknowledged = h->held;
	h->unacknowledged = 0;
	count(COUNT_HOLD_ACKED);
	return reply_from_tc(skb, set, w, s, &r);
}

/* What is known of a request before its first segment, in w->holding. */
IPOS_INLINE void request_begin(struct ipos_scratch *w, const struct ipos_handshake *hs,
			       __u16 service)
{
	__builtin_memset(&w->holding, 0, sizeof(w->holding));
	w->holding.hs = *hs;
	w->holding.iss = hs->iss;
	w->holding.irs = hs->irs;
	w->holding.service = service;
	w->holding.head_state = head_first(mode_of(service));
}

/*
 * A row for a request that cannot be decided from one segment, or must travel.  Without room for
 * `length` bytes there is none: it is counted, and NULL.
 */
IPOS_INLINE struct ipos_holding *hold_begin(struct __sk_buff *skb, struct ipos_scratch *w,
					    const struct ipos_tuple *t, __u32 length, __u64 now)
{
	struct ipos_holding *h = &w->holding;
	int why;

	h->client_ip = client_word(t->client_ip);
	h->created_ns = h->last_seen_ns = now;
	why = share_refuses(h->client_ip, length / IPOS_CHUNK + 1, h->server && !h->moving);
	if (!why &&
	    (bpf_skb_load_bytes(skb, ETH_ALEN, h->client_mac, ETH_ALEN) || holding_put(t, h)))
		why = COUNT_DROP_HOLD_FULL;
	if (why) {
		count(why);
		return NULL;
	}
	bpf_map_delete_elem(&FAMILY(temporary), t);
	return bpf_map_lookup_elem(&FAMILY(holding), t);
}

/* Whether a segment may be held: its bytes will be sent again under a checksum of ours. */
IPOS_INLINE int segment_sound(struct __sk_buff *skb, struct ipos_scratch *w,
			      const struct segment *s)
{
	if (payload_sound(skb, w, s) && !load_options(skb, w, s))
		return 1;
	count(COUNT_DROP_BAD_CHECKSUM);
	return 0;
}

/* Keeps what is new of a segment that stands `offset` bytes into the request: 0, or why not. */
IPOS_INLINE int hold_keep(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			  struct ipos_holding *h, __u32 offset)
{
	/* Bytes in order never change; those beyond the window come again. */
	__u32 length = s->length, before = h->held;
	__u32 end = offset + length > IPOS_HEAD_MAX ? IPOS_HEAD_MAX : offset + length;
	__u32 start = offset < before ? before : offset;
	int why = hold_refuses(h, start, end);

	if (!why && start < end &&
	    (hold_store(skb, w, h, s->payload + start - offset, SPAN(start, end)) ||
	     hold_note(h, start, end)))
		why = COUNT_DROP_HOLD_FULL;
	return why;
}

/* The request is at its end, or no more of it can come: what is to be done, or 0. */
IPOS_INLINE int hold_over(struct ipos_scratch *w, const struct ipos_settings *set,
			  const struct segment *s, struct ipos_holding *h, __u64 since)
{
	if (h->complete) {
		count(COUNT_HELD);
		return asked_lately(h, s->length, since) ? CONSUMED : DECIDE_HELD;
	}
	if (h->moving && (h->fin || h->held >= IPOS_HEAD_MAX)) {
		h->complete = 1; /* it will never be; an answer may be on its way yet */
		return DECIDE_HELD;
	}
	if (h->held >= IPOS_HEAD_MAX) {
		if (decision_wanted(set, service_at(h->service))) {
			hold_read(w, h);
			w->request.refusal = IPOS_AMBIGUOUS_TOO_LONG;
			report_written(w, &s->tuple, h, 0, IPOS_REASON_HEAD);
		}
		return answer_refusal(h, IPOS_AMBIGUOUS_TOO_LONG);
	}
	if (h->fin) { /* the head will never be complete */
		count(COUNT_FIN_ANSWERED);
		return GIVE_UP;
	}
	return 0;
}

/*
 * Data has come: pauses are between them.  With the first of an idle connection its header timeout
 * begins.
 */
IPOS_INLINE void hold_seen(struct __sk_buff *skb, struct ipos_holding *h, __u64 now)
{
	h->last_seen_ns = now;
	if (likely(!h->live) || h->held || h->moving)
		return;
	if (skb->mark != IPOS_MARK) /* out of a frame it has a server's address */
		bpf_skb_load_bytes(skb, ETH_ALEN, h->client_mac, ETH_ALEN);
	h->created_ns = now;
}

/* One more sound segment of a held request.  Consumes the frame, or says what is to be done. */
IPOS_FUNCTION int hold_segment(struct __sk_buff *skb, struct ipos_scratch *w,
			       const struct segment *s, struct ipos_holding *h)
{
	struct ipos_settings *set = settings_now();
	__u64 now = bpf_ktime_get_boot_ns(), last;
	__u32 offset, length, before;
	int full, waits, why;

	if (!set || !w || !s || !h)
		return TC_ACT_SHOT;
	offset = s->seq - (h->hs.irs + 1);
	length = s->length;
	before = h->held;
	last = h->last_seen_ns;
	if (offset > IPOS_HEAD_MAX - !!length)
		return shot(COUNT_DROP_BAD_SEQUENCE);
	if (h->silent && !silence_ends(h, IPOS_SILENT_NO))
		return shot(COUNT_DROP_AHEAD); /* of a decision that is being made */
	if (length)
		hold_seen(skb, h, now);
	h->window = s->window;
	why = hold_keep(skb, w, s, h, offset);
	if (why) {
		if (!before && !h->moving && !h->live && !hold_gap(h)) { /* no row without a byte */
			closed_remember(&s->tuple, &h->hs, 0, now, IPOS_TEMP_OPEN);
			holding_release(&s->tuple);
		}
		return shot(why);
	}
	if (w->option_flags & IPOS_OPT_TIMESTAMPS) {
		h->hs.ts_recent = w->ts_value;
		h->hs.ts_sent = w->ts_echo;
	}
	if (s->flags & TCP_FIN && offset + length == h->held)
		h->fin = 1;
	hold_parse(w, h);
	/* A ClientHello or a flight longer than the window is a head as long as the window. */
	if (h->held >= IPOS_HEAD_MAX && head_bounded(h->head_state))
		h->complete = 1;
	full = length + 12 >= (h->hs.mss < FAMILY_MSS ? h->hs.mss : FAMILY_MSS);
	/*
	 * After a frame of HTTP/2 the request may follow at once, or not before the server's first
	 * frame.  It is held without an acknowledgement: a client without a request has paused
	 * when the agent comes back to it, or, without an agent, sends the same again.  Not a
	 * client that just closes: no request will follow.
	 */
	waits = length && h->head_state == HEAD_H2_NEXT && !hold_gap(h);
	if (waits && (h->held == before || now - last > PAUSE_NS ||
		      h->unacknowledged + 1 >= HELD_UNACKNOWLEDGED))
		h->complete = 1;
	why = hold_over(w, set, s, h, now - last);
	if (why)
		return why;
	count(COUNT_HELD);
	h->unacknowledged++;
	if ((!full && !waits) || h->held == before || h->unacknowledged >= HELD_UNACKNOWLEDGED ||
	    now - last > PAUSE_NS)
		return acknowledge_held(skb, set, w, s, h);
	if (waits)
		silence_begins(h, &s->tuple);
	return CONSUMED;
}

/* Reads the first `n` bytes of a connection, in w->bytes, only because they are watched. */
IPOS_FUNCTION int first_read(struct ipos_scratch *w, __u32 index, __u32 n)
{
	struct ipos_service *service = service_at(index);
	struct ipos_settings *set = settings_now();

	if (!w || !set || !service)
		return IPOS_READ_MORE;
	if (service->mode == IPOS_MODE_ANY && decision_wanted(set, service)) {
		request_open(w, index, IPOS_MODE_AUTO);
		if (request_feed(w, n) == IPOS_READ_DONE)
			return IPOS_READ_DONE;
	}
	request_open(w, index, service->mode);
	return request_feed(w, n);
}

/* The first segment of the request in w->holding, often all of it. */
IPOS_FUNCTION int first_segment(struct __sk_buff *skb, struct ipos_scratch *w,
				const struct segment *s)
{
	struct ipos_settings *set = settings_now();
	__u64 now = bpf_ktime_get_boot_ns();
	struct ipos_service *service;
	struct ipos_endpoint *ep;
	struct ipos_holding *h;
	struct choice c = {};
	int verdict;
	__u32 n;

	if (!set || !w || !s)
		return TC_ACT_SHOT;
	service = service_at(w->holding.service);
	n = s->length > IPOS_CHUNK ? IPOS_CHUNK : s->length;
	/* First: neither a row nor a socket for what a checksum does not vouch for. */
	if (!service || !segment_sound(skb, w, s))
		return TC_ACT_SHOT;
	IPOS_OPAQUE(n);
	if (s->seq == w->holding.hs.irs + 1 && n >= 1 && n <= IPOS_CHUNK &&
	    !bpf_skb_load_bytes(skb, s->payload, w->bytes, n)) {
		if (first_read(w, w->holding.service, n) == IPOS_READ_DONE)
			decide(w, &s->tuple, &w->holding.refused, now, &c);
		session_note(&w->holding.hs, &c);
	}
	decision_note(&w->holding, &c);
	if (c.server == set->self && c.server && !c.redirect &&
	    !local_row(set, w, &s->tuple, &w->holding.hs, &c, w->holding.service, now)) {
		/* Now: another head may be read before our kernel has this one. */
		report(set, service, w, &s->tuple, &w->holding, set->self, IPOS_REASON_POLICY);
		ep = bpf_map_lookup_elem(&FAMILY(local), &s->tuple);
		verdict = IPOS_REFUSE_TABLE_FULL;
		if (ep && s->flags & TCP_FIN) {
			bpf_map_delete_elem(&FAMILY(temporary), &s->tuple);
			count(COUNT_SERVED_HERE);
			tally_first(set, &w->holding);
			return fin_apart(skb, set, w, s);
		}
		if (ep && !request_alone(skb, set, w, s, ep))
			verdict = adopt_here(skb, set, w, s, ep);
		if (verdict == IPOS_REFUSE_NONE || verdict == ADOPT_AGAIN) {
			bpf_map_delete_elem(&FAMILY(temporary), &s->tuple);
			count(COUNT_SERVED_HERE);
			tally_first(set, &w->holding);
			return verdict == IPOS_REFUSE_NONE
				       ? TC_ACT_OK
				       : bpf_redirect(front_of(set, s->tuple.service_ip),
						      BPF_F_INGRESS);
		}
		count(COUNT_DROP_NOT_ADOPTED);
		local_delete(&s->tuple);
		w->holding.again = IPOS_REASON_NOT_ADOPTED;
		w->holding.crowded |= verdict == IPOS_REFUSE_QUEUE_FULL;
		w->holding.crowded |= refuser_add(&w->holding.refused, set->self);
		count(COUNT_CHOSEN_AGAIN);
		tally_refuser(set->self);
		c.server = 0;
	}
	w->holding.server = c.server;
	w->holding.port = c.port;
	w->holding.redirect = c.redirect;
	if (c.server)
		held_measure(w, &w->holding, service);
	h = hold_begin(skb, w, &s->tuple, s->length, now);
	if (!h)
		return TC_ACT_SHOT;
	return hold_segment(skb, w, s, h);
}

#endif /* IPOS_FIRST_REQUEST_H */
