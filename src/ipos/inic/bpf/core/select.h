/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which server: the policies, over the candidates of one pool that are ready, have room and
 * have not refused this request yet.
 */
#ifndef IPOS_CORE_SELECT_H
#define IPOS_CORE_SELECT_H

#include "source.h"

/* What the request's session had to do with it. */
enum choice_session {
	CHOICE_NO_SESSION = 0,		/* the service has none, or no cookie names one */
	CHOICE_KEPT = 1,		/* its server was chosen */
	CHOICE_MOVED = 2,		/* its server serves no more: chosen anew, for good */
	CHOICE_ELSEWHERE = 3,		/* its server may not have this request; the session stays */
};

struct choice {
	__u32 server;			/* index; 0: nobody */
	__u16 port;			/* network: the application's there */
	__u16 usable;			/* among how many */
	__u16 pool;			/* index in `pools`: whose candidates they are */
	__u16 rule;			/* number of the rule that gave the pool; 0: none fits */
	__u8 session;			/* enum choice_session */
	__u8 insert;			/* the first response gets a session cookie */
	__u8 redirect;			/* the client is to be sent to the server's own name */
	__u8 zero;
};

/* A CPU's price: 1 while half of it is left, twice as much whenever half of that is gone. */
IPOS_INLINE __u64 cpu_price(__u32 permille)
{
	__u32 left = permille < 1000 ? 1000 - permille : 0;
	__u64 price = 1;

#pragma unroll
	for (int i = 0; i < 6; i++)
		if (left * price * 2 <= 1000)
			price *= 2;
	return price;
}

/* Lower is better, per weight: connections where `mean` is a usual weight, times the CPU's price. */
IPOS_INLINE __u64 load_score(const struct ipos_candidate *one, __u32 mean)
{
	struct ipos_server *server = server_at(one->server);
	__s64 n;

	if (!server)
		return 0;
	n = server_connections(server, one->server);
	if (n > CONNECTIONS_MAX)
		n = CONNECTIONS_MAX;
	return (n * mean + one->weight) * cpu_price(server->cpu_permille);
}

/* The same: CPU as the row has it, and what all of us may have sent there since it came. */
IPOS_INLINE __u64 cpu_score(const struct ipos_candidate *one, __u32 firsts)
{
	struct ipos_server *server = server_at(one->server);
	__u32 index = one->server, sent = 0;
	struct ipos_traffic *t = bpf_map_lookup_elem(&traffic, &index);

	if (!server)
		return 0;
	if (t)
		sent = (__u32)t->sent - server->sent;
	return 16 + server->cpu_permille + (__u64)sent * firsts;
}

/* Two at random, the better one wins. */
IPOS_FUNCTION int choose_of_two(struct ipos_scratch *w, const struct ipos_pool *pool,
				__u64 random, __u32 firsts)
{
	const struct ipos_candidate *a, *b;
	__u64 score_a, score_b;
	__u32 i, j, mean;

	if (!w || !pool || !w->found)
		return 0;
	i = candidate_drawn(w, pool, random >> 32, IPOS_CANDIDATES_MAX);
	j = candidate_drawn(w, pool, random, i);
	a = candidate_at(pool, w, i);
	b = candidate_at(pool, w, j);
	if (pool->policy == IPOS_LEAST_CPU) {
		score_a = cpu_score(a, firsts);
		score_b = cpu_score(b, firsts);
	} else {
		mean = w->weights / w->found;
		score_a = load_score(a, mean);
		score_b = load_score(b, mean);
	}
	return score_b * a->weight < score_a * b->weight ? j : i;
}

IPOS_INLINE int as_few_as_best(const struct ipos_scratch *w, const struct ipos_pool *pool, __u32 i)
{
	__u32 best = w->best & (IPOS_CANDIDATES_MAX - 1);

	return w->scores[i] * candidate_at(pool, w, best)->weight ==
	       w->scores[best] * candidate_at(pool, w, i)->weight;
}

/* Of all, the one with the fewest per weight; equals are drawn by weight. */
IPOS_FUNCTION int choose_least_connections(struct ipos_scratch *w, const struct ipos_pool *pool,
					   __u32 random, __u32 firsts)
{
	if (!w || !pool)
		return 0;
	w->best = w->tied = 0;
	for (__u32 i = w->zero; i < IPOS_CANDIDATES_MAX && i < w->found; i++) {
		const struct ipos_candidate *one = candidate_at(pool, w, i);
		struct ipos_server *server;
		__u32 best = w->best & (IPOS_CANDIDATES_MAX - 1);

		IPOS_CONVERGES;
		server = server_at(one->server);
		w->scores[i & (IPOS_CANDIDATES_MAX - 1)] = server ? connections_by(server, one->server, firsts) : 0;
		if (w->scores[i] * candidate_at(pool, w, best)->weight <
		    w->scores[best] * one->weight) {
			w->best = i;
			w->tied = 0;
		}
		if (as_few_as_best(w, pool, i))
			w->tied += one->weight;
	}
	w->left = (__u64)random * w->tied >> 32;
	for (__u32 i = w->zero; i < IPOS_CANDIDATES_MAX && i < w->found; i++) {
		IPOS_CONVERGES;
		if (!as_few_as_best(w, pool, i))
			continue;
		if (w->left < candidate_at(pool, w, i)->weight)
			return i;
		w->left -= candidate_at(pool, w, i)->weight;
	}
	return 0;
}

/*
 * The turn-th point of the additive recurrence with the golden ratio, a fraction of 2^32: in
 * any row of turns each part of the circle gets nearly its share, and none gets two at once.
 */
IPOS_INLINE __u32 turn_point(__u32 turn)
{
	return turn * 0x9e3779b9U;
}

IPOS_FUNCTION int choose(struct ipos_scratch *w, __u32 pool_index, __u64 refused,
			 const struct draw *d, struct choice *c)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &pool_index);
	const struct ipos_candidate *chosen;
	__u32 n, firsts, nth = 0;

	if (!w || !d || !c)
		return 0;
	c->server = 0;
	c->port = 0;
	c->usable = 0;
	if (!pool)
		return 0;
	n = candidates_gather(w, pool, refused);
	if (!n)
		return 0;
	c->usable = n;
	if (w->ramp_least < w->ramp_most && pool->policy != IPOS_FIXED &&
	    pool->policy != IPOS_SOURCE_HASH)
		n = candidates_started(w, pool, d->random & 0xff);
	if (!n)
		return 0;
	firsts = pool->firsts ? pool->firsts : 1;
	switch (pool->policy) {
	case IPOS_ROUND_ROBIN:
		nth = __sync_fetch_and_add(&pool->turn, 1) % n;
		break;
	case IPOS_WEIGHTED:
		nth = candidate_drawn(w, pool, turn_point(__sync_fetch_and_add(&pool->turn, 1)),
				      IPOS_CANDIDATES_MAX);
		break;
	case IPOS_RANDOM:
		nth = candidate_drawn(w, pool, d->random >> 32, IPOS_CANDIDATES_MAX);
		break;
	case IPOS_FIXED:
		break;
	case IPOS_LEAST_CONNECTIONS:
		nth = choose_least_connections(w, pool, d->random >> 32, firsts);
		break;
	case IPOS_SOURCE_HASH:
		nth = choose_by_source(w, pool, pool_index, d->client_ip);
		break;
	default:
		nth = choose_of_two(w, pool, d->random, firsts);
	}
	chosen = candidate_at(pool, w, nth);
	c->server = chosen->server;
	c->port = chosen->port;
	return c->server;
}

/* Whether anybody could serve a request now. */
IPOS_FUNCTION int pool_has_server(__u32 index)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &index);

	if (!pool)
		return 0;
	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < pool->count; i++) {
		IPOS_CONVERGES;
		if (server_usable(pool->candidates[i].server, 0))
			return 1;
	}
	return 0;
}

#endif /* IPOS_CORE_SELECT_H */
