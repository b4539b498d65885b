/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A held request on its way to a kernel: our own, as packets put back on front's ingress, or
 * another server's, as one type 1 and type 2 frames on back.  Each piece of the hold pool is
 * one packet, with headers made anew from what the handshake agreed on.
 */
#ifndef IPOS_SEND_H
#define IPOS_SEND_H

#include "abi/verdict.h"
#include "lib/packet_tag.h"
#include "lib/question.h"
#include "tc/hold.h"

struct route {		     /* where a held request goes */
	__u32 server;	     /* index; our own: into this kernel; IPOS_ALL: in a type 5 */
	__u32 endpoint_ip;   /* network */
	__u16 endpoint_port; /* network */
	__u16 zero;
};

/*
 * Bytes of a held request that was read, of those that are here: what follows it is for its
 * owner to
 * read.  The owner's kernel must have had them from us before it is given anything of the client's.
 */
IPOS_INLINE __u32 held_need(const struct ipos_holding *h)
{
	__u32 need = h->held;

	if (need > h->skip + h->request_len)
		need = h->skip + h->request_len;
	return need < h->acknowledged ? h->acknowledged : need;
}

/* The first service address of the first server of a connection that we give on. */
IPOS_APART __u32 first_server_of(const struct ipos_tuple *t)
{
	struct ipos_forward *f = bpf_map_lookup_elem(&FAMILY(forward), t);
	struct ipos_server *first = f ? server_at(f->first) : NULL;

	return first ? first->address : 0;
}

/* Type 1 at w->frame.  Returns its length on the wire. */
IPOS_INLINE __u32 connection_write(const struct ipos_settings *set, struct ipos_scratch *w,
				   const struct ipos_tuple *t, const struct ipos_holding *h,
				   const struct route *r, const __u8 *mac, __u64 migration)
{
	__u32 had = h->request_len ? held_need(h) : h->acknowledged;
	__u32 l2 = l2_length(set->back_vlan), rcv_nxt = h->hs.irs + 1 + had;
	struct ipos_connection *info = (void *)w->words + HEADER_LEN;
	struct ipos_header *header = (void *)w->words;
	struct ipos_tcb *tcb = &info->tcb;
	struct wide_tag tag;

	__builtin_memset(w->words, 0, sizeof(w->words));
	header_write(header, t, r->endpoint_ip, r->endpoint_port, IPOS_CONNECTION);
	info->server_ip = t->service_ip;
	info->server_port = t->service_port;
	tcb->version = 1;
	tcb->state = BPF_TCP_ESTABLISHED;
	tcb->flags = bpf_htons(h->hs.options);
	tcb->iss = bpf_htonl(h->iss);
	tcb->irs = bpf_htonl(h->irs);
	tcb->snd_una = tcb->snd_nxt = tcb->snd_max = tcb->snd_wl2 = bpf_htonl(h->hs.iss + 1);
	tcb->snd_wl1 = bpf_htonl(rcv_nxt);
	tcb->snd_wnd = bpf_htonl((__u32)h->window << (h->hs.snd_wscale & 15));
	tcb->rcv_nxt = bpf_htonl(rcv_nxt);
	tcb->rcv_wnd = bpf_htonl(IPOS_HEAD_MAX - had);
	tcb->rcv_adv = bpf_htonl(h->hs.irs + 1 + IPOS_HEAD_MAX);
	tcb->peer_mss = bpf_htons(h->hs.mss);
	tcb->effective_mss = bpf_htons(h->hs.mss < FAMILY_MSS ? h->hs.mss : FAMILY_MSS);
	tcb->snd_wscale = h->hs.snd_wscale;
	tcb->rcv_wscale = h->hs.options & IPOS_OPT_WSCALE ? IPOS_WSCALE : 0;
	tcb->ts_recent = bpf_htonl(h->hs.ts_recent);
	tcb->ts_last_sent = bpf_htonl(h->hs.ts_sent);
	tcb_identify(tcb, h->hs.options & IPOS_OPT_SESSION ? h->identity : 0);
	tcb->snd_cwnd = bpf_htonl(10);
	tcb->snd_ssthresh = bpf_htonl(0x7fffffff);
	tcb->receive_queue_len = bpf_htonl(had - h->skip);
	tcb->migration = bpf_cpu_to_be64(migration);
	tcb->request_len = bpf_cpu_to_be64(h->request_len);
	tcb->body = h->body;
	tcb->sent_s = bpf_htonl(wall_s(set, bpf_ktime_get_boot_ns()));
	tcb->first = h->moving || h->live ? first_server_of(t) : 0;
	tag_wide(set, w, &tag, 0);
	__builtin_memcpy(tcb->tag, &tag, sizeof(tag));
	l2_write(w->frame, mac, set->back_mac, set->back_vlan, set->ethertype);
	__builtin_memcpy(w->frame + l2, w->words, TYPE1_LEN);
	return l2 + TYPE1_LEN;
}

/* The length of the piece that starts `offset` bytes into the request. */
IPOS_INLINE __u32 piece_length(const struct ipos_holding *h, __u32 offset)
{
	__u32 n = h->held - offset, room = IPOS_CHUNK - offset % IPOS_CHUNK;

	return n > room ? room : n;
}

/* The inner IP and TCP headers of a piece, `at` bytes into w->frame; w->bytes holds it. */
IPOS_APART __u32 piece_headers(struct ipos_scratch *w, const struct ipos_tuple *t,
			       const struct ipos_holding *h, __u32 at, __u32 offset)
{
	__u32 n = piece_length(h, offset), tcp_len = sizeof(struct tcphdr);
	ip_header *ip = (void *)w->frame + (at & 63);
	struct tcphdr *tcp = (void *)(ip + 1);
	int last = offset + n >= h->held;

	if (h->hs.options & IPOS_OPT_TIMESTAMPS)
		tcp_len += 12;
	__builtin_memset(tcp, 0, 32);
	tcp->source = t->client_port;
	tcp->dest = t->service_port;
	tcp->seq = bpf_htonl(h->hs.irs + 1 + offset);
	tcp->ack_seq = bpf_htonl(h->hs.iss + 1);
	((__u8 *)tcp)[12] = tcp_len / 4 << 4;
	((__u8 *)tcp)[13] = TCP_ACK | (last ? TCP_PSH : 0) | (last && h->fin ? TCP_FIN : 0);
	tcp->window = bpf_htons(h->window);
	if (h->hs.options & IPOS_OPT_TIMESTAMPS) {
		put_u32((__u8 *)tcp + 20, 0x0101080a);
		put_u32((__u8 *)tcp + 24, h->hs.ts_recent);
		put_u32((__u8 *)tcp + 28, h->hs.ts_sent);
	}
	ip_write(ip, t->client_ip, t->service_ip, sizeof(*ip) + tcp_len + n);
	tcp->check =
		(__u16)~fold((__u64)bpf_csum_diff(NULL, 0, (void *)tcp, 32, 0) + bytes_sum(w, n) +
			     sum_pseudo(t->client_ip, t->service_ip, tcp_len + n));
	return sizeof(*ip) + tcp_len;
}

/* Sends what is left of a piece from `offset` on.  Returns 0, or -1 when the kernel would not. */
IPOS_FUNCTION int piece_send(struct __sk_buff *skb, struct ipos_scratch *w,
			     const struct ipos_tuple *t, const struct route *r, __u32 offset)
{
	struct ipos_settings *set = settings_now();
	__u32 n, l2, at, inner, sent;
	struct ipos_server *to;
	struct ipos_holding *h;
	__u64 tag = 0;

	if (!set || !w || !t || !r)
		return -1;
	h = bpf_map_lookup_elem(&FAMILY(holding), t);
	to = server_at(r->server);
	if (!h || !to || offset >= h->held)
		return -1;
	n = piece_length(h, offset);
	bytes_pad(w, n);
	if (chunk_read(w, h, SPAN(offset, offset + n)))
		return -1;
	if (r->server == set->self) {
		l2 = l2_length(set->front_vlan);
		l2_write(w->frame, front_mac_of(set, t->service_ip), h->client_mac, set->front_vlan,
			 ETH_P_FAMILY);
		inner = piece_headers(w, t, h, l2, offset);
		at = l2 + inner;
	} else {
		l2 = l2_length(set->back_vlan);
		l2_write(w->frame, to->mac, set->back_mac, set->back_vlan, set->ethertype);
		header_write((void *)w->frame + l2, t, r->endpoint_ip, r->endpoint_port,
			     IPOS_PACKET);
		inner = piece_headers(w, t, h, l2 + HEADER_LEN, offset);
		at = l2 + HEADER_LEN + inner;
		__builtin_memset(w->words, 0, NH_HEADERS * 8);
		words_take(w, w->frame + l2, HEADER_LEN + IP_LEN + 32);
		if (IPOS_FAMILY == 4 && inner == 40)
			w->words[7] = w->words[8] = 0;
		tag = packet_tag_made(w, HEADER_LEN + inner, payload_tagged(n));
	}
	at &= 127;
	IPOS_OPAQUE(at);
	IPOS_OPAQUE(n);
	if (at < 54 || n < 1 || n > IPOS_CHUNK)
		return -1;
	sent = at + n + (r->server == set->self ? 0 : IPOS_TAG_LEN);
	tag_off(skb);
	if (bpf_skb_change_tail(skb, sent, 0) || bpf_skb_store_bytes(skb, 0, w->frame, at, 0) ||
	    bpf_skb_store_bytes(skb, at, w->bytes, n, 0))
		return -1;
	if (r->server == set->self) {
		int failed;

		skb->mark = IPOS_MARK_PIECE;
		failed = bpf_clone_redirect(skb, front_of(set, t->service_ip), BPF_F_INGRESS);
		skb->mark = 0;
		return failed;
	}
	if (bpf_skb_store_bytes(skb, at + n, &tag, IPOS_TAG_LEN, 0))
		return -1;
	leaving(skb, set, set->back_ifindex);
	count(COUNT_FRAMES_SENT);
	return bpf_clone_redirect(skb, set->back_ifindex, 0);
}

/* Every piece from byte `from` on, in order. */
IPOS_INLINE int pieces_send(struct __sk_buff *skb, struct ipos_scratch *w,
			    const struct ipos_tuple *t, const struct route *r, __u32 from,
			    __u32 held)
{
	for (__u32 nth = 0; nth < IPOS_CHUNKS && from < held; nth++) {
		if (piece_send(skb, w, t, r, from))
			return -1;
		from = (from | (IPOS_CHUNK - 1)) + 1;
	}
	return 0;
}

/* Type 1, then the request.  The forward row exists. */
IPOS_FUNCTION int migrate(struct __sk_buff *skb, struct ipos_scratch *w, const struct ipos_tuple *t,
			  const struct route *r, __u64 migration)
{
	struct ipos_settings *set = settings_now();
	struct ipos_holding *h;
	struct ipos_server *to;
	__u32 len;

	if (!set || !w || !t || !r)
		return -1;
	h = bpf_map_lookup_elem(&FAMILY(holding), t);
	to = server_at(r->server);
	if (!h || !to)
		return -1;
	len = connection_write(set, w, t, h, r, to->mac, migration);
	if (frame_becomes(skb, w, len)) {
		count(COUNT_DROP_EMIT);
		return -1;
	}
	leaving(skb, set, set->back_ifindex);
	if (bpf_clone_redirect(skb, set->back_ifindex, 0)) {
		count(COUNT_DROP_EMIT);
		return -1;
	}
	count(COUNT_FRAMES_SENT);
	if (pieces_send(skb, w, t, r, h->skip, h->held)) {
		count(COUNT_DROP_EMIT);
		return -1;
	}
	return 0;
}

/* The client's packet at hand becomes a type 2, where XDP had no room to make it one. */
IPOS_APART int encapsulate_skb(struct __sk_buff *skb, const struct ipos_settings *set,
			       struct ipos_scratch *w, const struct segment *s,
			       const struct route *r)
{
	__u32 inner = (s->l4 - s->l2 + s->tcp_len) & 127, l2 = l2_length(set->back_vlan);
	__u32 end = s->payload + s->length, grow = l2 + HEADER_LEN - s->l2;
	__u8 type = r->server == IPOS_ALL ? IPOS_LOCATE : IPOS_PACKET;
	__u8 to[8] __attribute__((aligned(8)));
	__u32 n;
	__u64 tag;

	if (mac_of(r->server, to) || inner < IP_LEN + 20 || inner > IP_LEN + 60)
		return shot(COUNT_DROP_EMIT);
	__builtin_memset(w->words, 0, NH_HEADERS * 8 + 8);
	header_write((void *)w->words, &s->tuple, r->endpoint_ip, r->endpoint_port, type);
	if (bpf_skb_load_bytes(skb, s->l2, &w->words[HEADER_LEN / 8], inner))
		return shot(COUNT_DROP_EMIT);
	n = payload_tagged(s->length);
	IPOS_OPAQUE(n);
	if (n >= 1 && n <= IPOS_CHUNK) {
		bytes_pad(w, n);
		if (bpf_skb_load_bytes(skb, s->payload, w->bytes, n))
			return shot(COUNT_DROP_EMIT);
	}
	tag = packet_tag_made(w, HEADER_LEN + inner, n);
	w->question = question_of(tag);
	l2_write(w->frame, to, set->back_mac, set->back_vlan, set->ethertype);
	__builtin_memcpy(w->frame + l2, w->words, HEADER_LEN);
	l2 += HEADER_LEN;
	tag_off(skb);
	if (bpf_skb_change_tail(skb, end + IPOS_TAG_LEN, 0) ||
	    bpf_skb_store_bytes(skb, end, &tag, IPOS_TAG_LEN, 0) ||
	    bpf_skb_change_head(skb, grow, 0) || bpf_skb_store_bytes(skb, 0, w->frame, l2, 0))
		return shot(COUNT_DROP_EMIT);
	leaving(skb, set, set->back_ifindex);
	count(type == IPOS_LOCATE ? COUNT_LOCATE_ASKED : COUNT_FORWARDED);
	return bpf_redirect(set->back_ifindex, 0);
}

/* A notice about a connection in place of the frame at hand. */
IPOS_FUNCTION int notice_instead(struct __sk_buff *skb, const struct ipos_settings *set,
				 struct ipos_scratch *w, const struct ipos_tuple *t,
				 const struct notice *n)
{
	__u8 to[8] __attribute__((aligned(8)));
	__u32 len;

	if (!set || !w || !t || !n || mac_of(n->server, to))
		return -1;
	len = notice_write(set, w, t, to, n);
	if (frame_becomes(skb, w, len)) {
		count(COUNT_DROP_EMIT);
		return -1;
	}
	leaving(skb, set, set->back_ifindex);
	count(COUNT_FRAMES_SENT);
	return bpf_clone_redirect(skb, set->back_ifindex, 0);
}

#endif /* IPOS_SEND_H */
