/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ipOS frames on back.  Nothing in a frame is believed before its sender's MAC, checksum and
 * tag are right; a frame about a connection must also name its iss.
 */
#ifndef IPOS_XDP_BACK_H
#define IPOS_XDP_BACK_H

#include "xdp_connection.h"

/* ---- type 2: packet ------------------------------------------------------------------------------- */

/*
 * Takes the client's packet out of the frame, as if it had come in on front; one tc has
 * nothing to do with as if sent to back's own address.
 */
IPOS_INLINE int decapsulate(struct xdp_md *ctx, struct ipos_settings *set, __u32 inner_at,
			    __u32 ip_len, enum tc_work work)
{
	__u32 l2 = l2_length(set->front_vlan);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const __u8 *to = work == TC_NOTHING ? set->back_mac : set->front_mac;
	__u8 from[8] __attribute__((aligned(8)));

	if (data + sizeof(struct ethhdr) > end)
		return XDP_DROP;
	mac_copy(from, ((struct ethhdr *)data)->h_source);
	if (bpf_xdp_adjust_tail(ctx, (int)(inner_at + ip_len) - (int)bpf_xdp_get_buff_len(ctx)) ||
	    bpf_xdp_adjust_head(ctx, (int)inner_at - (int)l2))
		return drop(COUNT_DROP_EMIT);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + L2_MAX > end)
		return drop(COUNT_DROP_EMIT);
	l2_write(data, to, from, set->front_vlan, ETH_P_IP);
	count(COUNT_DECAPSULATED);
	return work == TC_ALONE ? pass_alone(ctx) : XDP_PASS;
}

IPOS_INLINE int back_packet(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s, const struct peer *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *tail;
	__u32 inner, inner_at = s->l2 + IPOS_HEADER_LEN, ip_len;
	struct ipos_header *h = (void *)w->words;
	struct ipos_temporary *t, row = {};
	struct ipos_service *service;
	struct segment in = {};
	struct ipos_endpoint *ep;
	struct ipos_address *a;
	struct ipos_left *left;
	struct ipos_holding *held;
	int on_connection, reason;
	__u64 now, tag, sent;
	enum parsed what;

	in.l2 = inner_at;
	what = parse_ip(data, end, bpf_xdp_get_buff_len(ctx), &in);
	if (what == PARSED_ICMP) {
		struct icmp_quote *q = data + (in.l4 & 0x7f);
		struct iphdr *outer = data + (in.l2 & 0x3f);

		if ((void *)(q + 1) > end || (void *)(outer + 1) > end)
			return drop(COUNT_DROP_FRAME_SHORT);
		in.tuple.client_ip = q->ip.daddr;
		in.tuple.client_port = q->dest;
		in.tuple.service_ip = q->ip.saddr;
		in.tuple.service_port = q->source;
		in.tuple.protocol = IPPROTO_TCP;
		ip_len = bpf_ntohs(outer->tot_len);
		inner = sizeof(*outer) + sizeof(struct icmp_header);
	} else if (what == PARSED_TCP) {
		inner = in.l4 - in.l2 + in.tcp_len;
		ip_len = inner + in.length;
	} else {
		return drop(COUNT_DROP_FRAME_SHORT);
	}
	inner &= 127;
	tail = data + (inner_at & 63) + (ip_len & 0x3fff);
	if (ip_len > 0x3fff || tail + IPOS_TAG_LEN > end || headers_load(ctx, w, inner_at, inner))
		return drop(COUNT_DROP_FRAME_SHORT);
	sent = AT64(tail, 0);
	tag = tag_of(set, w, IPOS_HEADER_LEN + inner);
	if (set->flags & IPOS_AUTHENTICATE && tag != sent)
		return drop(COUNT_DROP_FRAME_TAG);
	if (in.tuple.client_ip != h->client_ip || in.tuple.client_port != h->client_port)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	count(COUNT_FRAMES_RECEIVED);
	s->tuple = in.tuple;
	ep = bpf_map_lookup_elem(&connect, &s->tuple);
	if (!ep)
		ep = bpf_map_lookup_elem(&local, &s->tuple);	/* come home; not all know yet */
	if (ep) {
		seen(&ep->last_seen_ns, boot_ns_coarse(set));
		return decapsulate(ctx, set, inner_at, ip_len, tc_work(set, ep, &in, what));
	}
	now = bpf_ktime_get_boot_ns();
	held = bpf_map_lookup_elem(&holding, &s->tuple);
	if (unlikely(held && held->answer && what == PARSED_TCP)) {	/* our application has left it, see move.h */
		reason = answered_refuses(&in, held, now);
		if (!reason)
			return decapsulate(ctx, set, inner_at, ip_len, TC_ALONE);
		if (reason != COUNT_ABSORBED)
			return drop(reason);
	}
	left = bpf_map_lookup_elem(&left_behind, &s->tuple);
	if (left && left->server && left->server != from->server) {
		struct type2 packet = { .inner = inner, .end = inner_at + ip_len };

		if (tell_due(left, from->server, in.length, now))
			return tell_first(ctx, set, w, s, left);
		return bounce(ctx, set, w, s, &packet);
	}
	t = bpf_map_lookup_elem(&temporary, &s->tuple);
	a = address_of(s->tuple.service_ip, s->tuple.service_port);
	service = a ? service_at(a->service) : NULL;
	on_connection = service && service->select == IPOS_SELECT_CONNECTION && what == PARSED_TCP;
	if (t && t->state == IPOS_TEMP_CLOSED && !(on_connection && in.flags & TCP_SYN)) {
		struct notice n = { .endpoint_ip = h->endpoint_ip,
				    .endpoint_port = h->endpoint_port,
				    .type = IPOS_CLOSED, .iss = t->hs.iss };

		return notify(ctx, set, w, s, &n);
	}
	if (on_connection && (in.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		row.state = IPOS_TEMP_SYN_HERE;
		row.server = from->server;
		row.port = h->endpoint_port;
		row.hs.irs = in.seq;
		row.created_ns = row.last_seen_ns = now;
		bpf_map_update_elem(&temporary, &s->tuple, &row, BPF_ANY);
	} else if (!on_connection || !t || t->state != IPOS_TEMP_SYN_HERE) {
		count(COUNT_DROP_FRAME_UNKNOWN);
		return what == PARSED_TCP && !(in.flags & TCP_RST) ?
		       refuse(ctx, set, w, s, in.flags & TCP_SYN ? in.seq : in.ack,
			      IPOS_REFUSE_UNKNOWN) : XDP_DROP;
	}
	return decapsulate(ctx, set, inner_at, ip_len, TC_ALONE);
}

/* ---- types 3, 4, 6, 7 ------------------------------------------------------------------------------ */

/* Type 3 for a SYN we passed on: the owner's kernel has shaken hands. */
IPOS_INLINE int back_connected(struct ipos_scratch *w, const struct segment *s, const struct ipos_header *h,
			       const struct peer *from, __u32 iss, __u64 now)
{
	struct ipos_temporary *t = bpf_map_lookup_elem(&temporary, &s->tuple);
	struct ipos_forward *f = &w->forward;

	if (!t || t->state != IPOS_TEMP_SYN || t->server != from->server)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	__builtin_memset(f, 0, sizeof(*f));
	f->destination_ip = h->endpoint_ip;
	f->destination_port = h->endpoint_port;
	f->server = from->server;
	f->iss = iss;
	f->irs = t->hs.irs;
	f->acknowledged = 1;
	f->client_end = t->hs.irs + 1;
	f->client_ack = iss + 1;
	f->last_seen_ns = now;
	if (bpf_map_update_elem(&forward, &s->tuple, f, BPF_ANY))
		return drop(COUNT_DROP_TABLE_FULL);
	bpf_map_delete_elem(&temporary, &s->tuple);
	traffic_add(from->server, 1, 0);
	count(COUNT_ACKNOWLEDGED);
	return XDP_DROP;
}

IPOS_INLINE int back_closed(const struct segment *s, struct ipos_forward *f, __u64 now)
{
	struct ipos_handshake hs = { .iss = f->iss, .irs = f->irs };

	closed_remember(&s->tuple, &hs, f->client_end, now, IPOS_TEMP_CLOSED);
	traffic_add(f->server, 0, 1);
	if (!f->acknowledged)
		holding_release(&s->tuple);
	bpf_map_delete_elem(&forward, &s->tuple);
	return XDP_DROP;
}

/*
 * The owner knows nothing of the connection.  Its row may be a successor's by now: the number
 * of the packet it denied must be the last one we sent on.  An offer that has not been
 * answered is repeated instead; a frame of it was lost.
 */
IPOS_INLINE int back_denied(const struct segment *s, struct ipos_forward *f, __u32 number,
			    __u64 now)
{
	struct ipos_handshake hs = { .iss = f->iss, .irs = f->irs };
	int by_syn = number == f->last_syn && f->last_syn;

	if (!f->acknowledged || (!by_syn && number != f->client_ack))
		return drop(COUNT_DROP_FRAME_ISS);
	closed_remember(&s->tuple, &hs, f->client_end, now,
			by_syn ? IPOS_TEMP_CLOSED : IPOS_TEMP_RESET);
	traffic_add(f->server, 0, 1);
	bpf_map_delete_elem(&forward, &s->tuple);
	return XDP_DROP;
}

IPOS_INLINE int back_notice(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s, const struct peer *from)
{
	struct ipos_trailer *trailer = (void *)w->words + IPOS_HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct ipos_holding *held;
	struct ipos_forward *f;
	__u64 now = bpf_ktime_get_boot_ns(), tag, sent;
	__u32 iss;

	if (bpf_xdp_load_bytes(ctx, s->l2 + IPOS_HEADER_LEN, trailer, IPOS_TRAILER_LEN))
		return drop(COUNT_DROP_FRAME_SHORT);
	__builtin_memcpy(&sent, trailer->tag, IPOS_TAG_LEN);
	__builtin_memset(trailer->tag, 0, IPOS_TAG_LEN);
	tag = tag_of(set, w, IPOS_HEADER_LEN + TRAILER_TAGGED);
	if (set->flags & IPOS_AUTHENTICATE && tag != sent)
		return drop(COUNT_DROP_FRAME_TAG);
	s->tuple.service_ip = trailer->service_ip;
	s->tuple.service_port = trailer->service_port;
	iss = bpf_ntohl(trailer->iss);
	count(COUNT_FRAMES_RECEIVED);
	f = bpf_map_lookup_elem(&forward, &s->tuple);
	if (!f && h->type == IPOS_ACKNOWLEDGEMENT)
		return back_connected(w, s, h, from, iss, now);
	if (!f)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	if (h->type == IPOS_MOVED)
		return f->iss == iss ? back_moved(ctx, s, h, f, bpf_ntohs(trailer->reason)) :
				       drop(COUNT_DROP_FRAME_ISS);
	if (f->server != from->server)
		return drop(COUNT_DROP_FRAME_ISS);
	if (h->type == IPOS_REFUSED && trailer->reason == bpf_htons(IPOS_REFUSE_UNKNOWN))
		return back_denied(s, f, iss, now);
	if (f->iss != iss)
		return drop(COUNT_DROP_FRAME_ISS);
	switch (h->type) {
	case IPOS_ACKNOWLEDGEMENT:
		held = bpf_map_lookup_elem(&holding, &s->tuple);
		if (held && held->moving && !f->acknowledged)
			return pass_alone(ctx);	/* our socket must be told the end */
		if (!f->acknowledged) {
			f->acknowledged = 1;
			holding_release(&s->tuple);
			count(COUNT_ACKNOWLEDGED);
		}
		return XDP_DROP;
	case IPOS_CLOSED:
		return back_closed(s, f, now);
	case IPOS_REFUSED:
		if (f->acknowledged)
			return drop(COUNT_DROP_FRAME_UNKNOWN);
		return pass_alone(ctx);		/* tc chooses again */
	default:
		return drop(COUNT_DROP_FRAME_TYPE);
	}
}

/* ---- types 8 and 9: probe -------------------------------------------------------------------------- */

/*
 * Another server's agent hears nothing of ours and asks the data plane.  No agent is needed to
 * answer; who has asked finds its own nonce in the answer, so that none can be played back.
 */
IPOS_APART int back_probe(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			  const struct segment *s)
{
	struct ipos_probe *probe = (void *)w->words + IPOS_HEADER_LEN;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipos_header *h = (void *)w->words;
	struct ethhdr *eth = data;
	__u64 tag, sent;

	if (bpf_xdp_load_bytes(ctx, s->l2 + IPOS_HEADER_LEN, probe, sizeof(*probe)))
		return drop(COUNT_DROP_FRAME_SHORT);
	__builtin_memcpy(&sent, probe->tag, IPOS_TAG_LEN);
	__builtin_memset(probe->tag, 0, IPOS_TAG_LEN);
	tag = tag_of(set, w, IPOS_HEADER_LEN + PROBE_TAGGED);
	if (set->flags & IPOS_AUTHENTICATE && tag != sent)
		return drop(COUNT_DROP_FRAME_TAG);
	count(COUNT_FRAMES_RECEIVED);
	if (h->type == IPOS_PROBE_ANSWER)
		return h->client_ip == set->self_ip ? XDP_PASS : drop(COUNT_DROP_FRAME_UNKNOWN);
	if (h->endpoint_ip != set->self_ip)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	if ((void *)(eth + 1) > end)
		return drop(COUNT_DROP_FRAME_SHORT);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, set->back_mac, ETH_ALEN);
	h->type = IPOS_PROBE_ANSWER;
	h->checksum = 0;
	h->checksum = (__u16)~fold(sum_words(h, IPOS_HEADER_LEN));
	tag = tag_of(set, w, IPOS_HEADER_LEN + PROBE_TAGGED);
	__builtin_memcpy(probe->tag, &tag, IPOS_TAG_LEN);
	if (bpf_xdp_store_bytes(ctx, s->l2, h, IPOS_HEADER_LEN + sizeof(*probe)))
		return drop(COUNT_DROP_EMIT);
	count(COUNT_PROBE_ANSWERED);
	count(COUNT_FRAMES_SENT);
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

/* ---- types 10 and 11: the Cookie map's news --------------------------------------------------------- */

/*
 * What is wrong with a frame to everybody, a counter; COUNT_FRAMES_RECEIVED when it is sound.
 * Small stacks here: the one of xdp_frame() is below.
 */
IPOS_FUNCTION int to_all_sound(struct xdp_md *ctx, struct ipos_scratch *w, __u32 l2)
{
	struct ipos_mac *mac;
	struct ipos_header *h;

	if (!w)
		return COUNT_DROP_FRAME_SHORT;
	mac = (void *)w->saved;
	h = (void *)w->words;
	__builtin_memset(mac, 0, sizeof(*mac));
	if (bpf_xdp_load_bytes(ctx, ETH_ALEN, mac->bytes, ETH_ALEN) ||
	    bpf_xdp_load_bytes(ctx, l2, h, sizeof(*h) + sizeof(struct ipos_learned)))
		return COUNT_DROP_FRAME_SHORT;
	if (!bpf_map_lookup_elem(&members, mac))
		return COUNT_DROP_FRAME_FOREIGN;
	if (!header_checksum_right(h))
		return COUNT_DROP_FRAME_CHECKSUM;
	if (h->protocol != IPOS_TCP || (h->type != IPOS_LEARNED && h->type != IPOS_FORGOTTEN))
		return COUNT_DROP_FRAME_TYPE;
	return COUNT_FRAMES_RECEIVED;
}

/* Who has the session is the sender's word. */
IPOS_FUNCTION int learned_take(struct ipos_scratch *w)
{
	struct ipos_cookie_news *news;
	struct ipos_session *session;
	struct ipos_header *h;
	struct ipos_address *a;
	__u32 service;

	if (!w)
		return COUNT_DROP_FRAME_SHORT;
	news = (void *)w->saved;
	h = (void *)w->words;
	a = address_of(h->client_ip, h->client_port);
	if (!a)
		return COUNT_DROP_FRAME_UNKNOWN;
	service = a->service;
	session = bpf_map_lookup_elem(&sessions, &service);
	if (!session || session->kind != IPOS_SESSION_LEARN)
		return COUNT_DROP_FRAME_UNKNOWN;
	__builtin_memset(news, 0, sizeof(*news));
	news->key.hash = w->words[2];
	news->key.service_port = h->client_port;
	news->row.server_ip = h->endpoint_ip;
	news->row.expires_ns = bpf_ktime_get_boot_ns() + session->lifetime_s * 1000000000ULL;
	if (h->type == IPOS_FORGOTTEN)
		bpf_map_delete_elem(&cookies, &news->key);
	else
		bpf_map_update_elem(&cookies, &news->key, &news->row, BPF_ANY);
	return COUNT_COOKIE_HEARD;
}

/* A frame to everybody on back, with our header at `l2`. */
IPOS_FUNCTION int back_to_all(struct xdp_md *ctx, struct ipos_scratch *w, __u32 l2, __u32 vlan)
{
	struct ipos_settings *set = settings_now();
	int result = COUNT_DROP_FRAME_ON_FRONT;
	__u64 sent;

	if (!set || !w)
		return XDP_DROP;
	if (interface_is(ctx->ingress_ifindex, vlan, set->back_ifindex, set->back_vlan))
		result = to_all_sound(ctx, w, l2);
	if (result == COUNT_FRAMES_RECEIVED) {
		sent = w->words[3];
		w->words[3] = 0;
		if (set->flags & IPOS_AUTHENTICATE &&
		    tag_of(set, w, IPOS_HEADER_LEN + LEARNED_TAGGED) != sent)
			result = COUNT_DROP_FRAME_TAG;
	}
	if (result == COUNT_FRAMES_RECEIVED) {
		count(result);
		result = learned_take(w);
	}
	return drop(result);
}

/* ---- any frame -------------------------------------------------------------------------------------- */

IPOS_INLINE int back_frame(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipos_header *h = (void *)w->words;
	struct ethhdr *eth = data;
	struct ipos_member *member;
	struct ipos_mac mac = {};
	struct peer from = {};

	if (!interface_is(ctx->ingress_ifindex, s->vlan, set->back_ifindex, set->back_vlan))
		return drop(COUNT_DROP_FRAME_ON_FRONT);
	if ((void *)(eth + 1) > end)
		return drop(COUNT_DROP_FRAME_SHORT);
	mac_copy(mac.bytes, eth->h_source);
	mac_copy(from.mac, eth->h_source);
	member = bpf_map_lookup_elem(&members, &mac);
	if (!member)
		return drop(COUNT_DROP_FRAME_FOREIGN);
	from.server = member->server;
	data += s->l2 & 63;
	if (data + IPOS_HEADER_LEN > end)
		return drop(COUNT_DROP_FRAME_SHORT);
	header_copy(h, data);
	if (!header_checksum_right(h))
		return drop(COUNT_DROP_FRAME_CHECKSUM);
	s->tuple.client_ip = h->client_ip;
	s->tuple.client_port = h->client_port;
	s->tuple.protocol = IPPROTO_TCP;
	if (h->protocol != IPOS_TCP)
		return drop(COUNT_DROP_FRAME_TYPE);
	switch (h->type) {
	case IPOS_CONNECTION:
		return back_connection(ctx, set, w, s, &from);
	case IPOS_PACKET:
		return back_packet(ctx, set, w, s, &from);
	case IPOS_ACKNOWLEDGEMENT:
	case IPOS_CLOSED:
	case IPOS_MOVED:
	case IPOS_REFUSED:
		return back_notice(ctx, set, w, s, &from);
	case IPOS_PROBE:
	case IPOS_PROBE_ANSWER:
		return back_probe(ctx, set, w, s);
	case IPOS_LOCATE:
		return drop(COUNT_DROP_FRAME_LOCATE);
	default:
		return drop(COUNT_DROP_FRAME_TYPE);
	}
}

#endif /* IPOS_XDP_BACK_H */
