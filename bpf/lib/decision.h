/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Decisions as they are made, for `ipos watch` and the access log.  Nothing is written unless
 * there is a watcher, or the service has a log and the decision is drawn for it.
 */
#ifndef IPOS_DECISION_H
#define IPOS_DECISION_H

#include "lib/roles.h"

struct verdict {       /* what is decided of a connection */
	__u16 service; /* index in `services` */
	__u16 server;  /* index of the server chosen; 0: none */
	__u16 first;   /* index of the first server */
	__u8 outcome;  /* enum ipos_outcome */
	__u8 reason;   /* enum ipos_reason */
	__u16 rule;    /* as in struct ipos_decision, like all that follows */
	__u16 pool;
	__u8 refusal;
	__u8 zero;
};

/* What the request in w->request asks for. */
IPOS_INLINE void decision_request(struct ipos_decision *d, const struct ipos_request *r)
{
	__u32 host = r->host_len, path = r->path_len;

	if (host > sizeof(d->host)) {
		host = sizeof(d->host);
		d->flags |= IPOS_DECISION_HOST_CUT;
	}
	if (path > sizeof(d->path)) {
		path = sizeof(d->path);
		d->flags |= IPOS_DECISION_PATH_CUT;
	}
	d->host_len = host;
	d->path_len = path;
	d->method = r->method;
	if (r->grammar == IPOS_GRAMMAR_H2)
		d->version = 20;
	else if (r->grammar == IPOS_GRAMMAR_HTTP1)
		d->version = r->flags & IPOS_REQUEST_HTTP10 ? 10 : 11;
	__builtin_memcpy(d->host, r->host, sizeof(d->host));
	__builtin_memcpy(d->path, r->path, sizeof(d->path));
}

/* Writes a decision if anybody is to have it; `w` is NULL where no request was read. */
IPOS_FUNCTION int decision_write(const struct ipos_scratch *w, const struct ipos_tuple *t,
				 const struct verdict *v)
{
	struct ipos_settings *set = settings_now();
	struct ipos_service *service;
	struct ipos_endpoint *ep;
	struct ipos_decision *d;
	__u8 flags = 0;

	if (!set || !t || !v)
		return 0;
	service = service_at(v->service);
	/* A request that is taken has been logged where it was decided, unless it is read here. */
	if (service && service->log && bpf_get_prandom_u32() <= service->log &&
	    (w || v->outcome != IPOS_OUTCOME_TAKEN))
		flags = IPOS_DECISION_LOGGED;
	if (!flags && (!(set->flags & IPOS_WATCH) || (w && v->outcome == IPOS_OUTCOME_TAKEN)))
		return 0;
	ep = flags && v->server == set->self ? endpoint_of(t) : NULL;
	if (ep)
		ep->timed |= IPOS_ANSWER_LOGGED;
	d = bpf_ringbuf_reserve(&decisions, sizeof(*d), 0);
	if (!d) {
		count(COUNT_DECISION_LOST);
		return 0;
	}
	__builtin_memset(d, 0, sizeof(*d));
	d->length = sizeof(*d);
	d->rule = v->rule;
	d->outcome = v->outcome;
	d->reason = v->reason;
	d->service = v->service;
	d->server = v->server;
	d->first = v->first;
	d->pool = v->pool;
	d->flags = flags;
	d->refusal = v->refusal;
	d->when_ns = bpf_ktime_get_boot_ns();
	d->tuple = *t;
	if (w)
		decision_request(d, &w->request);
	bpf_ringbuf_submit(d, 0);
	return 0;
}

/*
 * The answer that is owed for so long is over, and `answers` with it; or, as `flags` say, its
 * connection is.
 */
IPOS_FUNCTION int answered_write(const struct ipos_tuple *t, const struct ipos_endpoint *ep,
				 __u64 took_ns, __u32 answers, __u32 flags)
{
	struct ipos_settings *set = settings_now();
	struct ipos_decision *d;

	if (!set || !t || !ep)
		return 0;
	d = bpf_ringbuf_reserve(&decisions, sizeof(*d), 0);
	if (!d) {
		count(COUNT_DECISION_LOST);
		return 0;
	}
	__builtin_memset(d, 0, sizeof(*d));
	d->length = sizeof(*d);
	d->outcome = IPOS_OUTCOME_ANSWERED;
	d->service = ep->service;
	d->server = set->self;
	d->first = ep->first;
	d->flags = IPOS_DECISION_LOGGED | flags;
	d->when_ns = bpf_ktime_get_boot_ns();
	d->tuple = *t;
	d->bytes = ep->answer_bytes;
	d->took_ns = took_ns;
	if (ep->timed & IPOS_ANSWER_BEGUN) {
		d->first_us = ep->first_us;
		d->status = ep->answer_status;
	}
	d->answers = answers;
	bpf_ringbuf_submit(d, 0);
	return 0;
}

/* Whether anybody may want to have it. */
IPOS_INLINE int decision_wanted(const struct ipos_settings *set, const struct ipos_service *service)
{
	return unlikely(set->flags & IPOS_WATCH || (service && service->log));
}

#endif /* IPOS_DECISION_H */
