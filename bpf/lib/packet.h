/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A frame into the values every decision is made of.  Nothing here looks at a table.
 */
#ifndef IPOS_CORE_PARSE_H
#define IPOS_CORE_PARSE_H

#include "lib/family.h"

enum tcp_flag {
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_PSH = 8,
	TCP_ACK = 16,
	TCP_URG = 32,
	TCP_ECE = 64,
	TCP_CWR = 128,
};

enum parsed {
	PARSED_OTHER, /* nothing of ours: pass it on */
	PARSED_TAGS,  /* more VLAN tags than one, or one of another kind */
	PARSED_IPOS,  /* our ethertype */
	PARSED_IP,    /* parse_ip() goes on */
	PARSED_TCP,
	PARSED_ICMP,
	PARSED_FRAGMENT,  /* a piece of a TCP packet, with or without its ports */
	PARSED_OPTIONS,	  /* TCP behind IP options; of IPv6 anything behind extension headers */
	PARSED_MALFORMED, /* TCP, and a length contradicts another */
};

struct vlan_tag {
	__be16 tci, type;
};

struct segment {
	struct ipos_tuple tuple; /* source as the client, destination as the service */
	__u32 seq, ack;
	__u16 vlan;	   /* id, 0 without a tag */
	__u16 l2;	   /* bytes before the IP header (or ours) */
	__u16 l4;	   /* offset of the TCP header */
	__u16 payload;	   /* offset of the payload */
	__u16 length;	   /* of the payload */
	__u16 window;	   /* as on the wire */
	__u8 flags;	   /* enum tcp_flag */
	__u8 accurate_ecn; /* the AE bit */
	__u16 tcp_len;	   /* of the TCP header with options */
};

/* The sequence space a segment takes: payload, SYN and FIN. */
IPOS_INLINE __u32 segment_end(const struct segment *s)
{
	return s->seq + s->length + !!(s->flags & TCP_SYN) + !!(s->flags & TCP_FIN);
}

/* RFC 9293 3.4: comparison modulo 2^32. */
IPOS_INLINE int seq_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

/* The TCP header at offset l4 of a frame whose IP header says `ip_len` bytes from `l2` on. */
IPOS_INLINE enum parsed parse_tcp(void *data, void *end, struct segment *s, __u32 ip_len)
{
	struct tcphdr *tcp = data + (s->l4 & 0x7f);
	__u32 tcp_len, headers;
	__u8 *bits;

	if ((void *)(tcp + 1) > end)
		return PARSED_MALFORMED;
	s->tuple.client_port = tcp->source;
	s->tuple.service_port = tcp->dest;
	s->seq = bpf_ntohl(tcp->seq);
	s->ack = bpf_ntohl(tcp->ack_seq);
	s->window = bpf_ntohs(tcp->window);
	bits = (__u8 *)tcp + 12;
	s->flags = bits[1];
	s->accurate_ecn = bits[0] & 1;
	tcp_len = (bits[0] >> 4) * 4;
	headers = s->l4 - s->l2 + tcp_len;
	s->tcp_len = tcp_len;
	s->payload = s->l4 + tcp_len;
	if (tcp_len < sizeof(*tcp) || headers > ip_len)
		return PARSED_MALFORMED;
	s->length = ip_len - headers;
	return PARSED_TCP;
}

/* IEEE 802.1ad, and what switches had before it. */
#define ETH_P_QINQ_OLD 0x9100
#define ETH_P_QINQ_OLDER 0x9200
#define ETH_P_QINQ_OLDEST 0x9300

IPOS_INLINE int is_vlan_type(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD) ||
	       type == bpf_htons(ETH_P_QINQ_OLD) || type == bpf_htons(ETH_P_QINQ_OLDER) ||
	       type == bpf_htons(ETH_P_QINQ_OLDEST);
}

/*
 * Up to s->l2, where the next header starts.  One 802.1Q tag is read.  The kernel reads several,
 * and would find a packet behind them that was not checked.
 */
IPOS_INLINE enum parsed parse_l2(void *data, void *end, __u16 ethertype, struct segment *s)
{
	struct ethhdr *eth = data;
	struct vlan_tag *tag = data + sizeof(*eth);
	__be16 type;

	__builtin_memset(s, 0, sizeof(*s));
	if ((void *)(eth + 1) > end)
		return PARSED_OTHER;
	type = *(__be16 *)(data + offsetof(struct ethhdr, h_proto)); /* at once, not by bytes */
	s->l2 = sizeof(*eth);
	if (likely(type == bpf_htons(ETH_P_FAMILY)))
		return PARSED_IP;
	if (unlikely(type == bpf_htons(ETH_P_8021Q))) {
		if ((void *)(tag + 1) > end)
			return PARSED_OTHER;
		s->vlan = bpf_ntohs(tag->tci) & 0xfff;
		type = tag->type;
		s->l2 += sizeof(*tag);
	}
	if (is_vlan_type(type))
		return PARSED_TAGS;
	if (type == bpf_htons(ethertype))
		return PARSED_IPOS;
	return type == bpf_htons(ETH_P_FAMILY) ? PARSED_IP : PARSED_OTHER;
}

#if IPOS_FAMILY == 6
/* Whether our kernel could find TCP behind a header of that kind. */
IPOS_INLINE int is_extension(__u8 header)
{
	return header == IPPROTO_HOPOPTS || header == IPPROTO_ROUTING ||
	       header == IPPROTO_DSTOPTS || header == IPPROTO_AH || header == IPPROTO_MH;
}

/* Of a packet that begins a fragment header at `at`. */
IPOS_INLINE enum parsed parse_fragment(const __u8 *at, const void *end)
{
	if ((void *)(at + 1) > end)
		return PARSED_FRAGMENT;
	return *at == IPPROTO_TCP || *at == IPPROTO_FRAGMENT || is_extension(*at) ? PARSED_FRAGMENT
										  : PARSED_OTHER;
}

/*
 * From s->l2 on; `frame_len` is the length on the wire, which may exceed data..end.  No chain of
 * headers is followed: what stands behind another one than TCP's is no packet of a service's.
 */
IPOS_INLINE enum parsed parse_ip(void *data, void *end, __u32 frame_len, struct segment *s)
{
	ip_header *ip = data + (s->l2 & 0x3f);
	enum parsed what;
	__u32 ip_len;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return PARSED_OTHER;
	s->tuple.client_ip = ip_source(ip);
	s->tuple.service_ip = ip_destination(ip);
	s->tuple.protocol = ip->nexthdr;
	ip_len = ip_total(ip);
	s->l4 = s->l2 + IP_LEN;
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return PARSED_ICMP;
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return parse_fragment((void *)(ip + 1), end);
	if (is_extension(ip->nexthdr))
		return PARSED_OPTIONS;
	if (ip->nexthdr != IPPROTO_TCP)
		return PARSED_OTHER;
	what = parse_tcp(data, end, s, ip_len);
	return ip_len + s->l2 > frame_len ? PARSED_MALFORMED : what;
}
#else
/* From s->l2 on; `frame_len` is the length on the wire, which may exceed data..end. */
IPOS_INLINE enum parsed parse_ip(void *data, void *end, __u32 frame_len, struct segment *s)
{
	ip_header *ip = data + (s->l2 & 0x3f);
	__u32 ip_len, header_len;
	enum parsed what;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return PARSED_OTHER;
	s->tuple.client_ip = ip->saddr;
	s->tuple.service_ip = ip->daddr;
	s->tuple.protocol = ip->protocol;
	header_len = ip->ihl * 4;
	ip_len = bpf_ntohs(ip->tot_len);
	s->l4 = s->l2 + header_len;
	if (ip->protocol == IPPROTO_ICMP && header_len == sizeof(*ip))
		return PARSED_ICMP;
	if (ip->protocol != IPPROTO_TCP || header_len < sizeof(*ip))
		return PARSED_OTHER;
	if (ip->frag_off & bpf_htons(0x3fff)) /* more follow, or it is none of the first */
		return PARSED_FRAGMENT;
	what = parse_tcp(data, end, s, ip_len);
	if (header_len != sizeof(*ip))
		return PARSED_OPTIONS;
	if (ip_len + s->l2 > frame_len)
		return PARSED_MALFORMED;
	return what;
}
#endif

/* Whether what was parsed has ports. */
IPOS_INLINE int has_ports(enum parsed what)
{
	return what != PARSED_FRAGMENT && (IPOS_FAMILY == 4 || what != PARSED_OPTIONS);
}

#define HOST_NET bpf_htonl(0x7f000000) /* 127.0.0.0/8: what never leaves a host */
#define HOST_MASK bpf_htonl(0xff000000)

/* Both at even places. */
IPOS_INLINE int mac_same(const void *a, const void *b)
{
	const __u16 *x = a, *y = b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

/* The frame goes back to its sender. */
IPOS_INLINE void mac_swap(void *frame)
{
	__u16 *at = frame;

	for (int i = 0; i < ETH_ALEN / 2; i++) {
		__u16 to = at[i];

		at[i] = at[i + ETH_ALEN / 2];
		at[i + ETH_ALEN / 2] = to;
	}
}

IPOS_INLINE int frame_to(void *data, void *end, const __u8 *mac)
{
	struct ethhdr *eth = data;

	return (void *)(eth + 1) <= end && mac_same(eth->h_dest, mac);
}

/* To everybody on its LAN. */
IPOS_INLINE int frame_to_all(void *data, void *end)
{
	__u16 *to = data;

	return data + sizeof(struct ethhdr) <= end && (to[0] & to[1] & to[2]) == 0xffff;
}

#endif /* IPOS_CORE_PARSE_H */
