/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ipOS frames on back.  Nothing in a frame is believed before its sender's MAC, checksum and
 * tag are right; a frame about a connection must also name its iss.
 */
#ifndef IPOS_XDP_BACK_H
#define IPOS_XDP_BACK_H

#include "lib/measure.h"
#include "xdp/located.h"
#include "xdp/families.h"
#if IPOS_FAMILY == 4
#include "xdp/flow_back.h"
#include "xdp/probe.h"
#else
#include "xdp/flows_none.h"
#endif

/* ---- types 3, 4, 6, 7 ----------------------------------------------------------------------- */

/* Type 3 for a SYN we passed on: the owner's kernel has shaken hands. */
IPOS_INLINE int back_connected(struct ipos_scratch *w, const struct segment *s,
			       const struct ipos_header *h, const struct peer *from, __u32 iss,
			       __u64 now)
{
	struct ipos_temporary *t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
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
	if (forward_put(&s->tuple, f))
		return drop(COUNT_DROP_TABLE_FULL);
	bpf_map_delete_elem(&FAMILY(temporary), &s->tuple);
	count(COUNT_ACKNOWLEDGED);
	return XDP_DROP;
}

IPOS_INLINE int back_closed(const struct segment *s, struct ipos_forward *f, __u64 now)
{
	struct ipos_handshake hs = { .iss = f->iss, .irs = f->irs };

	closed_remember(&s->tuple, &hs, f->client_end, now, IPOS_TEMP_CLOSED);
	if (!f->acknowledged)
		holding_release(&s->tuple);
	forward_delete(&s->tuple, f->server);
	return XDP_DROP;
}

/*
 * The owner knows nothing of the connection.  Its row may be a successor's by now: the number of
 * the packet it denied must be the last one we sent on.  An offer that has not been answered is
 * repeated instead; a frame of it was lost.  Nor is an owner believed that may speak of a packet
 * that overtook our offer on another CPU: it has taken the connection since, and its denial was
 * overtaken by the type 3 in turn.  Until the client has had an answer all its packets have the
 * same number.
 */
IPOS_INLINE int back_denied(const struct segment *s, struct ipos_forward *f, __u32 number,
			    __u64 now)
{
	struct ipos_handshake hs = { .iss = f->iss, .irs = f->irs };
	struct ipos_settings *set = settings_now();
	int by_syn = number == f->last_syn && f->last_syn;

	if (!f->acknowledged || (!by_syn && number != f->client_ack))
		return drop(COUNT_DROP_FRAME_ISS);
	if (!by_syn && offered_since(f, now) < DENIAL_MS) {
		f->last_seen_ns = IPOS_IN_DOUBT; /* the agent asks the owner */
		return drop(COUNT_DROP_DENIAL_EARLY);
	}
	/* It may have gone on since our row was made: its next packet finds its owner. */
	if (by_syn || !set || !set->locates)
		closed_remember(&s->tuple, &hs, f->client_end, now,
				by_syn ? IPOS_TEMP_CLOSED : IPOS_TEMP_RESET);
	forward_delete(&s->tuple, f->server);
	return XDP_DROP;
}

/* Whether a SYN with this number is at that server, whose kernel has not answered it. */
IPOS_INLINE int syn_is_at(const struct ipos_tuple *tuple, __u16 server, __u32 irs)
{
	struct ipos_temporary *t = bpf_map_lookup_elem(&FAMILY(temporary), tuple);

	return t && t->state == IPOS_TEMP_SYN && t->server == server && t->hs.irs == irs;
}

IPOS_INLINE int back_notice(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			    struct segment *s, const struct peer *from)
{
	struct ipos_trailer *trailer = (void *)w->words + HEADER_LEN;
	struct ipos_header *h = (void *)w->words;
	struct ipos_holding *held;
	struct ipos_forward *f;
	__u64 now = bpf_ktime_get_boot_ns(), sent;
	__u32 iss;

	if (bpf_xdp_load_bytes(ctx, s->l2 + HEADER_LEN, trailer, TRAILER_LEN))
		return drop(COUNT_DROP_FRAME_SHORT);
	__builtin_memcpy(&sent, trailer->tag, IPOS_TAG_LEN);
	notice_macs(w, from->to_all ? everybody : set->back_mac, from->mac);
	if (!tag_right(set, w, NOTICE_TAGGED, sent))
		return drop(COUNT_DROP_FRAME_TAG);
	s->tuple.service_ip = trailer->service_ip;
	s->tuple.service_port = trailer->service_port;
	iss = bpf_ntohl(trailer->iss);
	count(COUNT_FRAMES_RECEIVED);
	f = forward_among(roles_of(&s->tuple), &s->tuple);
	if (!f && h->type == IPOS_REFUSED && syn_is_at(&s->tuple, from->server, iss))
		return pass_vouched(ctx, set, s->l2); /* tc chooses again */
	if (!f && h->type == IPOS_ACKNOWLEDGEMENT)
		return back_connected(w, s, h, from, iss, now);
	if (!f)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	if (h->type == IPOS_MOVED)
		return f->iss == iss ? back_moved(ctx, set, s, h, f, bpf_ntohs(trailer->reason))
				     : drop(COUNT_DROP_FRAME_ISS);
	if (f->server != from->server)
		return drop(COUNT_DROP_FRAME_ISS);
	if (h->type == IPOS_REFUSED && trailer->reason == bpf_htons(IPOS_REFUSE_UNKNOWN))
		return back_denied(s, f, iss, now);
	if (f->iss != iss)
		return drop(COUNT_DROP_FRAME_ISS);
	switch (h->type) {
	case IPOS_ACKNOWLEDGEMENT:
		if (bpf_ntohs(trailer->reason) != (__u16)f->migration)
			return drop(COUNT_DROP_FRAME_OFFER);
		held = holding_among(roles_of(&s->tuple), &s->tuple);
		if (held && held->moving && !f->acknowledged)
			return pass_vouched(ctx, set, s->l2); /* our socket must be told */
		if (!f->acknowledged) {
			f->acknowledged = 1;
			if (held && f->destination_port)
				migration_timed(held);
			holding_release(&s->tuple);
			count(COUNT_ACKNOWLEDGED);
		}
		if (!f->destination_port) { /* an idle connection, of which we know nothing more */
			count(COUNT_HANDED_ON);
			forward_delete(&s->tuple, f->server);
		}
		return XDP_DROP;
	case IPOS_CLOSED:
		held = holding_among(roles_of(&s->tuple), &s->tuple);
		if (held && held->moving && !f->acknowledged)
			return pass_vouched(ctx, set, s->l2); /* it was over before we heard */
		return back_closed(s, f, now);
	case IPOS_REFUSED:
		if (f->acknowledged)
			return drop(COUNT_DROP_FRAME_UNKNOWN);
		return pass_vouched(ctx, set, s->l2); /* tc chooses again */
	default:
		return drop(COUNT_DROP_FRAME_TYPE);
	}
}

/* ---- types 10 and 11: the Cookie map's news ------------------------------------------------- */

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
	    bpf_xdp_load_bytes(ctx, l2, h, HEADER_LEN + sizeof(struct ipos_learned)))
		return COUNT_DROP_FRAME_SHORT;
	if (!bpf_map_lookup_elem(&members, mac))
		return COUNT_DROP_FRAME_FOREIGN;
	if (!header_checksum_right(h))
		return COUNT_DROP_FRAME_CHECKSUM;
	if (h->protocol != FAMILY_TCP || (h->type != IPOS_LEARNED && h->type != IPOS_FORGOTTEN))
		return COUNT_DROP_FRAME_TYPE;
	return COUNT_FRAMES_RECEIVED;
}

/* Takes the row: the sender says which server has the session. */
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
	a = address_of(header_client(h), h->client_port);
	if (!a)
		return COUNT_DROP_FRAME_UNKNOWN;
	service = a->service;
	session = bpf_map_lookup_elem(&sessions, &service);
	if (!session || session->kind != IPOS_SESSION_LEARN)
		return COUNT_DROP_FRAME_UNKNOWN;
	__builtin_memset(news, 0, sizeof(*news));
	news->key.hash = w->words[HEADER_LEN / 8];
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
	struct ipos_learned *learned;
	__u64 sent;

	if (!set || !w)
		return XDP_DROP;
	if (interface_is(ctx->ingress_ifindex, vlan, set->back_ifindex, set->back_vlan))
		result = to_all_sound(ctx, w, l2);
	if (result == COUNT_FRAMES_RECEIVED) {
		learned = (void *)w->words + HEADER_LEN;
		__builtin_memcpy(&sent, learned->tag, IPOS_TAG_LEN);
		__builtin_memset(learned->tag, 0, IPOS_TAG_LEN);
		if (!tag_right(set, w, HEADER_LEN + LEARNED_TAGGED, sent))
			result = COUNT_DROP_FRAME_TAG;
		else if (!time_believed(set, learned->sent_s, bpf_ktime_get_boot_ns()))
			result = COUNT_DROP_FRAME_TIME;
	}
	if (result == COUNT_FRAMES_RECEIVED) {
		count(result);
		result = learned_take(w);
	}
	return drop(result);
}

/* ---- any frame ------------------------------------------------------------------------------ */

/* What servers tell all others. */
IPOS_INLINE int is_for_all(__u8 type)
{
	return type == IPOS_CLOSED || type == IPOS_MOVED || type == IPOS_LOCATE ||
	       type == IPOS_LEARNED || type == IPOS_FORGOTTEN || type == IPOS_STATE;
}

IPOS_INLINE int back_frame(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			   struct segment *s, int to_all)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipos_header *h = data + (s->l2 & 63);
	struct peer from = { .to_all = to_all };
	int verdict;

	if (!interface_is(ctx->ingress_ifindex, s->vlan, set->back_ifindex, set->back_vlan))
		return drop(COUNT_DROP_FRAME_ON_FRONT);
	if (likely(!to_all && (void *)(h + 1) <= end && h->type == IPOS_PACKET &&
		   h->protocol == FAMILY_TCP))
		return back_packet(ctx, set, w, s);
	if (!peer_of(ctx, &from))
		return drop(COUNT_DROP_FRAME_FOREIGN);
	h = (void *)w->words;
	data += s->l2 & 63;
	if (data + HEADER_LEN > end)
		return drop(COUNT_DROP_FRAME_SHORT);
	header_copy(h, data);
	if (IPOS_FAMILY == 4 && unlikely(h->protocol == IPOS_TCP6)) {
		family_jump(ctx);
		return drop(COUNT_DROP_FRAME_TYPE);
	}
	if (!header_checksum_right(h))
		return drop(COUNT_DROP_FRAME_CHECKSUM);
	s->tuple.client_ip = header_client(h);
	s->tuple.client_port = h->client_port;
	s->tuple.protocol = IPPROTO_TCP;
	if (IPOS_FAMILY == 4 && h->protocol == IPOS_UDP && !to_all)
		return flow_back(ctx, s->l2);
	if (h->protocol != FAMILY_TCP || (to_all && !is_for_all(h->type)))
		return drop(COUNT_DROP_FRAME_TYPE);
	switch (h->type) {
	case IPOS_CONNECTION:
		return back_connection(ctx, set, w, s, &from);
	case IPOS_ACKNOWLEDGEMENT:
	case IPOS_CLOSED:
	case IPOS_MOVED:
	case IPOS_REFUSED:
		return back_notice(ctx, set, w, s, &from);
#if IPOS_FAMILY == 4
	case IPOS_PROBE:
	case IPOS_PROBE_ANSWER:
		return back_probe(ctx, set, w, s, from.server);
	case IPOS_STATE:
		return drop(to_all ? state_take(ctx, w, s->l2, from.server)
				   : COUNT_DROP_FRAME_TYPE);
#endif
	case IPOS_LOCATE:
		verdict = back_locate(ctx, set, w, s, &from);
		return verdict == UNATTACHED ? unattached_asked(ctx, set, w, s) : verdict;
	case IPOS_LOCATED:
		return back_located(ctx, set, w, s, &from);
	case IPOS_LEARNED:
	case IPOS_FORGOTTEN:
		return to_all ? back_to_all(ctx, w, s->l2, s->vlan) : drop(COUNT_DROP_FRAME_TYPE);
	default:
		return drop(COUNT_DROP_FRAME_TYPE);
	}
}

#endif /* IPOS_XDP_BACK_H */
