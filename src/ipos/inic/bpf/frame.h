/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The encapsulation (Figure 11) and its transport.  Everything that knows how an ipOS frame
 * sits on a wire is here: another transport (UDP) is another `l2_write` and `frame_at`.
 */
#ifndef IPOS_FRAME_H
#define IPOS_FRAME_H

#include "core/parse.h"
#include "core/siphash.h"
#include "maps.h"

/* Figure lengths are header and payload; frames on the wire have at least this much. */
#define FRAME_MIN 60U
#define TYPE1_LEN (IPOS_HEADER_LEN + IPOS_CONNECTION_LEN)

#define L2_MAX (sizeof(struct ethhdr) + sizeof(struct vlan_tag))

IPOS_INLINE __u32 l2_length(__u16 vlan)
{
	return vlan ? L2_MAX : sizeof(struct ethhdr);
}

/*
 * Packets are copied by words, whatever their alignment: a compiler that knows of none copies by
 * bytes, which costs more than a packet's other work.
 */
#define AT64(at, offset) (*(__u64 *)((void *)(at) + (offset)))
#define AT32(at, offset) (*(__u32 *)((void *)(at) + (offset)))
#define AT16(at, offset) (*(__u16 *)((void *)(at) + (offset)))

IPOS_INLINE void mac_copy(void *to, const void *from)
{
	AT32(to, 0) = AT32(from, 0);
	AT16(to, 4) = AT16(from, 4);
}

IPOS_INLINE void header_copy(void *to, const void *from)
{
	AT64(to, 0) = AT64(from, 0);
	AT64(to, 8) = AT64(from, 8);
}

/* `at` has room for L2_MAX. */
IPOS_INLINE void l2_write(void *at, const __u8 *to, const __u8 *from, __u16 vlan, __u16 type)
{
	struct ethhdr *eth = at;
	struct vlan_tag *tag = at + sizeof(*eth);

	mac_copy(eth->h_dest, to);
	mac_copy(eth->h_source, from);
	if (!vlan) {
		eth->h_proto = bpf_htons(type);
		return;
	}
	eth->h_proto = bpf_htons(ETH_P_8021Q);
	tag->tci = bpf_htons(vlan);
	tag->type = bpf_htons(type);
}

IPOS_INLINE void header_write(struct ipos_header *h, const struct ipos_tuple *t, __u32 endpoint_ip,
			      __u16 endpoint_port, __u8 type)
{
	h->client_ip = t->client_ip;
	h->client_port = t->client_port;
	h->endpoint_ip = endpoint_ip;
	h->endpoint_port = endpoint_port;
	h->type = type;
	h->protocol = IPOS_TCP;
	h->checksum = 0;
	h->checksum = (__u16)~fold(sum_words(h, IPOS_HEADER_LEN));
}

IPOS_INLINE int header_checksum_right(const struct ipos_header *h)
{
	return fold(sum_words(h, IPOS_HEADER_LEN)) == 0xffff;
}

#define HEADERS_MAX 80			/* of IP and TCP, without IP options */
#define HEADERS_USUAL 52		/* TCP's only option is timestamps */

/* The inner IP and TCP headers, `len` bytes at `at`, behind an ipOS header in w->words. */
IPOS_INLINE int headers_load(struct xdp_md *ctx, struct ipos_scratch *w, __u32 at, __u32 len)
{
	void *data = (void *)(long)ctx->data + (at & 63), *end = (void *)(long)ctx->data_end;
	__u64 *to = &w->words[2];

	if (likely(len == HEADERS_USUAL && data + HEADERS_USUAL <= end)) {
#pragma unroll
		for (__u32 i = 0; i < HEADERS_USUAL / 8; i++)
			to[i] = AT64(data, i * 8);
		to[HEADERS_USUAL / 8] = AT32(data, HEADERS_USUAL - 4);
		return 0;
	}
	__builtin_memset(to, 0, HEADERS_MAX + 8);
	if (len < 28 || len > HEADERS_MAX)
		return -1;
	return bpf_xdp_load_bytes(ctx, at, to, len);
}

/* The 8-byte tag over the first `bytes` of w->words, whose last word is zero padded. */
IPOS_FUNCTION __u64 tag_of(const struct ipos_settings *set, const struct ipos_scratch *w,
			   __u32 bytes)
{
	struct sip s;

	if (!set || !w || !(set->flags & IPOS_AUTHENTICATE))
		return 0;
	sip_start(&s, set->frame_key, 0);
	for (__u32 i = 0; i < 16 && i < bytes / 8; i++)
		sip_word(&s, w->words[i]);
	return sip_end(&s, w->words[bytes / 8 & 15], bytes);
}

struct wide_tag { __u64 words[2]; };

/* The 16-byte tag of a type 1: over the 146 bytes in w->words. */
IPOS_FUNCTION int tag_wide(const struct ipos_settings *set, const struct ipos_scratch *w,
			   struct wide_tag *out)
{
	struct sip s;

	if (!set || !w || !out)
		return 0;
	out->words[0] = out->words[1] = 0;
	if (!(set->flags & IPOS_AUTHENTICATE))
		return 0;
	sip_start(&s, set->frame_key, 1);
	for (__u32 i = 0; i < 18; i++)
		sip_word(&s, w->words[i]);
	sip_end_wide(&s, w->words[18], 146, out->words);
	return 0;
}

/* What a frame of type 3, 4, 6 or 7 says beside the connection's tuple. */
struct notice {
	__u32 endpoint_ip;		/* network */
	__u16 endpoint_port;		/* network */
	__u8 type;
	__u8 untagged;			/* the VLAN tag is not in the frame but beside it */
	__u16 reason;			/* enum ipos_refusal; type 6: which move, modulo 2^16 */
	__u16 server;			/* index of the receiver, where it is not the sender */
	__u32 iss;
};

#define TRAILER_TAGGED (offsetof(struct ipos_trailer, tag))
#define LEARNED_TAGGED (offsetof(struct ipos_learned, tag))
#define PROBE_TAGGED (offsetof(struct ipos_probe, tag))

/*
 * The whole frame at w->frame, padded as the wire wants it.  Returns its length.
 */
IPOS_APART int notice_write(const struct ipos_settings *set, struct ipos_scratch *w,
			    const struct ipos_tuple *t, const __u8 *to, const struct notice *n)
{
	__u16 vlan = n->untagged ? 0 : set->back_vlan;
	__u32 l2 = l2_length(vlan);
	struct ipos_trailer *trailer;
	struct ipos_header *h;
	__u64 tag;

	__builtin_memset(w->frame, 0, 72);
	l2_write(w->frame, to, set->back_mac, vlan, set->ethertype);
	h = (void *)w->frame + l2;
	trailer = (void *)(h + 1);
	header_write(h, t, n->endpoint_ip, n->endpoint_port, n->type);
	trailer->service_ip = t->service_ip;
	trailer->service_port = t->service_port;
	trailer->reason = bpf_htons(n->reason);
	trailer->iss = bpf_htonl(n->iss);
	w->words[3] = 0;
	__builtin_memcpy(w->words, h, IPOS_HEADER_LEN + TRAILER_TAGGED);
	tag = tag_of(set, w, IPOS_HEADER_LEN + TRAILER_TAGGED);
	__builtin_memcpy(trailer->tag, &tag, IPOS_TAG_LEN);
	return l2 - sizeof(struct ethhdr) + FRAME_MIN;
}

#endif /* IPOS_FRAME_H */
