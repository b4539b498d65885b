/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Another server asks for the owner of a connection, and an owner answers. */
#ifndef IPOS_XDP_LOCATED_H
#define IPOS_XDP_LOCATED_H

#include "xdp/arrival.h"

/*
 * Another server asks about a connection that has no application yet, or none now.  Its client
 * proves itself by our sequence number.  What can be only here stays here, and the asker is told
 * so; it has lost the packet, which the client sends again.  What the client's cookie can make
 * anew, at the server that has its packets now, goes: it must not be opened twice.  The number of
 * the question is in w->endpoint, its packet in w->saved.
 */
IPOS_APART int unattached_asked(struct xdp_md *ctx, struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s)
{
	const struct segment *in = &((struct arrived *)w->saved)->in;
	struct ipos_temporary *t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	struct ipos_holding *h = holding_among(roles_of(&s->tuple), &s->tuple);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipos_endpoint *ep = &w->endpoint;
	struct ethhdr *eth = data;
	__be32 question = ep->question;
	__u8 *to = (void *)w->saved; /* the stack has no room */

	if ((in->flags & (TCP_ACK | TCP_RST)) != TCP_ACK || (void *)(eth + 1) > end)
		return drop(COUNT_DROP_FRAME_LOCATE);
	if (!h && t && t->state == IPOS_TEMP_OPEN && in->ack == t->hs.iss + 1)
		bpf_map_delete_elem(&FAMILY(temporary), &s->tuple);
	if (!h || h->answer || h->moving || in->ack != h->hs.iss + 1 ||
	    forward_among(roles_of(&s->tuple), &s->tuple))
		return drop(COUNT_DROP_FRAME_LOCATE);
	if (!is_kept(h)) {
		holding_release(&s->tuple);
		return drop(COUNT_DROP_FRAME_LOCATE);
	}
	/*
	 * Without data nothing goes on here that would tell the asker of the end in time: an
	 * endpoint that waits for a request absorbs it, and closes without a word to servers.
	 */
	if (!in->length)
		return drop(COUNT_DROP_FRAME_LOCATE);
	h->hs.options |= IPOS_OPT_LOCATED;
	__builtin_memset(ep, 0, sizeof(*ep));
	ep->hs.iss = h->iss;
	ep->hs.irs = h->irs;
	ep->migration = h->migration;
	ep->endpoint_port = s->tuple.service_port;
	ep->question = question;
	mac_copy(to, eth->h_source);
	count(COUNT_LOCATE_ANSWERED);
	return frame_returns(ctx, w, located_write(set, w, &s->tuple, to, ep));
}

/*
 * Type 5, with our header at `s->l2`.  A verdict, or UNATTACHED, which takes more of the stack than
 * is left here.  The owner takes the packet like one in a type 2; tc, which
 * knows where our socket stands, answers if it fits.
 */
IPOS_APART int back_locate(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s, const struct peer *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipos_header *h = (void *)w->words;
	struct ipos_server *asker = server_at(from->server);
	struct ipos_service *service;
	struct ipos_endpoint *ep;
	struct arrived *p = (void *)w->saved; /* the stack has no room for it */
	__u64 tag;
	void *tail;

	__builtin_memset(p, 0, sizeof(*p));
	p->in.l2 = s->l2 + HEADER_LEN;
	if (!arrived_read(ctx, p))
		return drop(COUNT_DROP_FRAME_SHORT);
	tail = data + (p->in.l2 & 63) + (p->ip_len & 0x3fff);
	if (p->ip_len > 0x3fff || tail + IPOS_TAG_LEN > end)
		return drop(COUNT_DROP_FRAME_SHORT);
	tag = AT64(tail, 0);
	if (!packet_tag_right(ctx, set, s->l2, p->inner, p->ip_len - p->inner, tag))
		return drop(COUNT_DROP_FRAME_TAG);
	/* It cannot be played back as another server's, or later. */
	if (!asker || h->endpoint_ip != asker->address)
		return drop(COUNT_DROP_FRAME_RECEIVER);
	if (!question_believed(set, h->endpoint_port, bpf_ktime_get_boot_ns()))
		return drop(COUNT_DROP_FRAME_TIME);
	s->tuple = p->in.tuple;
	if (p->what != PARSED_TCP || p->in.flags & TCP_SYN ||
	    s->tuple.client_ip != header_client(h) || s->tuple.client_port != h->client_port)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	count(COUNT_FRAMES_RECEIVED);
	ep = endpoint_among(roles_of(&s->tuple), &s->tuple);
	if (!ep) {
		w->endpoint.question = question_of(tag);
		return UNATTACHED;
	}
	if (ep->state != IPOS_EP_ATTACHED)
		return drop(COUNT_DROP_FRAME_LOCATE);
	service = service_at(ep->service);
	if (service)
		urgent_look(ctx, &p->in, service);
	ep->asker = from->server;
	ep->question = question_of(tag);
	ep->asked_seq = p->in.seq;
	return decapsulate(ctx, set, p->in.l2, p->ip_len, TC_ALONE);
}

/* ---- type 12: the owner has answered -------------------------------------------------------- */

/* Nothing here says that the connection is another one, or another server's. */
IPOS_INLINE int is_unknown(const struct ipos_tuple *t)
{
	__u64 roles = roles_of(t);

	return !forward_among(roles, t) && !endpoint_among(roles, t) && !holding_among(roles, t);
}

IPOS_APART int back_located(struct xdp_md *ctx, const struct ipos_settings *set,
			    struct ipos_scratch *w, struct segment *s, const struct peer *from)
{
	struct ipos_located *body = (void *)w->words + HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct ipos_forward *f = &w->forward;
	struct ipos_question *asked;
	__u64 now = bpf_ktime_get_boot_ns(), sent;

	if (bpf_xdp_load_bytes(ctx, s->l2 + HEADER_LEN, body, sizeof(*body)))
		return drop(COUNT_DROP_FRAME_SHORT);
	__builtin_memcpy(&sent, body->tag, IPOS_TAG_LEN);
	located_macs(w, set->back_mac, from->mac);
	if (!tag_right(set, w, HEADER_LEN + LOCATED_TAGGED + 2 * ETH_ALEN, sent))
		return drop(COUNT_DROP_FRAME_TAG);
	s->tuple.service_ip = body->service_ip;
	s->tuple.service_port = body->service_port;
	count(COUNT_FRAMES_RECEIVED);
	asked = bpf_map_lookup_elem(&FAMILY(questions), &s->tuple);
	if (!asked || asked->question != body->question || now - asked->asked_ns > ANSWER_NS ||
	    !is_unknown(&s->tuple))
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	__builtin_memset(f, 0, sizeof(*f));
	f->destination_ip = h->endpoint_ip;
	f->destination_port = h->endpoint_port;
	f->server = from->server;
	f->first = set->self;
	f->iss = bpf_ntohl(body->iss);
	f->irs = bpf_ntohl(body->irs);
	f->migration = bpf_ntohs(body->move);
	f->acknowledged = 1;
	f->client_end = asked->client_end;
	f->client_ack = asked->client_ack;
	f->offered_ms = offered_now(now);
	f->last_seen_ns = now;
	if (forward_put(&s->tuple, f))
		return drop(COUNT_DROP_TABLE_FULL);
	bpf_map_delete_elem(&FAMILY(questions), &s->tuple);
	count(COUNT_LOCATED);
	return XDP_DROP;
}

#endif /* IPOS_XDP_LOCATED_H */
