/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Decisions and times are counted for each service, pool, rule and server, each CPU by itself.
 * These are functions with small stacks of their own: those of their callers are nearly full.
 */
#ifndef IPOS_MEASURE_H
#define IPOS_MEASURE_H

#include "lib/decision.h"

_Static_assert(IPOS_HISTOGRAMS == IPOS_TIMEDS * IPOS_SERVICES_MAX, "histograms of each service");
_Static_assert(IPOS_RULE_TALLIES == IPOS_RULES_MAX + 1, "rules, and none");

/* The request went to a server: `what` is enum ipos_decided. */
IPOS_FUNCTION int tally_decided(__u32 service, __u32 server, __u32 pool, __u32 rule, __u32 what)
{
	struct ipos_service_tally *s = bpf_map_lookup_elem(&service_tallies, &service);
	struct ipos_tally *t = bpf_map_lookup_elem(&server_tallies, &server);

	if (s && what < IPOS_DECIDEDS)
		s->decided[what]++;
	if (t)
		t->decided++;
	t = bpf_map_lookup_elem(&pool_tallies, &pool);
	if (t)
		t->decided++;
	t = bpf_map_lookup_elem(&rule_tallies, &rule);
	if (t)
		t->decided++;
	return 0;
}

/* No server serves the request: `by` is enum ipos_refused_by. */
IPOS_FUNCTION int tally_refused(__u32 service, __u32 by)
{
	struct ipos_service_tally *s = bpf_map_lookup_elem(&service_tallies, &service);

	if (s && by < IPOS_REFUSED_BYS)
		s->refused[by]++;
	return 0;
}

/* And that is so because no server is left in its pool, which its rule gave. */
IPOS_FUNCTION int tally_nobody(__u32 pool, __u32 rule)
{
	struct ipos_tally *t = bpf_map_lookup_elem(&pool_tallies, &pool);

	if (t)
		t->refused++;
	t = bpf_map_lookup_elem(&rule_tallies, &rule);
	if (t)
		t->refused++;
	return 0;
}

/* A SYN of a service that selects on connection: for which server, 0 for none. */
IPOS_INLINE void tally_syn(__u32 service, __u32 server, __u32 self, __u32 pool)
{
	if (server) {
		tally_decided(service, server, pool, 0,
			      server == self ? IPOS_DECIDED_HERE : IPOS_DECIDED_AWAY);
		return;
	}
	tally_refused(service, IPOS_REFUSED_BY_RST);
	tally_nobody(pool, 0);
}

/* A server has refused what was decided for it. */
IPOS_FUNCTION int tally_refuser(__u32 server)
{
	struct ipos_tally *t = bpf_map_lookup_elem(&server_tallies, &server);

	if (t)
		t->refused++;
	return 0;
}

/* The bits of a number. */
IPOS_INLINE __u32 bits_of(__u64 number)
{
	__u32 n = number >> 31 ? 0x7fffffff : number, bits = 0;

	for (__u32 half = 16; half; half /= 2) {
		if (n >> half) {
			n >>= half;
			bits += half;
		}
	}
	return bits + n;
}

/* Something took so long: `what` is enum ipos_timed. */
IPOS_FUNCTION int timed(__u32 service, __u32 what, __u64 ns)
{
	__u32 index = IPOS_TIMEDS * service + what, bucket = bits_of(ns / 1000);
	struct ipos_histogram *h = bpf_map_lookup_elem(&histograms, &index);

	if (!h || what >= IPOS_TIMEDS)
		return 0;
	h->sum_ns += ns;
	h->buckets[bucket & (IPOS_BUCKETS - 1)]++;
	return 0;
}

/* The held request is offered to another server: `what` is enum ipos_decided. */
IPOS_INLINE void tally_offer(struct ipos_holding *h, __u32 server, __u32 what)
{
	count(COUNT_MIGRATED);
	h->offered_us = bpf_ktime_get_boot_ns() / 1000;
	tally_decided(h->service, server, h->pool, h->rule, what);
}

/* That server has taken it. */
IPOS_INLINE void migration_timed(const struct ipos_holding *h)
{
	__u32 us = (__u32)(bpf_ktime_get_boot_ns() / 1000) - h->offered_us;

	timed(h->service, IPOS_TIMED_MIGRATION, us * 1000ULL);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* Our application is given a request.  One behind others is timed from the answer before it on. */
IPOS_INLINE void request_timed(struct ipos_endpoint *ep, __u64 now)
{
	if (ep->asked != ep->answered)
		return;
	ep->asked_ns = now;
	ep->answer_bytes = 0;
	ep->timed = 0;
}

/* Bytes of an answer leave; `answers`: so many end with them. */
IPOS_APART int answer_timed(const struct ipos_tuple *t, struct ipos_endpoint *ep, __u32 answers)
{
	__u64 now = bpf_ktime_get_boot_ns(), took = now - ep->asked_ns;

	if (!(ep->timed & IPOS_ANSWER_BEGUN)) {
		timed(ep->service, IPOS_TIMED_FIRST_BYTE, took);
		ep->first_us = took / 1000;
		ep->timed |= IPOS_ANSWER_BEGUN;
	}
	if (!answers)
		return 0;
	timed(ep->service, IPOS_TIMED_REQUEST, took);
	if (unlikely(ep->timed & IPOS_ANSWER_LOGGED))
		answered_write(t, ep, took, answers, 0);
	ep->answer_bytes = 0;
	if (ep->asked == ep->answered) {
		ep->asked_ns = ep->timed = 0;
	} else {
		ep->asked_ns = now;
		ep->timed &= IPOS_ANSWER_LOGGED;
	}
	return 0;
}

/* The connection ends.  An answer that it still owes is told of, once, if it is for the log. */
IPOS_FUNCTION int answers_end(const struct ipos_tuple *t, struct ipos_endpoint *ep, __u32 flags)
{
	__u64 since;

	if (!t || !ep || likely(!(ep->timed & IPOS_ANSWER_LOGGED)))
		return 0;
	/* Both ways of a connection may end it at once, on two CPUs. */
	since = __sync_lock_test_and_set(&ep->asked_ns, 0);
	if (since)
		answered_write(t, ep, bpf_ktime_get_boot_ns() - since,
			       (__u16)(ep->asked - ep->answered), IPOS_DECISION_UNFINISHED | flags);
	return 0;
}

#endif /* IPOS_MEASURE_H */
