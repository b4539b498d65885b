/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What applications of UDP services send.  A socket that is bound to any address sends from the one
 * that routes prefer; its clients expect the one that they asked.
 */
#ifndef IPOS_FLOW_OUT_H
#define IPOS_FLOW_OUT_H

#include "lib/emit.h"
#include "lib/flow_rows.h"

#define IP_CHECK offsetof(struct iphdr, check)
#define IP_SOURCE offsetof(struct iphdr, saddr)
#define UDP_CHECK 6

/* The IP header at `l2` gets another source. */
IPOS_INLINE int flow_source_ip(struct __sk_buff *skb, __u32 l2, __u32 was, __u32 is)
{
	return bpf_l3_csum_replace(skb, l2 + IP_CHECK, was, is, 4) ||
	       bpf_skb_store_bytes(skb, l2 + IP_SOURCE, &is, sizeof(is), 0);
}

/* Source address and port, and both checksums; a checksum of zero says that there is none. */
IPOS_INLINE int flow_source(struct __sk_buff *skb, const struct datagram *g, __u32 ip, __u16 port)
{
	__u32 check = g->l4 + UDP_CHECK, kind = BPF_F_MARK_MANGLED_0;

	if (bpf_l4_csum_replace(skb, check, g->tuple.service_ip, ip,
				BPF_F_PSEUDO_HDR | kind | sizeof(ip)) ||
	    bpf_l4_csum_replace(skb, check, g->tuple.service_port, port, kind | sizeof(port)) ||
	    bpf_skb_store_bytes(skb, g->l4, &port, sizeof(port), 0))
		return -1;
	return flow_source_ip(skb, g->l2, g->tuple.service_ip, ip);
}

/* A later fragment of a datagram whose first one got another source. */
IPOS_INLINE int flow_out_later(struct __sk_buff *skb, struct flow_work *k)
{
	struct ipos_fragment *first;

	fragment_key(&k->piece, k->gram.tuple.service_ip, k->gram.tuple.client_ip, k->gram.id, 1);
	first = fragment_of(k);
	if (first && flow_source_ip(skb, k->gram.l2, k->gram.tuple.service_ip, first->service_ip))
		return shot(COUNT_DROP_EMIT);
	return TC_ACT_OK;
}

/* The datagram at hand leaves by another address or port than it should: `any` says which. */
IPOS_INLINE int flow_corrected(struct __sk_buff *skb, struct flow_work *k,
			       const struct ipos_owned *any)
{
	__u32 ip = any->service_ip;
	__u16 port = any->service_port;
	struct ipos_owned *o;

	if (k->gram.more) {
		fragment_key(&k->piece, k->gram.tuple.service_ip, k->gram.tuple.client_ip,
			     k->gram.id, 1);
		__builtin_memset(&k->fragment, 0, sizeof(k->fragment));
		k->fragment.seen_ns = k->gram.now;
		k->fragment.service_ip = ip;
		bpf_map_update_elem(&udp_fragments, &k->piece, &k->fragment, BPF_ANY);
	}
	if (flow_source(skb, &k->gram, ip, port))
		return shot(COUNT_DROP_EMIT);
	count(COUNT_FLOW_SOURCE);
	k->gram.tuple.service_ip = ip;
	k->gram.tuple.service_port = port;
	o = owned_of(&k->gram.tuple);
	if (o)
		seen(&o->answered_ns, k->gram.now);
	return TC_ACT_OK;
}

/* Into k->gram, whose client is the destination. */
IPOS_INLINE int flow_out_read(struct __sk_buff *skb, struct flow_work *k, __u32 l2)
{
	struct datagram *g = &k->gram;
	__u16 ports[2] = {};
	struct iphdr ip;
	__u16 bits;

	if (bpf_skb_load_bytes(skb, l2, &ip, sizeof(ip)))
		return -1;
	__builtin_memset(g, 0, sizeof(*g));
	bits = bpf_ntohs(ip.frag_off);
	g->now = bpf_ktime_get_boot_ns();
	g->l2 = l2;
	g->l4 = l2 + ip.ihl * 4;
	g->id = ip.id;
	g->offset = (bits & 0x1fff) * 8;
	g->more = bits >> 13 & 1;
	g->tuple.client_ip = ip.daddr;
	g->tuple.service_ip = ip.saddr;
	g->tuple.protocol = IPPROTO_UDP;
	if (g->offset)
		return 0;
	if (bpf_skb_load_bytes(skb, g->l4, ports, sizeof(ports)))
		return -1;
	g->tuple.service_port = ports[0];
	g->tuple.client_port = ports[1];
	return 0;
}

/* A UDP packet that leaves on front, with its IP header at `l2`. */
IPOS_FUNCTION int flow_out(struct __sk_buff *skb, __u32 l2)
{
	struct flow_work *k = flow_work_of(IPOS_PROG_EGRESS);
	struct ipos_owned *o;

	if (!k || flow_out_read(skb, k, l2))
		return TC_ACT_OK;
	if (k->gram.offset)
		return flow_out_later(skb, k);
	o = owned_of(&k->gram.tuple);
	if (o) { /* it speaks by the address that its client asked */
		seen(&o->answered_ns, k->gram.now);
		return TC_ACT_OK;
	}
	owned_any(&k->any, &k->gram.tuple, k->gram.tuple.service_port);
	o = owned_of(&k->any);
	return o ? flow_corrected(skb, k, o) : TC_ACT_OK;
}

/* The same, and its copy for `ipos capture`. */
IPOS_FUNCTION int flow_leaves(struct __sk_buff *skb, __u32 l2)
{
	struct flow_work *k = flow_work_of(IPOS_PROG_EGRESS);
	struct ipos_settings *set = settings_now();
	int verdict = flow_out(skb, l2);

	if (set && k && unlikely(set->flags & IPOS_CAPTURE) && verdict == TC_ACT_OK &&
	    flow_address(k->gram.tuple.service_ip, k->gram.tuple.service_port))
		capture_skb(skb, skb->ifindex, 1);
	return verdict;
}

#endif /* IPOS_FLOW_OUT_H */
