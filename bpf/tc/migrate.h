/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The next request of a connection that is ours: held until it may be decided, then given to
 * our own socket or, with the endpoint, to another server.  That server's type 3 dissociates
 * our application: it is told the end by a FIN made here, and what its socket still says is
 * swallowed on egress.
 */
#ifndef IPOS_MOVE_H
#define IPOS_MOVE_H

#include "abi/verdict.h"
#include "lib/reading.h"
#include "tc/later_decision.h"
#include "tc/stream.h"

/* How much the client has of our application's answers, if a packet of the client says so. */
IPOS_APART int ack_note(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			const struct ipos_endpoint *ep, struct ipos_holding *h)
{
	struct stands at;

	if (!seq_before(h->hs.iss + 1, s->ack) || !socket_stands(skb, &s->tuple, &at) ||
	    segment_unfit(skb, w, s, ep, &at))
		return 0;
	answers_go_on(h, s->ack);
	/* The next owner must not send an earlier timestamp than our answer (RFC 7323 5.3). */
	if (w->option_flags & IPOS_OPT_TIMESTAMPS) {
		h->hs.ts_recent = w->ts_value;
		h->hs.ts_sent = w->ts_echo;
	}
	return 1;
}

/* A packet without bytes of the next request, which is held and may be decided by now. */
IPOS_INLINE int waiting(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			const struct ipos_endpoint *ep)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), &s->tuple);

	if (s->flags & TCP_FIN)
		return shot(COUNT_DROP_AHEAD);
	if (!h)
		return TC_ACT_OK;
	ack_note(skb, w, s, ep, h);
	return h->complete && endpoint_quiet(skb, &s->tuple, ep, h) ? DECIDE_HELD : TC_ACT_OK;
}

/*
 * A later request has waited too long for the answers before it, or for the server that it was
 * offered to: it would have its pieces for ever.  Both sides are told the end, our application
 * where our kernel has the stream.
 */
IPOS_APART int waited(struct __sk_buff *skb, const struct ipos_settings *set,
		      const struct ipos_tuple *t, struct ipos_holding *h)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), t);
	struct ipos_endpoint *ep = endpoint_of(t);
	__u32 next;

	if (!ep || !set->waiting_s || (f && f->acknowledged) ||
	    bpf_ktime_get_boot_ns() - h->created_ns <= set->waiting_s * 1000000000ULL)
		return TC_ACT_SHOT;
	if (f)
		forward_delete(t, f->server);
	if (socket_expects(skb, t, &next))
		h->hs.irs = next - 1;
	count(COUNT_WAITED);
	return GIVE_UP;
}

/* A first request that nobody could take is decided again, unless somebody may have it by now. */
IPOS_APART int held_again(const struct ipos_tuple *t, const struct ipos_holding *h)
{
	return h->looked && !endpoint_of(t) && !bpf_map_lookup_elem(&FAMILY(forward), t)
		       ? DECIDE_HELD
		       : TC_ACT_SHOT;
}

/*
 * The agent says that a later head has had its time: it is refused as soon as all is quiet.  Or
 * that a first flight of HTTP/2 has: its client waits for the server, and is let in.  Or that an
 * application may have been started for a request that waits.
 */
IPOS_INLINE int head_late(struct __sk_buff *skb, const struct ipos_settings *set,
			  const struct ipos_tuple *t)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);

	if (!h || h->answer)
		return TC_ACT_SHOT;
	if (h->complete)
		return h->moving ? waited(skb, set, t, h) : held_again(t, h);
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

/* Nobody takes an idle connection from us: nothing has changed. */
IPOS_APART int idle_kept(const struct ipos_tuple *t, struct ipos_holding *h)
{
	struct ipos_endpoint *ep = endpoint_of(t);

	if (!h)
		return TC_ACT_SHOT;
	if (ep)
		ep->flags &= ~(IPOS_EP_WAITING | IPOS_EP_MOVING);
	h->complete = 0; /* it waits on, here */
	if (h->moving)
		holding_release(t);
	return CONSUMED;
}

/* A held request whose turn it is: the first of its connection, or a later one. */
IPOS_INLINE int decide_next(struct __sk_buff *skb, struct ipos_settings *set,
			    struct ipos_scratch *w, const struct ipos_tuple *t, int verdict)
{
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), t);

	if (!h)
		return TC_ACT_SHOT;
	if (verdict == DECIDE_HELD && unlikely(h->live && !h->held))
		return idle_kept(t, h);
	if (verdict == DECIDE_HELD)
		verdict = h->moving ? decide_moving(skb, w, t) : decide_held(skb, w, t);
	if (verdict == OFFER)
		return offer(skb, w, t);
	if (verdict == ANSWER_HELD)
		return answer_held(skb, w, t);
	if (verdict != GIVE_UP)
		return verdict;
	return h->moving ? reset_moving(skb, set, w, t) : reset_held(skb, set, w, t, h);
}

#endif /* IPOS_MOVE_H */
