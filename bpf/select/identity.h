/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Identified sessions: the cookie's value is an identifier and a proof that a server of the farm
 * has made it, and the Cookie map says which server has the session.  So a session can be moved
 * and revoked, and an invented identifier costs no look-up.
 */
#ifndef IPOS_SELECT_IDENTITY_H
#define IPOS_SELECT_IDENTITY_H

#include "select/session.h"

/* The proof of an identifier (as in memory), under the key of the day (network order). */
IPOS_INLINE __u64 identity_tag(const __u64 key[2], __u64 identity, __be32 day)
{
	struct sip s;

	sip_start(&s, key, 0);
	sip_word(&s, identity);
	return sip_end(&s, day | 1ULL << 32, 13);
}

/*
 * A new identifier.  Time, server and CPU make it another one than any before; the key, that
 * nobody can foresee it.
 */
IPOS_INLINE __u64 identity_new(const __u64 key[2], const struct ipos_settings *set,
			       const struct ipos_handshake *hs, __u64 now)
{
	__u64 random = (__u64)bpf_get_prandom_u32() << 32, identity;
	struct sip s;

	random |= bpf_get_prandom_u32();
	sip_start(&s, key, 0);
	sip_word(&s, now + set->wall_offset_ns);
	sip_word(&s, (__u64)bpf_get_smp_processor_id() << 32 | set->self_ip);
	sip_word(&s, (__u64)hs->iss << 32 | hs->irs);
	sip_word(&s, random);
	identity = sip_end(&s, 0, 32);
	return identity ? identity : 1;
}

/*
 * The identifier in the request's cookie, in w->value.sealed.  Returns 0 for one that none of us
 * made, and 2 for one under the key that is believed too, while keys change.
 */
IPOS_FUNCTION int identity_read(struct ipos_scratch *w)
{
	struct ipos_session_value *v;
	struct ipos_epoch_key *key;
	__u64 wrong = 0;
	__u32 *to;

	if (!w || w->request.cookie_len != IPOS_SESSION_VALUE_LEN)
		return 0;
	v = &w->value;
	to = (void *)v;
	for (__u32 i = 0; i < IPOS_SESSION_VALUE_LEN / 8; i++)
		to[i] = hex_word(((const __u64 *)w->request.cookie)[i], &wrong);
	if (wrong)
		return 0;
	key = session_key(bpf_ntohl(v->day));
	if (!key || !v->sealed)
		return 0;
	if (identity_tag(key->key, v->sealed, v->day) == v->tag)
		return 1;
	return key->valid & IPOS_KEY_OTHER && identity_tag(key->other, v->sealed, v->day) == v->tag
		       ? 2
		       : 0;
}

/* The row of an identifier; its key is in w->news. */
IPOS_INLINE struct ipos_cookie *identity_row(struct ipos_scratch *w, __be16 port, __u64 identity)
{
	__builtin_memset(&w->news, 0, sizeof(w->news));
	w->news.key.service_port = port;
	w->news.key.hash = identity;
	return bpf_map_lookup_elem(&cookies, &w->news.key);
}

/*
 * The server that has the session of the request's cookie (network order); 0: there is none, and
 * c->session says why.
 */
IPOS_INLINE __u32 identity_named(struct ipos_scratch *w, const struct ipos_service *service,
				 const struct ipos_session *session, __u64 now, struct choice *c)
{
	int http1 = w->request.grammar == IPOS_GRAMMAR_HTTP1, made;
	struct ipos_settings *set = settings_now();
	struct ipos_cookie *row;

	c->session = CHOICE_NO_SESSION;
	c->insert = 0;
	if (!set || (!http1 && w->request.grammar != IPOS_GRAMMAR_H2))
		return 0;
	c->insert = http1; /* HTTP/2 has no line to put in */
	if (!w->request.cookie_len)
		return 0;
	made = identity_read(w);
	if (!made) {
		c->session = CHOICE_FORGED;
		return 0;
	}
	row = identity_row(w, service->port, w->value.sealed);
	if (!row || row->expires_ns < now || !row->server_ip) {
		c->session = CHOICE_UNKNOWN;
		return 0;
	}
	w->identity = w->value.sealed;
	/* On, in a value of today's. */
	c->insert = http1 && (made > 1 || bpf_ntohl(w->value.day) != session_day(set, now));
	/* While the others still have theirs. */
	if (row->expires_ns - now < session->lifetime_s * 500000000ULL)
		cookie_renew(w, session, row, now);
	return row->server_ip;
}

/* A session whose server goes, or has gone, goes on where its request went: one turn more. */
IPOS_FUNCTION int identity_follow(struct ipos_scratch *w, const struct choice *c, __u64 now)
{
	struct ipos_service *service;
	struct ipos_session *session;
	struct ipos_server *server;
	struct ipos_cookie *row;

	if (!w || !c || !c->server)
		return 0;
	service = service_at(w->request.service);
	session = session_at(w->request.service);
	server = server_at(c->server);
	if (!service || !session || !server)
		return 0;
	row = identity_row(w, service->port, w->identity);
	if (!row || !row->server_ip)
		return 0;
	if (row->turn < IPOS_SESSION_TURNS)
		row->turn++;
	row->server_ip = server->address;
	cookie_renew(w, session, row, now);
	return 1;
}

/* Nobody else takes the request of a session whose server drains: that one has it for longer. */
IPOS_FUNCTION int identity_stays(struct ipos_scratch *w, const struct ipos_refusers *refused,
				 struct choice *c)
{
	struct ipos_service *service;
	struct ipos_session *session;
	struct ipos_cookie *row;

	if (!w || !refused || !c)
		return 0;
	service = service_at(w->request.service);
	session = session_at(w->request.service);
	if (!service || !session)
		return 0;
	row = identity_row(w, service->port, w->identity);
	c->insert = 0;
	return row ? session_choose(w, service, session, row->server_ip, refused, c, 1) : 0;
}

#endif /* IPOS_SELECT_IDENTITY_H */
