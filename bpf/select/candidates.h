/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The candidates of a pool that could take a request: which they are, what load they have now, and
 * drawing one of them by weight.
 */
#ifndef IPOS_CORE_CANDIDATES_H
#define IPOS_CORE_CANDIDATES_H

#include "lib/maps.h"

#define CONNECTIONS_MAX (1 << 24) /* beyond, more of them make no difference */

/* What a decision may be made by, besides the tables. */
struct draw {
	__u64 random;	 /* two numbers of 32 bits */
	__u32 client_ip; /* network byte order; of IPv6 ip_network() */
	__u32 among_all; /* a policy that compares two at random compares all */
};

/* What a request of this client is decided by. */
IPOS_INLINE struct draw draw_for(const struct ipos_tuple *t)
{
	struct draw d = { .client_ip = ip_network(t->client_ip) };

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

/*
 * Whether a server has room for a client that comes back: a quarter more than for others, or a
 * client that repeats one cookie would have a way round the limit.
 */
IPOS_FUNCTION int server_has_room(__u32 index)
{
	struct ipos_server *server = server_at(index);

	return server && (!server->limit || server_connections(server, index) <
						    server->limit + (__s64)(server->limit / 4));
}

/* Whether the server has refused the request; of too many that have, everybody has. */
IPOS_FUNCTION int refused_by(const struct ipos_refusers *refused, __u32 index)
{
	if (!refused || likely(!refused->count))
		return 0;
	if (refused->count >= IPOS_REFUSERS_MAX)
		return 1;
#pragma unroll
	for (int i = 0; i < IPOS_REFUSERS_MAX; i++)
		if (i < refused->count && refused->servers[i] == index)
			return 1;
	return 0;
}

/* The server has refused it, too.  Returns whether so many have that no more are asked. */
IPOS_INLINE int refuser_add(struct ipos_refusers *refused, __u16 index)
{
	__u32 n = refused->count;

	if (n < IPOS_REFUSERS_MAX) {
		refused->servers[n] = index;
		refused->count = n + 1;
	}
	return n + 1 >= IPOS_REFUSERS_MAX;
}

/* The same refusers, and one more. */
IPOS_INLINE const struct ipos_refusers *refused_too(struct ipos_scratch *w,
						    const struct ipos_refusers *by, __u16 index)
{
	w->refused = *by;
	refuser_add(&w->refused, index);
	return &w->refused;
}

/* The refusers of a request that was not offered yet. */
IPOS_INLINE const struct ipos_refusers *refused_by_none(struct ipos_scratch *w)
{
	w->refused.count = 0;
	return &w->refused;
}

IPOS_FUNCTION int server_usable(__u32 index, const struct ipos_refusers *refused)
{
	struct ipos_server *server = server_at(index);

	if (!refused || !server || server->state != IPOS_SERVER_READY || refused_by(refused, index))
		return 0;
	return !server->limit || server_connections(server, index) < server->limit;
}

/* MurmurHash3's last step: every bit of the result depends on every bit of `x`. */
IPOS_INLINE __u32 mix(__u32 x)
{
	x = (x ^ x >> 16) * 0x85ebca6bU;
	x = (x ^ x >> 13) * 0xc2b2ae35U;
	return x ^ x >> 16;
}

/* The random number of a request's `nth` draw, from the one it came with. */
IPOS_INLINE __u32 draw_again(__u32 random, __u32 nth)
{
	return nth ? mix(random + nth * 0x9e3779b9U) : random;
}

IPOS_INLINE const struct ipos_candidate *pool_at(const struct ipos_pool *pool, __u32 i)
{
	return &pool->candidates[IPOS_PLACE(i, IPOS_CANDIDATES_MAX)];
}

/* The place in the pool of one of the usable. */
IPOS_INLINE __u32 usable_at(const struct ipos_scratch *w, __u32 nth)
{
	return w->usable[IPOS_PLACE(nth, IPOS_CANDIDATES_MAX)];
}

IPOS_INLINE const struct ipos_candidate *candidate_at(const struct ipos_pool *pool,
						      const struct ipos_scratch *w, __u32 nth)
{
	return pool_at(pool, usable_at(w, nth));
}

/* The weights of all candidates together. */
IPOS_INLINE __u32 pool_weights(const struct ipos_pool *pool)
{
	return pool->count ? pool_at(pool, pool->count - 1)->upto : 0;
}

/* Any of the pool, each as likely as its weight says: its place; `random` is 32 bits. */
IPOS_FUNCTION int pool_drawn(const struct ipos_pool *pool, __u32 random)
{
	__u32 left, place;

	if (!pool || !pool->count)
		return 0;
	place = pool->zeros & (IPOS_CANDIDATES_MAX - 1); /* known values never converge */
	if (likely(pool->even))
		return ((__u64)random * pool->count >> 32) & (IPOS_CANDIDATES_MAX - 1);
	left = (__u64)random * pool_weights(pool) >> 32;
#pragma unroll
	for (__u32 step = IPOS_CANDIDATES_MAX / 2; step; step /= 2)
		if (place + step < pool->count && pool_at(pool, place + step - 1)->upto <= left)
			place = (place + step) & (IPOS_CANDIDATES_MAX - 1);
	return place & (IPOS_CANDIDATES_MAX - 1);
}

/* The place of a server in the pool; -1: it is none of its candidates. */
IPOS_FUNCTION int pool_place(const struct ipos_pool *pool, __u32 server)
{
	__u32 place;

	if (!pool || !pool->count)
		return -1;
	place = pool->zeros & (IPOS_CANDIDATES_MAX - 1);
#pragma unroll
	for (__u32 step = IPOS_CANDIDATES_MAX / 2; step; step /= 2)
		if (place + step < pool->count && pool_at(pool, place + step - 1)->server < server)
			place = (place + step) & (IPOS_CANDIDATES_MAX - 1);
	place &= IPOS_CANDIDATES_MAX - 1;
	return pool_at(pool, place)->server == server ? place : -1;
}

/* Takes a candidate among the usable ones. */
IPOS_INLINE void candidate_add(struct ipos_scratch *w, const struct ipos_pool *pool, __u32 i)
{
	const struct ipos_candidate *one = pool_at(pool, i);

	w->usable[IPOS_PLACE(w->found++, IPOS_CANDIDATES_MAX)] = i;
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

/* Writes the candidates that can take it into w->usable. */
IPOS_FUNCTION int candidates_gather(struct ipos_scratch *w, const struct ipos_pool *pool,
				    const struct ipos_refusers *refused)
{
	if (!w || !pool || !refused)
		return 0;
	w->found = 0;
	w->weights = 0;
	w->ramp_least = 0xffff;
	w->ramp_most = 0;
	for (__u32 i = w->zero; i < IPOS_CANDIDATES_MAX && i < pool->count; i++) {
		IPOS_CONVERGES;
		if (server_usable(pool_at(pool, i)->server, refused))
			candidate_take(w, pool, i);
	}
	return w->found;
}

/*
 * Slow start: whether a candidate is one for this part, 0 to 255, of the requests, where `most` is
 * how far any has started.  Those that have started so far are one for all of them, however short
 * a time that may be.
 */
IPOS_INLINE int candidate_started(const struct ipos_candidate *one, __u32 most, __u32 part)
{
	return part * most < (__u32)one->ramp << 8 || one->ramp >= most;
}

/* Whether the candidate can take the request, and has started enough for this part of them. */
IPOS_INLINE int candidate_fits(const struct ipos_pool *pool, const struct ipos_refusers *refused,
			       __u32 i, __u32 part)
{
	const struct ipos_candidate *one;

	if (!pool || i >= pool->count)
		return 0;
	one = pool_at(pool, i);
	return server_usable(one->server, refused) &&
	       candidate_started(one, pool->ramp_most, part & 0xff);
}

/* Takes out of w->usable those that are no candidates for this part of the requests. */
IPOS_FUNCTION int candidates_keep(struct ipos_scratch *w, const struct ipos_pool *pool, __u32 part,
				  __u32 most)
{
	__u32 n;

	if (!w || !pool)
		return 0;
	n = w->found;
	w->found = 0;
	w->weights = 0;
	for (__u32 i = w->zero; i < IPOS_CANDIDATES_MAX && i < n; i++) {
		IPOS_CONVERGES;
		if (candidate_started(candidate_at(pool, w, i), most, part & 0xff))
			candidate_take(w, pool, usable_at(w, i));
	}
	return w->found;
}

/*
 * The same, where it is not all the same how far they have started.  Should nobody be left, those
 * are that have started longest.
 */
IPOS_FUNCTION int candidates_started(struct ipos_scratch *w, const struct ipos_pool *pool,
				     __u32 part)
{
	__u32 n, most;

	if (!w || !pool)
		return 0;
	n = w->found;
	most = w->ramp_most;
	if (w->ramp_least >= most && most >= pool->ramp_most)
		return n;
	if (candidates_keep(w, pool, part, pool->ramp_most))
		return w->found;
	w->found = n;
	return candidates_keep(w, pool, part, most);
}

/*
 * One of the usable, each as likely as its weight says: its place in the pool; `random` is 32
 * bits.  The one at the pool's place `without` is not drawn, unless there is no other.
 */
IPOS_FUNCTION int candidate_drawn(struct ipos_scratch *w, const struct ipos_pool *pool,
				  __u32 random, __u32 without)
{
	if (!w || !pool)
		return 0;
	w->left = w->weights;
	if (without < IPOS_CANDIDATES_MAX)
		w->left -= pool_at(pool, without)->weight;
	w->left = (__u64)random * w->left >> 32;
	for (__u32 i = w->zero; i < IPOS_CANDIDATES_MAX && i < w->found; i++) {
		__u32 place = usable_at(w, i), weight = pool_at(pool, place)->weight;

		IPOS_CONVERGES;
		if (place == without)
			continue;
		if (w->left < weight)
			return place;
		w->left -= weight;
	}
	return without & (IPOS_CANDIDATES_MAX - 1);
}

/* The application's port at a server of the pool (network order); 0: it is none of them. */
IPOS_INLINE int pool_has(const struct ipos_pool *pool, __u32 server)
{
	int place = pool_place(pool, server);

	return place < 0 ? 0 : pool_at(pool, place)->port;
}

#endif /* IPOS_CORE_CANDIDATES_H */
