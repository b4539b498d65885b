/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections whose application is in a container, that is, in another network namespace behind a
 * pair of interfaces.  Where our own kernel would get a packet, it goes into the container's
 * interface instead, in the same step and past netfilter (bpf_redirect_peer()).
 */
#ifndef IPOS_TO_BOX_H
#define IPOS_TO_BOX_H

#include "abi/verdict.h"
#include "lib/rows.h"

#if IPOS_FAMILY == 4
/*
 * Notes in skb->cb where the packet's connection is.  An endpoint with a socket stays in its
 * container; any other packet goes where the service's application is now.  Only called while there
 * are containers.
 */
IPOS_APART int box_find(struct __sk_buff *skb, const struct ipos_tuple *t)
{
	struct ipos_endpoint *ep = endpoint_of(t);
	struct ipos_service *service;
	struct ipos_address *a;

	if (ep && ep->state != IPOS_EP_PENDING) {
		if (ep->flags & IPOS_EP_BOXED) {
			skb->cb[IPOS_CB_NETNS] = ep->box_netns;
			skb->cb[IPOS_CB_BOX] = ep->box;
		}
		return 0;
	}
	a = address_of(t->service_ip, t->service_port);
	service = a ? service_at(a->service) : NULL;
	if (!service)
		return 0;
	skb->cb[IPOS_CB_NETNS] = service->box_netns;
	skb->cb[IPOS_CB_BOX] = service->box;
	return 0;
}

/* The endpoint that is about to be adopted is where its listener is. */
IPOS_INLINE void box_note(const struct __sk_buff *skb, struct ipos_endpoint *ep)
{
	ep->flags &= ~IPOS_EP_BOXED;
	if (likely(!skb->cb[IPOS_CB_BOX]))
		return;
	ep->flags |= IPOS_EP_BOXED;
	ep->box = skb->cb[IPOS_CB_BOX];
	ep->box_netns = skb->cb[IPOS_CB_NETNS];
}

/* What our kernel would get goes to the container.  A tag of front's VLAN means nothing there. */
IPOS_APART int to_box(struct __sk_buff *skb, __u32 vlan)
{
	__u32 box = skb->cb[IPOS_CB_BOX];

	if (vlan && bpf_skb_vlan_pop(skb)) {
		count(COUNT_DROP_EMIT);
		return TC_ACT_SHOT;
	}
	bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(box, 0);
}

#define ICMP_QUOTE 8 /* bytes of an ICMP header before the packet that it is about */
#define ICMP_UNREACHABLE 3

/* ICMP about what a container's application has sent goes to it: path MTU, above all. */
IPOS_APART int icmp_to_box(struct __sk_buff *skb, __u32 l2, __u32 vlan)
{
	struct ipos_tuple t = { .protocol = IPPROTO_TCP };
	struct ipos_endpoint *ep;
	struct iphdr outer, quoted;
	__be16 ports[2];
	__u8 type;
	__u32 at;

	if (bpf_skb_load_bytes(skb, l2, &outer, sizeof(outer)) || outer.ihl != 5)
		return TC_ACT_OK;
	at = l2 + sizeof(outer);
	if (bpf_skb_load_bytes(skb, at, &type, sizeof(type)) || type != ICMP_UNREACHABLE ||
	    bpf_skb_load_bytes(skb, at + ICMP_QUOTE, &quoted, sizeof(quoted)) || quoted.ihl != 5 ||
	    quoted.protocol != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, at + ICMP_QUOTE + sizeof(quoted), ports, sizeof(ports)))
		return TC_ACT_OK;
	t.service_ip = quoted.saddr;
	t.client_ip = quoted.daddr;
	t.service_port = ports[0];
	t.client_port = ports[1];
	ep = endpoint_of(&t);
	if (!ep || !(ep->flags & IPOS_EP_BOXED))
		return TC_ACT_OK;
	skb->cb[IPOS_CB_BOX] = ep->box;
	return to_box(skb, vlan);
}
#else /* no application in a container is IPv6's */
IPOS_INLINE int box_find(struct __sk_buff *skb, const struct ipos_tuple *t)
{
	(void)skb, (void)t;
	return 0;
}

IPOS_INLINE void box_note(const struct __sk_buff *skb, struct ipos_endpoint *ep)
{
	(void)skb, (void)ep;
}
#endif

#endif /* IPOS_TO_BOX_H */
