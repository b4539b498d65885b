/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Type 1: an endpoint is offered to us, new or in mid-stream.
 */
#ifndef IPOS_XDP_CONNECTION_H
#define IPOS_XDP_CONNECTION_H

#include "http/head.h"
#include "xdp/moved.h"

IPOS_INLINE int refuse(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
		       const struct segment *s, __u32 iss, __u16 reason)
{
	struct ipos_header *h = (void *)w->words;
	struct notice n = { .endpoint_ip = h->endpoint_ip,
			    .endpoint_port = h->endpoint_port,
			    .type = IPOS_REFUSED,
			    .reason = reason,
			    .iss = iss };

	count(COUNT_REFUSED);
	return notify(ctx, set, w, s, &n);
}

/*
 * Refuses the offer in w->endpoint, for good: the same offer may be on its way once more, and its
 * sender asks another server as soon as it hears this.
 */
IPOS_APART int refuse_offer(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			    const struct segment *s, __u32 reason)
{
	struct ipos_temporary *row = (void *)w->saved;

	__builtin_memset(row, 0, sizeof(*row));
	row->state = IPOS_TEMP_REFUSED;
	row->reason = reason;
	row->offer = w->endpoint.migration;
	row->hs = w->endpoint.hs;
	row->created_ns = row->last_seen_ns = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&FAMILY(temporary), &s->tuple, row, BPF_ANY);
	return refuse(ctx, set, w, s, w->endpoint.hs.iss,
		      IPOS_OFFER_OF(w->endpoint.migration) << IPOS_REFUSAL_BITS | reason);
}

IPOS_INLINE void endpoint_from_tcb(struct ipos_endpoint *ep, const struct ipos_tcb *tcb)
{
	ep->hs.iss = bpf_ntohl(tcb->iss);
	ep->hs.irs = bpf_ntohl(tcb->irs);
	ep->hs.mss = bpf_ntohs(tcb->peer_mss);
	ep->hs.snd_wscale = tcb->snd_wscale;
	ep->hs.options = bpf_ntohs(tcb->flags);
	ep->hs.ts_recent = bpf_ntohl(tcb->ts_recent);
	ep->hs.ts_sent = bpf_ntohl(tcb->ts_last_sent);
	ep->rcv_need = bpf_ntohl(tcb->rcv_nxt);
	ep->adopt_seq = ep->rcv_need - bpf_ntohl(tcb->receive_queue_len);
	ep->rcv_nxt = ep->adopt_seq;
	ep->snd_nxt = ep->answer_next = ep->heard = bpf_ntohl(tcb->snd_nxt);
	ep->migration = bpf_be64_to_cpu(tcb->migration);
	if (ep->snd_nxt != ep->hs.iss + 1)
		ep->flags |= IPOS_EP_LIVE;
}

/* Whether rows from before are older than a type 1, and may give way. */
IPOS_INLINE int connection_returns(const struct ipos_tuple *t, const struct ipos_endpoint *ep)
{
	struct ipos_forward *f = forward_among(roles_of(t), t);

	if (!f)
		return 1;
	return ep->flags & IPOS_EP_LIVE && f->acknowledged && f->iss == ep->hs.iss &&
	       f->migration < ep->migration;
}

/*
 * The server by which a live connection's packets come: the offer names it.  Not the server that
 * lists the address: that may have had another holder when the connection began.  An offer that
 * names none is of the server whose address its client addressed, or the one whose own program the
 * client is (tc/own.bpf.c).
 */
IPOS_APART __u16 first_of(const struct ipos_tuple *t, const struct ipos_address *addressed,
			  __u32 named)
{
	struct ipos_address_key key = { .ip = t->client_ip };
	__u16 first = server_named(named, t->service_port);
	struct ipos_address *own;

	if (first)
		return first;
	own = bpf_map_lookup_elem(&FAMILY(addresses), &key);
	return own ? own->holder : addressed->holder;
}

/* Reads the connection information behind the header in w->words: 0, or why it is dropped. */
IPOS_INLINE int connection_read(struct xdp_md *ctx, struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s)
{
	struct ipos_connection *info = (void *)w->words + HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct wide_tag sent;

	if (bpf_xdp_load_bytes(ctx, s->l2 + HEADER_LEN, info, CONNECTION_LEN))
		return COUNT_DROP_FRAME_SHORT;
	__builtin_memcpy(&sent, info->tcb.tag, sizeof(sent));
	__builtin_memset(info->tcb.tag, 0, sizeof(info->tcb.tag));
	if (!wide_tag_right(set, w, &sent))
		return COUNT_DROP_FRAME_TAG;
	if (info->tcb.version != 1 || bpf_ntohs(info->tcb.flags) >= 2 * IPOS_OPT_LOCATED)
		return COUNT_DROP_FRAME_VERSION;
	if (h->endpoint_ip != set->self_ip)
		return COUNT_DROP_FRAME_RECEIVER;
	if (!time_believed(set, info->tcb.sent_s, bpf_ktime_get_boot_ns()))
		return COUNT_DROP_FRAME_TIME;
	return 0;
}

/*
 * The offer in w->endpoint is of another connection than the one that we have on its ports.  tc
 * lets that give way: what tells it stands where a notice has its reason, and this frame its
 * version, which is not 0.
 */
IPOS_INLINE int offer_of_another(struct xdp_md *ctx, struct ipos_settings *set,
				 struct ipos_scratch *w, const struct segment *s,
				 const struct peer *from, const struct ipos_endpoint *known)
{
	struct ipos_temporary *t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	__u32 at = s->l2 + HEADER_LEN + offsetof(struct ipos_trailer, reason);
	__u16 other = 0;

	if (t && t->state == IPOS_TEMP_CLOSED && t->hs.iss == w->endpoint.hs.iss)
		return drop(COUNT_DROP_COOKIE_USED); /* of one before it, late */
	if (known->first != from->server || w->endpoint.flags & IPOS_EP_LIVE)
		return refuse_offer(ctx, set, w, s, IPOS_REFUSE_TUPLE_LIVE);
	if (bpf_xdp_store_bytes(ctx, at, &other, sizeof(other)))
		return drop(COUNT_DROP_FRAME_SHORT);
	return pass_vouched(ctx, set, s->l2);
}

/* The offer in w->endpoint is of a connection that has its socket here. */
IPOS_INLINE int connection_attached(struct xdp_md *ctx, struct ipos_settings *set,
				    struct ipos_scratch *w, const struct segment *s,
				    const struct peer *from, struct ipos_endpoint *known)
{
	struct ipos_header *h = (void *)w->words;
	struct ipos_endpoint *ep = &w->endpoint;
	struct notice n = { .endpoint_ip = h->endpoint_ip,
			    .endpoint_port = h->endpoint_port,
			    .type = IPOS_ACKNOWLEDGEMENT,
			    .iss = ep->hs.iss,
			    .reason = ep->migration };

	if (known->hs.iss != ep->hs.iss)
		return offer_of_another(ctx, set, w, s, from, known);
	/*
	 * It comes back from where we offered it to, whose type 3 was lost: our old socket must be
	 * told the end first.  The offer will be repeated.
	 */
	if (known->migration < ep->migration && known->flags & IPOS_EP_MOVING)
		return pass_vouched(ctx, set, s->l2);
	/* The server that gave it to us did not hear that we took it, and has chosen us again. */
	if (known->migration < ep->migration && known->giver != from->server)
		return drop(COUNT_DROP_FRAME_ISS);
	if (known->migration < ep->migration)
		known->migration = ep->migration;
	if (seq_before(known->rcv_nxt, known->rcv_need))
		return pass_vouched(ctx, set, s->l2); /* or our kernel has it: tc asks */
	known->rcv_need = known->adopt_seq;
	return notify(ctx, set, w, s, &n);
}

/* Makes the row of the offer in w->endpoint, in place of `known`, of which nothing came. */
IPOS_INLINE int connection_taken(struct xdp_md *ctx, struct ipos_settings *set,
				 struct ipos_scratch *w, const struct segment *s,
				 const struct ipos_endpoint *known)
{
	struct ipos_connection *info = (void *)w->words + HEADER_LEN;
	struct ipos_endpoint *ep = &w->endpoint;
	struct ipos_service *service = service_at(ep->service);
	int failed;

	ep->given = ep->read_end = ep->adopt_seq;
	if (service && service->decide == IPOS_DECIDE_REQUEST)
		endpoint_follow(ep, ep->adopt_seq, bpf_be64_to_cpu(info->tcb.request_len),
				info->tcb.body);
	if (known) /* of an earlier offer, of which nothing came */
		endpoint_delete(&s->tuple);
	/* Never over a row that another CPU makes now: a socket may be known by it already. */
	if (ep->first == set->self)
		failed = local_put(&s->tuple, ep);
	else
		failed = connect_put(&s->tuple, ep);
	if (failed && endpoint_of(&s->tuple))
		return drop(COUNT_ABSORBED);
	if (failed) {
		count(COUNT_DROP_TABLE_FULL);
		return refuse_offer(ctx, set, w, s, IPOS_REFUSE_TABLE_FULL);
	}
	return XDP_DROP;
}

/* Whether this server answers for an address on front. */
IPOS_INLINE int is_held_here(ipos_ip ip)
{
	struct ipos_address_key key = { .ip = ip };
	struct ipos_address *row = bpf_map_lookup_elem(&FAMILY(addresses), &key);

	return row && row->arp == IPOS_ARP_ANSWER;
}

/*
 * Whether an endpoint may come to us without an application: from its owner, from the server that
 * had its address before us, or from one that has had it since our row was made.
 */
IPOS_INLINE int may_return(const struct ipos_tuple *t, const struct ipos_endpoint *ep,
			   const struct ipos_forward *f)
{
	if (!f)
		return is_held_here(t->service_ip);
	return f->acknowledged && f->iss == ep->hs.iss && f->migration < ep->migration;
}

/*
 * An endpoint that we are the first server of comes back without an application, in w->endpoint:
 * a row of Forward is all we have of it, and becomes one of `holding`.  Should we have no room, its
 * owner goes on with it.
 */
IPOS_APART int endpoint_returns(struct xdp_md *ctx, struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s)
{
	struct ipos_connection *info = (void *)w->words + HEADER_LEN;
	struct ipos_endpoint *known, *ep = &w->endpoint;
	struct ipos_header *header = (void *)w->words;
	struct notice n = { .endpoint_ip = header->endpoint_ip,
			    .endpoint_port = header->endpoint_port,
			    .type = IPOS_ACKNOWLEDGEMENT,
			    .iss = ep->hs.iss,
			    .reason = ep->migration };
	struct ipos_address *a = address_of(s->tuple.service_ip, s->tuple.service_port);
	__u64 roles = roles_of(&s->tuple), now = bpf_ktime_get_boot_ns();
	struct ipos_forward *f = forward_among(roles, &s->tuple);
	struct ipos_holding *h = holding_among(roles, &s->tuple);
	struct ipos_temporary *t;

	/* It was here already, and this offer of it is repeated, or it has gone on since. */
	if (h && h->live && h->iss == ep->hs.iss && h->migration >= ep->migration)
		return notify(ctx, set, w, s, &n);
	known = endpoint_among(roles, &s->tuple);
	if ((f && f->iss == ep->hs.iss && f->migration > ep->migration) ||
	    (known && known->hs.iss == ep->hs.iss && known->migration > ep->migration))
		return notify(ctx, set, w, s, &n);
	t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	if (!f && t && t->state == IPOS_TEMP_CLOSED && t->hs.iss == ep->hs.iss)
		return notify(ctx, set, w, s, &n);
	if (!a || h || known || !may_return(&s->tuple, ep, f))
		return refuse(ctx, set, w, s, ep->hs.iss,
			      IPOS_OFFER_OF(ep->migration) << IPOS_REFUSAL_BITS |
				      IPOS_REFUSE_TUPLE_LIVE);
	h = &w->holding;
	__builtin_memset(h, 0, sizeof(*h));
	h->hs = ep->hs;
	h->hs.iss = ep->snd_nxt - 1;
	h->hs.irs = ep->rcv_need - 1;
	h->iss = ep->hs.iss;
	h->irs = ep->hs.irs;
	h->service = a->service;
	h->window = bpf_ntohl(info->tcb.snd_wnd) >> (info->tcb.snd_wscale & 15);
	h->client_ip = client_word(s->tuple.client_ip);
	h->migration = ep->migration;
	h->head_state = head_first(IPOS_MODE_LATER);
	h->created_ns = h->last_seen_ns = now;
	h->live = 1;
	if (holding_put(&s->tuple, h))
		return refuse(ctx, set, w, s, ep->hs.iss,
			      IPOS_OFFER_OF(ep->migration) << IPOS_REFUSAL_BITS |
				      IPOS_REFUSE_TABLE_FULL);
	if (f)
		forward_delete(&s->tuple, f->server);
	count(COUNT_UNATTACHED);
	return notify(ctx, set, w, s, &n);
}

/* w->words holds the header; the connection information follows in the frame. */
IPOS_INLINE int back_connection(struct xdp_md *ctx, struct ipos_settings *set,
				struct ipos_scratch *w, struct segment *s, const struct peer *from)
{
	struct ipos_connection *info = (void *)w->words + HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct ipos_endpoint *known, *ep = &w->endpoint;
	struct ipos_server *self;
	struct ipos_left *left;
	struct ipos_temporary *t;
	struct ipos_address *a;
	int why;

	why = connection_read(ctx, set, w, s);
	if (why)
		return drop(why);
	count(COUNT_FRAMES_RECEIVED);
	s->tuple.service_ip = info->server_ip;
	s->tuple.service_port = info->server_port;
	__builtin_memset(ep, 0, sizeof(*ep));
	endpoint_from_tcb(ep, &info->tcb);
	if (!h->endpoint_port) /* no application is to take it */
		return endpoint_returns(ctx, set, w, s);
	a = address_of(info->server_ip, info->server_port);
	self = server_at(set->self);
	if (!a || !self)
		return refuse_offer(ctx, set, w, s, IPOS_REFUSE_NO_LISTENER);
	if (self->state == IPOS_SERVER_MAINT)
		return refuse_offer(ctx, set, w, s, IPOS_REFUSE_STATE);
	t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	if (t && t->state == IPOS_TEMP_REFUSED && t->hs.iss == ep->hs.iss &&
	    t->offer == (__u16)ep->migration)
		return refuse_offer(ctx, set, w, s, t->reason);
	known = endpoint_of(&s->tuple);
	if (known && known->first == set->self && !(known->flags & (IPOS_EP_LIVE | IPOS_EP_MOVING)))
		return refuse_offer(ctx, set, w, s, IPOS_REFUSE_TUPLE_LIVE);
	if (known && known->state == IPOS_EP_ATTACHED)
		return connection_attached(ctx, set, w, s, from, known);
	if (known && known->state != IPOS_EP_PENDING)
		return drop(COUNT_ABSORBED); /* our kernel has its packet; the notice will tell */
	if (known && known->hs.iss == ep->hs.iss && known->migration == ep->migration) {
		known->last_seen_ns = bpf_ktime_get_boot_ns();
		return drop(COUNT_ABSORBED); /* offered again, and still welcome */
	}
	left = bpf_map_lookup_elem(&FAMILY(left_behind), &s->tuple);
	if (left && left->iss == ep->hs.iss && left->migration > ep->migration) {
		struct notice n = { .endpoint_ip = h->endpoint_ip,
				    .endpoint_port = h->endpoint_port,
				    .type = IPOS_ACKNOWLEDGEMENT,
				    .iss = ep->hs.iss,
				    .reason = ep->migration };

		return notify(ctx, set, w, s, &n); /* it was here, and has moved on since */
	}
	if (!connection_returns(&s->tuple, ep))
		return refuse_offer(ctx, set, w, s, IPOS_REFUSE_TUPLE_LIVE);
	if (t && t->state == IPOS_TEMP_CLOSED && t->hs.iss == ep->hs.iss)
		return drop(COUNT_DROP_COOKIE_USED);
	ep->endpoint_ip = h->endpoint_ip;
	ep->endpoint_port = h->endpoint_port;
	ep->first =
		ep->flags & IPOS_EP_LIVE ? first_of(&s->tuple, a, info->tcb.first) : from->server;
	ep->giver = from->server;
	ep->state = IPOS_EP_PENDING;
	ep->service = a->service;
	ep->last_seen_ns = ep->asked_ns = bpf_ktime_get_boot_ns();
	return connection_taken(ctx, set, w, s, known);
}

#endif /* IPOS_XDP_CONNECTION_H */
