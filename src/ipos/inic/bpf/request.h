/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From the first bytes of a request to a decision, and from a decision to an owner.
 */
#ifndef IPOS_REQUEST_H
#define IPOS_REQUEST_H

#include "redirect.h"
#include "decision.h"
#include "follow.h"
#include "sk.h"

#define PAUSE_NS 5000000ULL		/* a writer this slow waits for acknowledgements */
#define HELD_UNACKNOWLEDGED 4		/* segments held before the client is told */
#define DECIDE_HELD 0x100		/* no TC verdict: the held request is complete */
#define FOLLOW 0x102			/* no TC verdict: bytes of a later request; see follow() */
#define GIVE_UP 0x101			/* no TC verdict: nobody may or can serve it */

/* Gives a held request up: its client is reset, through the frame at hand. */
IPOS_APART int reset_held(struct __sk_buff *skb, const struct ipos_settings *set,
			  struct ipos_scratch *w, const struct ipos_tuple *t,
			  struct ipos_holding *h)
{
	struct tc_reply r = { .reply = { .seq = h->hs.iss + 1, .flags = TCP_RST } };
	__u32 end = h->hs.irs + 1 + h->held, moving = h->moving;
	struct segment s = {};

	s.tuple = *t;
	__builtin_memcpy(r.mac, h->client_mac, ETH_ALEN);
	h->hs.iss = h->iss;
	h->hs.irs = h->irs;
	closed_remember(t, &h->hs, end, bpf_ktime_get_boot_ns(), IPOS_TEMP_RESET);
	holding_release(t);
	count(COUNT_RST_SENT);
	if (!moving)
		return reply_from_tc(skb, set, w, &s, &r);
	if (reply_becomes(skb, set, w, &s, &r))
		return shot(COUNT_DROP_EMIT);
	leaving(skb, set, set->front_ifindex);
	skb->mark = IPOS_MARK_OURS;
	bpf_clone_redirect(skb, set->front_ifindex, 0);
	return CONSUMED;
}

/* Tells the client what is held in order, and asks for what is missing. */
IPOS_APART int acknowledge_held(struct __sk_buff *skb, const struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s,
				struct ipos_holding *h)
{
	struct tc_reply r = { .reply = {
		.seq = h->hs.iss + 1, .ack = h->hs.irs + 1 + h->held, .flags = TCP_ACK,
		.ts_value = w->ts_echo, .ts_echo = w->ts_value,
		.options = w->option_flags & IPOS_OPT_TIMESTAMPS ? REPLY_TIMESTAMPS : REPLY_BARE,
	} };

	r.reply.window = reply_window(&h->hs, h->held);
	__builtin_memcpy(r.mac, h->client_mac, ETH_ALEN);
	h->acknowledged = h->held;
	h->unacknowledged = 0;
	count(COUNT_HOLD_ACKED);
	return reply_from_tc(skb, set, w, s, &r);
}

/* The option travels with the handshake to whoever has the socket. */
IPOS_INLINE void session_note(struct ipos_handshake *hs, const struct choice *c)
{
	hs->options &= ~IPOS_OPT_SESSION;
	if (c->insert)
		hs->options |= IPOS_OPT_SESSION;
}

/* ---- decided: here -------------------------------------------------------------------------- */

IPOS_INLINE int local_row(const struct ipos_settings *set, struct ipos_scratch *w,
			  const struct ipos_tuple *t, const struct ipos_handshake *hs,
			  const struct choice *c, __u16 service, __u64 now)
{
	struct ipos_service *configured = service_at(service);
	struct ipos_endpoint *ep = &w->endpoint;
	__u64 len;
	__u8 body;

	__builtin_memset(ep, 0, sizeof(*ep));
	ep->endpoint_ip = set->self_ip;
	ep->endpoint_port = c->port;
	ep->first = ep->giver = set->self;
	ep->hs = *hs;
	ep->state = IPOS_EP_PENDING;
	ep->service = service;
	ep->adopt_seq = ep->rcv_need = ep->rcv_nxt = hs->irs + 1;
	ep->snd_nxt = hs->iss + 1;
	ep->last_seen_ns = now;
	if (configured && configured->decide == IPOS_DECIDE_REQUEST) {
		len = request_measure(w, &body);
		ep->answer_next = ep->snd_nxt;
		endpoint_follow(ep, hs->irs + 1, len, body);
	}
	if (bpf_map_update_elem(&local, t, ep, BPF_ANY)) {
		count(COUNT_DROP_TABLE_FULL);
		return -1;
	}
	return 0;
}

/* The length of a request that is decided, for its owner; of the next one nothing travels. */
IPOS_INLINE void held_measure(struct ipos_scratch *w, struct ipos_holding *h,
			      const struct ipos_service *service)
{
	if (service->decide == IPOS_DECIDE_REQUEST)
		h->request_len = request_measure(w, &h->body);
}

/* And the held bytes behind it come again, when it is their turn. */
IPOS_INLINE void held_cut(struct ipos_holding *h)
{
	__u8 body = h->body & ~(IPOS_BODY_OF_HEAD | IPOS_BODY_LEAVES);

	if (h->request_len && body != IPOS_BODY_CHUNKED && body != IPOS_BODY_OPAQUE &&
	    h->held > h->request_len)
		h->held = h->request_len;
}

/* A packet to adopt from carries requests that are ours, and nothing behind them. */
IPOS_INLINE int request_alone(struct __sk_buff *skb, struct ipos_scratch *w,
			      const struct segment *s, struct ipos_endpoint *ep)
{
	return heads_read(skb, w, s, ep) != HEADS_PASS &&
	       segment_trim(skb, w, s, ep->request_end - s->seq);
}

#define ADOPT_AGAIN 0x100		/* no refusal: the packet must go to front's ingress again */

/*
 * The kernel has the endpoint's packet in its hands.  A TIME_WAIT socket that slipped past
 * us is ended first, by a reset that overtakes the packet.
 */
IPOS_APART int adopt_here(struct __sk_buff *skb, const struct ipos_settings *set,
			  struct ipos_scratch *w, const struct segment *s, struct ipos_endpoint *ep)
{
	struct ipos_service *service = service_at(ep->service);
	struct ipos_left *left;
	__u32 next = 0;

	ep->state = IPOS_EP_ADOPTING;
	ep->reason = service ? adopt(skb, w, s, ep, service) : IPOS_REFUSE_NO_LISTENER;
	if (ep->reason != IPOS_REFUSE_TUPLE_LIVE)
		return ep->reason;
	/* Or the connection was here before, and our application has not closed it yet. */
	left = bpf_map_lookup_elem(&left_behind, &s->tuple);
	if (left && ep->flags & IPOS_EP_RETRIED) {
		ep->state = IPOS_EP_PENDING;	/* it holds the socket; the packet comes again */
		ep->flags &= ~(IPOS_EP_RETRIED | IPOS_EP_NOTICE_RETRIED);
		return ep->reason;
	}
	if (left)
		next = left->next;
	if (ep->flags & IPOS_EP_RETRIED ||
	    (!left && !time_wait_expects(skb, &s->tuple, &next)) ||
	    reset_kernel(skb, set, s, next))
		return ep->reason;
	ep->flags |= IPOS_EP_RETRIED;
	ep->state = IPOS_EP_PENDING;
	skb->mark = IPOS_MARK;
	return ADOPT_AGAIN;
}

/* ---- decided: a held request ------------------------------------------------------------------ */

IPOS_INLINE int forward_row(struct ipos_scratch *w, const struct ipos_tuple *t,
			    const struct ipos_holding *h, const struct route *r, __u16 first,
			    __u64 now)
{
	struct ipos_forward *f = &w->forward;

	__builtin_memset(f, 0, sizeof(*f));
	f->destination_ip = r->endpoint_ip;
	f->destination_port = r->endpoint_port;
	f->server = r->server;
	f->iss = h->iss;
	f->irs = h->irs;
	f->first = first;
	f->service = h->service;
	f->client_end = f->request_end = h->hs.irs + 1 + h->held;
	f->client_ack = h->hs.iss + 1;
	f->migration = h->migration;
	f->packets = 1;
	f->last_seen_ns = f->offered_ns = now;
	return bpf_map_update_elem(&forward, t, f, BPF_ANY);
}

/* How a request was decided, beside the server. */
IPOS_INLINE void decision_note(struct ipos_holding *h, const struct choice *c)
{
	h->pool = c->pool;
	h->rule = c->rule;
	h->session = c->session;
}

/* Tells where the request in w->request goes, or by server 0 that nobody takes it. */
IPOS_APART int report_written(const struct ipos_scratch *w, const struct ipos_tuple *t,
			      const struct ipos_holding *h, __u16 server, __u8 reason)
{
	struct verdict v = { .service = h->service, .server = server, .reason = reason,
			     .rule = h->rule, .pool = h->pool, .outcome = IPOS_OUTCOME_NEW };
	struct ipos_endpoint *ep = h->moving ? endpoint_of(t) : NULL;
	struct ipos_settings *set = settings_now();

	if (!set)
		return 0;
	v.first = ep ? ep->first : set->self;
	if (h->moving)
		v.outcome = IPOS_OUTCOME_MOVED;
	if (h->again)
		v.outcome = IPOS_OUTCOME_AGAIN;
	if (reason == IPOS_REASON_POLICY) {
		if (h->again)
			v.reason = h->again;
		else if (h->session == CHOICE_KEPT)
			v.reason = IPOS_REASON_SESSION;
		else if (h->session == CHOICE_MOVED)
			v.reason = IPOS_REASON_SESSION_MOVED;
		else if (h->session == CHOICE_ELSEWHERE)
			v.reason = IPOS_REASON_SESSION_AWAY;
		else if (w->request.flags & IPOS_REQUEST_UNREAD)
			v.reason = IPOS_REASON_UNREAD;
	}
	if (reason == IPOS_REASON_HEAD)
		v.refusal = w->request.refusal;
	if (!server)
		v.outcome = IPOS_OUTCOME_REFUSED;
	return decision_write(w, t, &v);
}

IPOS_INLINE void report(const struct ipos_settings *set, const struct ipos_service *service,
			const struct ipos_scratch *w, const struct ipos_tuple *t,
			const struct ipos_holding *h, __u16 server, __u8 reason)
{
	if (decision_wanted(set, service))
		report_written(w, t, h, server, reason);
}

/*
 * Decides a held request and sends it there; again, when servers have refused it.  The frame
 * at hand is consumed, or ANSWER_HELD asks for it.
 */
IPOS_FUNCTION int decide_held(struct __sk_buff *skb, struct ipos_scratch *w,
			      const struct ipos_tuple *t)
{
	struct ipos_settings *set = settings_now();
	__u64 now = bpf_ktime_get_boot_ns();
	struct ipos_service *service;
	struct ipos_server *server;
	struct ipos_holding *h;
	__u8 reason = IPOS_REASON_POLICY;
	struct route r = {};
	struct choice c = {};
	struct draw d;

	if (!set || !w || !t)
		return TC_ACT_SHOT;
	d = draw_for(t);
	h = bpf_map_lookup_elem(&holding, t);
	if (!h)
		return TC_ACT_SHOT;
	service = service_at(h->service);
	if (!service)
		return TC_ACT_SHOT;
	c.server = h->server;
	c.port = h->port;
	c.pool = h->pool;
	c.redirect = h->redirect;
	h->server = h->redirect = 0;
	if (!c.server) {
		if (hold_read(w, h) == IPOS_READ_REFUSED) {
			report(set, service, w, t, h, 0, IPOS_REASON_HEAD);
			return answer_refusal(h, w->request.refusal);
		}
		decide(w, t, h->refused, now, &c);
		session_note(&h->hs, &c);
		decision_note(h, &c);
		held_measure(w, h, service);
	} else if (decision_wanted(set, service)) {
		hold_read(w, h);	/* it was read with its first segment, maybe long ago */
	}
	server = server_at(c.server);
	if (!c.server || !server) {
		count(COUNT_DROP_NO_SERVER);
		report(set, service, w, t, h, 0, IPOS_REASON_NO_SERVER);
		return reset_held(skb, set, w, t, h);
	}
	if (c.redirect && answer_redirect(w, h, c.server)) {
		report(set, service, w, t, h, c.server, IPOS_REASON_REDIRECTED);
		return ANSWER_HELD;
	}
	held_cut(h);
	r.server = c.server;
	r.endpoint_ip = server->address;
	r.endpoint_port = c.port;
	if (c.server != set->self) {
		h->migration = now;
		if (!forward_row(w, t, h, &r, set->self, now)) {
			traffic_add(c.server, 1, 0);
			count(COUNT_MIGRATED);
			report(set, service, w, t, h, c.server, reason);
			migrate(skb, w, t, &r, now);
			return CONSUMED;
		}
		/* Forward is full: serve here, if that is allowed and was not refused. */
		count(COUNT_DROP_TABLE_FULL);
		choose(w, c.pool, h->refused | ~(1ULL << (set->self & 63)), &d, &c);
		reason = IPOS_REASON_FORWARD_FULL;
		if (c.server != set->self) {
			report(set, service, w, t, h, 0, reason);
			return reset_held(skb, set, w, t, h);
		}
		r.server = set->self;
	}
	if (local_row(set, w, t, &h->hs, &c, h->service, now)) {
		report(set, service, w, t, h, 0, IPOS_REASON_TABLE_FULL);
		return reset_held(skb, set, w, t, h);
	}
	traffic_add(set->self, 1, 0);
	count(COUNT_SERVED_HERE);
	report(set, service, w, t, h, set->self, reason);
	if (pieces_send(skb, w, t, &r, h->held))
		count(COUNT_DROP_EMIT);
	return CONSUMED;
}

/* ---- a request's segments ------------------------------------------------------------------------ */

/* What is known of a request before its first segment, in w->holding. */
IPOS_INLINE void request_begin(struct ipos_scratch *w, const struct ipos_handshake *hs,
			       __u16 service, __u64 refused)
{
	__builtin_memset(&w->holding, 0, sizeof(w->holding));
	w->holding.hs = *hs;
	w->holding.iss = hs->iss;
	w->holding.irs = hs->irs;
	w->holding.service = service;
	w->holding.refused = refused;
}

/* A row for a request that cannot be decided from one segment, or must travel. */
IPOS_INLINE struct ipos_holding *hold_begin(struct __sk_buff *skb, struct ipos_scratch *w,
					    const struct ipos_tuple *t, __u64 now)
{
	struct ipos_holding *h = &w->holding;

	if (bpf_skb_load_bytes(skb, ETH_ALEN, h->client_mac, ETH_ALEN))
		return NULL;
	h->created_ns = h->last_seen_ns = now;
	if (bpf_map_update_elem(&holding, t, h, BPF_NOEXIST))
		return NULL;
	bpf_map_delete_elem(&temporary, t);
	return bpf_map_lookup_elem(&holding, t);
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

/* One more sound segment of a held request.  Consumes the frame, or says what is to be done. */
IPOS_APART int hold_segment(struct __sk_buff *skb, struct ipos_settings *set,
			    struct ipos_scratch *w, const struct segment *s, struct ipos_holding *h)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 offset = s->seq - (h->hs.irs + 1), length = s->length, before = h->held;
	__u32 start, end;
	__u64 last = h->last_seen_ns;
	int full, waits;

	if (offset > IPOS_HEAD_MAX - !!length)
		return shot(COUNT_DROP_BAD_SEQUENCE);
	if (h->silent && !silence_ends(h, IPOS_SILENT_NO))
		return shot(COUNT_DROP_AHEAD);	/* of a decision that is being made */
	if (length)			/* pauses are between data */
		h->last_seen_ns = now;
	h->window = s->window;
	/* Bytes in order never change; those beyond the window come again. */
	end = offset + length > IPOS_HEAD_MAX ? IPOS_HEAD_MAX : offset + length;
	start = offset < before ? before : offset;
	if (start < end && (hold_store(skb, w, h, s->payload + start - offset, SPAN(start, end)) ||
			    hold_note(h, start, end)))
		return shot(COUNT_DROP_HOLD_FULL);
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
	full = length + 12 >= (h->hs.mss < IPOS_MSS ? h->hs.mss : IPOS_MSS);
	/*
	 * After a frame of HTTP/2 the request may follow at once, or not before the server's first
	 * frame.  It is held in silence: who has no more to say has paused when the agent comes
	 * back to it, or, without an agent, sends the same again.  Not who just closes: no request
	 * will follow.
	 */
	waits = length && h->head_state == HEAD_H2_NEXT && !hold_gap(h);
	if (waits && (h->held == before || now - last > PAUSE_NS ||
		      h->unacknowledged + 1 >= HELD_UNACKNOWLEDGED))
		h->complete = 1;
	if (h->complete) {
		count(COUNT_HELD);
		return DECIDE_HELD;
	}
	if (h->moving && (h->fin || h->held >= IPOS_HEAD_MAX)) {
		h->complete = 1;	/* it will never be; an answer may be on its way yet */
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
	if (h->fin) {			/* the head will never be complete */
		count(COUNT_FIN_ANSWERED);
		return GIVE_UP;
	}
	count(COUNT_HELD);
	h->unacknowledged++;
	if ((!full && !waits) || h->held == before || h->unacknowledged >= HELD_UNACKNOWLEDGED ||
	    now - last > PAUSE_NS)
		return acknowledge_held(skb, set, w, s, h);
	if (waits)
		silence_begins(h, &s->tuple);
	return CONSUMED;
}

/* The first segment of the request in w->holding, often all of it. */
IPOS_APART int first_segment(struct __sk_buff *skb, struct ipos_settings *set,
			     struct ipos_scratch *w, const struct segment *s)
{
	__u32 n = s->length > IPOS_CHUNK ? IPOS_CHUNK : s->length;
	struct ipos_service *service = service_at(w->holding.service);
	__u64 now = bpf_ktime_get_boot_ns();
	struct ipos_endpoint *ep;
	struct ipos_holding *h;
	struct choice c = {};
	int verdict;

	if (!service)
		return TC_ACT_SHOT;
	IPOS_OPAQUE(n);
	if (s->seq == w->holding.hs.irs + 1 && n >= 1 && n <= IPOS_CHUNK &&
	    !bpf_skb_load_bytes(skb, s->payload, w->bytes, n)) {
		request_open(w, w->holding.service);
		if (request_feed(w, n) == IPOS_READ_DONE)
			decide(w, &s->tuple, w->holding.refused, now, &c);
		session_note(&w->holding.hs, &c);
	}
	decision_note(&w->holding, &c);
	if (c.server == set->self && c.server && !c.redirect &&
	    !local_row(set, w, &s->tuple, &w->holding.hs, &c, w->holding.service, now)) {
		/* Now: another head may be read before our kernel has this one. */
		report(set, service, w, &s->tuple, &w->holding, set->self, IPOS_REASON_POLICY);
		ep = bpf_map_lookup_elem(&local, &s->tuple);
		verdict = IPOS_REFUSE_TABLE_FULL;
		if (ep && !(follows(ep, s) && request_alone(skb, w, s, ep)))
			verdict = adopt_here(skb, set, w, s, ep);
		if (verdict == IPOS_REFUSE_NONE || verdict == ADOPT_AGAIN) {
			bpf_map_delete_elem(&temporary, &s->tuple);
			traffic_add(set->self, 1, 0);
			count(COUNT_SERVED_HERE);
			return verdict == IPOS_REFUSE_NONE ? TC_ACT_OK :
			       bpf_redirect(set->front_ifindex, BPF_F_INGRESS);
		}
		count(COUNT_DROP_NOT_ADOPTED);
		bpf_map_delete_elem(&local, &s->tuple);
		w->holding.refused |= 1ULL << (set->self & 63);
		w->holding.again = IPOS_REASON_NOT_ADOPTED;
		count(COUNT_CHOSEN_AGAIN);
		c.server = 0;
	}
	w->holding.server = c.server;
	w->holding.port = c.port;
	w->holding.redirect = c.redirect;
	if (c.server)
		held_measure(w, &w->holding, service);
	if (!segment_sound(skb, w, s))	/* and no row for it */
		return TC_ACT_SHOT;
	h = hold_begin(skb, w, &s->tuple, now);
	if (!h)
		return shot(COUNT_DROP_HOLD_FULL);
	return hold_segment(skb, set, w, s, h);
}

#endif /* IPOS_REQUEST_H */
