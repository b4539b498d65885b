/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The candidates of a pool that could take a request: who they are, what they bear now, and
 * drawing one of them by weight.
 */
#ifndef IPOS_CORE_CANDIDATES_H
#define IPOS_CORE_CANDIDATES_H

#include "../maps.h"

#define CONNECTIONS_MAX (1 << 24)	/* beyond, more of them make no difference */

/* What a decision may be made by, besides the tables. */
struct draw {
	__u64 random;			/* two numbers of 32 bits */
	__u32 client_ip;		/* network */
	__u32 zero;
};

/* What a request of this client is decided by. */
IPOS_INLINE struct draw draw_for(const struct ipos_tuple *t)
{
	struct draw d = { .client_ip = t->client_ip };

	d.random = (__u64)bpf_get_prandom_u32() << 32;
	d.random |= bpf_get_prandom_u32();
	return d;
}

/* Connections now: the row's, plus `times` what went there since, less what ended. */
IPOS_INLINE __s64 connections_by(const struct ipos_server *server, __u32 index, __s64 times)
{
	struct ipos_traffic *t = bpf_map_lookup_elem(&traffic, &index);
	__s64 n = server->tcp_connections;

	if (t)
		n += (t->sent - t->closed - server->base) * times;
	return n < 0 ? 0 : n;
}

IPOS_INLINE __s64 server_connections(const struct ipos_server *server, __u32 index)
{
	return connections_by(server, index, 1);
}

IPOS_FUNCTION int server_usable(__u32 index, __u64 refused)
{
	struct ipos_server *server = server_at(index);

	if (!server || server->state != IPOS_SERVER_READY || refused >> (index & 63) & 1)
		return 0;
	return !server->limit || server_connections(server, index) < server->limit;
}

IPOS_INLINE const struct ipos_candidate *candidate_at(const struct ipos_pool *pool,
						      const struct ipos_scratch *w, __u32 nth)
{
	return &pool->candidates[w->usable[nth & (IPOS_CANDIDATES_MAX - 1)] &
				 (IPOS_CANDIDATES_MAX - 1)];
}

/* Takes a candidate among the usable ones. */
IPOS_INLINE void candidate_add(struct ipos_scratch *w, const struct ipos_pool *pool, __u32 i)
{
	const struct ipos_candidate *one = &pool->candidates[i & (IPOS_CANDIDATES_MAX - 1)];

	w->usable[w->found++ & (IPOS_CANDIDATES_MAX - 1)] = i;
	w->weights += one->weight;
	if (one->ramp < w->ramp_least)
		w->ramp_least = one->ramp;
	if (one->ramp > w->ramp_most)
		w->ramp_most = one->ramp;
}

/* The same, out of a loop that would not converge otherwise. */
IPOS_FUNCTION int candidate_take(struct ipos_scratch *w, const struct ipos_pool *pool, __u32 i)
{
	if (w && pool)
		candidate_add(w, pool, i);
	return 0;
}

/* Who can take it, into w->usable. */
IPOS_FUNCTION int candidates_gather(struct ipos_scratch *w, const struct ipos_pool *pool,
				    __u64 refused)
{
	if (!w || !pool)
		return 0;
	w->found = 0;
	w->weights = 0;
	w->ramp_least = 0xffff;
	w->ramp_most = 0;
	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < pool->count; i++)
		if (server_usable(pool->candidates[i].server, refused))
			candidate_add(w, pool, i);
	return w->found;
}

/*
 * Slow start: whether a candidate is one for this part, 0 to 255, of the requests.  Those
 * that have started longest are one for all of them, however short a time that may be.
 */
IPOS_INLINE int candidate_started(const struct ipos_scratch *w, const struct ipos_candidate *one,
				  __u32 part)
{
	return part * w->ramp_most < (__u32)one->ramp << 8 || one->ramp == w->ramp_most;
}

/* Leaves out of w->usable who is no candidate for this part of the requests. */
IPOS_FUNCTION int candidates_started(struct ipos_scratch *w, const struct ipos_pool *pool,
				     __u32 part)
{
	__u32 n;

	if (!w || !pool)
		return 0;
	n = w->found;
	w->found = 0;
	w->weights = 0;
	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < n; i++)
		if (candidate_started(w, candidate_at(pool, w, i), part & 0xff))
			candidate_take(w, pool, w->usable[i]);
	return w->found;
}

/*
 * One of the usable, each as likely as its weight says; `random` is 32 bits.  The one at
 * `without` is not drawn, unless there is no other.
 */
IPOS_FUNCTION int candidate_drawn(struct ipos_scratch *w, const struct ipos_pool *pool,
				  __u32 random, __u32 without)
{
	if (!w || !pool)
		return 0;
	w->left = w->weights;
	if (without < w->found)
		w->left -= candidate_at(pool, w, without)->weight;
	w->left = (__u64)random * w->left >> 32;
	for (__u32 i = w->zero; i < IPOS_CANDIDATES_MAX && i < w->found; i++) {
		__u32 weight = candidate_at(pool, w, i)->weight;

		IPOS_CONVERGES;
		if (i == without)
			continue;
		if (w->left < weight)
			return i;
		w->left -= weight;
	}
	return 0;
}

#endif /* IPOS_CORE_CANDIDATES_H */
