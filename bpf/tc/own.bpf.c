/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What leaves by loopback: this server's own programs as clients of the farm.  Every service
 * address is a local address, so their packets would stay inside this kernel.  Here they are turned
 * to a pair of virtual interfaces, at whose other end XDP and tc see them as they see a client's on
 * front.
 *
 *	program  -> lo -> [pair] -> XDP, tc: handshake, choice, another server or this one
 *	answers of this server's application  -> lo -> front's egress -> [pair] -> program
 *	answers of another server's           -> its lo -> its front -> front -> program
 *
 * A client is known by its address: the first of its server's, which its route gives it.  Whoever
 * binds its end to 127.0.0.1 means this server's application, and is left alone.
 */
#include "lib/rows.h"
#include "tc/mss.h"

/* The server whose address it is; 0: none's. */
IPOS_INLINE __u32 holder_of(__be32 ip)
{
	struct ipos_address_key key = { .ip = ip };
	struct ipos_address *a = bpf_map_lookup_elem(&FAMILY(addresses), &key);

	return a ? a->holder : 0;
}

/* Both addresses are front's: what comes back to it is ours, see ipos_egress. */
IPOS_INLINE int as_on_front(struct __sk_buff *skb, const struct ipos_settings *set)
{
	return bpf_skb_store_bytes(skb, 0, set->front_mac, ETH_ALEN, 0) ||
	       bpf_skb_store_bytes(skb, ETH_ALEN, set->front_mac, ETH_ALEN, 0);
}

/* A client's packet.  One whose address is not ours could not be answered: it stays here. */
IPOS_INLINE int to_farm(struct __sk_buff *skb, const struct ipos_settings *set,
			const struct segment *s)
{
	if (holder_of(s->tuple.client_ip) != set->self)
		return TC_ACT_OK;
	if (s->flags & TCP_SYN)
		clamp_mss(skb, s);
	if (as_on_front(skb, set)) {
		count(COUNT_DROP_EMIT);
		return TC_ACT_SHOT;
	}
	return bpf_redirect(set->own_ifindex, 0);
}

/* An answer, to a client that is a server of the farm; it leaves as those to other clients do. */
IPOS_INLINE int to_client(struct __sk_buff *skb, const struct ipos_settings *set,
			  const struct segment *s)
{
	__u32 holder = holder_of(s->tuple.service_ip);

	if (!holder)
		return TC_ACT_OK;
	if (holder != set->self) /* by front's routes: on its own LAN, or by a router */
		return bpf_redirect_neigh(set->front_ifindex, NULL, 0, 0);
	if (as_on_front(skb, set)) {
		count(COUNT_DROP_EMIT);
		return TC_ACT_SHOT;
	}
	return bpf_redirect(set->front_ifindex, 0);
}

SEC("tc")
int ipos_own(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipos_settings *set = settings_now();
	struct segment s;

	if (!set || set->abi != IPOS_ABI || !set->own_ifindex)
		return TC_ACT_OK;
	if (parse_l2(data, end, set->ethertype, &s) != PARSED_IP ||
	    parse_ip(data, end, skb->len, &s) != PARSED_TCP)
		return TC_ACT_OK;
	if ((s.tuple.service_ip & HOST_MASK) == HOST_NET) /* most of what is here */
		return TC_ACT_OK;
	if (address_of(s.tuple.service_ip, s.tuple.service_port))
		return to_farm(skb, set, &s);
	if (address_of(s.tuple.client_ip, s.tuple.client_port))
		return to_client(skb, set, &s);
	return TC_ACT_OK;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
