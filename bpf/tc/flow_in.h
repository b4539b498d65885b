/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Datagrams of UDP services that come in, and what other servers say about their flows.  All of it
 * is behind the branches of TCP, in functions that the verifier looks at by themselves.
 */
#ifndef IPOS_FLOW_IN_H
#define IPOS_FLOW_IN_H

#include "select/policy.h"
#include "tc/flow_long.h"

/* ---- at the first server -------------------------------------------------------------------- */

/* The servers that have refused the flow, in w->refused. */
IPOS_INLINE void flow_refusers(struct ipos_scratch *w, const struct ipos_flow *f)
{
	__builtin_memset(&w->refused, 0, sizeof(w->refused));
#pragma unroll
	for (int i = 0; i < IPOS_FLOW_REFUSERS; i++)
		if (f && i < f->refusals)
			refuser_add(&w->refused, f->refused[i]);
}

/*
 * A server for the flow of k->gram; `again`: it has a row, whose server is not to have it any more.
 * Returns 0, or -1 when there is none.
 */
IPOS_FUNCTION int flow_choose(struct ipos_scratch *w, struct flow_work *k, int again)
{
	struct ipos_service *service;
	struct ipos_server *server;
	struct ipos_flow *f = NULL;
	struct choice c = {};
	struct draw d;
	int idle;

	if (!w || !k)
		return -1;
	service = service_at(k->gram.service);
	if (again)
		f = flow_of(&k->gram.tuple);
	if (!service)
		return -1;
	idle = f && flow_idle(f->last_seen_ns, service, k->gram.now);
	if (f && (idle || f->state != IPOS_FLOW_REFUSED))
		f->refusals = 0;
	flow_refusers(w, f);
	d = draw_for(&k->gram.tuple);
	choose(w, service->pool, &w->refused, &d, &c);
	server = server_at(c.server);
	if (!c.server || !server) {
		if (f)
			f->refusals = 0; /* all are asked anew by the next datagram */
		return -1;
	}
	count(f && !idle ? COUNT_FLOW_AGAIN : COUNT_FLOW_NEW);
	if (!f) {
		f = &k->flow;
		__builtin_memset(f, 0, sizeof(*f));
	}
	f->destination_ip = server->address;
	f->destination_port = c.port;
	f->server = c.server;
	f->service = k->gram.service;
	f->state = IPOS_FLOW_OFFERED;
	f->offered_ns = 0;
	f->last_seen_ns = k->gram.now;
	return f == &k->flow ? bpf_map_update_elem(&udp_new, &k->gram.tuple, f, BPF_ANY) : 0;
}

/* Whether the owner is to be told of the flow before its datagram. */
IPOS_INLINE int flow_offer_due(const struct ipos_flow *f, __u64 now)
{
	if (!f->offered_ns)
		return 1;
	if (f->state == IPOS_FLOW_OFFERED)
		return now - f->offered_ns > FLOW_OFFER_AGAIN_NS;
	return f->state == IPOS_FLOW_ACKNOWLEDGED && now - f->offered_ns > FLOW_ANSWERED_NS;
}

/* The datagram, or fragment, at hand goes to another server. */
IPOS_FUNCTION int flow_forward(struct __sk_buff *skb, struct ipos_scratch *w, struct flow_work *k,
			       const struct flow_way *way)
{
	struct ipos_settings *set = settings_now();

	if (!set || !w || !k || !way)
		return TC_ACT_SHOT;
	if (k->gram.length > IPOS_FLOW_PACKET_MAX)
		return k->gram.whole ? flow_too_long(skb, w, k) : flow_split(skb, w, k, way);
	if (flow_wrap(skb, w, k, way))
		return shot(COUNT_DROP_EMIT);
	return bpf_redirect(set->back_ifindex, 0);
}

/* A later fragment, where the first one went. */
IPOS_INLINE int flow_fragment(struct __sk_buff *skb, const struct ipos_settings *set,
			      struct ipos_scratch *w, struct flow_work *k)
{
	struct flow_way way = { .server = k->gram.server, .port = k->gram.port };

	return way.server == set->self ? flow_deliver(skb, k) : flow_forward(skb, w, k, &way);
}

/* It stays here.  Its row need not be evicted first, once the application has answered. */
IPOS_INLINE int flow_here(struct __sk_buff *skb, const struct ipos_settings *set,
			  struct flow_work *k, struct ipos_flow *f)
{
	struct ipos_owned *o = owned_of(&k->gram.tuple);

	__u16 port = f->destination_port;

	if (f->state != IPOS_FLOW_ANSWERED && o && o->answered_ns) {
		f->state = IPOS_FLOW_ANSWERED;
		flow_keep(&k->gram.tuple);
	}
	owned_note(k, port, set->self);
	return flow_deliver(skb, k);
}

/* A client's datagram, which may be a first fragment. */
IPOS_INLINE int flow_client(struct __sk_buff *skb, const struct ipos_settings *set,
			    struct ipos_scratch *w, struct flow_work *k)
{
	const struct ipos_service *service = service_at(k->gram.service);
	struct ipos_flow *f = flow_of(&k->gram.tuple);
	int again = skb->mark == IPOS_MARK_FLOW;
	struct flow_way way = {};

	skb->mark = 0;
	if (!service)
		return TC_ACT_OK;
	if (!f && again)
		return shot(COUNT_DROP_FLOW_EVICTED);
	if (!f || !flow_lives(f, service, k->gram.now)) {
		if (flow_choose(w, k, f != NULL))
			return shot(COUNT_DROP_FLOW_NO_SERVER);
		f = flow_of(&k->gram.tuple);
		if (!f)
			return shot(COUNT_DROP_FLOW_EVICTED);
	}
	way.server = f->server;
	way.port = f->destination_port;
	if (!again) {
		f->packets++;
		seen(&f->last_seen_ns, k->gram.now);
	}
	if (k->gram.more)
		fragment_first(k, way.server, way.port);
	if (way.server == set->self)
		return flow_here(skb, set, k, f);
	if (!again && flow_offer_due(f, k->gram.now))
		return flow_offer(skb, set, w, k, f);
	return flow_forward(skb, w, k, &way);
}

/* ---- at the owner --------------------------------------------------------------------------- */

/* Out of a frame: put on front's ingress, where reverse-path filters and firewalls expect it. */
IPOS_APART int flow_arrived(struct __sk_buff *skb, const struct ipos_settings *set,
			    struct flow_work *k)
{
	const struct ipos_service *service = service_at(k->gram.service);

	if (!service || !flow_listens(skb, k))
		return shot(COUNT_DROP_FLOW_NO_LISTENER);
	if (!k->gram.offset)
		owned_note(k, service->application_port, 0);
	if (k->gram.more && !k->gram.offset)
		fragment_first(k, set->self, service->application_port);
	skb->mark = IPOS_MARK;
	return bpf_redirect(front_of(set, k->gram.tuple.service_ip), BPF_F_INGRESS);
}

/* Whether the flow was given to us by another server: its datagrams come out of frames. */
IPOS_INLINE int flow_given(const struct __sk_buff *skb, const struct ipos_settings *set,
			   const struct flow_work *k)
{
	struct ipos_owned *o;

	if (set->back_ifindex != set->front_ifindex)
		return skb->ifindex == set->back_ifindex;
	o = owned_of(&k->gram.tuple);
	return o && o->first && o->first != set->self;
}

/* A packet that is UDP, with its IP header at `l2`. */
IPOS_FUNCTION int flow_packet(struct __sk_buff *skb, __u32 l2)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	struct flow_work *k = flow_work_of(IPOS_PROG_INGRESS);
	struct ipos_settings *set = settings_now();
	int wrong;

	if (!w || !k || !set)
		return TC_ACT_OK;
	wrong = flow_read(skb, k, l2);
	if (wrong == FLOW_FOREIGN)
		return TC_ACT_OK;
	if (skb->mark == IPOS_MARK) {
		skb->mark = 0;
		return flow_deliver(skb, k);
	}
	if (denied(k->gram.tuple.client_ip))
		return shot(COUNT_DROP_DENIED);
	if (wrong != FLOW_SOUND)
		return shot(wrong);
	if (flow_given(skb, set, k))
		return flow_arrived(skb, set, k);
	if (unlikely(set->own_front_ifindex) && skb->ifindex != set->own_front_ifindex) {
		struct ipos_address_key key = { .ip = k->gram.tuple.client_ip };

		if (bpf_map_lookup_elem(&FAMILY(addresses), &key))
			return shot(COUNT_DROP_OWN_ADDRESS);
	}
	return k->gram.offset ? flow_fragment(skb, set, w, k) : flow_client(skb, set, w, k);
}

/* ---- ICMP ----------------------------------------------------------------------------------- */

struct flow_quote {
	__u8 type, code;
	__be16 checksum;
	__be32 rest;
	struct iphdr ip;
	__be16 source, dest;
};

/* An ICMP error about what an application of a UDP flow has sent belongs to the flow's owner. */
IPOS_FUNCTION int flow_icmp(struct __sk_buff *skb, __u32 l2)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	struct flow_work *k = flow_work_of(IPOS_PROG_INGRESS);
	struct ipos_settings *set = settings_now();
	struct flow_way way = {};
	struct flow_quote *q;
	struct ipos_flow *f;
	struct iphdr ip;

	if (!w || !k || !set)
		return TC_ACT_OK;
	q = (void *)w->saved;
	if (bpf_skb_load_bytes(skb, l2, &ip, sizeof(ip)) || ip.ihl != 5 ||
	    ip.frag_off & bpf_htons(0x3fff) ||
	    bpf_skb_load_bytes(skb, l2 + sizeof(ip), q, sizeof(*q)) ||
	    q->type != ICMP_UNREACHABLE || q->ip.protocol != IPPROTO_UDP || q->ip.ihl != 5 ||
	    q->ip.frag_off & bpf_htons(0x1fff))
		return TC_ACT_OK;
	__builtin_memset(&k->gram, 0, sizeof(k->gram));
	k->gram.tuple.client_ip = q->ip.daddr;
	k->gram.tuple.client_port = q->dest;
	k->gram.tuple.service_ip = q->ip.saddr;
	k->gram.tuple.service_port = q->source;
	k->gram.tuple.protocol = IPPROTO_UDP;
	k->gram.l2 = l2;
	k->gram.length = bpf_ntohs(ip.tot_len);
	k->gram.headers = FLOW_HEADERS; /* ICMP's is as long as UDP's */
	f = flow_of(&k->gram.tuple);
	if (!f || f->server == set->self || k->gram.length < sizeof(ip) + sizeof(*q) ||
	    l2 + k->gram.length > skb->len || k->gram.length > IPOS_FLOW_PACKET_MAX)
		return TC_ACT_OK;
	way.server = f->server;
	way.port = f->destination_port;
	if (flow_wrap(skb, w, k, &way))
		return shot(COUNT_DROP_EMIT);
	count(COUNT_ICMP_FORWARDED);
	return bpf_redirect(set->back_ifindex, 0);
}

#endif /* IPOS_FLOW_IN_H */
