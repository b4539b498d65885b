/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * An endpoint migrates in mid-stream, with its application's state.  The agents move the socket;
 * what they order here are the rows that say whose it is.  Each order is one step under the
 * connection's lock, so that an agent that dies leaves either the step before or the one after.
 *
 *     giver   attached - FREEZE -> frozen - THAW -> attached
 *                                         - GIVE -> left_behind; at the first server Forward, too
 *     taker   TAKE -> prepared, frozen - LIVE -> attached
 *                                      - DROP -> nothing
 *
 * What comes to a frozen endpoint is dropped, and its sender's TCP sends it again.  The agent has
 * given its socket a mark, and what has this mark is dropped on egress.
 */
#ifndef IPOS_WITH_STATE_H
#define IPOS_WITH_STATE_H

#include "abi/order.h"
#include "abi/verdict.h"
#include "tc/send.h"

_Static_assert(IPOS_HEADER_LEN + sizeof(struct ipos_order) <=
		       sizeof(((struct ipos_scratch *)0)->saved),
	       "an order is kept there");

/* The order at hand, and the header before it: where the endpoint is, or is to be. */
IPOS_INLINE const struct ipos_order *order_at(const struct ipos_scratch *w)
{
	return (const void *)w->saved + IPOS_HEADER_LEN;
}

IPOS_INLINE const struct ipos_header *order_header(const struct ipos_scratch *w)
{
	return (const void *)w->saved;
}

/* Whether nothing but the application's bytes is in the stream, and nobody reads them. */
IPOS_INLINE int may_freeze(const struct ipos_endpoint *ep)
{
	return ep->state == IPOS_EP_ATTACHED && !ep->client_fin_seen && !ep->server_fin_seen &&
	       !(ep->flags & (IPOS_EP_MOVING | IPOS_EP_WAITING | IPOS_EP_BOXED | IPOS_EP_FROZEN)) &&
	       (ep->follow == IPOS_FOLLOW_NOT || ep->follow == IPOS_FOLLOW_OPAQUE) &&
	       (ep->insert == IPOS_INSERT_NONE || ep->insert == IPOS_INSERT_DONE) &&
	       !ep->line.length;
}

/* Each attempt has a number of its own, whatever becomes of it. */
IPOS_INLINE int order_freeze(const struct ipos_order *o, struct ipos_endpoint *ep)
{
	if (ep->cookie != o->cookie || o->migration <= ep->migration || !may_freeze(ep))
		return TC_ACT_SHOT;
	ep->migration = o->migration;
	ep->flags |= IPOS_EP_FROZEN;
	return TC_ACT_STOLEN;
}

/* The first server of a connection that is given: its clients' packets go to the taker. */
IPOS_INLINE int given_from_here(const struct ipos_settings *set, struct ipos_scratch *w,
				const struct ipos_tuple *t, const struct ipos_order *o,
				const struct ipos_left *left, __u16 service)
{
	struct ipos_forward *f = &w->forward;
	__u64 now = bpf_ktime_get_boot_ns();

	__builtin_memset(f, 0, sizeof(*f));
	f->destination_ip = left->destination_ip;
	f->destination_port = left->destination_port;
	f->server = left->server;
	f->first = set->self;
	f->service = service;
	f->acknowledged = 1;
	f->iss = o->iss;
	f->irs = o->irs;
	f->client_end = o->rcv_nxt;
	f->client_ack = o->snd_una;
	f->migration = o->migration;
	f->offered_ms = offered_now(now);
	f->last_seen_ns = now;
	return forward_put(t, f);
}

IPOS_APART int order_give(struct __sk_buff *skb, const struct ipos_settings *set,
			  struct ipos_scratch *w, const struct ipos_tuple *t)
{
	const struct ipos_order *o = order_at(w);
	struct ipos_endpoint *ep = endpoint_of(t);
	struct ipos_left left = {};
	struct notice n = { .type = IPOS_MOVED };

	if (!ep || ep->state != IPOS_EP_ATTACHED || !server_at(o->server))
		return TC_ACT_SHOT;
	left.told_ns = bpf_ktime_get_boot_ns();
	left.migration = o->migration;
	left.next = o->rcv_nxt;
	left.iss = o->iss;
	left.sent = o->snd_una;
	left.destination_ip = order_header(w)->endpoint_ip;
	left.destination_port = order_header(w)->endpoint_port;
	left.server = o->server;
	left.first = ep->first;
	n.server = told_of(&ep->hs, ep->first);
	n.endpoint_ip = left.destination_ip;
	n.endpoint_port = left.destination_port;
	n.reason = o->migration;
	n.iss = o->iss;
	if (ep->first == set->self && given_from_here(set, w, t, o, &left, ep->service))
		return TC_ACT_SHOT;
	bpf_map_update_elem(&left_behind, t, &left, BPF_ANY);
	endpoint_delete(t);
	count(COUNT_GIVEN);
	if (n.server != set->self && n.server != o->server)
		notice_instead(skb, set, w, t, &n);
	return TC_ACT_STOLEN;
}

/* Whether what we know of the ports is older than the endpoint that comes. */
IPOS_INLINE int may_take(const struct ipos_tuple *t, const struct ipos_order *o)
{
	struct ipos_temporary *old = bpf_map_lookup_elem(&temporary, t);
	struct ipos_forward *f = bpf_map_lookup_elem(&forward, t);
	struct ipos_left *left = bpf_map_lookup_elem(&left_behind, t);
	struct ipos_endpoint *ep = endpoint_of(t);

	if (bpf_map_lookup_elem(&holding, t) ||
	    (left && left->iss == o->iss && left->migration >= o->migration) ||
	    (f && (!f->acknowledged || f->iss != o->iss || f->migration >= o->migration)) ||
	    (old && old->state == IPOS_TEMP_CLOSED && old->hs.iss == o->iss))
		return 0;
	return !ep || (ep->state == IPOS_EP_PREPARED && ep->migration < o->migration);
}

IPOS_APART int order_take(const struct ipos_settings *set, struct ipos_scratch *w,
			  const struct ipos_tuple *t)
{
	struct ipos_address *a = address_of(t->service_ip, t->service_port);
	const struct ipos_order *o = order_at(w);
	struct ipos_endpoint *ep = &w->endpoint;
	struct ipos_service *service = a ? service_at(a->service) : NULL;

	if (!service || !service->used || !may_take(t, o))
		return TC_ACT_SHOT;
	endpoint_delete(t); /* of an attempt before */
	__builtin_memset(ep, 0, sizeof(*ep));
	ep->state = IPOS_EP_PREPARED;
	ep->flags = IPOS_EP_FROZEN | IPOS_EP_LIVE;
	ep->service = a->service;
	ep->follow = service->decide == IPOS_DECIDE_REQUEST ? IPOS_FOLLOW_OPAQUE : IPOS_FOLLOW_NOT;
	ep->answer = IPOS_ANSWER_UNKNOWN;
	ep->first = o->first;
	ep->giver = o->server;
	ep->hs.iss = o->iss;
	ep->hs.irs = o->irs;
	ep->hs.mss = o->mss;
	ep->hs.snd_wscale = o->snd_wscale;
	ep->hs.options = o->options & ~(IPOS_OPT_SESSION | IPOS_OPT_BEGUN);
	ep->hs.ts_recent = o->ts_recent;
	ep->hs.ts_sent = o->ts_sent;
	ep->rcv_nxt = ep->rcv_need = ep->adopt_seq = ep->given = ep->read_end = o->rcv_nxt;
	ep->request_end = o->rcv_nxt;
	ep->snd_nxt = ep->answer_next = ep->heard = o->snd_nxt;
	ep->migration = o->migration;
	ep->cookie = o->cookie;
	ep->endpoint_ip = order_header(w)->endpoint_ip;
	ep->endpoint_port = order_header(w)->endpoint_port;
	ep->last_seen_ns = bpf_ktime_get_boot_ns();
	if (ep->first == set->self ? local_put(t, ep) : connect_put(t, ep))
		return shot(COUNT_DROP_TABLE_FULL);
	return TC_ACT_STOLEN;
}

/* Rows that say that it is another server's go; the first server may have changed meanwhile. */
IPOS_INLINE int order_live(const struct ipos_settings *set, const struct ipos_tuple *t,
			   const struct ipos_order *o, struct ipos_endpoint *ep)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&forward, t);

	ep->hs.options |= o->options & IPOS_OPT_LOCATED;
	if (ep->first != set->self && o->first && o->first != set->self)
		ep->first = o->first;
	ep->last_seen_ns = bpf_ktime_get_boot_ns();
	ep->state = IPOS_EP_ATTACHED;
	ep->flags &= ~IPOS_EP_FROZEN;
	if (f)
		forward_delete(t, f->server);
	bpf_map_delete_elem(&left_behind, t);
	count(COUNT_TAKEN);
	return TC_ACT_STOLEN;
}

/*
 * What the agent orders: TC_ACT_STOLEN when it was done, TC_ACT_SHOT when the row is not as it
 * was thought to be.
 */
IPOS_APART int order(struct __sk_buff *skb, const struct ipos_settings *set, struct ipos_scratch *w,
		     const struct ipos_tuple *t, __u32 at)
{
	const struct ipos_order *o = order_at(w);
	struct ipos_endpoint *ep;

	if (bpf_skb_load_bytes(skb, at, w->saved, IPOS_HEADER_LEN + sizeof(*o)))
		return shot(COUNT_DROP_FRAME_SHORT);
	if (o->kind == IPOS_ORDER_TAKE)
		return order_take(set, w, t);
	ep = endpoint_of(t);
	if (!ep || ep->hs.iss != o->iss)
		return TC_ACT_SHOT;
	if (o->kind == IPOS_ORDER_FREEZE)
		return order_freeze(o, ep);
	if (!(ep->flags & IPOS_EP_FROZEN) || ep->migration != o->migration)
		return TC_ACT_SHOT;
	if (o->kind == IPOS_ORDER_GIVE)
		return order_give(skb, set, w, t);
	if (o->kind == IPOS_ORDER_LIVE && ep->state == IPOS_EP_PREPARED)
		return order_live(set, t, o, ep);
	if (o->kind == IPOS_ORDER_DROP && ep->state == IPOS_EP_PREPARED)
		return endpoint_delete(t) ? TC_ACT_SHOT : TC_ACT_STOLEN;
	if (o->kind != IPOS_ORDER_THAW || ep->state != IPOS_EP_ATTACHED)
		return TC_ACT_SHOT;
	ep->flags &= ~IPOS_EP_FROZEN;
	ep->last_seen_ns = bpf_ktime_get_boot_ns();
	return TC_ACT_STOLEN;
}

#endif /* IPOS_WITH_STATE_H */
