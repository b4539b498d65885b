/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a request's session cookie to the server that has the session.  Nothing is stored for
 * an inserted cookie: its value names the server, and any server can tell that one of us made
 * it, on which day.
 */
#ifndef IPOS_CORE_SESSION_H
#define IPOS_CORE_SESSION_H

#include "../maps.h"
#include "select.h"
#include "siphash.h"

#define HEX_NONE 0xff

IPOS_INLINE __u8 hex_digit(__u8 c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : HEX_NONE;
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
	return (now + set->wall_offset_ns) / 1000000000ULL / IPOS_SESSION_DAY_S;
}

/* The tag of a value.  Returns 0 when the day's key is not here. */
IPOS_INLINE int session_tag(const struct ipos_session_value *v, __u64 *tag)
{
	__u32 day = bpf_ntohl(v->day), slot = day % IPOS_SESSION_DAYS;
	struct ipos_epoch_key *key = bpf_map_lookup_elem(&session_keys, &slot);
	struct sip s;

	if (!key || !key->valid || key->epoch != day)
		return 0;
	sip_start(&s, key->key, 0);
	sip_word(&s, (__u64)v->server_ip << 32 | v->day);
	*tag = sip_end(&s, 0, 8);
	return 1;
}

/* The cookie's value as bytes; 0 for one that none of us can have made. */
IPOS_FUNCTION int session_value_read(const struct ipos_scratch *w, struct ipos_session_value *v)
{
	__u8 *to = (void *)v;

	if (!w || !v || w->request.cookie_len != IPOS_SESSION_VALUE_LEN)
		return 0;
	for (__u32 i = 0; i < sizeof(*v); i++) {
		__u8 high = hex_digit(w->request.cookie[2 * i]);
		__u8 low = hex_digit(w->request.cookie[2 * i + 1]);

		if (high == HEX_NONE || low == HEX_NONE)
			return 0;
		to[i] = high << 4 | low;
	}
	return 1;
}

/* Whether the candidate may have requests of the sessions it has: also one that drains. */
IPOS_FUNCTION int session_kept(__u32 index, __u64 refused)
{
	struct ipos_server *server = server_at(index);

	return server && !(refused >> (index & 63) & 1) &&
	       (server->state == IPOS_SERVER_READY || server->state == IPOS_SERVER_DRAIN);
}

/* The application's port at a server of the pool (network order); 0: it is none of them. */
IPOS_FUNCTION int pool_port(__u32 pool_index, __u32 server)
{
	struct ipos_pool *pool = bpf_map_lookup_elem(&pools, &pool_index);

	if (!pool)
		return 0;
	for (__u32 i = 0; i < IPOS_CANDIDATES_MAX && i < pool->count; i++)
		if (pool->candidates[i].server == server)
			return pool->candidates[i].port;
	return 0;
}

/*
 * Takes the server of the request's session, if it may have the request: its limit of
 * connections is for new sessions.  Returns the server's index, 0 for "choose".
 */
IPOS_FUNCTION int session_choose(const struct ipos_scratch *w, __u32 pool, __u64 refused,
				 struct choice *c)
{
	struct ipos_address_key key = { .protocol = IPPROTO_TCP };
	struct ipos_settings *set = settings_now();
	struct ipos_session_value v = {};
	struct ipos_session *session;
	struct ipos_service *service;
	struct ipos_address *a;
	__u32 today;
	__u64 tag;
	int port;

	if (!w || !c || !set)
		return 0;
	c->session = CHOICE_NO_SESSION;
	c->insert = 0;
	session = session_at(w->request.service);
	service = service_at(w->request.service);
	if (!session || !service || session->kind != IPOS_SESSION_INSERT)
		return 0;
	if (w->request.grammar != IPOS_GRAMMAR_HTTP1)
		return 0;
	c->insert = 1;
	if (!session_value_read(w, &v) || !session_tag(&v, &tag) || tag != v.tag)
		return 0;
	today = session_day(set, bpf_ktime_get_boot_ns());
	key.ip = v.server_ip;
	key.port = service->port;
	a = bpf_map_lookup_elem(&addresses, &key);
	c->session = CHOICE_MOVED;
	if (!a || !session_kept(a->holder, refused))
		return 0;
	port = pool_port(pool, a->holder);
	if (!port)
		return 0;
	c->session = CHOICE_KEPT;
	c->insert = bpf_ntohl(v.day) != today;	/* the session goes on under today's key */
	c->server = a->holder;
	c->port = port;
	c->usable = 1;
	return c->server;
}

#endif /* IPOS_CORE_SESSION_H */
