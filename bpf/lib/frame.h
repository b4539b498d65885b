/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The encapsulation (Figure 11) and its transport.  Everything that knows how an ipOS frame
 * sits on a wire is here: another transport (UDP) is another `l2_write` and `frame_at`.
 */
#ifndef IPOS_FRAME_H
#define IPOS_FRAME_H

#include "lib/packet.h"
#include "lib/siphash.h"
#include "lib/maps.h"

/* Figure lengths are header and payload; frames on the wire have at least this much. */
#define FRAME_MIN 60U
#define FRAME_PADDED(n) ((n) < FRAME_MIN ? FRAME_MIN : (n))
/* A notice, and types 10 to 12, without a VLAN tag. */
#define NOTICE_LEN FRAME_PADDED(sizeof(struct ethhdr) + HEADER_LEN + TRAILER_LEN)
#define LOCATED_LEN FRAME_PADDED(sizeof(struct ethhdr) + HEADER_LEN + sizeof(struct ipos_located))
/*
 * Made of a response whose checksum a NIC may finish later: no kernel cuts a packet in front of the
 * checksum's place, which is before byte 72 of IPv6.  It is padding of this frame.
 */
#define LEARNED_LEN \
	(IPOS_FAMILY == 6 \
		 ? 72U \
		 : FRAME_PADDED(sizeof(struct ethhdr) + HEADER_LEN + sizeof(struct ipos_learned)))
#define SHORT_ROOM (IPOS_FAMILY == 6 ? 96 : 72) /* for any of them, with a tag */
#define TYPE1_LEN (HEADER_LEN + CONNECTION_LEN)
#define TYPE1_TAGGED (TYPE1_LEN - 16)

#define L2_MAX (sizeof(struct ethhdr) + sizeof(struct vlan_tag))

IPOS_INLINE __u32 l2_length(__u16 vlan)
{
	return vlan ? L2_MAX : sizeof(struct ethhdr);
}

/* Of a frame that XDP has: it is all in one piece, because no program of ours takes others. */
IPOS_INLINE __u32 frame_length(const struct xdp_md *ctx)
{
	__u64 length = (void *)(long)ctx->data_end - (void *)(long)ctx->data;

	IPOS_OPAQUE(length); /* a difference of pointers is one of 64 bits */
	return length;
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

#define IPOS_ALL 0xffff /* in the place of a server's index: everybody on back */

static const __u8 everybody[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* The MAC address of a server, or of all, to `mac`.  Returns 0, or -1 when there is none. */
IPOS_INLINE int mac_of(__u32 server, __u8 *mac)
{
	struct ipos_server *to = server_at(server);

	if (to)
		mac_copy(mac, to->mac);
	else if (server == IPOS_ALL)
		mac_copy(mac, everybody);
	else
		return -1;
	return 0;
}

/* The receiver of notices about a connection: its first server, or all if it was located. */
IPOS_INLINE __u16 told_of(const struct ipos_handshake *hs, __u16 first)
{
	return unlikely(hs->options & IPOS_OPT_LOCATED) ? IPOS_ALL : first;
}

/*
 * The identifier that the first response of an offered connection carries again stands where the
 * control block has the round-trip time, which no data plane knows.
 */
IPOS_INLINE void tcb_identify(struct ipos_tcb *tcb, __u64 identity)
{
	tcb->srtt_us = identity;
	tcb->rttvar_us = identity >> 32;
}

IPOS_INLINE __u64 tcb_identity(const struct ipos_tcb *tcb)
{
	return tcb->srtt_us | (__u64)tcb->rttvar_us << 32;
}

IPOS_INLINE void header_copy(void *to, const void *from)
{
	AT64(to, 0) = AT64(from, 0);
	AT64(to, 8) = AT64(from, 8);
#if IPOS_FAMILY == 6
	AT64(to, 16) = AT64(from, 16);
	AT64(to, 24) = AT64(from, 24);
#endif
}

/* Of a header, here or in a packet. */
IPOS_INLINE ipos_ip header_client(const void *h)
{
	return IP_AT(h, IPOS_FAMILY == 6 ? offsetof(struct ipos_header6, client_ip) : 0);
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

IPOS_INLINE __u16 header_sum(const struct ipos_header *h)
{
	__u64 sum = (__u64)AT32(h, 0) + AT32(h, 4) + AT32(h, 8) + AT32(h, 12);

	return fold(IPOS_FAMILY == 6 ? sum + address_sum(header_client(h)) : sum);
}

/* In two words, as a tag reads it: what was just written in smaller pieces is read slowly. */
IPOS_INLINE void header_write_of(void *at, const struct ipos_tuple *t, __u32 endpoint_ip,
				 __u16 endpoint_port, __u8 type, __u8 protocol)
{
	__u64 first = ip_low(t->client_ip) | (__u64)t->client_port << 32 | (__u64)endpoint_ip << 48;
	__u64 second = endpoint_ip >> 16 | (__u64)endpoint_port << 16 | (__u64)type << 32 |
		       (__u64)protocol << 40;
	__u64 more = IPOS_FAMILY == 6 ? address_sum(t->client_ip) : 0;
	__u16 sum = fold((first & 0xffffffff) + (first >> 32) + (second & 0xffffffff) +
			 (second >> 32) + more);

	AT64(at, 0) = first;
	AT64(at, 8) = second | (__u64)(__u16)~sum << 48;
#if IPOS_FAMILY == 6
	IP_AT(at, 16) = t->client_ip;
#endif
}

/* The same of a TCP connection. */
IPOS_INLINE void header_write(void *at, const struct ipos_tuple *t, __u32 endpoint_ip,
			      __u16 endpoint_port, __u8 type)
{
	header_write_of(at, t, endpoint_ip, endpoint_port, type, FAMILY_TCP);
}

IPOS_INLINE __u8 protocol_of(const struct ipos_tuple *t)
{
	return IPOS_FAMILY == 4 && t->protocol == IPPROTO_UDP ? IPOS_UDP : FAMILY_TCP;
}

IPOS_INLINE int header_checksum_right(const struct ipos_header *h)
{
	return header_sum(h) == 0xffff;
}

/* `other`: the key that is believed too, while keys change. */
IPOS_INLINE void tag_start(struct sip *s, const struct ipos_settings *set, __u32 other, int wide)
{
	__u64 key[2] = { set->frame_key[0], set->frame_key[1] };

	if (unlikely(other)) {
		key[0] = set->other_frame_key[0];
		key[1] = set->other_frame_key[1];
	}
	sip_start(s, key, wide);
}

/* The 8-byte tag over the first `bytes` of w->words, whose last word is zero padded. */
IPOS_FUNCTION __u64 tag_of(const struct ipos_settings *set, const struct ipos_scratch *w,
			   __u32 bytes, __u32 other)
{
	struct sip s;

	if (!set || !w || !(set->flags & IPOS_AUTHENTICATE))
		return 0;
	tag_start(&s, set, other, 0);
	for (__u32 i = 0; i < 16 && i < bytes / 8; i++)
		sip_word(&s, w->words[i]);
	return sip_end(&s, w->words[bytes / 8 & 15], bytes);
}

/*
 * XDP's word to tc for a frame whose tag was right: a number that only this server's programs know,
 * in the place of a notice's tag.  Metadata would say it too, but some drivers have no room for it.
 */
IPOS_INLINE int frame_vouched(const struct ipos_settings *set, const struct ipos_trailer *trailer)
{
	__u64 word;

	__builtin_memcpy(&word, trailer->tag, sizeof(word));
	return word == set->vouch;
}

struct wide_tag {
	__u64 words[2];
};

/* The 16-byte tag of a type 1: over all before it, in w->words, which is zero in its place. */
IPOS_FUNCTION int tag_wide(const struct ipos_settings *set, const struct ipos_scratch *w,
			   struct wide_tag *out, __u32 other)
{
	struct sip s;

	if (!set || !w || !out)
		return 0;
	out->words[0] = out->words[1] = 0;
	if (!(set->flags & IPOS_AUTHENTICATE))
		return 0;
	tag_start(&s, set, other, 1);
	for (__u32 i = 0; i < TYPE1_TAGGED / 8; i++)
		sip_word(&s, w->words[i]);
	sip_end_wide(&s, w->words[TYPE1_TAGGED / 8], TYPE1_TAGGED, out->words);
	return 0;
}

/* Zero where the last of `n` bytes will be: what is then read there is summed by whole words. */
IPOS_INLINE void bytes_pad(struct ipos_scratch *w, __u32 n)
{
	*(__u64 *)(w->bytes + ((n - 1) & (IPOS_CHUNK - 8))) = 0;
}

IPOS_INLINE int keys_change(const struct ipos_settings *set)
{
	return unlikely(set->flags & IPOS_KEYS_CHANGE);
}

IPOS_INLINE int tag_right(const struct ipos_settings *set, const struct ipos_scratch *w,
			  __u32 bytes, __u64 sent)
{
	if (!(set->flags & IPOS_AUTHENTICATE) || likely(tag_of(set, w, bytes, 0) == sent))
		return 1;
	if (!keys_change(set) || tag_of(set, w, bytes, 1) != sent)
		return 0;
	count(COUNT_FRAMES_OTHER_KEY);
	return 1;
}

/* ---- when a frame was made ------------------------------------------------------------------ */

IPOS_INLINE __u32 wall_s(const struct ipos_settings *set, __u64 now)
{
	return (now + set->wall_offset_ns) / 1000000000ULL;
}

/* Whether a frame of that time, network order, may be a new one, by clocks that nearly agree. */
IPOS_INLINE int time_believed(const struct ipos_settings *set, __u32 sent_s, __u64 now)
{
	return wall_s(set, now) - bpf_ntohl(sent_s) + IPOS_FRAME_LIFE_S <= 2 * IPOS_FRAME_LIFE_S;
}

IPOS_INLINE int wide_tag_is(const struct ipos_settings *set, const struct ipos_scratch *w,
			    const struct wide_tag *sent, __u32 other)
{
	struct wide_tag tag;

	tag_wide(set, w, &tag, other);
	return tag.words[0] == sent->words[0] && tag.words[1] == sent->words[1];
}

IPOS_APART int wide_tag_right(const struct ipos_settings *set, const struct ipos_scratch *w,
			      const struct wide_tag *sent)
{
	if (!(set->flags & IPOS_AUTHENTICATE) || likely(wide_tag_is(set, w, sent, 0)))
		return 1;
	if (!keys_change(set) || !wide_tag_is(set, w, sent, 1))
		return 0;
	count(COUNT_FRAMES_OTHER_KEY);
	return 1;
}

/* What a frame of type 3, 4, 6 or 7 says beside the connection's tuple. */
struct notice {
	__u32 endpoint_ip;   /* network */
	__u16 endpoint_port; /* network */
	__u8 type;
	__u8 untagged; /* the VLAN tag is not in the frame but beside it */
	__u16 reason;  /* enum ipos_refusal; types 3, 6: which move, modulo 2^16 */
	__u16 server;  /* index of the receiver, where it is not the sender */
	__u32 iss;
};

/* A notice's tag covers the MAC addresses too: its sender and its receiver. */
#define TRAILER_TAGGED (offsetof(struct ipos_trailer, tag))
#define NOTICE_TAGGED (HEADER_LEN + TRAILER_TAGGED + 2 * ETH_ALEN)
#define LEARNED_TAGGED (offsetof(struct ipos_learned, tag))
#define NUMBERS_TAGGED (offsetof(struct ipos_numbers, tag))
#define PROBE_TAGGED (offsetof(struct ipos_probe, tag))

/*
 * The first `bytes` of a frame being built, from our header on, become those of w->words.  IPv6's
 * are so many that they are copied one after another: a compiler would have all on the stack.
 */
IPOS_INLINE void words_take(struct ipos_scratch *w, const void *h, __u32 bytes)
{
#if IPOS_FAMILY == 6
#pragma unroll
	for (__u32 i = 0; i < bytes / 8; i++)
		w->words[i] = AT64(h, i * 8);
	if (bytes % 8)
		w->words[bytes / 8] = AT32(h, bytes / 8 * 8);
#else
	__builtin_memcpy(w->words, h, bytes);
#endif
}

/* Zeros behind the last of `bytes` in w->words, a multiple of 4: they come with it into a tag. */
IPOS_INLINE void words_end(struct ipos_scratch *w, __u32 bytes)
{
	if (bytes % 8)
		AT32(w->words, bytes) = 0;
	else
		w->words[bytes / 8] = 0;
}

/*
 * Behind the header and trailer of a notice in w->words, and over its tag, what its tag covers
 * too.
 */
IPOS_INLINE void notice_macs(struct ipos_scratch *w, const __u8 *to, const __u8 *from)
{
	__u8 *macs = (void *)w->words + HEADER_LEN + TRAILER_TAGGED;

	mac_copy(macs, to);
	mac_copy(macs + ETH_ALEN, from);
	words_end(w, NOTICE_TAGGED);
}

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

	__builtin_memset(w->frame, 0, SHORT_ROOM);
	l2_write(w->frame, to, set->back_mac, vlan, set->ethertype);
	h = (void *)w->frame + l2;
	trailer = (void *)h + HEADER_LEN;
	header_write_of(h, t, n->endpoint_ip, n->endpoint_port, n->type, protocol_of(t));
	trailer->service_ip = t->service_ip;
	trailer->service_port = t->service_port;
	trailer->reason = bpf_htons(n->reason);
	trailer->iss = bpf_htonl(n->iss);
	words_take(w, h, HEADER_LEN + TRAILER_TAGGED);
	notice_macs(w, to, set->back_mac);
	tag = tag_of(set, w, NOTICE_TAGGED, 0);
	__builtin_memcpy(trailer->tag, &tag, IPOS_TAG_LEN);
	return l2 - sizeof(struct ethhdr) + NOTICE_LEN;
}

#endif /* IPOS_FRAME_H */
