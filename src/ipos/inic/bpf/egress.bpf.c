/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What our own kernel sends on front: the owner learns here how far each connection is. */
#include "emit.h"
#include "inserting.h"

/*
 * The SYN-ACK of a service that selects on connection is the kernel's; the MSS it offers
 * must leave room on back, as the iNIC's own does.
 */
IPOS_INLINE void clamp_mss(struct __sk_buff *skb, const struct segment *s)
{
	__u32 at = s->l4 + sizeof(struct tcphdr);
	__be16 offered, ours = bpf_htons(IPOS_MSS);
	__be16 kind;

	/* Linux writes MSS first. */
	if (s->tcp_len < 24 || bpf_skb_load_bytes(skb, at, &kind, 2) ||
	    kind != bpf_htons(0x0204) || bpf_skb_load_bytes(skb, at + 2, &offered, 2) ||
	    bpf_ntohs(offered) <= IPOS_MSS)
		return;
	if (bpf_l4_csum_replace(skb, s->l4 + offsetof(struct tcphdr, check), offered, ours, 2) ||
	    bpf_skb_store_bytes(skb, at + 2, &ours, 2, 0))
		count(COUNT_DROP_EMIT);
}

IPOS_INLINE int egress_tracked(struct __sk_buff *skb, struct ipos_settings *set,
			       struct ipos_scratch *w, const struct segment *s,
			       struct ipos_endpoint *ep)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 end = segment_end(s);

	if (ep->state != IPOS_EP_ATTACHED) {
		if (s->flags & TCP_RST)		/* nobody took the endpoint; the notice says so */
			return shot(COUNT_DROP_NOT_ADOPTED);
		return TC_ACT_OK;
	}
	ep->last_seen_ns = now;
	if (unlikely(ep->insert == IPOS_INSERT_DONE))
		insert_end(&s->tuple, ep);
	if (s->flags & TCP_ACK)
		ep->rcv_nxt = s->ack;
	if (seq_before(ep->snd_nxt, end))
		ep->snd_nxt = end;
	if (s->flags & TCP_RST) {
		endpoint_end(skb, set, w, &s->tuple, ep, now);
		return TC_ACT_OK;
	}
	if (s->flags & TCP_FIN) {
		ep->server_fin = end;
		ep->server_fin_seen = 1;
	}
	if (ep->client_fin_seen && ep->server_fin_acked &&
	    !seq_before(s->ack, ep->client_fin))
		endpoint_end(skb, set, w, &s->tuple, ep, now);
	return TC_ACT_OK;
}

SEC("tc")
int ipos_egress(struct __sk_buff *skb)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_EGRESS);
	struct ipos_settings *set = settings_now();
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipos_endpoint *ep;
	struct segment s;
	__u32 ip;
	__u16 port;

	if (!w || !set || set->abi != IPOS_ABI)
		return TC_ACT_OK;
	if (parse_l2(data, end, set->ethertype, &s) != PARSED_IP ||
	    parse_ip(data, end, skb->len, &s) != PARSED_TCP)
		return TC_ACT_OK;
	ip = s.tuple.client_ip;
	port = s.tuple.client_port;
	s.tuple.client_ip = s.tuple.service_ip;
	s.tuple.client_port = s.tuple.service_port;
	s.tuple.service_ip = ip;
	s.tuple.service_port = port;
	ep = bpf_map_lookup_elem(&local, &s.tuple);
	if (!ep)
		ep = bpf_map_lookup_elem(&connect, &s.tuple);
	if (unlikely(set->flags & IPOS_CAPTURE) && address_of(ip, port))
		capture_skb(skb, skb->ifindex, 1);
	if (ep)
		return egress_tracked(skb, set, w, &s, ep);
	if ((s.flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && address_of(ip, port))
		clamp_mss(skb, &s);
	return TC_ACT_OK;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
