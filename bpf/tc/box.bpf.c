/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Both ends of the wire to a container whose application takes connections of the farm.
 *
 *	front, back: tc ingress  -> bpf_redirect_peer() -> [container's end: ipos_box_in]  -> TCP
 *	front: tc egress         <- bpf_redirect_neigh() <- [our end: ipos_box_out]        <- TCP
 *
 * The kernel gives an endpoint only to a listener of the network namespace that the packet is in
 * (net/core/filter.c, bpf_sk_assign_tcp_reqsk()), so that is done at the container's end.  All else
 * that we ask of its sockets is asked from here, see netns_of().  What its application answers has
 * the service's address as source, and leaves by front as if our own kernel had sent it: front's
 * egress does not know the difference.
 */
#include "abi/verdict.h"
#include "lib/sk.h"
#include "lib/emit.h"

/* A SYN of a service that selects on connection. */
IPOS_APART int box_listens(struct __sk_buff *skb, const struct segment *s)
{
	struct ipos_temporary *t = bpf_map_lookup_elem(&FAMILY(temporary), &s->tuple);
	struct ipos_address *a = address_of(s->tuple.service_ip, s->tuple.service_port);
	struct ipos_service *service = a ? service_at(a->service) : NULL;

	if (!t || !service || assign_listener(skb, &s->tuple, service, t->port))
		return shot(COUNT_DROP_NOT_ADOPTED);
	return TC_ACT_OK;
}

/* In the container: the endpoint is made here.  Of all other packets nothing is to be done. */
SEC("tc")
int ipos_box_in(struct __sk_buff *skb)
{
	/* front's ingress has just left it: both run on this CPU, one behind the other */
	struct ipos_scratch *w = scratch_of(IPOS_PROG_INGRESS);
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipos_settings *set = settings_now();
	struct ipos_service *service;
	struct ipos_endpoint *ep;
	struct segment s;

	if (skb->mark != IPOS_MARK_BOX || !w || !set || set->abi != IPOS_ABI)
		return TC_ACT_UNSPEC;
	skb->mark = 0;
	skb->cb[IPOS_CB_NETNS] = skb->cb[IPOS_CB_BOX] = 0;
	if (parse_l2(data, end, set->ethertype, &s) != PARSED_IP ||
	    parse_ip(data, end, skb->len, &s) != PARSED_TCP)
		return shot(COUNT_DROP_NOT_ADOPTED);
	if (s.flags & TCP_SYN)
		return box_listens(skb, &s);
	ep = endpoint_of(&s.tuple);
	service = ep ? service_at(ep->service) : NULL;
	if (!service || ep->state != IPOS_EP_ADOPTING)
		return shot(COUNT_DROP_NOT_ADOPTED);
	ep->reason = adopt(skb, w, &s, ep, service);
	return ep->reason == IPOS_REFUSE_NONE ? TC_ACT_OK : shot(COUNT_DROP_NOT_ADOPTED);
}

/*
 * Whether a container may speak for the connection: it has the socket or is getting it.  While
 * nobody does, or the connection has ended or moved away, the container of the service's
 * application may, whose kernel may still have the socket of before.
 */
IPOS_INLINE int is_its_own(const struct ipos_tuple *t, const struct ipos_address *a, __u32 box)
{
	struct ipos_endpoint *ep = endpoint_of(t);
	struct ipos_service *service;

	if (ep && ep->state != IPOS_EP_PENDING)
		return ep->flags & IPOS_EP_BOXED && ep->box == box;
	if (!ep && !bpf_map_lookup_elem(&FAMILY(temporary), t) &&
	    !bpf_map_lookup_elem(&FAMILY(left_behind), t))
		return 0;
	service = service_at(a->service);
	return service && service->box == box;
}

/*
 * On our end: what a service's application answers leaves by front.  A container has no say in the
 * connections of others.
 */
SEC("tc")
int ipos_box_out(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipos_settings *set = settings_now();
	struct ipos_tuple t = {};
	struct ipos_address *a;
	struct segment s;
	__u32 out;

	if (!set || set->abi != IPOS_ABI)
		return TC_ACT_UNSPEC;
	if (parse_l2(data, end, set->ethertype, &s) != PARSED_IP ||
	    parse_ip(data, end, skb->len, &s) != PARSED_TCP)
		return TC_ACT_UNSPEC;
	t.client_ip = s.tuple.service_ip;
	t.client_port = s.tuple.service_port;
	t.service_ip = s.tuple.client_ip;
	t.service_port = s.tuple.client_port;
	t.protocol = IPPROTO_TCP;
	a = address_of(t.service_ip, t.service_port);
	if (!a)
		return TC_ACT_UNSPEC;
	if (!is_its_own(&t, a, skb->ifindex))
		return shot(COUNT_DROP_BOX_FOREIGN);
	out = likely(!set->uplinks) ? set->out_ifindex : front_of(set, t.service_ip);
	return bpf_redirect_neigh(out, NULL, 0, 0);
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
