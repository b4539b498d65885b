/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Type 1: an endpoint is offered to us, new or in mid-stream.
 */
#ifndef IPOS_XDP_CONNECTION_H
#define IPOS_XDP_CONNECTION_H

#include "xdp_move.h"

IPOS_INLINE int refuse(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
		       const struct segment *s, __u32 iss, __u8 reason)
{
	struct ipos_header *h = (void *)w->words;
	struct notice n = { .endpoint_ip = h->endpoint_ip, .endpoint_port = h->endpoint_port,
			    .type = IPOS_REFUSED, .reason = reason, .iss = iss };

	count(COUNT_REFUSED);
	return notify(ctx, set, w, s, &n);
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
	ep->snd_nxt = ep->answer_next = bpf_ntohl(tcb->snd_nxt);
	ep->migration = bpf_be64_to_cpu(tcb->migration);
	if (ep->snd_nxt != ep->hs.iss + 1)
		ep->flags |= IPOS_EP_LIVE;
}

/* Whether rows from before are older than a type 1, and may give way. */
IPOS_INLINE int connection_returns(const struct ipos_tuple *t, const struct ipos_endpoint *ep)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&forward, t);

	if (!f)
		return 1;
	return ep->flags & IPOS_EP_LIVE && f->acknowledged && f->iss == ep->hs.iss &&
	       f->migration < ep->migration;
}

/* w->words holds the header; the connection information follows in the frame. */
IPOS_INLINE int back_connection(struct xdp_md *ctx, struct ipos_settings *set,
			       struct ipos_scratch *w, struct segment *s, const struct peer *from)
{
	struct ipos_connection *info = (void *)w->words + IPOS_HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct ipos_endpoint *known, *ep = &w->endpoint;
	struct ipos_service *service;
	struct ipos_server *self;
	struct ipos_left *left;
	struct ipos_temporary *t;
	struct ipos_address *a;
	struct wide_tag tag, sent;
	int failed;

	if (bpf_xdp_load_bytes(ctx, s->l2 + IPOS_HEADER_LEN, info, IPOS_CONNECTION_LEN))
		return drop(COUNT_DROP_FRAME_SHORT);
	__builtin_memcpy(&sent, info->tcb.tag, sizeof(sent));
	__builtin_memset(info->tcb.tag, 0, sizeof(info->tcb.tag));
	tag_wide(set, w, &tag);
	if (set->flags & IPOS_AUTHENTICATE && (tag.words[0] != sent.words[0] || tag.words[1] != sent.words[1]))
		return drop(COUNT_DROP_FRAME_TAG);
	if (info->tcb.version != 1)
		return drop(COUNT_DROP_FRAME_VERSION);
	count(COUNT_FRAMES_RECEIVED);
	s->tuple.service_ip = info->server_ip;
	s->tuple.service_port = info->server_port;
	__builtin_memset(ep, 0, sizeof(*ep));
	endpoint_from_tcb(ep, &info->tcb);
	a = address_of(info->server_ip, info->server_port);
	self = server_at(set->self);
	if (!a || !self)
		return refuse(ctx, set, w, s, ep->hs.iss, IPOS_REFUSE_NO_LISTENER);
	if (self->state == IPOS_SERVER_MAINT)
		return refuse(ctx, set, w, s, ep->hs.iss, IPOS_REFUSE_STATE);
	known = bpf_map_lookup_elem(&local, &s->tuple);
	if (known && !(known->flags & (IPOS_EP_LIVE | IPOS_EP_MOVING)))
		return refuse(ctx, set, w, s, ep->hs.iss, IPOS_REFUSE_TUPLE_LIVE);
	if (!known)
		known = bpf_map_lookup_elem(&connect, &s->tuple);
	if (known && known->state == IPOS_EP_ATTACHED) {
		struct notice n = { .endpoint_ip = h->endpoint_ip,
				    .endpoint_port = h->endpoint_port,
				    .type = IPOS_ACKNOWLEDGEMENT, .iss = ep->hs.iss };

		if (known->hs.iss != ep->hs.iss)
			return refuse(ctx, set, w, s, ep->hs.iss, IPOS_REFUSE_TUPLE_LIVE);
		/*
		 * It comes back from where we offered it to, whose type 3 was lost: our old
		 * socket must be told the end first.  The offer will be repeated.
		 */
		if (known->migration < ep->migration)
			return known->flags & IPOS_EP_MOVING ? pass_alone(ctx) :
							       drop(COUNT_DROP_FRAME_ISS);
		if (seq_before(known->rcv_nxt, known->rcv_need))
			return pass_alone(ctx);	/* or our kernel has it: tc can ask */
		return notify(ctx, set, w, s, &n);
	}
	left = bpf_map_lookup_elem(&left_behind, &s->tuple);
	if (left && left->iss == ep->hs.iss && left->migration > ep->migration) {
		struct notice n = { .endpoint_ip = h->endpoint_ip,
				    .endpoint_port = h->endpoint_port,
				    .type = IPOS_ACKNOWLEDGEMENT, .iss = ep->hs.iss };

		return notify(ctx, set, w, s, &n);	/* it was here, and has moved on since */
	}
	if (!connection_returns(&s->tuple, ep))
		return refuse(ctx, set, w, s, ep->hs.iss, IPOS_REFUSE_TUPLE_LIVE);
	t = bpf_map_lookup_elem(&temporary, &s->tuple);
	if (t && t->state == IPOS_TEMP_CLOSED && t->hs.iss == ep->hs.iss)
		return drop(COUNT_DROP_COOKIE_USED);
	ep->endpoint_ip = h->endpoint_ip;
	ep->endpoint_port = h->endpoint_port;
	ep->first = ep->flags & IPOS_EP_LIVE ? a->holder : from->server;
	ep->giver = from->server;
	ep->state = IPOS_EP_PENDING;
	ep->service = a->service;
	ep->last_seen_ns = bpf_ktime_get_boot_ns();
	service = service_at(a->service);
	if (service && service->decide == IPOS_DECIDE_REQUEST)
		endpoint_follow(ep, ep->adopt_seq, bpf_be64_to_cpu(info->tcb.request_len),
				info->tcb.body);
	if (ep->first == set->self)
		failed = bpf_map_update_elem(&local, &s->tuple, ep, BPF_ANY);
	else
		failed = bpf_map_update_elem(&connect, &s->tuple, ep, BPF_ANY);
	if (failed) {
		count(COUNT_DROP_TABLE_FULL);
		return refuse(ctx, set, w, s, ep->hs.iss, IPOS_REFUSE_TABLE_FULL);
	}
	return XDP_DROP;
}

#endif /* IPOS_XDP_CONNECTION_H */
