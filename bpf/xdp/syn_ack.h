/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The answer to the SYNs that nearly everybody sends, written over them: their options stand in
 * one of two orders, those of Linux and of Windows, and are as long as those of the answer.  What
 * they say goes into scratch as options_parse() leaves it, so the rest of the program does not
 * know the difference.  Any other SYN is read and answered byte by byte (lib/options.h,
 * lib/reply.h).
 */
#ifndef IPOS_XDP_SYN_ACK_H
#define IPOS_XDP_SYN_ACK_H

#include "lib/options.h"
#include "lib/reply.h"

#define SYN_ALL (OPTION_HAS_MSS | IPOS_OPT_WSCALE | IPOS_OPT_SACK)

enum syn_plain {
	SYN_NOT_PLAIN,
	SYN_WRONG, /* a sum is */
	SYN_PLAIN,
};

/* The words of a TCP header, as they are on the wire. */
struct syn_words {
	__be16 source, dest;
	__be32 seq, ack;
	__be16 bits, window;
	__sum16 check;
	__be16 urgent;
	__be32 options[5];
};

#define SYN_MSS bpf_htonl(OPTION_MSS << 24 | 4 << 16)
#define SYN_WSCALE bpf_htonl(OPTION_NOP << 24 | OPTION_WSCALE << 16 | 3 << 8)
#define SYN_SACK_STAMPS bpf_htonl(0x0402080a)
#define SYN_SACK bpf_htonl(0x01010402)

IPOS_INLINE int word_is(__be32 word, __be32 wanted, __u32 bytes)
{
	return !((word ^ wanted) & bpf_htonl(~0U << (32 - 8 * bytes)));
}

IPOS_INLINE void syn_said(struct ipos_scratch *w, const struct syn_words *o, __be32 scale)
{
	__u32 shift = bpf_ntohl(scale) & 0xff;

	w->mss = bpf_ntohl(o->options[0]);
	if (w->mss < FAMILY_MSS_MIN)
		w->mss = FAMILY_MSS_MIN;
	w->wscale = shift > 14 ? 14 : shift;
}

/* Reads a SYN without payload that has one of the two orders, and proves its sums. */
IPOS_INLINE enum syn_plain syn_read(struct xdp_md *ctx, struct ipos_scratch *w,
				    const struct segment *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	ip_header *ip = data + (s->l2 & 0x1f);
	struct syn_words *o = (void *)(ip + 1);
	__u64 sum;

	if (end - data != s->l2 + sizeof(*ip) + s->tcp_len)
		return SYN_NOT_PLAIN;
	if (s->tcp_len == 40 && (void *)(o + 1) <= end) { /* MSS, SACK, timestamps, scale */
		if (!word_is(o->options[0], SYN_MSS, 2) || o->options[1] != SYN_SACK_STAMPS ||
		    !word_is(o->options[4], SYN_WSCALE, 3))
			return SYN_NOT_PLAIN;
		sum = sum_dwords(o, 40);
		syn_said(w, o, o->options[4]);
		w->ts_value = bpf_ntohl(o->options[2]);
		w->ts_echo = bpf_ntohl(o->options[3]);
		w->option_flags = SYN_ALL | IPOS_OPT_TIMESTAMPS;
	} else if (s->tcp_len == 32 && (void *)&o->options[3] <= end) { /* MSS, scale, SACK */
		if (!word_is(o->options[0], SYN_MSS, 2) || !word_is(o->options[1], SYN_WSCALE, 3) ||
		    o->options[2] != SYN_SACK)
			return SYN_NOT_PLAIN;
		sum = sum_dwords(o, 32);
		syn_said(w, o, o->options[1]);
		w->ts_value = w->ts_echo = 0;
		w->option_flags = SYN_ALL;
	} else {
		return SYN_NOT_PLAIN;
	}
	sum += sum_pseudo(s->tuple.client_ip, s->tuple.service_ip, s->tcp_len);
	return fold(sum) == 0xffff && ip_header_right(ip) ? SYN_PLAIN : SYN_WRONG;
}

/* Writes the answer over a SYN that syn_read() has read, and sends it back. */
IPOS_INLINE int syn_ack_send(struct xdp_md *ctx, const struct segment *s, const struct reply *r)
{
	__u32 l2 = s->l2 & 0x1f, stamps = s->tcp_len == 40;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	ip_header *ip = data + l2;
	struct syn_words *o = (void *)(ip + 1);
	struct syn_words n;
	__u32 ifindex;
	__u64 sum;

	n.seq = bpf_htonl(r->seq);
	n.ack = bpf_htonl(r->ack);
	n.bits = bpf_htons(s->tcp_len << 10 | r->flags);
	n.window = bpf_htons(r->window);
	n.options[0] = SYN_MSS | bpf_htonl(FAMILY_MSS);
	sum = (__u64)s->tuple.service_port + s->tuple.client_port + n.seq + n.ack + n.bits +
	      n.window + n.options[0] + (SYN_WSCALE | bpf_htonl(IPOS_WSCALE)) +
	      sum_pseudo(s->tuple.service_ip, s->tuple.client_ip, s->tcp_len);
	if (stamps) {
		n.options[2] = bpf_htonl(r->ts_value);
		n.options[3] = bpf_htonl(r->ts_echo);
		sum += (__u64)SYN_SACK_STAMPS + n.options[2] + n.options[3];
		if ((void *)(o + 1) > end)
			return XDP_DROP;
		o->options[2] = n.options[2];
		o->options[3] = n.options[3];
		o->options[4] = SYN_WSCALE | bpf_htonl(IPOS_WSCALE);
	} else {
		sum += SYN_SACK;
		if ((void *)&o->options[3] > end)
			return XDP_DROP;
		o->options[1] = SYN_SACK;
		o->options[2] = SYN_WSCALE | bpf_htonl(IPOS_WSCALE);
	}
	o->source = s->tuple.service_port;
	o->dest = s->tuple.client_port;
	o->seq = n.seq;
	o->ack = n.ack;
	o->bits = n.bits;
	o->window = n.window;
	o->check = (__u16)~fold(sum);
	o->urgent = 0;
	o->options[0] = n.options[0];
	ip_write(ip, s->tuple.service_ip, s->tuple.client_ip, sizeof(*ip) + s->tcp_len);
	if (data + sizeof(struct ethhdr) > end)
		return XDP_DROP;
	mac_swap(data);
	ifindex = ctx->ingress_ifindex;
	IPOS_OPAQUE(ifindex); /* else one load does for this and for `back_ifindex` of settings */
	return bpf_redirect(ifindex, 0);
}

#endif /* IPOS_XDP_SYN_ACK_H */
