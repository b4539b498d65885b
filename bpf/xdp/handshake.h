/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Endpoints without an application: the handshake, what of a request is held, and what comes after
 * the end.
 */
#ifndef IPOS_XDP_UNATTACHED_H
#define IPOS_XDP_UNATTACHED_H

#include "lib/measure.h"
#include "xdp/guesses.h"
#include "xdp/held.h"
#include "xdp/locate.h"
#include "xdp/syn_ack.h"

/* Reports the decision about a SYN to watchers; server 0: its client is reset. */
IPOS_APART int report_syn(const struct ipos_settings *set, const struct segment *s, __u16 server)
{
	struct ipos_address *a = address_of(s->tuple.service_ip, s->tuple.service_port);
	struct verdict v = { .server = server,
			     .first = set->self,
			     .outcome = server ? IPOS_OUTCOME_NEW : IPOS_OUTCOME_REFUSED,
			     .reason = server ? IPOS_REASON_POLICY : IPOS_REASON_NO_SERVER };
	struct ipos_service *service;

	if (!a)
		return 0;
	service = service_at(a->service);
	if (!service)
		return 0;
	tally_syn(a->service, server, set->self, service->pool);
	if (!decision_wanted(set, service))
		return 0;
	v.service = a->service;
	v.pool = service->pool;
	return decision_write(NULL, &s->tuple, &v);
}

#define HANDSHAKE_NS 10000000000ULL /* after that long it has failed, or begins anew */

/* Where a SYN went, and all that it takes to make it anew: its server may refuse it. */
IPOS_APART int syn_remember(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			    const struct choice *c, __u64 now)
{
	struct ipos_temporary *row = (void *)w->saved;
	struct ipos_settings *set = settings_now();

	if (!set)
		return -1;
	__builtin_memset(row, 0, sizeof(*row));
	row->state = c->server == set->self ? IPOS_TEMP_SYN_HERE : IPOS_TEMP_SYN;
	row->server = c->server;
	row->port = c->port;
	row->hs.irs = s->seq;
	row->hs.mss = w->mss;
	row->hs.options = w->option_flags & (IPOS_OPT_SACK | IPOS_OPT_TIMESTAMPS | IPOS_OPT_WSCALE);
	row->hs.snd_wscale = w->wscale & 15;
	row->hs.ts_recent = w->ts_value;
	row->created_ns = row->last_seen_ns = now;
	bpf_xdp_load_bytes(ctx, ETH_ALEN, row->client_mac, ETH_ALEN);
	return bpf_map_update_elem(&FAMILY(temporary), &s->tuple, row, BPF_ANY);
}

/* The server speaks first: its own kernel must shake hands, the SYN itself travels. */
IPOS_INLINE int client_syn_on_connection(struct xdp_md *ctx, struct ipos_settings *set,
					 struct ipos_scratch *w, struct segment *s,
					 struct ipos_service *service, __u64 now)
{
	struct ipos_temporary *t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	struct ipos_candidate to = {};
	struct ipos_server *owner;
	struct draw d = draw_for(&s->tuple);
	struct choice c = {};

	/*
	 * Sent again, or anybody's on these ports while the handshake goes on: another choice would
	 * be a second owner, and a SYN proves nothing about its sender.  The owner's kernel answers
	 * what is not the client's by a challenge (RFC 5961 4).
	 */
	if (t && (t->hs.irs == s->seq || now - t->created_ns < HANDSHAKE_NS) &&
	    (t->state == IPOS_TEMP_SYN ||
	     (t->state == IPOS_TEMP_SYN_HERE && t->server == set->self))) {
		owner = server_at(t->server);
		if (owner && owner->state != IPOS_SERVER_DOWN) {
			c.server = t->server;
			c.port = t->port;
		}
	}
	if (!c.server) {
		choose(w, service->pool, refused_by_none(w), &d, &c);
		report_syn(set, s, c.server);
		if (c.server)
			syn_remember(ctx, w, s, &c, now);
	}
	if (!c.server) {
		count(COUNT_DROP_NO_SERVER);
		return answer_reset(ctx, w, s);
	}
	if (c.server == set->self)
		return pass_alone(ctx);
	count(COUNT_SYN_FORWARDED);
	to.server = c.server;
	to.port = c.port;
	return encapsulate(ctx, set, s, &to);
}

IPOS_INLINE int client_syn(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s, struct ipos_service *service, __u64 roles, __u64 now)
{
	struct reply r = { .flags = TCP_SYN | TCP_ACK,
			   .window = IPOS_WINDOW,
			   .options = REPLY_SYN };
	enum syn_plain plain = syn_read(ctx, w, s);
	struct ipos_holding *h;
	struct cookie c = {};

	if (plain == SYN_WRONG ||
	    (plain == SYN_NOT_PLAIN && (!load_tcp(ctx, w, s) || !segment_right(ctx, w, s))))
		return drop(COUNT_DROP_BAD_CHECKSUM);
	if (service->select == IPOS_SELECT_CONNECTION)
		return client_syn_on_connection(ctx, set, w, s, service, bpf_ktime_get_boot_ns());
	h = holding_among(roles, &s->tuple);
	if (h && is_kept(h)) { /* RFC 5961 4: the client resets exactly, then asks again */
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
	options_withhold(w, set->withheld);
	if ((!pool_ready(w, service->listening) && !service->starts) ||
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
	return plain && !set->withheld ? syn_ack_send(ctx, s, &r) : reply_send(ctx, w, s, &r);
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
		struct reply r = { .seq = s->ack,
				   .ack = end,
				   .flags = TCP_ACK,
				   .window = reply_window(&t->hs, 0) };

		count(COUNT_FIN_REPEATED);
		/* It saw nothing of ours: our FIN was lost. */
		if (s->ack == t->hs.iss + 1 || t->reason == IPOS_CLOSED_IDLE)
			r.flags |= TCP_FIN;
		return answer(ctx, w, s, &r);
	}
	if (!s->length && end == t->client_end)
		return drop(COUNT_ABSORBED);
	return drop(COUNT_DROP_COOKIE_USED);
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
	if (offset == (__u32)-1 && s->length <= 1 && !(s->flags & TCP_FIN)) { /* RFC 9293 3.8.4 */
		count(COUNT_KEEPALIVE_ANSWERED);
		return acknowledge(ctx, w, s, &t->hs, 0, 0);
	}
	if (offset > IPOS_HEAD_MAX - !!s->length)
		return drop(COUNT_DROP_BAD_SEQUENCE);
	if (s->length)
		return pass_alone(ctx);
	if (!(s->flags & TCP_FIN))
		return drop(COUNT_ABSORBED);
	if (offset) /* a FIN ahead of data that is still to come */
		return drop(COUNT_DROP_BAD_SEQUENCE);
	t->state = IPOS_TEMP_CLOSED;
	t->client_end = s->seq + 1;
	count(COUNT_FIN_ANSWERED);
	return acknowledge(ctx, w, s, &t->hs, 0, TCP_FIN);
}

/*
 * Data of an unknown connection.  A client whose row was evicted while it was silent, and whose
 * cookie has grown too old meanwhile, proves by that cookie that it shook hands with us: it is
 * told the end. Returns 0 when it does not.
 */
IPOS_APART int client_stranger(struct xdp_md *ctx, const struct ipos_settings *set,
			       struct ipos_scratch *w, const struct segment *s, __u64 now)
{
	if ((set->guesses && guesses_exceed(IPOS_GUESSES_SLOTS - 1, LOOKS_BACK, now, 1)) ||
	    !cookie_expired(w, s, now + set->wall_offset_ns))
		return 0;
	count(COUNT_COOKIE_EXPIRED);
	return answer_reset(ctx, w, s);
}

/* Of no known connection: the handshake's third segment, or a stranger. */
IPOS_INLINE int client_unattached(struct xdp_md *ctx, struct ipos_settings *set,
				  struct ipos_scratch *w, struct segment *s, __u64 roles, __u64 now)
{
	struct ipos_temporary *t, row = {};
	struct ipos_holding *h;
	int bare, spent, verdict;

	if (!(s->flags & (TCP_ACK | TCP_RST)) || s->flags & TCP_SYN)
		return drop(COUNT_DROP_BAD_FLAGS);
	if (!load_tcp(ctx, w, s) || (s->flags & TCP_RST && !segment_right(ctx, w, s)))
		return drop(COUNT_DROP_BAD_CHECKSUM);
	h = holding_among(roles, &s->tuple);
	if (h && !is_kept(h) && s->ack != h->hs.iss + 1 && !(s->flags & TCP_RST) &&
	    cookie_check(w, s, now + set->wall_offset_ns, &row.hs)) {
		if (!segment_right(ctx, w, s))
			return drop(COUNT_DROP_BAD_CHECKSUM);
		holding_release(&s->tuple); /* the client began anew on the same port */
		h = NULL;
	}
	if (h)
		return client_held(ctx, w, s, h, now);
	t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	if (t && t->state == IPOS_TEMP_REFUSED)
		t = NULL; /* another server's connection, which is not here */
	if (t && t->state == IPOS_TEMP_SYN) {
		struct ipos_candidate to = { .server = t->server, .port = t->port };

		return encapsulate(ctx, set, s, &to);
	}
	if (t && t->state == IPOS_TEMP_SYN_HERE)
		return pass_alone(ctx);
	if (t && t->state == IPOS_TEMP_OPEN && (s->ack == t->hs.iss + 1 || s->flags & TCP_RST))
		return client_open(ctx, w, s, t, now);
	if (t && (s->ack == t->hs.iss + 1 ||
		  (t->state == IPOS_TEMP_CLOSED && segment_end(s) == t->client_end)))
		return client_after_end(ctx, w, s, t);
	if (s->flags & TCP_RST)
		return client_elsewhere(ctx, set, w, s, t, LOCATE_SILENTLY, COUNT_DROP_NO_COOKIE);
	bare = !(w->option_flags & IPOS_OPT_TIMESTAMPS);
	spent = bare && guesses_spent(set, client_word(s->tuple.client_ip), now, 0);
	if (spent || !cookie_check(w, s, now + set->wall_offset_ns, &row.hs)) {
		/* Older than the data plane, or our own kernel's: not ours to judge. */
		if (t && t->state == IPOS_TEMP_RESET && (!set->locates || is_late(t, s)))
			return reset_again(ctx, w, s);
		if (netns_has(ctx, &s->tuple, BPF_F_CURRENT_NETNS))
			return XDP_PASS;
		if (spent)
			return client_elsewhere(ctx, set, w, s, t, LOCATE_SPENT,
						COUNT_DROP_GUESSING);
		if (bare)
			guesses_spent(set, client_word(s->tuple.client_ip), now, 1);
		if (s->length || s->flags & TCP_FIN) {
			verdict = client_stranger(ctx, set, w, s, now);
			if (verdict)
				return verdict;
		}
		return client_elsewhere(ctx, set, w, s, t, LOCATE_RESETS, COUNT_DROP_NO_COOKIE);
	}
	if (!segment_right(ctx, w, s))
		return drop(COUNT_DROP_BAD_CHECKSUM);
	if (unlikely(!t && may_be_taken(set, s))) {
		verdict = client_locate(ctx, set, w, s, LOCATE_OPENS);
		if (verdict != LOCATE_IN_VAIN)
			return verdict;
	}
	count(COUNT_COOKIE_ACCEPTED);
	row.state = IPOS_TEMP_OPEN;
	row.created_ns = row.last_seen_ns = now;
	bpf_map_update_elem(&FAMILY(temporary), &s->tuple, &row, BPF_ANY);
	t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	return t ? client_open(ctx, w, s, t, now) : drop(COUNT_DROP_TABLE_FULL);
}

#endif /* IPOS_XDP_UNATTACHED_H */
