/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * All in which IPv4 and IPv6 differ, beside the parsing of a packet (lib/packet.h) and what answers
 * for an address (xdp/arp_in.h, xdp/neighbour_in.h).  The programs are compiled once for each.
 */
#ifndef IPOS_FAMILY_H
#define IPOS_FAMILY_H

#include "abi/ipos.h"
#include "lib/checksum.h"

#if IPOS_FAMILY == 6
typedef struct ipv6hdr ip_header;
#define ETH_P_FAMILY ETH_P_IPV6
#define FAMILY_TCP IPOS_TCP6
#define FAMILY_MSS IPOS_MSS6
#define FAMILY_MSS_MIN IPOS_MSS6_MIN
#define HEADER_LEN IPOS_HEADER6_LEN
#define CONNECTION_LEN IPOS_CONNECTION6_LEN
#define TRAILER_LEN IPOS_TRAILER6_LEN
#define NH_HEADERS IPOS_NH_HEADERS6
#define SOCK_TUPLE ipv6
#define IP_BITS 128
#else
typedef struct iphdr ip_header;
#define ETH_P_FAMILY ETH_P_IP
#define FAMILY_TCP IPOS_TCP
#define FAMILY_MSS IPOS_MSS
#define FAMILY_MSS_MIN IPOS_MSS_MIN
#define HEADER_LEN IPOS_HEADER_LEN
#define CONNECTION_LEN IPOS_CONNECTION_LEN
#define TRAILER_LEN IPOS_TRAILER_LEN
#define NH_HEADERS IPOS_NH_HEADERS
#define SOCK_TUPLE ipv4
#define IP_BITS 32
#endif

#define IP_LEN sizeof(ip_header)
#define SOCK_TUPLE_LEN sizeof(((struct bpf_sock_tuple *)0)->SOCK_TUPLE)

_Static_assert(HEADER_LEN == (IPOS_FAMILY == 6 ? sizeof(struct ipos_header6)
					       : sizeof(struct ipos_header)),
	       "our header");
_Static_assert(CONNECTION_LEN == sizeof(struct ipos_connection), "a connection information");
_Static_assert(TRAILER_LEN == sizeof(struct ipos_trailer), "a trailer");

/* An address at any place of a packet. */
#define IP_AT(at, offset) (*(ipos_ip *)((void *)(at) + (offset)))

/* ---- addresses as numbers ------------------------------------------------------------------- */

#if IPOS_FAMILY == 6
IPOS_INLINE __u64 ip_first(ipos_ip ip) /* the network's half, wire bytes */
{
	return (__u64)ip;
}

IPOS_INLINE __u64 ip_last(ipos_ip ip)
{
	return (__u64)(ip >> 64);
}

/* For checksums. */
IPOS_INLINE __u64 address_sum(ipos_ip ip)
{
	__u64 first = ip_first(ip), last = ip_last(ip);

	return (first & 0xffffffff) + (first >> 32) + (last & 0xffffffff) + (last >> 32);
}

/* All words of an address in one, exclusive or. */
IPOS_INLINE __u32 ip_folded(ipos_ip ip)
{
	__u64 both = ip_first(ip) ^ ip_last(ip);

	return both ^ both >> 32;
}

/* What our header has in the place of IPv4's address. */
IPOS_INLINE __u32 ip_low(ipos_ip ip)
{
	return ip_last(ip) >> 32;
}
#else
IPOS_INLINE __u64 address_sum(ipos_ip ip)
{
	return ip;
}

IPOS_INLINE __u32 ip_folded(ipos_ip ip)
{
	return ip;
}

IPOS_INLINE __u32 ip_low(ipos_ip ip)
{
	return ip;
}
#endif

/* What clients are told apart by where their network counts and not they themselves. */
IPOS_INLINE __u32 ip_network(ipos_ip ip)
{
#if IPOS_FAMILY == 6
	__u64 network = ip_first(ip);

	return network ^ network >> 32;
#else
	return ip;
#endif
}

/* ---- headers -------------------------------------------------------------------------------- */

#if IPOS_FAMILY == 6
#define IP_HOPS 64

/* The whole packet's length, as its header says it. */
IPOS_INLINE __u32 ip_total(const ip_header *ip)
{
	return IP_LEN + bpf_ntohs(ip->payload_len);
}

IPOS_INLINE ipos_ip ip_source(const ip_header *ip)
{
	return IP_AT(ip, offsetof(ip_header, saddr));
}

IPOS_INLINE ipos_ip ip_destination(const ip_header *ip)
{
	return IP_AT(ip, offsetof(ip_header, daddr));
}

/* Whether the sum of a header is right, which is here as it was: IPv6 has none. */
IPOS_INLINE int ip_header_right(const void *at)
{
	(void)at;
	return 1;
}

/* One hop more; returns 0 when that is too many. */
IPOS_INLINE int ip_hop(ip_header *ip)
{
	if (ip->hop_limit <= 1)
		return 0;
	ip->hop_limit--;
	return 1;
}

/* The packet has another length. */
IPOS_INLINE void ip_resize(ip_header *ip, __u32 ip_len)
{
	ip->payload_len = bpf_htons(ip_len - IP_LEN);
}

/* The IP header of a TCP packet of so many bytes. */
IPOS_INLINE void ip_write(ip_header *ip, ipos_ip from, ipos_ip to, __u32 ip_len)
{
	__be32 *word = (void *)ip;

	word[0] = bpf_htonl(0x60000000);
	word[1] = bpf_htonl((ip_len - IP_LEN) << 16 | IPPROTO_TCP << 8 | IP_HOPS);
	IP_AT(ip, offsetof(ip_header, saddr)) = from;
	IP_AT(ip, offsetof(ip_header, daddr)) = to;
}
#else
IPOS_INLINE __u32 ip_total(const ip_header *ip)
{
	return bpf_ntohs(ip->tot_len);
}

IPOS_INLINE ipos_ip ip_source(const ip_header *ip)
{
	return ip->saddr;
}

IPOS_INLINE ipos_ip ip_destination(const ip_header *ip)
{
	return ip->daddr;
}

IPOS_INLINE int ip_header_right(const void *at)
{
	return fold(sum_dwords(at, sizeof(ip_header))) == 0xffff;
}

IPOS_INLINE int ip_hop(ip_header *ip)
{
	if (ip->ttl <= 1)
		return 0;
	ip->ttl--;
	ip->check = 0;
	ip->check = (__u16)~fold(sum_words(ip, sizeof(*ip)));
	return 1;
}

IPOS_INLINE void ip_resize(ip_header *ip, __u32 ip_len)
{
	ip->tot_len = bpf_htons(ip_len);
	ip->check = 0;
	ip->check = (__u16)~fold(sum_words(ip, sizeof(*ip)));
}

IPOS_INLINE void ip_write(ip_header *ip, ipos_ip from, ipos_ip to, __u32 ip_len)
{
	__be32 length = bpf_htonl(0x45000000 | ip_len), whole = bpf_htonl(0x4000);
	__be32 life = bpf_htonl(64 << 24 | IPPROTO_TCP << 16), *word = (void *)ip;

	word[0] = length;
	word[1] = whole;
	word[2] = life;
	ip->check = (__u16)~fold((__u64)length + whole + life + from + to);
	word[3] = from;
	word[4] = to;
}
#endif

IPOS_INLINE __u64 sum_pseudo(ipos_ip source, ipos_ip destination, __u32 tcp_bytes)
{
	return address_sum(source) + address_sum(destination) + bpf_htons(IPPROTO_TCP) +
	       bpf_htons(tcp_bytes);
}

/* ---- sockets -------------------------------------------------------------------------------- */

IPOS_INLINE void sock_tuple(struct bpf_sock_tuple *at, const struct ipos_tuple *t)
{
	IP_AT(&at->SOCK_TUPLE.saddr, 0) = t->client_ip;
	IP_AT(&at->SOCK_TUPLE.daddr, 0) = t->service_ip;
	at->SOCK_TUPLE.sport = t->client_port;
	at->SOCK_TUPLE.dport = t->service_port;
}

IPOS_INLINE void sock_daddr(struct bpf_sock_tuple *at, ipos_ip ip)
{
	IP_AT(&at->SOCK_TUPLE.daddr, 0) = ip;
}

/* Where a service's application listens on this server; 0: on any address. */
IPOS_INLINE ipos_ip service_application(const struct ipos_service *service)
{
#if IPOS_FAMILY == 6
	return service->application_ip6;
#else
	return service->application_ip;
#endif
}

/* The same where that is an address of ours. */
IPOS_INLINE ipos_ip service_listener(const struct ipos_service *service)
{
#if IPOS_FAMILY == 6
	return service->listener_ip6;
#else
	return service->listener_ip;
#endif
}

#endif /* IPOS_FAMILY_H */
