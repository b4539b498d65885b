/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From what a request says to a server: its route gives the pool, its session the server if
 * that one may have it, and the pool's policy chooses otherwise.
 */
#ifndef IPOS_CORE_DECIDE_H
#define IPOS_CORE_DECIDE_H

#include "select/read.h"
#include "select/own_name.h"
#include "select/route.h"
#include "select/policy.h"
#include "select/identity.h"

/*
 * Whom the request in w->request is for: c->pool, and c->server where it is of a session that
 * one of them has.  Returns that server's index, 0 for any of the pool.  `now` is the boottime
 * clock's, as the packet came.
 */
IPOS_FUNCTION int decide_known(struct ipos_scratch *w, const struct ipos_refusers *refused,
			       __u64 now, struct choice *c)
{
	struct ipos_service *service;
	struct ipos_session *session;
	__u32 ip;

	if (!w || !c || !refused)
		return 0;
	c->server = 0;
	w->identity = 0;
	service = service_at(w->request.service);
	session = session_at(w->request.service);
	if (!service || !session)
		return 0;
	c->pool = service->pool;
	c->rule = 0;
	route(w, c);
	ip = session_named(w, service, session, now, c);
	return ip ? session_choose(w, service, session, ip, refused, c, 1)
		  : redirect_choose(w, service, session, refused, c);
}

/* What the request's session had to do with a choice that was not made for it. */
IPOS_INLINE void session_count(struct ipos_scratch *w, const struct choice *c, __u64 now)
{
	if (c->session == CHOICE_ELSEWHERE)
		count(COUNT_SESSION_ELSEWHERE);
	if (c->session == CHOICE_UNKNOWN)
		count(COUNT_SESSION_UNKNOWN);
	if (c->session == CHOICE_FORGED)
		count(COUNT_SESSION_FORGED);
	if (c->session == CHOICE_MOVED) {
		count(COUNT_SESSION_MOVED);
		if (w->identity)
			identity_follow(w, c, now);
		else
			session_follow(w, c->server, now);
	}
}

/* The same of an identified session, once c->pool is known. */
IPOS_FUNCTION int decide_identified(struct ipos_scratch *w, const struct ipos_refusers *refused,
				    __u64 now, struct choice *c)
{
	struct ipos_service *service;
	struct ipos_session *session;
	__u32 ip;

	if (!w || !c || !refused)
		return 0;
	service = service_at(w->request.service);
	session = session_at(w->request.service);
	if (!service || !session)
		return 0;
	ip = identity_named(w, service, session, now, c);
	return ip ? session_choose(w, service, session, ip, refused, c, 0) : 0;
}

IPOS_INLINE int session_identifies(const struct ipos_scratch *w)
{
	struct ipos_session *session = session_at(w->request.service);

	return session && session->kind == IPOS_SESSION_IDENTIFY;
}

/* The same of any session, and while keys change. */
IPOS_INLINE int decide_pool(struct ipos_scratch *w, const struct ipos_refusers *refused, __u64 now,
			    struct choice *c)
{
	struct ipos_settings *set = settings_now();

	if (set && unlikely(set->flags & IPOS_KEYS_CHANGE))
		cookie_row_again(w);
	decide_known(w, refused, now, c);
	if (c->server || !session_identifies(w))
		return c->server;
	return decide_identified(w, refused, now, c);
}

/* The request read into w->request; returns the server's index, 0 for none. */
IPOS_FUNCTION int decide(struct ipos_scratch *w, const struct ipos_tuple *t,
			 const struct ipos_refusers *refused, __u64 now, struct choice *c)
{
	struct draw d;

	if (!w || !t || !c || !refused || !service_at(w->request.service))
		return 0;
	if (decide_pool(w, refused, now, c)) {
		count(COUNT_SESSION_KEPT);
		return c->server;
	}
	d = draw_for(t);
	/* Of many that were taken from one server for another, each is to come to that one. */
	d.among_all = c->returned;
	choose(w, c->pool, refused, &d, c);
	if (unlikely(!c->server && c->session == CHOICE_MOVED && w->identity) &&
	    identity_stays(w, refused, c)) {
		count(COUNT_SESSION_KEPT);
		return c->server;
	}
	session_count(w, c, now);
	return c->server;
}

#endif /* IPOS_CORE_DECIDE_H */
