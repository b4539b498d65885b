/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A request that this server serves itself: its row, and the kernel's socket for it.
 */
#ifndef IPOS_ADOPTION_H
#define IPOS_ADOPTION_H

#include "abi/verdict.h"
#include "lib/sk.h"
#include "tc/next_request.h"
#include "tc/to_box.h"

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
	ep->last_seen_ns = ep->asked_ns = now;
	if (configured && configured->decide == IPOS_DECIDE_REQUEST) {
		len = request_measure(w, &body);
		ep->answer_next = ep->heard = ep->snd_nxt;
		ep->follow = IPOS_FOLLOW_LENGTH;
		ep->request_end = ep->read_end = ep->given = hs->irs + 1;
		mark_set(ep);
		ep->read_end += w->request.head_len;
		endpoint_follow(ep, hs->irs + 1, len, body);
	}
	if (local_put(t, ep)) {
		count(COUNT_DROP_TABLE_FULL);
		return -1;
	}
	return 0;
}

/* The length of a decided request that goes to its owner; of the next one nothing travels. */
IPOS_INLINE void held_measure(struct ipos_scratch *w, struct ipos_holding *h,
			      const struct ipos_service *service)
{
	if (service->decide == IPOS_DECIDE_REQUEST)
		h->request_len = request_measure(w, &h->body);
}

/* A packet to adopt from carries one request; what is behind it is looked at in its turn. */
IPOS_INLINE int request_alone(struct __sk_buff *skb, const struct ipos_settings *set,
			      struct ipos_scratch *w, const struct segment *s,
			      const struct ipos_endpoint *ep)
{
	struct segment *now = (struct segment *)s; /* shorter from here on */
	__u32 keep = ep->request_end - s->seq;

	if (!overhangs(ep, s))
		return 0;
	if (pass_until(skb, set, w, s, keep) != TC_ACT_OK)
		return -1;
	now->length = keep;
	now->flags &= ~TCP_FIN;
	return 0;
}

/*
 * Another server's decision is served here: for the access log, what this server can read of it in
 * the packet to adopt from.
 */
IPOS_FUNCTION int taken_log(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			    struct ipos_endpoint *ep)
{
	struct ipos_settings *set = settings_now();
	struct verdict v = { .outcome = IPOS_OUTCOME_TAKEN, .reason = IPOS_REASON_OFFERED };

	if (!set || !w || !s || !ep)
		return 0;
	v.service = ep->service;
	v.server = set->self;
	v.first = ep->first;
	request_open(w, ep->service, IPOS_MODE_AUTO);
	head_read(skb, w, s->payload, s->length);
	return decision_write(w, &s->tuple, &v);
}

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

	box_note(skb, ep);
	ep->state = IPOS_EP_ADOPTING;
	ep->adopting = this_cpu();
	given_here(ep);
	ep->last_seen_ns = bpf_ktime_get_boot_ns();
	if (unlikely(service && service->log) && ep->giver != set->self &&
	    !(ep->flags & IPOS_EP_RETRIED))
		taken_log(skb, w, s, ep);
	ep->reason = service ? adopt(skb, w, s, ep, service) : IPOS_REFUSE_NO_LISTENER;
	if (ep->reason != IPOS_REFUSE_TUPLE_LIVE)
		return ep->reason;
	/* Or the connection was here before, and our application has not closed it yet. */
	left = bpf_map_lookup_elem(&FAMILY(left_behind), &s->tuple);
	if (left && ep->flags & IPOS_EP_RETRIED) {
		ep->state = IPOS_EP_PENDING; /* it holds the socket; the packet comes again */
		ep->flags &= ~(IPOS_EP_RETRIED | IPOS_EP_NOTICE_RETRIED);
		return ep->reason;
	}
	if (left)
		next = left->next;
	if (ep->flags & IPOS_EP_RETRIED || (!left && !time_wait_expects(skb, &s->tuple, &next)) ||
	    reset_kernel(skb, set, s, next))
		return ep->reason;
	ep->flags |= IPOS_EP_RETRIED;
	ep->state = IPOS_EP_PENDING;
	skb->mark = IPOS_MARK;
	return ADOPT_AGAIN;
}

#endif /* IPOS_ADOPTION_H */
