/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A held request gets its server: it is served here, sent to another server, or refused.
 */
#ifndef IPOS_FIRST_DECISION_H
#define IPOS_FIRST_DECISION_H

#include "abi/verdict.h"
#include "lib/decision.h"
#include "lib/measure.h"
#include "tc/adoption.h"
#include "tc/next_request.h"
#include "tc/redirect.h"

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
	tally_refused(h->service, IPOS_REFUSED_BY_RST);
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

/* The option travels with the handshake to the server that has the socket. */
IPOS_INLINE void session_note(struct ipos_handshake *hs, const struct choice *c)
{
	hs->options &= ~IPOS_OPT_SESSION;
	if (c->insert && !(hs->options & IPOS_OPT_BEGUN))
		hs->options |= IPOS_OPT_SESSION;
}

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
	f->client_end = h->hs.irs + 1 + h->held;
	f->request_end = h->hs.irs + 1 + (h->request_len ? held_need(h) : h->held);
	f->client_ack = h->hs.iss + 1;
	f->migration = h->migration;
	f->packets = 1;
	f->last_seen_ns = now;
	f->offered_ms = offered_now(now);
	return forward_put(t, f);
}

/* How a request was decided, beside the server. */
IPOS_INLINE void decision_note(struct ipos_holding *h, const struct choice *c)
{
	h->pool = c->pool;
	h->rule = c->rule;
	h->session = c->session;
}

/* A first request is served here. */
IPOS_INLINE void tally_first(const struct ipos_settings *set, const struct ipos_holding *h)
{
	tally_decided(h->service, set->self, h->pool, h->rule, IPOS_DECIDED_HERE);
}

/* Tells where the request in w->request goes, or by server 0 that nobody takes it. */
IPOS_APART int report_written(const struct ipos_scratch *w, const struct ipos_tuple *t,
			      const struct ipos_holding *h, __u16 server, __u8 reason)
{
	struct verdict v = { .service = h->service,
			     .server = server,
			     .reason = reason,
			     .rule = h->rule,
			     .pool = h->pool,
			     .outcome = IPOS_OUTCOME_NEW };
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
 * Reads a request that no rule needs, for watchers or for a 503: if it is whole, and
 * what it seems to be.  Returns enum ipos_progress.
 */
IPOS_INLINE int hold_look(struct ipos_scratch *w, struct ipos_holding *h)
{
	if (!h->moving && mode_of(h->service) == IPOS_MODE_ANY &&
	    hold_read_as(w, h, IPOS_MODE_AUTO) == IPOS_READ_DONE)
		return IPOS_READ_DONE;
	return hold_read(w, h);
}

/* Nobody may or can have the held request: HTTP/1's client is told, any other is reset. */
IPOS_APART int held_nobody(struct __sk_buff *skb, const struct ipos_settings *set,
			   struct ipos_scratch *w, const struct ipos_tuple *t,
			   struct ipos_holding *h)
{
	if (hold_look(w, h) == IPOS_READ_DONE && w->request.grammar == IPOS_GRAMMAR_HTTP1)
		return answer_refusal(h, ANSWER_NOBODY);
	tally_nobody(h->pool, h->rule);
	return reset_held(skb, set, w, t, h);
}

/* Whether a refusal is for want of room: a full accept queue, which TCP finds full at last. */
IPOS_INLINE int is_crowded(__u32 reason)
{
	return reason == IPOS_REFUSE_QUEUE_FULL || reason == IPOS_REFUSE_NOT_ADOPTED;
}

/*
 * Whether nobody can serve a held request for want of room alone.  Then the client hears nothing,
 * as a full accept queue lets it hear nothing: it sends again what we have not acknowledged, and
 * all are asked anew, for as long as a head has time to end.
 */
IPOS_INLINE int held_waits(const struct ipos_settings *set, struct ipos_holding *h, __u64 now)
{
	__u32 ms = now / 1000000 | 1;

	if (!h->crowded)
		return 0;
	if (!h->crowded_ms)
		h->crowded_ms = ms;
	if (ms - h->crowded_ms >= set->header_timeout_ms)
		return 0;
	h->crowded = 0;
	h->looked = 1;
	__builtin_memset(&h->refused, 0, sizeof(h->refused));
	count(COUNT_ASKED_LATER);
	return 1;
}

/*
 * Whether a held request waits until its application is started.  Its client hears nothing, as
 * above; the agent hears of it, has a server start the application, and comes back to the request.
 */
IPOS_APART int held_awaits(const struct ipos_tuple *t, struct ipos_holding *h, __u64 now)
{
	struct ipos_service *service = service_at(h->service);
	__u32 ms = now / 1000000 | 1;
	struct ipos_tuple *told;

	if (!service || service->starts != IPOS_STARTS_WAIT)
		return 0;
	if (!h->crowded_ms)
		h->crowded_ms = ms;
	if (ms - h->crowded_ms >= service->start_s * 1000U)
		return 0;
	h->crowded = 0;
	h->looked = 1;
	__builtin_memset(&h->refused, 0, sizeof(h->refused));
	count(COUNT_START_AWAITED);
	told = bpf_ringbuf_reserve(&awaiting, sizeof(*told), 0);
	if (!told)
		return 1;
	*told = *t;
	bpf_ringbuf_submit(told, 0);
	return 1;
}

/* The row in Local; of a connection that an application has had, it says where that began. */
IPOS_APART int local_held(const struct ipos_settings *set, struct ipos_scratch *w,
			  const struct ipos_tuple *t, const struct ipos_holding *h,
			  const struct choice *c)
{
	struct ipos_endpoint *ep;

	if (local_row(set, w, t, &h->hs, c, h->service, bpf_ktime_get_boot_ns()))
		return -1;
	ep = h->live ? bpf_map_lookup_elem(&FAMILY(local), t) : NULL;
	if (!ep)
		return 0;
	ep->hs.iss = h->iss;
	ep->hs.irs = h->irs;
	ep->migration = h->migration;
	ep->flags |= IPOS_EP_LIVE;
	return 0;
}

/* Serves a held request here, if that is what was chosen.  Says CONSUMED, or what is to be done. */
IPOS_INLINE int held_here(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			  const struct ipos_tuple *t, struct ipos_holding *h,
			  const struct choice *c, struct route *r, __u8 reason)
{
	struct ipos_service *service = service_at(h->service);

	if (!service)
		return TC_ACT_SHOT;
	if (c->server != set->self) {
		report(set, service, w, t, h, 0, reason);
		return held_nobody(skb, set, w, t, h);
	}
	r->server = set->self;
	if (local_held(set, w, t, h, c)) {
		report(set, service, w, t, h, 0, IPOS_REASON_TABLE_FULL);
		return held_nobody(skb, set, w, t, h);
	}
	count(COUNT_SERVED_HERE);
	tally_first(set, h);
	report(set, service, w, t, h, set->self, reason);
	if (pieces_send(skb, w, t, r, 0, h->held))
		count(COUNT_DROP_EMIT);
	return CONSUMED;
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
	int progress;

	if (!set || !w || !t)
		return TC_ACT_SHOT;
	h = bpf_map_lookup_elem(&FAMILY(holding), t);
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
		progress = hold_read(w, h);
		if (progress == IPOS_READ_REFUSED) {
			report(set, service, w, t, h, 0, IPOS_REASON_HEAD);
			return answer_refusal(h, w->request.refusal);
		}
		if (progress == IPOS_READ_MORE && w->request.grammar <= IPOS_GRAMMAR_HTTP1)
			return reset_held(skb, set, w, t, h); /* never by half a head */
		c.returned = h->live;
		decide(w, t, &h->refused, now, &c);
		session_note(&h->hs, &c);
		decision_note(h, &c);
		held_measure(w, h, service);
	}
	if (decision_wanted(set, service))
		hold_look(w, h); /* it was read with its first segment, maybe long ago */
	server = server_at(c.server);
	if ((!c.server || !server) && (held_waits(set, h, now) || held_awaits(t, h, now)))
		return CONSUMED;
	if (!c.server || !server) {
		count(COUNT_DROP_NO_SERVER);
		report(set, service, w, t, h, 0, IPOS_REASON_NO_SERVER);
		return held_nobody(skb, set, w, t, h);
	}
	if (c.redirect && answer_redirect(w, h, c.server)) {
		tally_decided(h->service, c.server, h->pool, h->rule, IPOS_DECIDED_REDIRECTED);
		report(set, service, w, t, h, c.server, IPOS_REASON_REDIRECTED);
		return ANSWER_HELD;
	}
	r.server = c.server;
	r.endpoint_ip = server->address;
	r.endpoint_port = c.port;
	if (c.server != set->self) {
		h->migration = h->migration ? h->migration + 1 : now;
		if (!forward_row(w, t, h, &r, set->self, now)) {
			tally_offer(h, c.server, IPOS_DECIDED_AWAY);
			report(set, service, w, t, h, c.server, reason);
			migrate(skb, w, t, &r, h->migration);
			return CONSUMED;
		}
		/* Forward is full: serve here, if that is allowed and was not refused. */
		count(COUNT_DROP_TABLE_FULL);
		choose_only(c.pool, set->self, &h->refused, &c);
		reason = IPOS_REASON_FORWARD_FULL;
	}
	return held_here(skb, set, w, t, h, &c, &r, reason);
}

#endif /* IPOS_FIRST_DECISION_H */
