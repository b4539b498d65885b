/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Replays frames through XDP programs, to be timed by BPF_PROG_TEST_RUN.  The kernel runs a
 * program again and again on the same buffer, whatever the program made of it; so each run begins
 * here, puts the buffer right and a frame into it, and goes on to the program by a tail call.
 * With live frames the kernel puts the buffer right itself.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAME_ROOM 1212
#define FRAMES 1024 /* a power of two */
#define FLOWS (1 << 20)

struct frame {
	__u32 length;
	__u8 bytes[FRAME_ROOM];
};

struct replay {	    /* map `replay`, one element */
	__u64 data; /* where the packet began, 0: before the first run */
	__u64 now;  /* and where it begins */
	__u32 next;
	__u32 frames; /* how many of `frames` are in use: a power of two */
	__u32 spread; /* 1: client addresses of 1 M flows, in random order */
	__u32 live;
	__u32 program; /* index in `programs` */
	__u32 zero;
};

struct line {
	__u64 words[8];
};

struct header {
	__be32 client_ip;
	__be16 client_port;
	__be32 endpoint_ip;
	__be16 port;
	__u8 type, protocol;
	__u16 checksum;
} __attribute__((packed));

struct link { /* map `links`, one element: where a frame leaves */
	struct ethhdr header;
	__u16 zero;
	__u32 ifindex;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct replay);
	__uint(max_entries, 1);
} replay SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct frame);
	__uint(max_entries, FRAMES);
} frames SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct link);
	__uint(max_entries, 1);
} links SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct line);
	__uint(max_entries, FLOWS);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 16);
} programs SEC(".maps");

/* The buffer as it was before the first run. */
static __always_inline int restore(struct xdp_md *ctx, struct replay *r, __u32 length)
{
	void *data = (void *)(long)ctx->data, *meta = (void *)(long)ctx->data_meta;
	volatile __u64 *now = &r->now;
	long moved;

	if (bpf_xdp_adjust_meta(ctx, (int)(data - meta)))
		return -1;
	*now = ctx->data; /* out of memory it is a number, which may be subtracted */
	if (!r->data)
		r->data = *now;
	moved = r->data - *now;
	if (moved && bpf_xdp_adjust_head(ctx, moved))
		return -1;
	moved = (long)length - (long)bpf_xdp_get_buff_len(ctx);
	return moved ? bpf_xdp_adjust_tail(ctx, moved) : 0;
}

static __always_inline __sum16 sum_changed(__sum16 check, __u64 more)
{
	__u64 sum = (__u16)~check + more;

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* Another client for each number: 10.128.0.0 and the number in its low bits. */
static __always_inline void spread(struct xdp_md *ctx, __u32 number)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = (void *)(ip + 1);
	__be32 client = bpf_htonl(0x0a800000U | number);
	__u64 more;

	if ((void *)(tcp + 1) > end)
		return;
	more = (__u64)(__u32)~ip->saddr + client; /* RFC 1624: what both sums change by */
	ip->saddr = client;
	ip->check = sum_changed(ip->check, more);
	tcp->check = sum_changed(tcp->check, more);
}

SEC("xdp")
int replay_frame(struct xdp_md *ctx)
{
	__u32 zero = 0, number, at, length;
	struct replay *r = bpf_map_lookup_elem(&replay, &zero);
	struct frame *f;

	if (!r)
		return XDP_ABORTED;
	number = r->next++;
	if (r->spread) /* a permutation of all numbers, without an order to
					 * foresee */
		number = (number * 1664525U + 1013904223U) * 2654435761U >> 12;
	at = number & (r->frames - 1) & (FRAMES - 1);
	f = bpf_map_lookup_elem(&frames, &at);
	if (!f)
		return XDP_ABORTED;
	length = f->length;
	if (length < ETH_HLEN || length > FRAME_ROOM)
		return XDP_ABORTED;
	if (!r->live && restore(ctx, r, length))
		return XDP_ABORTED;
	if (bpf_xdp_store_bytes(ctx, 0, f->bytes, length))
		return XDP_ABORTED;
	if (r->spread)
		spread(ctx, number & (FLOWS - 1));
	bpf_tail_call(ctx, &programs, r->program);
	return XDP_ABORTED;
}

/* ---- what is compared with ------------------------------------------------------------------ */

SEC("xdp")
int floor_drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int floor_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/*
 * What every encapsulation has to do and no more: read the headers, make one of sixteen bytes with
 * its checksum, room for it in front and for eight bytes behind, the Ethernet header, and out.
 */
static __always_inline int encapsulate(struct xdp_md *ctx, __u32 nth)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct header h = { .port = bpf_htons(80), .type = 2, .protocol = 1 };
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 sum = 0, length;
	struct link *link;

	if ((void *)(tcp + 1) > end || ip->protocol != IPPROTO_TCP || ip->ihl != 5)
		return XDP_ABORTED;
	link = bpf_map_lookup_elem(&links, &nth);
	if (!link)
		return XDP_ABORTED;
	h.client_ip = ip->saddr;
	h.endpoint_ip = ip->daddr;
	h.client_port = tcp->source;
	length = sizeof(struct ethhdr) + bpf_ntohs(ip->tot_len);
	for (int i = 0; i < 8; i++)
		sum += ((__u16 *)&h)[i];
	sum = (sum & 0xffff) + (sum >> 16);
	h.checksum = ~(sum + (sum >> 16));
	if (bpf_xdp_adjust_tail(ctx, (int)(length + 8) - (int)bpf_xdp_get_buff_len(ctx)) ||
	    bpf_xdp_adjust_head(ctx, -(int)sizeof(h)))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(struct ethhdr) + sizeof(h) > end)
		return XDP_ABORTED;
	__builtin_memcpy(data, &link->header, sizeof(link->header));
	__builtin_memcpy(data + sizeof(struct ethhdr), &h, sizeof(h));
	return bpf_redirect(link->ifindex, 0);
}

SEC("xdp")
int floor_encapsulate(struct xdp_md *ctx)
{
	return encapsulate(ctx, 0);
}

/*
 * The same, and one read of memory that no cache has, which says where the frame leaves: with a
 * read that nothing waits for, the processor would go on meanwhile.
 */
SEC("xdp")
int floor_cold(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct line *line;
	__u32 at;

	if ((void *)(ip + 1) > end)
		return XDP_ABORTED;
	at = bpf_ntohl(ip->saddr) & (FLOWS - 1);
	line = bpf_map_lookup_elem(&lines, &at);
	if (!line)
		return XDP_ABORTED;
	line->words[0]++;
	return encapsulate(ctx, line->words[1]);
}

/* The client's frame back, with its addresses exchanged. */
SEC("xdp")
int floor_reflect(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__be32 address;
	__u8 mac[ETH_ALEN];

	if ((void *)(ip + 1) > end)
		return XDP_ABORTED;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
