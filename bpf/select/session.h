/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a request's session cookie to the server that has the session.  Nothing is stored for
 * an inserted cookie: its value names the server, which only servers of the farm can read, and any
 * of them can tell that one of us made it, on which day.
 */
#ifndef IPOS_CORE_SESSION_H
#define IPOS_CORE_SESSION_H

#include "http/bytes.h"
#include "select/policy.h"
#include "lib/rows.h"
#include "lib/siphash.h"

/*
 * Eight lower-case hexadecimal digits as the four bytes they stand for, in their order; *wrong has
 * bits where a character is none.  All eight at once: a nibble is the low half of a digit, and of
 * a letter nine more.
 */
IPOS_INLINE __u32 hex_word(__u64 x, __u64 *wrong)
{
	__u64 low = 0x7f7f7f7f7f7f7f7fULL, one = 0x0101010101010101ULL, y = x & low;
	__u64 digit = (y + 0x50 * one) & ~(y + 0x46 * one);  /* '0' to '9' */
	__u64 letter = (y + 0x1f * one) & ~(y + 0x19 * one); /* 'a' to 'f' */
	__u64 pairs;

	*wrong |= (~(digit | letter) | x) & 0x80 * one;
	x = (x & 0x0f * one) + 9 * (letter >> 7 & one);
	pairs = (x << 4 | x >> 8) & 0x00ff00ff00ff00ffULL; /* a byte in every two */
	pairs = (pairs | pairs >> 8) & 0x0000ffff0000ffffULL;
	return pairs | pairs >> 16;
}

IPOS_INLINE __u8 hex_character(__u8 nibble)
{
	return nibble < 10 ? '0' + nibble : 'a' + nibble - 10;
}

IPOS_INLINE struct ipos_session *session_at(__u32 service)
{
	return bpf_map_lookup_elem(&sessions, &service);
}

/* Days since 1970, by the clock that all servers share. */
IPOS_INLINE __u32 session_day(const struct ipos_settings *set, __u64 now)
{
	return (now + set->wall_offset_ns) / (1000000000ULL * IPOS_SESSION_DAY_S);
}

IPOS_INLINE struct ipos_epoch_key *session_key(__u32 day)
{
	__u32 slot = day % IPOS_SESSION_DAYS;
	struct ipos_epoch_key *key = bpf_map_lookup_elem(&session_keys, &slot);

	return key && key->valid && key->epoch == day ? key : NULL;
}

/* The tag of a value that names a server: `named` is its address and a nonce, as in memory. */
IPOS_INLINE __u64 session_tag(const __u64 key[2], __u64 named, __be32 day)
{
	struct sip s;

	sip_start(&s, key, 0);
	sip_word(&s, named);
	return sip_end(&s, day, 12);
}

/* What seals the server's address in a value with this tag, by XOR. */
IPOS_INLINE __u64 session_seal(const __u64 key[2], __u64 tag)
{
	struct sip s;

	sip_start(&s, key, 0);
	sip_word(&s, tag);
	return sip_end(&s, 0, 9);
}

/* The server that a value names, if it was made under this key (network order), or 0. */
IPOS_INLINE __be32 session_opened(const __u64 key[2], const struct ipos_session_value *v)
{
	__u64 named = v->sealed ^ session_seal(key, v->tag);

	return session_tag(key, named, v->day) == v->tag ? (__u32)named : 0;
}

/* The same of a value from before ABI 11: day and address stand where they are sealed now. */
IPOS_INLINE __be32 session_open(const __u64 key[2], const struct ipos_session_value *v)
{
	struct sip s;

	sip_start(&s, key, 0);
	sip_word(&s, v->sealed);
	return sip_end(&s, 0, 8) == v->tag ? v->sealed >> 32 : 0;
}

IPOS_INLINE __be32 session_server(const __u64 key[2], const struct ipos_session_value *v, int open)
{
	return open ? session_open(key, v) : session_opened(key, v);
}

struct cookie_words {
	__u64 words[IPOS_COOKIE_MAX / 8];
};

/* The keyed hash of a cookie's value of `length` bytes; what lies behind them does not matter. */
IPOS_INLINE __u64 cookie_hash(const __u64 key[2], const struct cookie_words *value, __u32 length)
{
	__u64 tail = 0;
	struct sip s;

	sip_start(&s, key, 0);
	for (__u32 i = 0; i < IPOS_COOKIE_MAX / 8; i++) {
		tail = value->words[i];
		IPOS_OPAQUE(tail); /* no second look at it under another index */
		if (i >= length / 8)
			break;
		sip_word(&s, tail);
		tail = 0;
	}
	return sip_end(&s, bytes_first(tail, length & 7), length);
}

/*
 * The value of the request's cookie, in w->value.  Returns 0 for one that none of us made, and 2
 * for one that the client is to have anew: under the key that is believed too, while keys change,
 * or of the form from before ABI 11.
 */
IPOS_FUNCTION int session_value_read(struct ipos_scratch *w)
{
	int open = w && w->request.cookie_len == IPOS_SESSION_OPEN_LEN;
	struct ipos_epoch_key *key;
	struct ipos_session_value *v;
	__u64 wrong = 0;
	__u32 *to;

	if (!w || (!open && w->request.cookie_len != IPOS_SESSION_VALUE_LEN))
		return 0;
	v = &w->value;
	to = (void *)v;
	for (__u32 i = 0; i < IPOS_SESSION_VALUE_LEN / 8; i++)
		if (!open || i < IPOS_SESSION_OPEN_LEN / 8)
			to[i] = hex_word(((const __u64 *)w->request.cookie)[i], &wrong);
	if (wrong)
		return 0;
	if (open)
		v->day = (__u32)v->sealed;
	key = session_key(bpf_ntohl(v->day));
	if (!key)
		return 0;
	v->server_ip = session_server(key->key, v, open);
	if (v->server_ip)
		return open ? 2 : 1;
	if (!(key->valid & IPOS_KEY_OTHER))
		return 0;
	v->server_ip = session_server(key->other, v, open);
	return v->server_ip ? 2 : 0;
}

/* Whether the server goes on with the sessions it has: also one that drains. */
IPOS_INLINE int session_lives(__u32 index)
{
	struct ipos_server *server = server_at(index);

	return server && (server->state == IPOS_SERVER_READY || server->state == IPOS_SERVER_DRAIN);
}

/* The application's port at a server of the pool (network order); 0: it is none of them. */
IPOS_FUNCTION int pool_port(__u32 pool_index, __u32 server)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &pool_index);

	return pool ? pool_has(pool, server) : 0;
}

/*
 * While keys change: a row of the request's cookie under the other key gets one under our own, here
 * and at all others, or the session would be lost with that key.
 */
IPOS_FUNCTION int cookie_row_again(struct ipos_scratch *w)
{
	struct ipos_settings *set = settings_now();
	struct ipos_service *service;
	struct ipos_session *session;
	struct ipos_cookie *row;

	if (!w || !set || !w->request.cookie_len)
		return 0;
	service = service_at(w->request.service);
	session = session_at(w->request.service);
	if (!service || !session || session->kind != IPOS_SESSION_LEARN)
		return 0;
	__builtin_memset(&w->news, 0, sizeof(w->news));
	w->news.key.service_port = service->port;
	w->news.key.hash =
		cookie_hash(set->other_learn_key, (void *)w->request.cookie, w->request.cookie_len);
	row = bpf_map_lookup_elem(&cookies, &w->news.key);
	if (!row)
		return 0;
	w->news.row = *row;
	w->news.key.hash =
		cookie_hash(set->learn_key, (void *)w->request.cookie, w->request.cookie_len);
	if (!bpf_map_update_elem(&cookies, &w->news.key, &w->news.row, BPF_NOEXIST))
		bpf_map_push_elem(&cookie_news, &w->news, 0);
	return 1;
}

/* The row of the request's cookie in the Cookie map; its key is in w->news. */
IPOS_INLINE struct ipos_cookie *cookie_row(struct ipos_scratch *w, const struct ipos_settings *set,
					   const struct ipos_service *service)
{
	__builtin_memset(&w->news, 0, sizeof(w->news));
	w->news.key.service_port = service->port;
	w->news.key.hash =
		cookie_hash(set->learn_key, (void *)w->request.cookie, w->request.cookie_len);
	return bpf_map_lookup_elem(&cookies, &w->news.key);
}

/* The row of w->news begins its life again, and the others hear of it. */
IPOS_INLINE void cookie_renew(struct ipos_scratch *w, const struct ipos_session *session,
			      struct ipos_cookie *row, __u64 now)
{
	row->expires_ns = now + session->lifetime_s * 1000000000ULL;
	w->news.row = *row;
	bpf_map_push_elem(&cookie_news, &w->news, 0);
}

/* The server that the request's cookie names (network order); 0: none does. */
IPOS_INLINE __u32 session_named(struct ipos_scratch *w, const struct ipos_service *service,
				const struct ipos_session *session, __u64 now, struct choice *c)
{
	struct ipos_settings *set = settings_now();
	int http1 = w->request.grammar == IPOS_GRAMMAR_HTTP1;
	struct ipos_cookie *row;
	int made;

	c->session = CHOICE_NO_SESSION;
	c->insert = 0;
	if (!set || (!http1 && w->request.grammar != IPOS_GRAMMAR_H2) ||
	    (session->kind != IPOS_SESSION_INSERT && session->kind != IPOS_SESSION_LEARN))
		return 0;
	if (session->kind == IPOS_SESSION_LEARN) {
		row = w->request.cookie_len ? cookie_row(w, set, service) : NULL;
		if (!row || row->expires_ns < now)
			return 0;
		/* While the others still have theirs. */
		if (row->expires_ns - now < session->lifetime_s * 500000000ULL)
			cookie_renew(w, session, row, now);
		return row->server_ip;
	}
	c->insert = http1; /* HTTP/2 has no line to put in */
	made = session_value_read(w);
	if (!made)
		return 0;
	/* On, in a value of today's. */
	c->insert = http1 && (made > 1 || bpf_ntohl(w->value.day) != session_day(set, now));
	return w->value.server_ip;
}

/*
 * The application's port at a server, in the pool of the request (network order); 0: no request of
 * the service is for that server any more, -1: this one is not.
 */
IPOS_FUNCTION int session_port(__u32 listening, __u32 pool_index, __u32 server)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &listening);
	int port = pool ? pool_has(pool, server) : 0;

	if (!port || pool_index == listening)
		return port;
	pool = bpf_map_lookup_elem(&pools, &pool_index);
	port = pool ? pool_has(pool, server) : 0;
	return port ? port : -1;
}

/*
 * Takes the server at `ip`, which has the request's session, if it may have the request: sessions
 * may exceed its limit of connections, but only by a share.  Returns the server's index, 0 for
 * "choose": the session goes on, this request is another server's.
 */
IPOS_INLINE int session_choose(const struct ipos_scratch *w, const struct ipos_service *service,
			       const struct ipos_session *session, __u32 ip,
			       const struct ipos_refusers *refused, struct choice *c)
{
	__u32 holder = server_named(ip, service->port);
	int port = holder && session_lives(holder)
			   ? session_port(service->listening, c->pool, holder)
			   : 0;

	if (!port) {
		c->session = CHOICE_MOVED;
		c->insert = session->kind == IPOS_SESSION_INSERT &&
			    w->request.grammar == IPOS_GRAMMAR_HTTP1;
		return 0;
	}
	if (port < 0 || refused_by(refused, holder) || !server_has_room(holder)) {
		c->session = CHOICE_ELSEWHERE;
		c->insert = 0;
		return 0;
	}
	c->session = CHOICE_KEPT;
	c->server = holder;
	c->port = port;
	return c->server;
}

/* A learned session whose server is no more goes on where its request went. */
IPOS_FUNCTION int session_follow(struct ipos_scratch *w, __u32 index, __u64 now)
{
	struct ipos_server *server = server_at(index);
	struct ipos_settings *set = settings_now();
	struct ipos_session *session;
	struct ipos_service *service;
	struct ipos_cookie *row;

	if (!w || !server || !set)
		return 0;
	session = session_at(w->request.service);
	service = service_at(w->request.service);
	if (!session || !service || session->kind != IPOS_SESSION_LEARN)
		return 0;
	row = cookie_row(w, set, service);
	if (!row)
		return 0;
	row->server_ip = server->address;
	cookie_renew(w, session, row, now);
	return 1;
}

#endif /* IPOS_CORE_SESSION_H */
