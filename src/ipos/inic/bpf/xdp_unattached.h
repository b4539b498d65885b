/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Endpoints without an application: the handshake, what of a request is held, and what comes after
 * the end.
 */
#ifndef IPOS_XDP_UNATTACHED_H
#define IPOS_XDP_UNATTACHED_H

#include "xdp_segment.h"

/* Tells who watches what became of a SYN; server 0: its client is reset. */
IPOS_APART int report_syn(const struct ipos_settings *set, const struct segment *s, __u16 server)
{
	struct ipos_address *a = address_of(s->tuple.service_ip, s->tuple.service_port);
	struct verdict v = { .server = server, .first = set->self,
			     .outcome = server ? IPOS_OUTCOME_NEW : IPOS_OUTCOME_REFUSED,
			     .reason = server ? IPOS_REASON_POLICY : IPOS_REASON_NO_SERVER };
	struct ipos_service *service;

	if (!a)
		return 0;
	service = service_at(a->service);
	if (!service || !decision_wanted(set, service))
		return 0;
	v.service = a->service;
	v.pool = service->pool;
	return decision_write(NULL, &s->tuple, &v);
}

/* The server speaks first: its own kernel must shake hands, the SYN itself travels. */
IPOS_INLINE int client_syn_on_connection(struct xdp_md *ctx, struct ipos_settings *set,
					 struct ipos_scratch *w, struct segment *s,
					 struct ipos_service *service, __u64 now)
{
	struct ipos_temporary *t = bpf_map_lookup_elem(&temporary, &s->tuple), row = {};
	struct ipos_candidate to = {};
	struct ipos_server *owner;
	struct draw d = draw_for(&s->tuple);
	struct choice c = {};

	/* Sent again: another choice would be a second owner. */
	if (t && t->hs.irs == s->seq && (t->state == IPOS_TEMP_SYN ||
	    (t->state == IPOS_TEMP_SYN_HERE && t->server == set->self))) {
		owner = server_at(t->server);
		if (owner && owner->state != IPOS_SERVER_DOWN) {
			c.server = t->server;
			c.port = t->port;
		}
	}
	if (!c.server) {
		choose(w, service->pool, 0, &d, &c);
		report_syn(set, s, c.server);
	}
	if (!c.server) {
		count(COUNT_DROP_NO_SERVER);
		return answer_reset(ctx, w, s);
	}
	row.state = c.server == set->self ? IPOS_TEMP_SYN_HERE : IPOS_TEMP_SYN;
	row.server = c.server;
	row.port = c.port;
	row.hs.irs = s->seq;
	row.created_ns = row.last_seen_ns = now;
	bpf_map_update_elem(&temporary, &s->tuple, &row, BPF_ANY);
	if (c.server == set->self)
		return pass_alone(ctx);
	count(COUNT_SYN_FORWARDED);
	to.server = c.server;
	to.port = c.port;
	return encapsulate(ctx, set, w, s, &to);
}

/* Our sequence number behind the answer and its FIN. */
IPOS_INLINE __u32 answer_end(const struct ipos_holding *h)
{
	return h->hs.iss + 1 + h->answer + 1;
}

IPOS_INLINE int client_syn(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s, struct ipos_service *service, __u64 now)
{
	struct reply r = { .flags = TCP_SYN | TCP_ACK, .window = IPOS_WINDOW,
			   .options = REPLY_SYN };
	struct ipos_holding *h;
	struct cookie c = {};

	if (!load_tcp(ctx, w, s))
		return drop(COUNT_DROP_BAD_CHECKSUM);
	if (service->select == IPOS_SELECT_CONNECTION)
		return client_syn_on_connection(ctx, set, w, s, service, now);
	h = bpf_map_lookup_elem(&holding, &s->tuple);
	if (h && h->acknowledged) {	/* RFC 5961 4: the client resets exactly, then asks again */
		count(COUNT_ACK_REPEATED);
		if (h->answer) {
			r.seq = answer_end(h);
			r.ack = h->client_end;
			r.flags = TCP_ACK;
			r.window = reply_window(&h->hs, 0);
			return answer(ctx, w, s, &r);
		}
		return acknowledge(ctx, w, s, &h->hs, h->acknowledged, 0);
	}
	if (!pool_has_server(service->listening) ||
	    !cookie_make(w, s, now + set->wall_offset_ns, &c)) {
		count(COUNT_DROP_NO_SERVER);
		report_syn(set, s, 0);
		return answer_reset(ctx, w, s);
	}
	if (w->option_flags & IPOS_OPT_TIMESTAMPS && c.options & COOKIE_ECN)
		r.flags |= TCP_ECE;
	r.seq = c.isn;
	r.ack = s->seq + 1;
	r.ts_value = c.ts_value;
	r.ts_echo = w->ts_value;
	count(COUNT_SYN_ACK);
	return reply_send(ctx, w, s, &r);
}

/* Our reset was lost, or the client had more on its way. */
IPOS_INLINE int reset_again(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s)
{
	count(COUNT_DROP_COOKIE_USED);
	return answer_reset(ctx, w, s);
}

/* After the end: answer a repeated FIN, let nothing be served twice. */
IPOS_INLINE int client_after_end(struct xdp_md *ctx, struct ipos_scratch *w,
				 const struct segment *s, const struct ipos_temporary *t)
{
	__u32 end = segment_end(s);

	if (s->flags & TCP_RST)
		return drop(COUNT_ABSORBED);
	if (t->state == IPOS_TEMP_RESET)
		return reset_again(ctx, w, s);
	if (s->flags & TCP_FIN && end == t->client_end) {
		struct reply r = { .seq = s->ack, .ack = end, .flags = TCP_ACK,
				   .window = reply_window(&t->hs, 0) };

		count(COUNT_FIN_REPEATED);
		if (s->ack == t->hs.iss + 1)	/* it saw nothing of ours: our FIN was lost */
			r.flags |= TCP_FIN;
		return answer(ctx, w, s, &r);
	}
	if (!s->length && end == t->client_end)
		return drop(COUNT_ABSORBED);
	return drop(COUNT_DROP_COOKIE_USED);
}

/*
 * A reset proves itself by the exact sequence number, or by knowing our ISN.  It ends the stream
 * where we have it: what a reset carries is no data (RFC 9293 3.5.3), nor is what it skips.
 */
IPOS_INLINE int reset_proven(const struct segment *s, const struct ipos_handshake *hs, __u32 held)
{
	__u32 offset = s->seq - (hs->irs + 1);

	return offset == held ||
	       (s->flags & TCP_ACK && s->ack == hs->iss + 1 && offset <= IPOS_HEAD_MAX);
}

/*
 * A segment for an endpoint that has answered by itself.  Returns the reason to drop it, 0 for one
 * that is tc's, which has the answer; after COUNT_ABSORBED, the client has reset, there is no endpoint.
 */
IPOS_INLINE int answered_refuses(const struct segment *s, const struct ipos_holding *h, __u64 now)
{
	int known = s->flags & TCP_ACK && answer_end(h) - s->ack <= (__u32)h->answer + 1;
	int near = s->seq - h->client_end + IPOS_HEAD_MAX <= 2 * IPOS_HEAD_MAX;
	struct ipos_handshake hs = h->hs;

	if (s->flags & TCP_RST) {
		if (s->seq != h->client_end && !(known && near))
			return COUNT_DROP_BAD_SEQUENCE;
		hs.iss = h->iss;	/* what the cookie was made of */
		hs.irs = h->irs;
		closed_remember(&s->tuple, &hs, h->client_end, now, IPOS_TEMP_CLOSED);
		holding_release(&s->tuple);
		return COUNT_ABSORBED;
	}
	if (!known)
		return COUNT_DROP_NO_COOKIE;
	return near ? 0 : COUNT_DROP_BAD_SEQUENCE;
}

IPOS_INLINE int client_answered(struct xdp_md *ctx, const struct segment *s,
				const struct ipos_holding *h, __u64 now)
{
	int reason = answered_refuses(s, h, now);

	return reason ? drop(reason) : pass_alone(ctx);
}

/* A segment for an endpoint that holds part of a request. */
IPOS_INLINE int client_held(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			    const struct ipos_holding *h, __u64 now)
{
	__u32 offset = s->seq - (h->hs.irs + 1);

	if (h->answer)
		return client_answered(ctx, s, h, now);
	if (s->flags & TCP_RST) {
		if (!reset_proven(s, &h->hs, h->acknowledged) && !reset_proven(s, &h->hs, h->held))
			return drop(COUNT_DROP_BAD_SEQUENCE);
		closed_remember(&s->tuple, &h->hs, h->hs.irs + 1 + h->held, now,
				IPOS_TEMP_CLOSED);
		holding_release(&s->tuple);
		return drop(COUNT_ABSORBED);
	}
	if (s->ack != h->hs.iss + 1)
		return drop(COUNT_DROP_NO_COOKIE);
	/* RFC 9293 3.8.4: at most one byte, from before what we acknowledged. */
	if (s->length <= 1 && !(s->flags & TCP_FIN) && (__s32)(offset - h->acknowledged) < 0 &&
	    (__s32)offset >= -1) {
		count(COUNT_KEEPALIVE_ANSWERED);
		return acknowledge(ctx, w, s, &h->hs, h->acknowledged, 0);
	}
	if (offset > IPOS_HEAD_MAX - !!s->length)
		return drop(COUNT_DROP_BAD_SEQUENCE);
	if (s->length)
		return pass_alone(ctx);
	if (!(s->flags & TCP_FIN))
		return drop(COUNT_ABSORBED);
	return offset <= h->held ? pass_alone(ctx) : drop(COUNT_DROP_BAD_SEQUENCE);
}

/* A segment for an endpoint that holds nothing yet. */
IPOS_INLINE int client_open(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			    struct ipos_temporary *t, __u64 now)
{
	__u32 offset = s->seq - (t->hs.irs + 1);

	t->last_seen_ns = now;
	if (s->flags & TCP_RST) {
		if (!reset_proven(s, &t->hs, 0))
			return drop(COUNT_DROP_BAD_SEQUENCE);
		t->state = IPOS_TEMP_CLOSED;
		t->client_end = t->hs.irs + 1;
		return drop(COUNT_ABSORBED);
	}
	if (offset == (__u32)-1 && s->length <= 1 && !(s->flags & TCP_FIN)) {	/* RFC 9293 3.8.4 */
		count(COUNT_KEEPALIVE_ANSWERED);
		return acknowledge(ctx, w, s, &t->hs, 0, 0);
	}
	if (offset > IPOS_HEAD_MAX - !!s->length)
		return drop(COUNT_DROP_BAD_SEQUENCE);
	if (s->length)
		return pass_alone(ctx);
	if (!(s->flags & TCP_FIN))
		return drop(COUNT_ABSORBED);
	if (offset)			/* a FIN ahead of data that is still to come */
		return drop(COUNT_DROP_BAD_SEQUENCE);
	t->state = IPOS_TEMP_CLOSED;
	t->client_end = s->seq + 1;
	count(COUNT_FIN_ANSWERED);
	return acknowledge(ctx, w, s, &t->hs, 0, TCP_FIN);
}

/* Nobody's yet: the handshake's third segment, or a stranger. */
IPOS_INLINE int client_unattached(struct xdp_md *ctx, struct ipos_settings *set,
				  struct ipos_scratch *w, struct segment *s, __u64 now)
{
	struct ipos_temporary *t, row = {};
	struct ipos_holding *h;

	if (!(s->flags & (TCP_ACK | TCP_RST)) || s->flags & TCP_SYN)
		return drop(COUNT_DROP_BAD_FLAGS);
	if (!load_tcp(ctx, w, s))
		return drop(COUNT_DROP_BAD_CHECKSUM);
	h = bpf_map_lookup_elem(&holding, &s->tuple);
	if (h && !h->acknowledged && s->ack != h->hs.iss + 1 && !(s->flags & TCP_RST) &&
	    cookie_check(w, s, now + set->wall_offset_ns, &row.hs)) {
		holding_release(&s->tuple);	/* the client began anew on the same port */
		h = NULL;
	}
	if (h)
		return client_held(ctx, w, s, h, now);
	t = bpf_map_lookup_elem(&temporary, &s->tuple);
	if (t && t->state == IPOS_TEMP_SYN) {
		struct ipos_candidate to = { .server = t->server, .port = t->port };

		return encapsulate(ctx, set, w, s, &to);
	}
	if (t && t->state == IPOS_TEMP_SYN_HERE)
		return pass_alone(ctx);
	if (t && t->state == IPOS_TEMP_OPEN && (s->ack == t->hs.iss + 1 || s->flags & TCP_RST))
		return client_open(ctx, w, s, t, now);
	if (t && (s->ack == t->hs.iss + 1 ||
		  (t->state == IPOS_TEMP_CLOSED && segment_end(s) == t->client_end)))
		return client_after_end(ctx, w, s, t);
	if (s->flags & TCP_RST)
		return drop(COUNT_DROP_NO_COOKIE);
	if (!cookie_check(w, s, now + set->wall_offset_ns, &row.hs)) {
		/* Older than the data plane, or our own kernel's: not ours to judge. */
		if (t && t->state == IPOS_TEMP_RESET)
			return reset_again(ctx, w, s);
		if (kernel_has(ctx, &s->tuple))
			return XDP_PASS;
		return drop(COUNT_DROP_NO_COOKIE);
	}
	count(COUNT_COOKIE_ACCEPTED);
	row.state = IPOS_TEMP_OPEN;
	row.created_ns = row.last_seen_ns = now;
	bpf_map_update_elem(&temporary, &s->tuple, &row, BPF_ANY);
	t = bpf_map_lookup_elem(&temporary, &s->tuple);
	return t ? client_open(ctx, w, s, t, now) : drop(COUNT_DROP_TABLE_FULL);
}

#endif /* IPOS_XDP_UNATTACHED_H */
