/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A SYN that travels, of a service that selects on connection, and that its server has refused:
 * nothing listens there.  Another server is chosen at once, and gets the SYN made anew from what
 * the Temporary row knows of it; the client would send it again a second later.
 */
#ifndef IPOS_SYN_H
#define IPOS_SYN_H

#include "lib/measure.h"
#include "select/policy.h"
#include "tc/send.h"

#define SYN_OPTIONS 20 /* bytes: MSS, SACK, timestamps, window scale, or padding */
#define SYN_TCP_LEN (sizeof(struct tcphdr) + SYN_OPTIONS)
#define SYN_WINDOW 64240

/* The whole frame, as it came in on front, at w->frame.  Returns its length. */
IPOS_APART __u32 syn_write(const struct ipos_settings *set, struct ipos_scratch *w,
			   const struct ipos_tuple *t, const struct ipos_temporary *row)
{
	__u32 l2 = l2_length(set->front_vlan) & 31;
	struct tcphdr *tcp = (void *)w->saved;
	__u8 *option = (void *)(tcp + 1);

	__builtin_memset(tcp, 0, sizeof(*tcp));
	__builtin_memset(option, 1, SYN_OPTIONS); /* no operation */
	tcp->source = t->client_port;
	tcp->dest = t->service_port;
	tcp->seq = bpf_htonl(row->hs.irs);
	((__u8 *)tcp)[12] = SYN_TCP_LEN / 4 << 4;
	((__u8 *)tcp)[13] = TCP_SYN;
	tcp->window = bpf_htons(SYN_WINDOW);
	put_u32(option, 0x02040000 | row->hs.mss);
	if (row->hs.options & IPOS_OPT_SACK)
		put_u32(option + 4, 0x04020101);
	if (row->hs.options & IPOS_OPT_TIMESTAMPS) {
		option[6] = 8;
		option[7] = 10;
		put_u32(option + 8, row->hs.ts_recent);
		put_u32(option + 12, 0);
	}
	if (row->hs.options & IPOS_OPT_WSCALE)
		put_u32(option + 16, 0x01030300 | row->hs.snd_wscale);
	tcp->check = (__u16)~fold((__u64)bpf_csum_diff(NULL, 0, (void *)tcp, SYN_TCP_LEN, 0) +
				  sum_pseudo(t->client_ip, t->service_ip, SYN_TCP_LEN));
	l2_write(w->frame, front_mac_of(set, t->service_ip), row->client_mac, set->front_vlan,
		 ETH_P_FAMILY);
	ip_write((void *)w->frame + l2, t->client_ip, t->service_ip, IP_LEN + SYN_TCP_LEN);
	__builtin_memcpy(w->frame + l2 + IP_LEN, tcp, SYN_TCP_LEN);
	return l2 + IP_LEN + SYN_TCP_LEN;
}

/* No server is left: RST to the SYN (RFC 9293 3.5.2). */
IPOS_APART int syn_reset(struct __sk_buff *skb, const struct ipos_settings *set,
			 struct ipos_scratch *w, const struct ipos_tuple *t,
			 const struct ipos_temporary *row)
{
	struct tc_reply r = { .reply = { .ack = row->hs.irs + 1, .flags = TCP_RST | TCP_ACK } };
	struct segment s = {};

	s.tuple = *t;
	__builtin_memcpy(r.mac, row->client_mac, ETH_ALEN);
	bpf_map_delete_elem(&FAMILY(temporary), t);
	count(COUNT_DROP_NO_SERVER);
	count(COUNT_RST_SENT);
	return reply_from_tc(skb, set, w, &s, &r);
}

/* Writes all refusers of the SYN and the row's server into w->refused; -1: no more room. */
IPOS_APART int syn_refusers(struct ipos_scratch *w, struct ipos_temporary *row)
{
	__u16 last = row->server;

	__builtin_memset(&w->refused, 0, sizeof(w->refused));
#pragma unroll
	for (int i = 0; i < IPOS_SYN_REFUSERS_MAX; i++) {
		if (!row->refused[i]) {
			row->refused[i] = last;
			last = 0;
		}
		refuser_add(&w->refused, row->refused[i]);
		if (!last)
			return 0;
	}
	return -1;
}

/* So many have refused it that its client is to send it again: then all are asked anew. */
IPOS_APART int syn_later(const struct ipos_tuple *t)
{
	bpf_map_delete_elem(&FAMILY(temporary), t);
	count(COUNT_ASKED_LATER);
	return TC_ACT_SHOT;
}

/* The SYN of a row whose server, maybe this one, has refused it.  The frame at hand is consumed. */
IPOS_APART int syn_again(struct __sk_buff *skb, const struct ipos_settings *set,
			 struct ipos_scratch *w, const struct ipos_tuple *t)
{
	struct ipos_temporary *row = bpf_map_lookup_elem(&FAMILY(temporary), t);
	struct ipos_address *a = address_of(t->service_ip, t->service_port);
	struct ipos_service *service = a ? service_at(a->service) : NULL;
	struct draw d = draw_for(t);
	struct ipos_server *owner;
	struct route r = {};
	struct segment s = {};
	struct choice c = {};

	if (!row || !service)
		return shot(COUNT_DROP_FRAME_UNKNOWN);
	if (syn_refusers(w, row))
		return syn_later(t);
	count(COUNT_CHOSEN_AGAIN);
	tally_refuser(row->server);
	choose(w, service->pool, &w->refused, &d, &c);
	tally_syn(a->service, c.server, set->self, service->pool);
	owner = server_at(c.server);
	if (!c.server || !owner)
		return syn_reset(skb, set, w, t, row);
	row->server = c.server;
	row->port = c.port;
	row->state = c.server == set->self ? IPOS_TEMP_SYN_HERE : IPOS_TEMP_SYN;
	if (frame_becomes(skb, w, syn_write(set, w, t, row)))
		return shot(COUNT_DROP_EMIT);
	if (c.server == set->self)
		return bpf_redirect(front_of(set, t->service_ip), BPF_F_INGRESS);
	count(COUNT_SYN_FORWARDED);
	s.tuple = *t;
	s.l2 = l2_length(set->front_vlan);
	s.l4 = s.l2 + IP_LEN;
	s.tcp_len = SYN_TCP_LEN;
	s.payload = s.l4 + SYN_TCP_LEN;
	r.server = c.server;
	r.endpoint_ip = owner->address;
	r.endpoint_port = c.port;
	return encapsulate_skb(skb, set, w, &s, &r);
}

#endif /* IPOS_SYN_H */
