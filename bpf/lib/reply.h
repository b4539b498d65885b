/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Answers of the handshake, built by XDP in the client's own frame and sent back the way it
 * came.  bpf_redirect() to the interface rather than XDP_TX: a veth flushes XDP_TX only when
 * its peer has an XDP program too.
 */
#ifndef IPOS_REPLY_H
#define IPOS_REPLY_H

#include "lib/syn_cookie.h"
#include "lib/packet.h"
#include "lib/maps.h"

enum reply_options { REPLY_BARE, REPLY_TIMESTAMPS, REPLY_SYN };

struct reply {
	__u32 seq, ack;
	__u32 ts_value, ts_echo;
	__u16 window; /* as on the wire */
	__u8 flags;
	__u8 options; /* enum reply_options */
};

struct tc_reply {
	struct reply reply;
	__u8 mac[ETH_ALEN];
	__u16 payload;
};

/*
 * The window of an unattached endpoint that holds `held` bytes, as on the wire.  Rounded up:
 * the right edge never moves back (RFC 9293 3.8.6).
 */
IPOS_INLINE __u16 reply_window(const struct ipos_handshake *hs, __u32 held)
{
	__u32 window = IPOS_HEAD_MAX - held;

	if (!(hs->options & IPOS_OPT_WSCALE))
		return window;
	return (window + (1 << IPOS_WSCALE) - 1) >> IPOS_WSCALE;
}

IPOS_INLINE void put_u32(__u8 *at, __u32 value)
{
	__be32 wire = bpf_htonl(value);

	__builtin_memcpy(at, &wire, 4);
}

/* The options of our SYN-ACK, mirroring what the SYN offered.  Returns their length. */
IPOS_INLINE __u32 reply_syn_options(struct ipos_scratch *w, const struct reply *r)
{
	__u32 flags = w->option_flags;
	__u8 *o = w->frame;

	put_u32(o + 20, OPTION_MSS << 24 | 4 << 16 | FAMILY_MSS);
	if (flags & IPOS_OPT_TIMESTAMPS) {
		put_u32(o + 24, flags & IPOS_OPT_SACK ? 0x0402080a : 0x0101080a);
		put_u32(o + 28, r->ts_value);
		put_u32(o + 32, r->ts_echo);
		if (flags & IPOS_OPT_WSCALE)
			put_u32(o + 36,
				OPTION_NOP << 24 | OPTION_WSCALE << 16 | 3 << 8 | IPOS_WSCALE);
		return 16 + (flags & IPOS_OPT_WSCALE ? 4 : 0);
	}
	if (flags & IPOS_OPT_SACK) {
		put_u32(o + 24, 0x01010402);
		if (flags & IPOS_OPT_WSCALE)
			put_u32(o + 28,
				OPTION_NOP << 24 | OPTION_WSCALE << 16 | 3 << 8 | IPOS_WSCALE);
		return 8 + (flags & IPOS_OPT_WSCALE ? 4 : 0);
	}
	if (flags & IPOS_OPT_WSCALE)
		put_u32(o + 24, OPTION_NOP << 24 | OPTION_WSCALE << 16 | 3 << 8 | IPOS_WSCALE);
	return 4 + (flags & IPOS_OPT_WSCALE ? 4 : 0);
}

/* A TCP header at w->frame, zero padded to 60 bytes.  Returns its length. */
IPOS_APART int reply_header(struct ipos_scratch *w, const struct segment *s, const struct reply *r)
{
	struct tcphdr *tcp = (void *)w->frame;
	__u32 len = sizeof(*tcp);

	__builtin_memset(w->frame, 0, 64);
	if (r->options == REPLY_SYN) {
		len += reply_syn_options(w, r);
	} else if (r->options == REPLY_TIMESTAMPS) {
		put_u32(w->frame + 20, 0x0101080a);
		put_u32(w->frame + 24, r->ts_value);
		put_u32(w->frame + 28, r->ts_echo);
		len += 12;
	}
	tcp->source = s->tuple.service_port;
	tcp->dest = s->tuple.client_port;
	tcp->seq = bpf_htonl(r->seq);
	tcp->ack_seq = bpf_htonl(r->ack);
	w->frame[12] = len / 4 << 4;
	w->frame[13] = r->flags;
	tcp->window = bpf_htons(r->window);
	tcp->check = (__u16)~fold(sum_words(w->frame, 64) +
				  sum_pseudo(s->tuple.service_ip, s->tuple.client_ip, len));
	return len;
}

/* Turns the frame into the reply and sends it.  Returns the XDP action. */
IPOS_APART int reply_send(struct xdp_md *ctx, struct ipos_scratch *w, const struct segment *s,
			  const struct reply *r)
{
	__u32 tcp_len = reply_header(w, s, r) & 63, l2 = s->l2 & 31;
	__u32 frame_len = bpf_xdp_get_buff_len(ctx);
	__u32 new_len = l2 + IP_LEN + tcp_len;
	void *data, *end, *ip;

	if (tcp_len < sizeof(struct tcphdr) || tcp_len > 60)
		return XDP_DROP;
	if (new_len != frame_len && bpf_xdp_adjust_tail(ctx, (int)new_len - (int)frame_len)) {
		count(COUNT_DROP_EMIT);
		return XDP_DROP;
	}
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + l2;
	IPOS_OPAQUE(ip); /* else a compiler takes the second of these bounds for the first's, too */
	if (data + sizeof(struct ethhdr) > end || ip + IP_LEN > end)
		return XDP_DROP;
	mac_swap(data);
	ip_write(ip, s->tuple.service_ip, s->tuple.client_ip, IP_LEN + tcp_len);
	if (bpf_xdp_store_bytes(ctx, l2 + IP_LEN, w->frame, tcp_len)) {
		count(COUNT_DROP_EMIT);
		return XDP_DROP;
	}
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

#endif /* IPOS_REPLY_H */
