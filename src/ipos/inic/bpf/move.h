/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The next request of a connection that is ours: held until it may be decided, then given to
 * our own socket or, with the endpoint, to another server.  That server's type 3 dissociates
 * our application: it is told the end by a FIN made here, and what its socket still says is
 * swallowed on egress.
 */
#ifndef IPOS_MOVE_H
#define IPOS_MOVE_H

#include "follow.h"
#include "request.h"

/*
 * Nothing is on its way in either direction: our application has read all there is before the
 * held request, has answered, and the client has all of the answer.
 */
IPOS_APART int endpoint_quiet(struct __sk_buff *skb, const struct ipos_tuple *t,
			      const struct ipos_endpoint *ep, const struct ipos_holding *h)
{
	__u32 ack = h->hs.iss + 1, next = h->hs.irs + 1;
	struct bpf_sock_tuple tuple;
	struct tcp_sock *tcp;
	struct bpf_sock *sk;
	int quiet = 0;

	if (ep->client_fin_seen || ep->server_fin_seen || !endpoint_answered(ep))
		return 0;
	sock_tuple(&tuple, t);
	sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	if (sk->state == BPF_TCP_ESTABLISHED) {
		tcp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
		if (tcp)
			quiet = tcp->rcv_nxt == next && tcp->copied_seq == next &&
				tcp->snd_nxt == ack && tcp->write_seq == ack;
	}
	bpf_sk_release(sk);
	return quiet;
}

/* ---- dissociating ---------------------------------------------------------------------------- */

/*
 * Our socket leaves the connection: a FIN of the client's, of which the client knows nothing.
 * The frame at hand is rewritten; the held bytes are somebody else's by now.
 */
IPOS_APART int socket_leaves(struct __sk_buff *skb, const struct ipos_settings *set,
			     struct ipos_scratch *w, const struct ipos_tuple *t,
			     struct ipos_holding *h)
{
	struct ipos_left row = { .next = h->hs.irs + 2, .iss = h->iss };
	__u32 l2 = l2_length(set->front_vlan);

	bpf_map_update_elem(&left_behind, t, &row, BPF_ANY);
	bpf_map_delete_elem(&local, t);
	bpf_map_delete_elem(&connect, t);
	h->held = 0;
	h->fin = 1;
	__builtin_memset(w->bytes, 0, sizeof(w->bytes));
	l2_write(w->frame, set->front_mac, h->client_mac, set->front_vlan, ETH_P_IP);
	l2 += piece_headers(w, t, h, l2, 0);
	if (frame_becomes(skb, w, l2)) {
		count(COUNT_DROP_EMIT);
		return -1;
	}
	skb->mark = IPOS_MARK_OURS;
	if (bpf_clone_redirect(skb, set->front_ifindex, BPF_F_INGRESS))
		count(COUNT_DROP_EMIT);
	skb->mark = 0;
	return 0;
}

/* Type 3 of the server that an endpoint of ours was offered to, checked by XDP. */
IPOS_APART int moved_on(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			const struct ipos_tuple *t)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&forward, t);
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, t);
	struct ipos_endpoint *ep = endpoint_of(t);
	struct notice n = { .type = IPOS_MOVED };
	struct ipos_left *left;

	if (!f || !h || !ep || f->acknowledged || !(ep->flags & IPOS_EP_MOVING))
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	f->acknowledged = 1;
	count(COUNT_ACKNOWLEDGED);
	count(COUNT_MOVED);
	if (f->first == set->self) {
		traffic_add(set->self, 0, 1);
	} else if (f->first != f->server) {
		n.endpoint_ip = f->destination_ip;
		n.endpoint_port = f->destination_port;
		n.server = f->first;
		n.reason = f->migration;
		n.iss = f->iss;
		notice_instead(skb, set, w, t, &n);
	}
	socket_leaves(skb, set, w, t, h);
	holding_release(t);
	left = bpf_map_lookup_elem(&left_behind, t);
	if (f->first == set->self || !left)
		return CONSUMED;
	left->told_ns = bpf_ktime_get_boot_ns();
	left->migration = f->migration;
	left->destination_ip = f->destination_ip;
	left->destination_port = f->destination_port;
	left->first = f->first;
	left->server = f->server;
	bpf_map_delete_elem(&forward, t);
	return CONSUMED;
}

/* ---- deciding ---------------------------------------------------------------------------------- */

/*
 * The later head is refused while all is quiet: our application is told the end, and the answer
 * takes the place of the request, at the number where the client expects the next response.  Says
 * ANSWER_HELD.
 */
IPOS_APART int refuse_moving(struct __sk_buff *skb, struct ipos_settings *set,
			     struct ipos_scratch *w, const struct ipos_tuple *t, __u32 why)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, t);
	struct ipos_endpoint *ep = endpoint_of(t);
	__u16 held;
	__u8 fin;

	if (!ep || !h)
		return TC_ACT_SHOT;
	held = h->held;
	fin = h->fin;
	h->server = ep->first == set->self ? 0 : ep->first;
	h->port = ep->endpoint_port;
	count(COUNT_CLOSED);
	if (!h->server)
		traffic_add(set->self, 0, 1);
	socket_leaves(skb, set, w, t, h);
	h->held = held;
	h->fin = fin;
	return answer_refusal(h, why);
}

/* Nobody may or can serve the request: the client is reset, and our application told the end. */
IPOS_APART int reset_moving(struct __sk_buff *skb, struct ipos_settings *set,
			    struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, t);
	struct notice n = { .type = IPOS_REFUSED, .reason = IPOS_REFUSE_UNKNOWN };
	struct ipos_endpoint *ep = endpoint_of(t);

	if (!ep || !h)
		return TC_ACT_SHOT;
	n.iss = h->hs.iss + 1;
	n.endpoint_ip = ep->endpoint_ip;
	n.endpoint_port = ep->endpoint_port;
	n.server = ep->first;
	count(COUNT_CLOSED);
	if (ep->first == set->self)
		traffic_add(set->self, 0, 1);
	else
		notice_instead(skb, set, w, t, &n);	/* it answers late segments with a reset */
	socket_leaves(skb, set, w, t, h);
	return reset_held(skb, set, w, t, h);
}

/* The held request stays: it goes to our own socket, and the mark behind it. */
IPOS_APART int request_stays(struct __sk_buff *skb, struct ipos_settings *set,
			     struct ipos_scratch *w, const struct ipos_tuple *t,
			     struct ipos_holding *h)
{
	struct ipos_endpoint *ep = endpoint_of(t);
	struct route r = { .server = set->self };

	if (!ep)
		return TC_ACT_SHOT;
	if (decision_wanted(set, service_at(h->service)))
		report_stays(w, t, ep->first);
	endpoint_follow(ep, h->hs.irs + 1, h->request_len, h->body);
	ep->flags &= ~(IPOS_EP_WAITING | IPOS_EP_MOVING);
	if (pieces_send(skb, w, t, &r, h->held))
		count(COUNT_DROP_EMIT);
	holding_release(t);
	return CONSUMED;
}

/*
 * Decides a held request of a connection that is ours, as far as that can be done now.  The
 * frame at hand is consumed, unless it is to GIVE_UP.
 */
IPOS_FUNCTION int decide_moving(struct __sk_buff *skb, struct ipos_scratch *w,
				const struct ipos_tuple *t)
{
	struct ipos_settings *set = settings_now();
	struct ipos_service *service;
	struct ipos_endpoint *ep;
	struct ipos_server *server;
	struct ipos_holding *h;
	struct route r = {};
	struct choice c = {};
	int progress, place = PLACE_ELSEWHERE;
	__u32 why;

	if (!set || !w || !t)
		return TC_ACT_SHOT;
	ep = endpoint_of(t);
	h = bpf_map_lookup_elem(&holding, t);
	if (!ep || !h)
		return TC_ACT_SHOT;
	service = service_at(h->service);
	progress = hold_read(w, h);
	if (progress == IPOS_READ_DONE) {
		h->request_len = request_measure(w, &h->body);
		held_cut(h);
		place = request_place(w, set->self);
		if (place == PLACE_HERE)
			return request_stays(skb, set, w, t, h);
	} else if (progress == IPOS_READ_MORE && !h->complete) {
		return CONSUMED;
	}
	if (!endpoint_quiet(skb, t, ep, h))
		return CONSUMED;
	/* An answer whose end nobody can tell may go on: it stays, or ends. */
	if (ep->answer == IPOS_ANSWER_UNKNOWN && place == PLACE_ALLOWED)
		return request_stays(skb, set, w, t, h);
	if (progress == IPOS_READ_REFUSED || (progress == IPOS_READ_MORE && h->late)) {
		why = h->late ? ANSWER_LATE : w->request.refusal;
		report(set, service, w, t, h, 0, h->late ? IPOS_REASON_TIMEOUT : IPOS_REASON_HEAD);
		if (ep->answer != IPOS_ANSWER_UNKNOWN && w->request.grammar == IPOS_GRAMMAR_HTTP1)
			return refuse_moving(skb, set, w, t, why);
		count(h->late ? COUNT_HEAD_TIMEOUT : IPOS_COUNTERS_AMBIGUOUS + why);
		return GIVE_UP;		/* an answer before it has no end that could be behind it */
	}
	if (progress != IPOS_READ_DONE || ep->answer == IPOS_ANSWER_UNKNOWN) {
		report(set, service, w, t, h, 0, IPOS_REASON_HEAD);
		return GIVE_UP;
	}
	decide(w, t, h->refused | 1ULL << (set->self & 63), bpf_ktime_get_boot_ns(), &c);
	session_note(&h->hs, &c);
	decision_note(h, &c);
	server = server_at(c.server);
	if (!c.server || !server) {
		if (place == PLACE_ALLOWED)
			return request_stays(skb, set, w, t, h);
		count(COUNT_DROP_NO_SERVER);
		report(set, service, w, t, h, 0, IPOS_REASON_NO_SERVER);
		return GIVE_UP;
	}
	r.server = c.server;
	r.endpoint_ip = server->address;
	r.endpoint_port = c.port;
	h->migration++;
	if (forward_row(w, t, h, &r, ep->first, bpf_ktime_get_boot_ns())) {
		count(COUNT_DROP_TABLE_FULL);
		report(set, service, w, t, h, 0, IPOS_REASON_FORWARD_FULL);
		return GIVE_UP;
	}
	ep->flags |= IPOS_EP_MOVING;
	traffic_add(c.server, 1, 0);
	count(COUNT_MIGRATED);
	report(set, service, w, t, h, c.server, IPOS_REASON_POLICY);
	migrate(skb, w, t, &r, h->migration);
	return CONSUMED;
}

/* ---- holding -------------------------------------------------------------------------------------- */

/* What is known of the request that starts at ep->request_end, in w->holding. */
IPOS_INLINE void next_begin(struct ipos_scratch *w, const struct segment *s,
			    const struct ipos_endpoint *ep)
{
	struct ipos_holding *h = &w->holding;

	request_begin(w, &ep->hs, ep->service, 0);
	h->hs.irs = ep->request_end - 1;
	h->hs.iss = s->ack - 1;
	if (w->option_flags & IPOS_OPT_TIMESTAMPS) {
		h->hs.ts_recent = w->ts_value;
		h->hs.ts_sent = w->ts_echo;
	}
	h->window = s->window;
	h->migration = ep->migration;
	h->moving = 1;
	h->hs.options &= ~IPOS_OPT_SESSION;
}

/*
 * A body that is broken in its middle: our application and the client are reset, each at its
 * next sequence number.
 */
IPOS_APART int connection_breaks(struct __sk_buff *skb, struct ipos_settings *set,
				 struct ipos_scratch *w, const struct segment *s,
				 struct ipos_endpoint *ep)
{
	struct notice n = { .type = IPOS_REFUSED, .reason = IPOS_REFUSE_UNKNOWN };
	struct ipos_holding *h = &w->holding;

	if (reset_kernel(skb, set, s, ep->request_end))
		return shot(COUNT_DROP_EMIT);
	next_begin(w, s, ep);
	h->hs.iss = ep->snd_nxt - 1;
	__builtin_memcpy(h->client_mac, ep->client_mac, ETH_ALEN);
	n.iss = s->ack;
	n.endpoint_ip = ep->endpoint_ip;
	n.endpoint_port = ep->endpoint_port;
	n.server = ep->first;
	count(COUNT_CLOSED);
	if (n.server == set->self)
		traffic_add(set->self, 0, 1);
	else
		notice_instead(skb, set, w, &s->tuple, &n);
	bpf_map_delete_elem(&local, &s->tuple);
	bpf_map_delete_elem(&connect, &s->tuple);
	return reset_held(skb, set, w, &s->tuple, h);
}

/* Bytes of the next request in a segment that begins with bytes of this one, which goes on. */
IPOS_APART int hold_rest(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			 struct ipos_holding *h, __u32 cut)
{
	__u32 start = h->held, end = s->length - cut;

	if (end > IPOS_HEAD_MAX)
		end = IPOS_HEAD_MAX;
	if (start < end && !hold_store(skb, w, h, s->payload + cut + start, SPAN(start, end))) {
		hold_note(h, start, end);
		hold_parse(w, h);
		count(COUNT_HELD);
	}
	return segment_trim(skb, w, s, cut) ? shot(COUNT_DROP_EMIT) : TC_ACT_OK;
}

/* A segment with bytes beyond ep->request_end.  A TC verdict, DECIDE_HELD or GIVE_UP. */
IPOS_APART int follow(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
		      const struct segment *s)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, &s->tuple);
	struct ipos_endpoint *ep = endpoint_of(&s->tuple);
	__u32 cut, next;
	int heads;

	if (!ep)
		return TC_ACT_SHOT;
	cut = ep->request_end - s->seq;
	if (!h) {
		if (seq_before(ep->request_end, s->seq))
			return shot(COUNT_DROP_AHEAD);
		heads = heads_read(skb, w, s, ep);
		if (heads == HEADS_PASS)
			return TC_ACT_OK;
		cut = ep->request_end - s->seq;
		if (heads == HEADS_WRONG && !cut && socket_expects(skb, &s->tuple, &next) &&
		    next == ep->request_end)
			return connection_breaks(skb, set, w, s, ep);
		if (heads == HEADS_CUT || heads == HEADS_WRONG)
			return cut && !segment_trim(skb, w, s, cut) ? TC_ACT_OK :
								      shot(COUNT_DROP_AHEAD);
	}
	if (!segment_sound(skb, w, s))
		return TC_ACT_SHOT;
	if (!h) {
		next_begin(w, s, ep);
		h = hold_begin(skb, w, &s->tuple, bpf_ktime_get_boot_ns());
		if (!h)
			return shot(COUNT_DROP_HOLD_FULL);
		__builtin_memcpy(h->client_mac, ep->client_mac, ETH_ALEN);
		ep->flags |= IPOS_EP_WAITING;
	}
	if (seq_before(h->hs.iss + 1, s->ack))
		h->hs.iss = s->ack - 1;
	if (cut && cut < s->length)
		return hold_rest(skb, w, s, h, cut);
	return hold_segment(skb, set, w, s, h);
}

/* ---- packets meanwhile ------------------------------------------------------------------------- */

/*
 * A packet of a connection we gave away: one that XDP had no room to encapsulate, or a sign
 * that the owner has not heard of it.
 */
IPOS_APART int given_away(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			   const struct segment *s, struct ipos_forward *f)
{
	struct ipos_server *owner = server_at(f->server);
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, &s->tuple);
	struct route r = { .server = f->server, .endpoint_ip = f->destination_ip,
			   .endpoint_port = f->destination_port };

	if (f->acknowledged || s->flags & (TCP_FIN | TCP_SYN | TCP_RST) ||
	    seq_before(f->request_end, segment_end(s)))
		return encapsulate_skb(skb, set, w, s, &r);
	if (!h || !owner)
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	if (owner->state == IPOS_SERVER_DOWN) {
		h->refused |= 1ULL << (f->server & 63);
		h->again = IPOS_REASON_OWNER_DOWN;
		traffic_add(f->server, 0, 1);
		bpf_map_delete_elem(&forward, &s->tuple);
		count(COUNT_CHOSEN_AGAIN);
		return DECIDE_HELD;
	}
	f->offered_ns = bpf_ktime_get_boot_ns();
	migrate(skb, w, &s->tuple, &r, f->migration);
	return CONSUMED;
}

/* The endpoint is offered to another server, whose type 3 or 7 has not come yet. */
IPOS_APART int moving(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
		      const struct segment *s, __u64 now)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&forward, &s->tuple);
	struct route r = {};

	if (!f)
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	if (s->flags & (TCP_FIN | TCP_SYN | TCP_RST) || now - f->offered_ns > OFFER_AGAIN_NS ||
	    seq_before(f->request_end, segment_end(s)))
		return given_away(skb, set, w, s, f);
	if (s->length)
		return shot(COUNT_ABSORBED);
	r.server = f->server;		/* it may have a socket already, and the type 3 been lost */
	r.endpoint_ip = f->destination_ip;
	r.endpoint_port = f->destination_port;
	return encapsulate_skb(skb, set, w, s, &r);
}

/* A packet without bytes of the next request, which is held and may be decided by now. */
IPOS_INLINE int waiting(struct __sk_buff *skb, const struct segment *s,
			const struct ipos_endpoint *ep)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, &s->tuple);

	if (s->flags & TCP_FIN)
		return shot(COUNT_DROP_AHEAD);
	if (!h)
		return TC_ACT_OK;
	if (seq_before(h->hs.iss + 1, s->ack))
		h->hs.iss = s->ack - 1;
	return h->complete && endpoint_quiet(skb, &s->tuple, ep, h) ? DECIDE_HELD : TC_ACT_OK;
}

/*
 * The agent says that a later head has had its time: it is refused as soon as all is quiet.  Or
 * that a first flight of HTTP/2 has: its client waits for the server, and is let in.
 */
IPOS_INLINE int head_late(const struct ipos_tuple *t)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, t);

	if (!h || h->complete)
		return TC_ACT_SHOT;
	if (!h->moving) {
		if (bpf_ktime_get_boot_ns() - h->last_seen_ns < PAUSE_NS ||
		    !silence_ends(h, IPOS_SILENT_OVER))
			return TC_ACT_SHOT;
		count(COUNT_SILENCE_ENDED);
		h->complete = 1;
		return DECIDE_HELD;
	}
	h->complete = h->late = 1;
	return DECIDE_HELD;
}

/* A held request whose turn it is: the first of its connection, or a later one. */
IPOS_INLINE int decide_next(struct __sk_buff *skb, struct ipos_settings *set,
			    struct ipos_scratch *w, const struct ipos_tuple *t, int verdict)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&holding, t);

	if (!h)
		return TC_ACT_SHOT;
	if (verdict == DECIDE_HELD)
		verdict = h->moving ? decide_moving(skb, w, t) : decide_held(skb, w, t);
	if (verdict == ANSWER_HELD)
		return answer_held(skb, w, t);
	if (verdict != GIVE_UP)
		return verdict;
	return h->moving ? reset_moving(skb, set, w, t) : reset_held(skb, set, w, t, h);
}

#endif /* IPOS_MOVE_H */
