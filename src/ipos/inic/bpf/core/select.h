/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which server: the policies, over the candidates of one pool that are ready, have room and
 * have not refused this request yet.
 */
#ifndef IPOS_CORE_SELECT_H
#define IPOS_CORE_SELECT_H

#include "../maps.h"

/* What a decision may be made by, besides the tables. */
struct draw {
	__u32 random;
	__u32 client_ip;		/* network */
};

struct choice {
	__u32 server;			/* index; 0: nobody */
	__u16 port;			/* network: the application's there */
	__u16 usable;			/* among how many */
	__u16 pool;			/* index in `pools`: whose candidates they are */
	__u16 rule;			/* number of the rule that gave the pool; 0: none fits */
};

/* Connections now: the row's, plus what went there since, less what ended. */
IPOS_INLINE __s64 server_connections(const struct ipos_server *server, __u32 index)
{
	struct ipos_traffic *t = bpf_map_lookup_elem(&traffic, &index);
	__s64 n = server->tcp_connections;

	if (t)
		n += t->sent - t->closed - server->base;
	return n < 0 ? 0 : n;
}

/* Lower is better: connections, dearer by up to 16 times as the CPU fills. */
IPOS_INLINE __u64 server_score(const struct ipos_server *server, __u32 index)
{
	__u64 cpu = server->cpu_permille;

	return (__u64)(server_connections(server, index) + 1) * (16 + (cpu * cpu >> 12));
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

IPOS_INLINE __u32 choose_least_loaded(const struct ipos_pool *pool, const struct ipos_scratch *w,
				      __u32 n, __u32 random)
{
	__u32 i = (random & 0xffff) % n, j;
	const struct ipos_candidate *a, *b;
	struct ipos_server *sa, *sb;

	if (n == 1)
		return i;
	j = (i + 1 + (random >> 16) % (n - 1)) % n;
	a = candidate_at(pool, w, i);
	b = candidate_at(pool, w, j);
	sa = server_at(a->server);
	sb = server_at(b->server);
	if (!sa || !sb)
		return i;
	return server_score(sb, b->server) * a->weight < server_score(sa, a->server) * b->weight ?
	       j : i;
}

IPOS_INLINE __u32 choose_random(const struct ipos_pool *pool, const struct ipos_scratch *w, __u32 n,
				__u32 random)
{
	__u32 sum = 0, left;

	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < n; i++)
		sum += candidate_at(pool, w, i)->weight;
	left = sum ? random % sum : 0;
	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < n; i++) {
		__u32 weight = candidate_at(pool, w, i)->weight;

		if (left < weight)
			return i;
		left -= weight;
	}
	return 0;
}

IPOS_FUNCTION int choose(struct ipos_scratch *w, __u32 pool_index, __u64 refused,
			 const struct draw *d, struct choice *c)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &pool_index);
	const struct ipos_candidate *chosen;
	__u32 n, nth = 0;

	if (!w || !d || !c)
		return 0;
	c->server = 0;
	c->port = 0;
	c->usable = 0;
	if (!pool)
		return 0;
	w->found = 0;
	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < pool->count; i++)
		if (server_usable(pool->candidates[i].server, refused))
			w->usable[w->found++ & (IPOS_CANDIDATES_MAX - 1)] = i;
	n = w->found;
	if (!n)
		return 0;
	switch (pool->policy) {
	case IPOS_ROUND_ROBIN:
		nth = __sync_fetch_and_add(&pool->turn, 1) % n;
		break;
	case IPOS_RANDOM:
		nth = choose_random(pool, w, n, d->random);
		break;
	case IPOS_FIXED:
		break;
	default:
		nth = choose_least_loaded(pool, w, n, d->random);
	}
	chosen = candidate_at(pool, w, nth);
	c->server = chosen->server;
	c->port = chosen->port;
	c->usable = n;
	return c->server;
}

/* What a request of this client is decided by. */
IPOS_INLINE struct draw draw_for(const struct ipos_tuple *t)
{
	struct draw d = { .random = bpf_get_prandom_u32(), .client_ip = t->client_ip };

	return d;
}

/* Whether anybody could serve a request now. */
IPOS_FUNCTION int pool_has_server(__u32 index)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &index);

	if (!pool)
		return 0;
	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < pool->count; i++)
		if (server_usable(pool->candidates[i].server, 0))
			return 1;
	return 0;
}

#endif /* IPOS_CORE_SELECT_H */
