/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A later request gets its server: it stays, moves with its endpoint, or is refused.  The server it
 * moves to sends a MOVED or an acknowledgement, which takes our application off the connection.
 */
#ifndef IPOS_LATER_DECISION_H
#define IPOS_LATER_DECISION_H

#include "abi/verdict.h"
#include "lib/line.h"
#include "lib/measure.h"
#include "lib/reading.h"
#include "tc/first_decision.h"
#include "tc/given_away.h"
#include "tc/next_request.h"

/*
 * Nothing is on its way in either direction: our application has read all there is before the
 * held request, has answered, and the client has all of the answer.  Its acknowledgement may be
 * here before our kernel, which is just sending, has counted what it sends: egress has.
 */
IPOS_APART int endpoint_quiet(struct __sk_buff *skb, const struct ipos_tuple *t,
			      const struct ipos_endpoint *ep, const struct ipos_holding *h)
{
	__u32 ack = endpoint_ack(ep, h->hs.iss + 1), next = h->hs.irs + 1;
	struct bpf_sock_tuple tuple;
	struct tcp_sock *tcp;
	struct bpf_sock *sk;
	int quiet = 0;

	/*
	 * A FIN that the client has sent is what the socket's state says, not what a segment
	 * says.
	 */
	if (ep->server_fin_seen || !endpoint_answered(ep))
		return 0;
	sock_tuple(&tuple, t);
	sk = bpf_sk_lookup_tcp(skb, &tuple, SOCK_TUPLE_LEN, netns_of(skb), 0);
	if (!sk)
		return 0;
	if (sk->state == BPF_TCP_ESTABLISHED) {
		tcp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
		if (tcp)
			quiet = tcp->rcv_nxt == next && tcp->copied_seq == next &&
				tcp->write_seq == ack &&
				(tcp->snd_nxt == ack ||
				 (seq_before(tcp->snd_nxt, ack) && ep->snd_nxt == h->hs.iss + 1));
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
	struct ipos_left row = { .next = h->hs.irs + 2, .iss = h->iss, .sent = h->hs.iss + 1 };
	__u32 l2 = l2_length(set->front_vlan), iss = h->hs.iss;
	struct ipos_endpoint *ep = endpoint_of(t);

	if (ep) /* as our own kernel counts */
		h->hs.iss = endpoint_ack(ep, iss + 1) - 1;

	bpf_map_update_elem(&FAMILY(left_behind), t, &row, BPF_ANY);
	endpoint_delete(t);
	h->held = 0;
	h->fin = 1;
	__builtin_memset(w->bytes, 0, sizeof(w->bytes));
	l2_write(w->frame, front_mac_of(set, t->service_ip), h->client_mac, set->front_vlan,
		 ETH_P_FAMILY);
	l2 += piece_headers(w, t, h, l2, 0);
	h->hs.iss = iss;
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
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), t);
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);
	struct ipos_endpoint *ep = endpoint_of(t);
	struct notice n = { .type = IPOS_MOVED };
	struct ipos_left *left;

	if (!f || !h || !ep || f->acknowledged || !(ep->flags & IPOS_EP_MOVING))
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	f->acknowledged = 1;
	count(COUNT_ACKNOWLEDGED);
	count(h->live ? COUNT_HANDED_BACK : COUNT_MOVED);
	if (!h->live)
		migration_timed(h);
	n.server = told_of(&h->hs, f->first);
	if (n.server != set->self && n.server != f->server) {
		n.endpoint_ip = f->destination_ip;
		n.endpoint_port = f->destination_port;
		n.reason = f->migration;
		n.iss = f->iss;
		notice_instead(skb, set, w, t, &n);
	}
	socket_leaves(skb, set, w, t, h);
	holding_release(t);
	left = bpf_map_lookup_elem(&FAMILY(left_behind), t);
	if (f->first == set->self || !left)
		return CONSUMED;
	left->told_ns = bpf_ktime_get_boot_ns();
	left->migration = f->migration;
	left->destination_ip = f->destination_ip;
	left->destination_port = f->destination_port;
	left->first = f->first;
	left->server = f->server;
	forward_delete(t, f->server);
	return CONSUMED;
}

/* ---- deciding ------------------------------------------------------------------------------- */

/*
 * The later request is refused while all is quiet: our application is told the end, and the answer
 * takes the place of the request, at the number where the client expects the next response.  Says
 * ANSWER_HELD.
 */
IPOS_APART int refuse_moving(struct __sk_buff *skb, struct ipos_settings *set,
			     struct ipos_scratch *w, const struct ipos_tuple *t, __u32 why)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);
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
	socket_leaves(skb, set, w, t, h);
	h->held = held;
	h->fin = fin;
	return answer_refusal(h, why);
}

/* Nobody may or can serve the request: the client is reset, and our application told the end. */
IPOS_APART int reset_moving(struct __sk_buff *skb, struct ipos_settings *set,
			    struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);
	struct notice n = { .type = IPOS_REFUSED, .reason = IPOS_REFUSE_UNKNOWN };
	struct ipos_endpoint *ep = endpoint_of(t);

	if (!ep || !h)
		return TC_ACT_SHOT;
	n.iss = h->hs.iss + 1;
	n.endpoint_ip = ep->endpoint_ip;
	n.endpoint_port = ep->endpoint_port;
	n.server = ep->first;
	count(COUNT_CLOSED);
	if (ep->first != set->self)
		notice_instead(skb, set, w, t, &n); /* it answers late segments with a reset */
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
	tally_stays(w, set->self, ep);
	if (decision_wanted(set, service_at(h->service)))
		report_stays(w, t, ep->first);
	if (mark_set(ep))
		ep->read_end = h->hs.irs + 1 + w->request.head_len;
	endpoint_follow(ep, h->hs.irs + 1, h->request_len, h->body);
	ep->flags &= ~(IPOS_EP_WAITING | IPOS_EP_MOVING);
	given_here(ep);
	if (pieces_send(skb, w, t, &r, 0, h->held))
		count(COUNT_DROP_EMIT);
	holding_release(t);
	return CONSUMED;
}

/* The head says nothing that can be decided by, or has had its time.  Says what is to be done. */
IPOS_INLINE int later_unread(struct __sk_buff *skb, struct ipos_settings *set,
			     struct ipos_scratch *w, const struct ipos_tuple *t,
			     const struct ipos_endpoint *ep, const struct ipos_holding *h)
{
	struct ipos_service *service = service_at(h->service);
	__u32 late = h->late, why = late ? ANSWER_LATE : w->request.refusal;

	report(set, service, w, t, h, 0, late ? IPOS_REASON_TIMEOUT : IPOS_REASON_HEAD);
	if (ep->answer != IPOS_ANSWER_UNKNOWN && w->request.grammar == IPOS_GRAMMAR_HTTP1)
		return refuse_moving(skb, set, w, t, why);
	count(late ? COUNT_HEAD_TIMEOUT : IPOS_COUNTERS_AMBIGUOUS + why);
	return GIVE_UP; /* an answer before it has no end that could be behind it */
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

	if (!set || !w || !t)
		return TC_ACT_SHOT;
	ep = endpoint_of(t);
	h = bpf_map_lookup_elem(&FAMILY(holding), t);
	if (!ep || !h)
		return TC_ACT_SHOT;
	service = service_at(h->service);
	__builtin_memcpy(h->client_mac, ep->client_mac, ETH_ALEN);
	/* It was not to stay when it was read: until it can move, nothing is to be decided. */
	if (h->looked && !endpoint_quiet(skb, t, ep, h))
		return CONSUMED;
	progress = hold_read(w, h);
	h->looked = progress != IPOS_READ_MORE || h->complete;
	if (progress == IPOS_READ_DONE) {
		h->request_len = request_measure(w, &h->body);
		place = request_place(w, set->self);
		if (place == PLACE_HERE && asking_allowed(ep, h->body))
			return request_stays(skb, set, w, t, h);
	} else if (progress == IPOS_READ_MORE && !h->complete) {
		return CONSUMED;
	}
	if (!endpoint_quiet(skb, t, ep, h))
		return CONSUMED;
	/* An answer whose end nobody can tell may go on: it stays, or ends. */
	if (ep->answer == IPOS_ANSWER_UNKNOWN && place == PLACE_ALLOWED)
		return request_stays(skb, set, w, t, h);
	if (progress == IPOS_READ_REFUSED || (progress == IPOS_READ_MORE && h->late))
		return later_unread(skb, set, w, t, ep, h);
	if (progress != IPOS_READ_DONE || ep->answer == IPOS_ANSWER_UNKNOWN) {
		report(set, service, w, t, h, 0, IPOS_REASON_HEAD);
		return GIVE_UP;
	}
	decide(w, t, refused_too(w, &h->refused, set->self), bpf_ktime_get_boot_ns(), &c);
	session_note(&h->hs, &c);
	decision_note(h, &c);
	server = server_at(c.server);
	if (!c.server || !server) {
		if (place == PLACE_ALLOWED)
			return request_stays(skb, set, w, t, h);
		count(COUNT_DROP_NO_SERVER);
		report(set, service, w, t, h, 0, IPOS_REASON_NO_SERVER);
		return refuse_moving(skb, set, w, t, ANSWER_NOBODY);
	}
	r.server = c.server;
	r.endpoint_ip = server->address;
	r.endpoint_port = c.port;
	h->migration++;
	h->skip = w->request.blank; /* as some clients send behind a body; they need no reader */
	h->request_len -= h->skip;
	if (h->acknowledged < h->skip)
		h->acknowledged = h->skip;
	if (forward_row(w, t, h, &r, ep->first, bpf_ktime_get_boot_ns())) {
		count(COUNT_DROP_TABLE_FULL);
		report(set, service, w, t, h, 0, IPOS_REASON_FORWARD_FULL);
		return refuse_moving(skb, set, w, t, ANSWER_NOBODY);
	}
	ep->flags |= IPOS_EP_MOVING;
	tally_offer(h, c.server, IPOS_DECIDED_MOVED);
	report(set, service, w, t, h, c.server, IPOS_REASON_POLICY);
	return OFFER;
}

#endif /* IPOS_LATER_DECISION_H */
