/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The stateless handshake: everything a SYN said, in the ISN and timestamp of our SYN-ACK,
 * under a keyed MAC.
 *
 *            31                                7   6..5       4     3..0
 * ISN, no timestamps:  MAC, 25 bits              | MSS index | SACK | window scale
 * ISN, timestamps:     MAC, 31 bits                                 | epoch (bit 0)
 * TSval:     MAC, 10 bits (31..22) | MSS (21..6) | ECN (5) | SACK (4) | window scale (3..0)
 */
#ifndef IPOS_CORE_COOKIE_H
#define IPOS_CORE_COOKIE_H

#include "lib/maps.h"
#include "lib/options.h"
#include "lib/siphash.h"

#define COOKIE_SACK 16U
#define COOKIE_ECN 32U
#define COOKIE_OPTIONS_MASK 0x3fffffU

/* What the four values of the MSS index stand for; the least is FAMILY_MSS_MIN. */
#if IPOS_FAMILY == 6
#define COOKIE_MSS_1 1340
#define COOKIE_MSS_2 1400
#define COOKIE_MSS_3 1440
#else
#define COOKIE_MSS_1 1220
#define COOKIE_MSS_2 1400
#define COOKIE_MSS_3 1460
#endif

IPOS_INLINE __u32 cookie_mss(__u32 index)
{
	switch (index & 3) {
	case 0:
		return FAMILY_MSS_MIN;
	case 1:
		return COOKIE_MSS_1;
	case 2:
		return COOKIE_MSS_2;
	default:
		return COOKIE_MSS_3;
	}
}

IPOS_INLINE __u32 cookie_mss_index(__u32 mss)
{
	return mss >= COOKIE_MSS_3 ? 3 : mss >= COOKIE_MSS_2 ? 2 : mss >= COOKIE_MSS_1 ? 1 : 0;
}

/* The options word of an ISN without timestamps. */
IPOS_INLINE __u32 cookie_options_bare(__u32 isn)
{
	return (isn & 31) | (isn >> 5 & 3) << 6;
}

IPOS_INLINE __u32 epoch_at(__u64 wall_ns)
{
	return wall_ns / (IPOS_EPOCH_S * 1000000000ULL);
}

IPOS_INLINE struct ipos_epoch_key *epoch_key(__u32 epoch)
{
	__u32 slot = epoch % IPOS_EPOCHS;
	struct ipos_epoch_key *key = bpf_map_lookup_elem(&cookie_keys, &slot);

	return key && key->valid && key->epoch == epoch ? key : NULL;
}

IPOS_INLINE __u64 cookie_mac(const __u64 key[2], const struct ipos_tuple *t, __u32 client_isn,
			     __u32 options, __u32 timestamps)
{
	__u64 ports = (__u64)t->client_port | (__u64)t->service_port << 16;
	struct sip s;

	sip_start(&s, key, 0);
#if IPOS_FAMILY == 6
	sip_word(&s, ip_first(t->client_ip));
	sip_word(&s, ip_last(t->client_ip));
	sip_word(&s, ip_first(t->service_ip));
	sip_word(&s, ip_last(t->service_ip));
#else
	sip_word(&s, (__u64)t->client_ip | (__u64)t->service_ip << 32);
#endif
	sip_word(&s, ports | (__u64)bpf_htonl(client_isn) << 32);
	sip_word(&s, (__u64)bpf_htonl(options) | (__u64)bpf_htonl(timestamps) << 32);
	return sip_end(&s, 0, 2 * IP_BITS / 8 + 16);
}

/* The SYN's options, as options_parse() left them, in one word. */
IPOS_INLINE __u32 cookie_options(const struct ipos_scratch *w, const struct segment *s)
{
	__u32 word = w->wscale;

	if (w->option_flags & IPOS_OPT_SACK)
		word |= COOKIE_SACK;
	if (!(w->option_flags & IPOS_OPT_TIMESTAMPS))
		return word | cookie_mss_index(w->mss) << 6;
	if ((s->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR) && !s->accurate_ecn)
		word |= COOKIE_ECN;
	return word | (__u32)w->mss << 6;
}

struct cookie {
	__u32 isn, ts_value, options;
};

/* For a SYN.  Returns 0 when no key of this epoch is loaded. */
IPOS_INLINE int cookie_make(const struct ipos_scratch *w, const struct segment *s, __u64 wall_ns,
			    struct cookie *c)
{
	__u32 epoch = epoch_at(wall_ns);
	struct ipos_epoch_key *key = epoch_key(epoch);
	__u32 timestamps = !!(w->option_flags & IPOS_OPT_TIMESTAMPS);
	__u64 mac;

	if (!key)
		return 0;
	c->options = cookie_options(w, s);
	mac = cookie_mac(key->key, &s->tuple, s->seq, c->options, timestamps);
	c->ts_value = c->options | (__u32)(mac & 0x3ff) << 22;
	if (timestamps)
		c->isn = (__u32)(mac >> 33) << 1 | (epoch & 1);
	else
		c->isn = (__u32)(mac >> 39) << 7 | (c->options >> 6 & 3) << 5 | (c->options & 31);
	return 1;
}

/* Whether the cookie that a segment brings back was made under `key`. */
IPOS_INLINE int cookie_made(const __u64 key[2], const struct ipos_scratch *w,
			    const struct segment *s, __u32 options, __u32 timestamps)
{
	__u64 mac = cookie_mac(key, &s->tuple, s->seq - 1, options, timestamps);
	__u32 isn = s->ack - 1;

	if (timestamps)
		return (__u32)(mac >> 33) == isn >> 1 && (mac & 0x3ff) == w->ts_echo >> 22;
	return (__u32)(mac >> 39) == isn >> 7;
}

/* Whether it was made in an epoch, under the farm's key or the other that is believed. */
IPOS_APART int cookie_of(const struct ipos_scratch *w, const struct segment *s, __u32 epoch,
			 __u32 options)
{
	__u32 timestamps = !!(w->option_flags & IPOS_OPT_TIMESTAMPS);
	struct ipos_epoch_key *key = epoch_key(epoch);

	return key && (cookie_made(key->key, w, s, options, timestamps) ||
		       (unlikely(key->valid & IPOS_KEY_OTHER) &&
			cookie_made(key->other, w, s, options, timestamps)));
}

/*
 * For the first segment a client sends after our SYN-ACK: seq is its ISN + 1, ack ours + 1.
 * Fills the handshake and returns 1 when the cookie is of this epoch or the one before.  With
 * timestamps a bit says of which; without, the epoch is in the MAC alone, which saves that bit, and
 * the one before counts for half an epoch, because each that is tried makes a guess more likely.
 */
IPOS_INLINE int cookie_check(const struct ipos_scratch *w, const struct segment *s, __u64 wall_ns,
			     struct ipos_handshake *hs)
{
	__u32 timestamps = !!(w->option_flags & IPOS_OPT_TIMESTAMPS);
	__u32 isn = s->ack - 1, epoch = epoch_at(wall_ns), options, early;

	if (timestamps) {
		options = w->ts_echo & COOKIE_OPTIONS_MASK;
		if (!cookie_of(w, s, epoch - ((epoch ^ isn) & 1), options))
			return 0;
	} else {
		options = cookie_options_bare(isn);
		early = epoch_at(wall_ns + IPOS_EPOCH_S * 500000000ULL) == epoch;
		if (!cookie_of(w, s, epoch, options) &&
		    !(early && cookie_of(w, s, epoch - 1, options)))
			return 0;
	}
	hs->iss = isn;
	hs->irs = s->seq - 1;
	hs->mss = timestamps ? options >> 6 : cookie_mss(options >> 6);
	hs->snd_wscale = (options & 15) == IPOS_WSCALE_NONE ? 0 : options & 15;
	hs->options = (options & COOKIE_SACK ? IPOS_OPT_SACK : 0) |
		      (timestamps ? IPOS_OPT_TIMESTAMPS : 0) |
		      ((options & 15) != IPOS_WSCALE_NONE ? IPOS_OPT_WSCALE : 0) |
		      (timestamps && options & COOKIE_ECN ? IPOS_OPT_ECN : 0);
	hs->ts_recent = w->ts_value;
	hs->ts_sent = w->ts_echo;
	return 1;
}

#endif /* IPOS_CORE_COOKIE_H */
