/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A datagram of a UDP service, or a fragment of one, read out of the frame at hand. */
#ifndef IPOS_FLOW_READ_H
#define IPOS_FLOW_READ_H

#include "lib/flow_rows.h"
#include "lib/emit.h"

#define FLOW_HEADERS (sizeof(struct iphdr) + sizeof(struct flow_udp))

struct flow_udp {
	__be16 source, dest, length;
	__be16 check;
};

/* Said by flow_read(): of what goes on as if we were not there, and of a sound one. */
#define FLOW_FOREIGN (-1)
#define FLOW_SOUND (-2)

/* The service of a later fragment, by what its first one said.  0, or FLOW_FOREIGN. */
IPOS_INLINE int flow_read_later(struct flow_work *k)
{
	struct ipos_address_key any = { .ip = k->gram.tuple.service_ip };
	struct ipos_fragment *first;
	struct ipos_address *a;

	fragment_key(&k->piece, k->gram.tuple.client_ip, k->gram.tuple.service_ip, k->gram.id, 0);
	first = fragment_of(k);
	if (!first) {
		if (bpf_map_lookup_elem(&FAMILY(addresses), &any))
			count(COUNT_FLOW_FRAGMENT_LOST);
		return FLOW_FOREIGN;
	}
	k->gram.tuple.client_port = first->client_port;
	k->gram.tuple.service_port = first->service_port;
	k->gram.server = first->server;
	k->gram.port = first->port;
	a = flow_address(k->gram.tuple.service_ip, k->gram.tuple.service_port);
	if (!a)
		return FLOW_FOREIGN;
	k->gram.service = a->service;
	return 0;
}

/* Whether no service ever had the address, or the port. */
IPOS_INLINE int flow_foreign(const struct ipos_tuple *t)
{
	const struct ipos_gates *g = gates_now();
	__u32 kind = bpf_ntohl(t->service_ip) * IPOS_GATE_MIX >> 19, port;

	if (!g)
		return 0;
	port = bpf_ntohs(t->service_port);
	return (g->foreign_addresses[kind >> 3] >> (kind & 7) & 1) ||
	       (port && g->foreign_ports[port >> 3] >> (port & 7) & 1);
}

/*
 * Into k->gram, with its service, from the IP header at `l2` on.  Returns FLOW_SOUND, FLOW_FOREIGN,
 * or the counter of the drop, which may be 0.
 */
IPOS_FUNCTION int flow_read(struct __sk_buff *skb, struct flow_work *k, __u32 l2)
{
	struct datagram *g;
	struct ipos_address *a;
	struct flow_udp udp = {};
	struct iphdr ip;
	__u16 bits;

	if (!k || bpf_skb_load_bytes(skb, l2, &ip, sizeof(ip)))
		return FLOW_FOREIGN;
	g = &k->gram;
	__builtin_memset(g, 0, sizeof(*g));
	bits = bpf_ntohs(ip.frag_off);
	g->now = bpf_ktime_get_boot_ns();
	g->tuple.client_ip = ip.saddr;
	g->tuple.service_ip = ip.daddr;
	g->tuple.protocol = IPPROTO_UDP;
	g->l2 = l2;
	g->l4 = l2 + ip.ihl * 4;
	g->length = bpf_ntohs(ip.tot_len);
	g->id = ip.id;
	g->offset = (bits & 0x1fff) * 8;
	g->more = bits >> 13 & 1;
	g->whole = bits >> 14 & 1;
	g->headers = g->offset ? sizeof(ip) : FLOW_HEADERS;
	if (flow_foreign(&g->tuple))
		return FLOW_FOREIGN;
	if (g->offset) {
		if (flow_read_later(k))
			return FLOW_FOREIGN;
	} else {
		if (bpf_skb_load_bytes(skb, g->l4, &udp, sizeof(udp)))
			return FLOW_FOREIGN; /* too short for ports: nobody's */
		g->tuple.client_port = udp.source;
		g->tuple.service_port = udp.dest;
		if (flow_foreign(&g->tuple))
			return FLOW_FOREIGN;
		a = flow_address(g->tuple.service_ip, g->tuple.service_port);
		if (!a)
			return FLOW_FOREIGN;
		g->service = a->service;
		if (ip.ihl == 5 && bpf_ntohs(udp.length) < sizeof(udp))
			return COUNT_DROP_MALFORMED;
	}
	if (ip.ihl != 5)
		return COUNT_DROP_IP_OPTIONS;
	if (g->length < g->headers || l2 + g->length > skb->len)
		return COUNT_DROP_MALFORMED;
	return FLOW_SOUND;
}

/* The listener of the application for what k->gram was asked at, to be released; NULL: none. */
IPOS_INLINE struct bpf_sock *flow_listener(struct __sk_buff *skb, const struct flow_work *k,
					   const struct ipos_service *service)
{
	struct bpf_sock_tuple t = {
		.ipv4 = { .saddr = k->gram.tuple.client_ip,
			  .daddr = k->gram.tuple.service_ip,
			  .sport = k->gram.tuple.client_port,
			  .dport = service->application_port },
	};

	if (service->listener_ip)
		t.ipv4.daddr = service->listener_ip;
	if (service->application_ip)
		t.ipv4.daddr = service->application_ip;
	return bpf_sk_lookup_udp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
}

IPOS_FUNCTION int flow_listens(struct __sk_buff *skb, struct flow_work *k)
{
	const struct ipos_service *service;
	struct bpf_sock *sk;

	if (!k)
		return 0;
	service = service_at(k->gram.service);
	sk = service ? flow_listener(skb, k, service) : NULL;
	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/*
 * The datagram goes up to our kernel, or straight to a socket that listens elsewhere than the
 * client asked.  Fragments have no socket before they are put together.
 */
IPOS_FUNCTION int flow_deliver(struct __sk_buff *skb, struct flow_work *k)
{
	const struct ipos_service *service;
	struct bpf_sock *sk;
	int failed;

	if (!k)
		return TC_ACT_SHOT;
	service = service_at(k->gram.service);
	if (!service)
		return TC_ACT_SHOT;
	if (!service->application_ip && !service->listener_ip &&
	    service->application_port == service->port)
		return TC_ACT_OK;
	if (k->gram.offset || k->gram.more)
		return shot(COUNT_DROP_FLOW_APPLICATION);
	sk = flow_listener(skb, k, service);
	if (!sk)
		return TC_ACT_OK; /* our kernel says to the client that nobody listens */
	failed = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return failed ? shot(COUNT_DROP_FLOW_NO_LISTENER) : TC_ACT_OK;
}

#endif /* IPOS_FLOW_READ_H */
