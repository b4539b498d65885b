/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which server: the policies, over the candidates of one pool that are ready, have room and
 * have not refused this request yet.
 */
#ifndef IPOS_CORE_SELECT_H
#define IPOS_CORE_SELECT_H

#include "select/source_hash.h"

/* What the request's session had to do with it. */
enum choice_session {
	CHOICE_NO_SESSION = 0, /* the service has none, or no cookie names one */
	CHOICE_KEPT = 1,       /* its server was chosen */
	CHOICE_MOVED = 2,      /* its server serves no more: chosen anew, for good */
	CHOICE_ELSEWHERE = 3,  /* its server may not have the request, the session stays */
	CHOICE_UNKNOWN = 4,    /* its identifier has no row any more: chosen anew */
	CHOICE_FORGED = 5,     /* its identifier is not ours: chosen anew */
};

struct choice {
	__u32 server; /* index; 0: none */
	__u16 port;   /* network: the application's there */
	__u16 zeros;
	__u16 pool;    /* index in `pools`: whose candidates they are */
	__u16 rule;    /* number of the rule that gave the pool; 0: none fits */
	__u8 session;  /* enum choice_session */
	__u8 insert;   /* the first response gets a session cookie */
	__u8 redirect; /* the client is to be sent to the server's own name */
	__u8 returned; /* read: an application gave the connection back, see tc/hand_back.h */
};

#define NONE IPOS_CANDIDATES_MAX /* no place in a pool */

struct drawing {       /* of one candidate by weight */
	__u32 random;  /* 32 bits */
	__u32 part;    /* of the requests, that slow start divides: 0 to 255 */
	__u32 without; /* a place in the pool that is not wanted; NONE */
};

/* What is gone, in permille, of that which a server is shortest of: CPU, memory or bandwidth. */
IPOS_INLINE __u32 shortage(const struct ipos_server *server)
{
	__u32 memory = server->memory_short, bandwidth = server->bandwidth_short;
	__u32 most = 10 * (memory > bandwidth ? memory : bandwidth);

	return server->cpu_permille > most ? server->cpu_permille : most;
}

/* A server's price: 1 while half of all is left, twice as much whenever half of that is gone. */
IPOS_INLINE __u64 load_price(__u32 permille)
{
	__u32 left = permille < 1000 ? 1000 - permille : 0;
	__u64 price = 1;

	if (likely(left > 500))
		return 1;
#pragma unroll
	for (int i = 0; i < 6; i++)
		if (left * price * 2 <= 1000)
			price *= 2;
	return price;
}

/*
 * Lower is better, per weight: connections where `mean` is a usual weight, times the price.
 * What we have sent there since the row came counts `times`.
 */
IPOS_INLINE __u64 load_score(const struct ipos_candidate *one, __u32 mean, __s64 times)
{
	struct ipos_server *server = server_at(one->server);
	__s64 n;

	if (!server)
		return 0;
	n = connections_by(server, one->server, times);
	if (n > CONNECTIONS_MAX)
		n = CONNECTIONS_MAX;
	return (n * mean + one->weight) * load_price(shortage(server));
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

/* Writes those that can take it and have started enough into w->usable; returns their number. */
IPOS_INLINE int candidates_look(struct ipos_scratch *w, const struct ipos_pool *pool,
				const struct ipos_refusers *refused, __u32 part)
{
	return candidates_gather(w, pool, refused) ? candidates_started(w, pool, part) : 0;
}

/* One that can take it, each as likely as its weight says; -1: none of few draws has hit any. */
IPOS_FUNCTION int pool_draws(const struct ipos_pool *pool, const struct ipos_refusers *refused,
			     const struct drawing *d)
{
	if (!pool || !d)
		return -1;
	for (__u32 nth = 0; nth < IPOS_DRAWS; nth++) {
		__u32 place = pool_drawn(pool, draw_again(d->random, nth));

		if (place != d->without && candidate_fits(pool, refused, place, d->part))
			return place;
	}
	return -1;
}

/*
 * The same, for sure: its place in the pool, and not `without` unless there is no other; -1: none
 * can take it.  Few draws nearly always hit; when none does, all are looked at.
 */
IPOS_INLINE int choose_drawn(struct ipos_scratch *w, const struct ipos_pool *pool,
			     const struct ipos_refusers *refused, const struct drawing *d)
{
	int place = pool_draws(pool, refused, d);

	if (place >= 0)
		return place;
	if (!candidates_look(w, pool, refused, d->part))
		return -1;
	return candidate_drawn(w, pool, d->random, d->without);
}

/* The better one of two: the place of j, if its score is lower for its weight. */
IPOS_FUNCTION int better_of_two(const struct ipos_pool *pool, __u32 i, __u32 j)
{
	const struct ipos_candidate *a, *b;
	__u64 score_a, score_b;
	__u32 firsts;

	if (!pool || !pool->count)
		return 0;
	a = pool_at(pool, i);
	b = pool_at(pool, j);
	if (pool->policy == IPOS_LEAST_CPU) {
		firsts = pool->firsts ? pool->firsts : 1;
		score_a = cpu_score(a, firsts);
		score_b = cpu_score(b, firsts);
	} else {
		score_a = load_score(a, pool->mean, 1);
		score_b = load_score(b, pool->mean, 1);
	}
	return score_b * a->weight < score_a * b->weight ? j : i;
}

/* Two at random, the better one wins. */
IPOS_FUNCTION int choose_of_two(struct ipos_scratch *w, const struct ipos_pool *pool,
				const struct ipos_refusers *refused, __u64 random)
{
	struct drawing d = { .random = random >> 32, .part = random & 0xff, .without = NONE };
	int i, j;

	if (!w || !pool || !pool->count)
		return -1;
	i = choose_drawn(w, pool, refused, &d);
	if (i < 0 || pool->count == 1)
		return i;
	d.random = random;
	d.without = i;
	j = choose_drawn(w, pool, refused, &d);
	return j < 0 ? i : better_of_two(pool, i, j);
}

/* The score of one of the usable. */
IPOS_INLINE __u64 *score_at(struct ipos_scratch *w, __u32 nth)
{
	return &w->scores[IPOS_PLACE(nth, IPOS_CANDIDATES_MAX)];
}

IPOS_INLINE int as_few_as_best(struct ipos_scratch *w, const struct ipos_pool *pool, __u32 i)
{
	__u32 best = w->best;

	return *score_at(w, i) * candidate_at(pool, w, best)->weight ==
	       *score_at(w, best) * candidate_at(pool, w, i)->weight;
}

/* What a policy compares in all candidates, where as many servers as `firsts` choose now. */
IPOS_FUNCTION __u64 score_among_all(const struct ipos_pool *pool, __u32 place, __u32 firsts)
{
	const struct ipos_candidate *one;
	struct ipos_server *server;

	if (!pool)
		return 0;
	one = pool_at(pool, place);
	if (pool->policy == IPOS_LEAST_CPU)
		return cpu_score(one, firsts);
	if (pool->policy == IPOS_LEAST_LOADED)
		return load_score(one, pool->mean, firsts);
	server = server_at(one->server);
	return server ? connections_by(server, one->server, firsts) : 0;
}

/* Of all, the one with the lowest score per weight; equals are drawn by weight. */
IPOS_FUNCTION int choose_best(struct ipos_scratch *w, struct ipos_pool *pool,
			      const struct ipos_refusers *refused, __u64 numbers)
{
	__u32 firsts, random = numbers >> 32;

	if (!w || !pool)
		return -1;
	if (!candidates_look(w, pool, refused, numbers & 0xff))
		return -1;
	firsts = pool->firsts ? pool->firsts : 1;
	w->best = w->tied = 0;
	for (__u32 i = w->zero; i < IPOS_CANDIDATES_MAX && i < w->found; i++) {
		const struct ipos_candidate *one = candidate_at(pool, w, i);
		__u64 score;

		IPOS_CONVERGES;
		score = score_among_all(pool, usable_at(w, i), firsts);
		*score_at(w, i) = score;
		if (score * candidate_at(pool, w, w->best)->weight <
		    *score_at(w, w->best) * one->weight) {
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
			return usable_at(w, i);
		w->left -= candidate_at(pool, w, i)->weight;
	}
	return usable_at(w, 0);
}

/*
 * The turn-th point of the additive recurrence with the golden ratio, a fraction of 2^32: in
 * any row of turns each part of the circle gets nearly its share, and none gets two at once.
 */
IPOS_INLINE __u32 turn_point(__u32 turn)
{
	return turn * 0x9e3779b9U;
}

/* Each in turn; if a server cannot take the request, the next turn is taken. */
IPOS_FUNCTION int choose_in_turn(struct ipos_scratch *w, struct ipos_pool *pool,
				 const struct ipos_refusers *refused, __u32 random)
{
	int weighted, n;
	__u32 turn = 0;

	if (!w || !pool || !pool->count)
		return -1;
	weighted = pool->policy == IPOS_WEIGHTED;
	for (__u32 nth = 0; nth < IPOS_DRAWS; nth++) {
		__u32 place;

		turn = __sync_fetch_and_add(&pool->turn, 1);
		place = weighted ? pool_drawn(pool, turn_point(turn)) : turn % pool->count;
		if (candidate_fits(pool, refused, place, draw_again(random, nth) & 0xff))
			return place;
	}
	n = candidates_look(w, pool, refused, random & 0xff);
	if (!n)
		return -1;
	if (weighted)
		return candidate_drawn(w, pool, turn_point(turn), NONE);
	return usable_at(w, turn % n);
}

/* The first that can take it. */
IPOS_FUNCTION int choose_first(struct ipos_scratch *w, const struct ipos_pool *pool,
			       const struct ipos_refusers *refused)
{
	if (!w || !pool)
		return -1;
	for (__u32 i = w->zero; i < IPOS_CANDIDATES_MAX && i < pool->count; i++) {
		IPOS_CONVERGES;
		if (server_usable(pool_at(pool, i)->server, refused))
			return i;
	}
	return -1;
}

/* By the client's address; if its way leads to no server, any that can take it. */
IPOS_FUNCTION int choose_source(struct ipos_scratch *w, const struct ipos_pool *pool,
				__u32 pool_index, const struct ipos_refusers *refused,
				__u32 client_ip)
{
	int place = choose_by_source(pool, pool_index, refused, client_ip), n;

	if (place >= 0)
		return place;
	n = candidates_gather(w, pool, refused);
	if (!w || n <= 0)
		return -1;
	return usable_at(w, (__u64)mix(bpf_ntohl(client_ip)) * (__u32)n >> 32);
}

IPOS_FUNCTION int choose(struct ipos_scratch *w, __u32 pool_index,
			 const struct ipos_refusers *refused, const struct draw *d,
			 struct choice *c)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &pool_index);
	struct drawing one = { .without = NONE };
	const struct ipos_candidate *chosen;
	int place;

	if (!w || !d || !c || !refused)
		return 0;
	c->server = 0;
	c->port = 0;
	if (!pool)
		return 0;
	switch (pool->policy) {
	case IPOS_ROUND_ROBIN:
	case IPOS_WEIGHTED:
		place = choose_in_turn(w, pool, refused, d->random);
		break;
	case IPOS_RANDOM:
		one.random = d->random >> 32;
		one.part = d->random & 0xff;
		place = choose_drawn(w, pool, refused, &one);
		break;
	case IPOS_FIXED:
		place = choose_first(w, pool, refused);
		break;
	case IPOS_LEAST_CONNECTIONS:
		place = choose_best(w, pool, refused, d->random);
		break;
	case IPOS_SOURCE_HASH:
		place = choose_source(w, pool, pool_index, refused, d->client_ip);
		break;
	default:
		place = d->among_all ? choose_best(w, pool, refused, d->random)
				     : choose_of_two(w, pool, refused, d->random);
	}
	if (place < 0)
		return 0;
	chosen = pool_at(pool, place);
	c->server = chosen->server;
	c->port = chosen->port;
	return c->server;
}

/* This server, if it is one of the pool's and may have the request; else none. */
IPOS_FUNCTION int choose_only(__u32 pool_index, __u32 server, const struct ipos_refusers *refused,
			      struct choice *c)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &pool_index);
	int port;

	if (!c)
		return 0;
	c->server = c->port = 0;
	port = pool ? pool_has(pool, server) : 0;
	if (!port || !server_usable(server, refused))
		return 0;
	c->server = server;
	c->port = port;
	return server;
}

/* Whether anybody could serve a request now. */
IPOS_FUNCTION int pool_has_server(struct ipos_scratch *w, __u32 index)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &index);

	return w && pool && choose_first(w, pool, refused_by_none(w)) >= 0;
}

/* The same for a SYN, which nearly always finds the first of them ready. */
IPOS_INLINE int pool_ready(struct ipos_scratch *w, __u32 index)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &index);
	struct ipos_server *first = NULL;

	if (pool && pool->count)
		first = server_at(pool->candidates[0].server);
	if (first && first->state == IPOS_SERVER_READY && !first->limit)
		return 1;
	return pool_has_server(w, index);
}

#endif /* IPOS_CORE_SELECT_H */
