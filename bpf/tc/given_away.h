/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Packets of a connection that was given or is offered to another server. */
#ifndef IPOS_GIVEN_AWAY_H
#define IPOS_GIVEN_AWAY_H

#include "abi/verdict.h"
#include "lib/measure.h"
#include "lib/reading.h"
#include "lib/sk.h"
#include "select/candidates.h"
#include "tc/send.h"

/*
 * The client's clock has gone on since its request was held.  The owner may have seen a later time
 * already, in a packet that we passed on, and then its kernel would never take pieces with an
 * earlier one (RFC 7323 5.3).
 */
IPOS_APART int time_note(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			 struct ipos_holding *h)
{
	if (!(h->hs.options & IPOS_OPT_TIMESTAMPS) || s->ack != h->hs.iss + 1 ||
	    !payload_sound(skb, w, s) || load_options(skb, w, s) ||
	    !(w->option_flags & IPOS_OPT_TIMESTAMPS) || seq_before(w->ts_value, h->hs.ts_recent))
		return 0;
	h->hs.ts_recent = w->ts_value;
	h->hs.ts_sent = w->ts_echo;
	return 1;
}

/*
 * A packet of a connection we gave away: one that XDP had no room to encapsulate, or a sign
 * that the owner has not heard of it.
 */
IPOS_APART int given_away(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
			  const struct segment *s, struct ipos_forward *f)
{
	struct ipos_server *owner = server_at(f->server);
	struct ipos_holding *h = bpf_map_lookup_elem(&FAMILY(holding), &s->tuple);
	struct route r = { .server = f->server,
			   .endpoint_ip = f->destination_ip,
			   .endpoint_port = f->destination_port };

	if (f->acknowledged || goes_beyond(f, s))
		return encapsulate_skb(skb, set, w, s, &r);
	if (!h || !owner)
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	time_note(skb, w, s, h);
	if (owner->state == IPOS_SERVER_DOWN) {
		h->crowded |= refuser_add(&h->refused, f->server);
		h->again = IPOS_REASON_OWNER_DOWN;
		tally_refuser(f->server);
		forward_delete(&s->tuple, f->server);
		count(COUNT_CHOSEN_AGAIN);
		return DECIDE_HELD;
	}
	return OFFER;
}

/* Type 1 and the held request to the server in the row of Forward. */
IPOS_APART int offer(struct __sk_buff *skb, struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), t);
	struct route r = {};

	if (!f)
		return TC_ACT_SHOT;
	r.server = f->server;
	r.endpoint_ip = f->destination_ip;
	r.endpoint_port = f->destination_port;
	f->offered_ms = offered_now(bpf_ktime_get_boot_ns());
	migrate(skb, w, t, &r, f->migration);
	return CONSUMED;
}

/* The endpoint is offered to another server, whose type 3 or 7 has not come yet. */
IPOS_APART int moving(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
		      const struct segment *s, __u64 now)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), &s->tuple);
	struct route r = {};

	if (!f) /* its row was taken away: the other server may have it or not */
		return GIVE_UP;
	if (goes_beyond(f, s) || offered_since(f, now) > OFFER_AGAIN_MS)
		return given_away(skb, set, w, s, f);
	if (s->length)
		return shot(COUNT_ABSORBED);
	r.server = f->server; /* it may have a socket already, and the type 3 been lost */
	r.endpoint_ip = f->destination_ip;
	r.endpoint_port = f->destination_port;
	return encapsulate_skb(skb, set, w, s, &r);
}

#endif /* IPOS_GIVEN_AWAY_H */
