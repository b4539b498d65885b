/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sessions by name: a request for a server's own name is that server's; one for any other name
 * is answered with a redirect to the name of the server that is chosen for it.
 */
#ifndef IPOS_CORE_REDIRECT_H
#define IPOS_CORE_REDIRECT_H

#include "select/session.h"

/* The server whose own name the request's host is; 0: none. */
IPOS_INLINE __u32 redirect_named(struct ipos_scratch *w)
{
	const struct ipos_request *r = &w->request;
	__u32 *server;

	if (!r->host_len || r->host_len > IPOS_NAME_MAX)
		return 0;
	w->name_key.service = r->service;
	__builtin_memcpy(w->name_key.host, r->host, IPOS_NAME_MAX);
	server = bpf_map_lookup_elem(&names, &w->name_key);
	return server ? *server : 0;
}

/*
 * Takes the server whose name the request has, if it may have the request.  Returns its index, 0
 * for "choose"; c->redirect says whether the client is then sent to the choice.  So that it
 * arrives, it is not when its host's rules keep the request from the server of that name, or
 * when servers have refused the request already: their states do not say why.
 */
IPOS_INLINE int redirect_choose(struct ipos_scratch *w, const struct ipos_service *service,
				const struct ipos_session *session,
				const struct ipos_refusers *refused, struct choice *c)
{
	__u32 index;
	int port;

	c->redirect = 0;
	if (session->kind != IPOS_SESSION_REDIRECT)
		return 0;
	/* Clients follow no redirect of an upgrade. */
	c->redirect = !refused->count && w->request.grammar == IPOS_GRAMMAR_HTTP1 &&
		      w->request.body != IPOS_BODY_OPAQUE;
	index = redirect_named(w);
	if (!index)
		return 0;
	c->session = CHOICE_MOVED;
	if (!session_lives(index) || !pool_port(service->listening, index))
		return 0;
	port = pool_port(c->pool, index);
	c->redirect = 0;
	c->session = CHOICE_ELSEWHERE;
	if (!port || refused_by(refused, index) || !server_has_room(index))
		return 0;
	c->session = CHOICE_KEPT;
	c->server = index;
	c->port = port;
	return c->server;
}

#endif /* IPOS_CORE_REDIRECT_H */
