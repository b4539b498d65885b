/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * An idle connection leaves its application before its next request: the agent says which, when
 * this server is to lose its connections.  The endpoint goes back to its first server, where it
 * waits without an application, as one whose handshake is just done does.  That server is offered
 * it as another is offered a request, in a type 1 with port 0: no application is to take it.
 */
#ifndef IPOS_HAND_BACK_H
#define IPOS_HAND_BACK_H

#include "abi/verdict.h"
#include "lib/line.h"
#include "tc/migrate.h"

/*
 * Whether nothing is asked or answered on a connection whose requests are followed: then
 * w->holding is its endpoint between two requests.
 */
IPOS_APART int idle_begin(struct __sk_buff *skb, struct ipos_scratch *w, const struct ipos_tuple *t,
			  const struct ipos_endpoint *ep)
{
	struct ipos_holding *h = &w->holding;
	struct segment s = {};
	struct stands at;

	if (ep->state != IPOS_EP_ATTACHED || ep->follow != IPOS_FOLLOW_LENGTH || ep->body_left ||
	    ep->answer == IPOS_ANSWER_UNKNOWN ||
	    ep->flags & (IPOS_EP_HANDSHAKE | IPOS_EP_WAITING | IPOS_EP_MOVING) ||
	    !socket_stands(skb, t, &at))
		return 0;
	s.ack = line_seq(&ep->line, line_final(ep), at.snd_una, 0);
	s.window = at.max_window >> (ep->hs.snd_wscale & 15);
	w->option_flags = ep->hs.options & IPOS_OPT_TIMESTAMPS;
	w->ts_value = at.ts_recent;
	w->ts_echo = ep->hs.ts_sent;
	next_begin(w, &s, ep);
	h->live = 1;
	h->client_ip = client_word(t->client_ip);
	h->created_ns = h->last_seen_ns = bpf_ktime_get_boot_ns();
	__builtin_memcpy(h->client_mac, ep->client_mac, ETH_ALEN);
	return endpoint_quiet(skb, t, ep, h);
}

/* We are its first server: it stays here, without its application. */
IPOS_APART int idle_waits(struct __sk_buff *skb, const struct ipos_settings *set,
			  struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);

	if (!h)
		return TC_ACT_SHOT;
	count(COUNT_HANDED_BACK);
	count(COUNT_UNATTACHED);
	socket_leaves(skb, set, w, t, h);
	h->fin = 0;
	return CONSUMED;
}

/*
 * The offer of an endpoint without an application is repeated.  To a server that is down and has
 * not taken it, it is taken back.
 */
IPOS_APART int idle_offered(const struct ipos_tuple *t, struct ipos_holding *h)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), t);
	struct ipos_server *to = f ? server_at(f->server) : NULL;

	if (!h || !h->live || !f || f->acknowledged || !to)
		return TC_ACT_SHOT;
	if (to->state == IPOS_SERVER_DOWN) {
		forward_delete(t, f->server);
		return idle_kept(t, h);
	}
	return offered_since(f, bpf_ktime_get_boot_ns()) > OFFER_AGAIN_MS ? OFFER : TC_ACT_SHOT;
}

/*
 * An idle connection that waits here, without an application, goes to the server with this index,
 * which has its address now.  Until that one has it, or does not take it, it waits for nothing.
 */
IPOS_APART int idle_given(const struct ipos_settings *set, struct ipos_scratch *w,
			  const struct ipos_tuple *t, __u32 to)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);
	struct ipos_server *server = server_at(to);
	struct route r = { .server = to };

	if (!h || !server || !to || to == set->self || !h->live || h->moving || h->held ||
	    hold_gap(h))
		return TC_ACT_SHOT;
	if (h->complete)
		return idle_offered(t, h);
	if (server->state == IPOS_SERVER_DOWN)
		return TC_ACT_SHOT;
	r.endpoint_ip = server->address;
	h->migration++;
	if (forward_row(w, t, h, &r, set->self, bpf_ktime_get_boot_ns()))
		return shot(COUNT_DROP_TABLE_FULL);
	h->complete = 1;
	return OFFER;
}

/*
 * The agent says that the endpoint is to go, if it is idle; to the server with this index, if it
 * waits here already.  TC_ACT_SHOT, CONSUMED or OFFER.
 */
IPOS_APART int hand_back(struct __sk_buff *skb, const struct ipos_settings *set,
			 struct ipos_scratch *w, const struct ipos_tuple *t, __u32 to)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);
	struct ipos_endpoint *ep = endpoint_of(t);
	struct ipos_server *first;
	struct route r = {};

	if (!ep)
		return idle_given(set, w, t, to);
	if (h)
		return ep->flags & IPOS_EP_MOVING ? idle_offered(t, h) : TC_ACT_SHOT;
	first = server_at(ep->first);
	if (!first || first->state == IPOS_SERVER_DOWN || !idle_begin(skb, w, t, ep))
		return TC_ACT_SHOT;
	h = &w->holding;
	r.server = ep->first;
	h->moving = r.server != set->self;
	h->complete = h->moving;
	h->migration++;
	if (holding_put(t, h))
		return shot(COUNT_DROP_HOLD_FULL);
	if (!h->moving)
		return idle_waits(skb, set, w, t);
	r.endpoint_ip = first->address;
	if (forward_row(w, t, h, &r, ep->first, h->created_ns)) {
		holding_release(t);
		return shot(COUNT_DROP_TABLE_FULL);
	}
	ep->flags |= IPOS_EP_MOVING;
	return OFFER;
}

#endif /* IPOS_HAND_BACK_H */
