/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections that this server knows nothing of: all servers are asked for their owner, by a frame
 * that carries the client's packet (type 5), and the owner answers (type 12).  When a question may
 * be asked, and what an answer looks like.
 */
#ifndef IPOS_QUESTION_H
#define IPOS_QUESTION_H

#include "lib/rows.h"
#include "lib/frame.h"
#include "lib/siphash.h"

#define QUESTION_NS 50000000ULL		/* an answer takes less: until then nothing more is asked */
#define QUESTION_LIFE_NS 10000000000ULL /* a question of the past, whatever came of it */
#define QUESTIONS 3			/* so many in vain, over so long: no server has it */
#define QUESTIONS_NS 1000000000ULL
#define ANSWER_NS 1000000000ULL /* an answer that comes later is none */

enum question {
	QUESTION_ASK,
	QUESTION_WAITS,	 /* it is being asked */
	QUESTION_SOURCE, /* its source has asked too often */
	QUESTION_LIMIT,	 /* this server has */
	QUESTION_NOBODY, /* it was asked in vain */
};

struct asking {
	__u32 client_ip;
	__u32 resets; /* the client may be told the end */
};

IPOS_INLINE int locates_exceed(__u32 slot, __u32 most, __u64 now)
{
	struct ipos_guesses *g = bpf_map_lookup_elem(&locates, &slot);

	if (!g)
		return 1;
	if (now - g->since_ns >= 1000000000ULL) {
		g->since_ns = now;
		g->wrong = 0;
	}
	if (g->wrong >= most)
		return 1;
	__sync_fetch_and_add(&g->wrong, 1);
	return 0;
}

IPOS_INLINE __u32 locates_slot(const struct ipos_settings *set, __u32 client_ip)
{
	__u64 key[2] = { set->vouch, 2 };
	struct sip s;

	sip_start(&s, key, 0);
	return sip_end(&s, client_ip, 4) & (IPOS_GUESSES_SLOTS - 2);
}

/*
 * What becomes of a packet, with what was asked about its connection before.  A reset counts as a
 * question: neither can be made a flood.
 */
IPOS_APART int question_next(const struct ipos_settings *set, const struct ipos_question *before,
			     const struct asking *a, __u64 now)
{
	int vain = 0;

	if (before && now - before->asked_ns < QUESTION_LIFE_NS) {
		if (now - before->asked_ns < QUESTION_NS)
			return QUESTION_WAITS;
		vain = before->count >= QUESTIONS && now - before->first_ns >= QUESTIONS_NS;
	}
	if (locates_exceed(locates_slot(set, a->client_ip), set->locates_source, now))
		return QUESTION_SOURCE;
	if (locates_exceed(IPOS_GUESSES_SLOTS - 1, set->locates, now))
		return QUESTION_LIMIT;
	return vain && a->resets ? QUESTION_NOBODY : QUESTION_ASK;
}

/* The row of a question that is about to be asked, at `row`. */
IPOS_INLINE void question_begin(struct ipos_question *row, const struct ipos_question *before,
				const struct segment *s, __u64 now)
{
	__builtin_memset(row, 0, sizeof(*row));
	row->first_ns = now;
	if (before && now - before->asked_ns < QUESTION_LIFE_NS) {
		row->first_ns = before->first_ns;
		row->count = before->count;
	}
	if (row->count < 255)
		row->count++;
	row->asked_ns = now;
	row->client_end = segment_end(s);
	row->client_ack = s->ack;
}

IPOS_INLINE __be32 question_of(__u64 tag)
{
	__be32 last;

	__builtin_memcpy(&last, (__u8 *)&tag + 4, sizeof(last));
	return last;
}

/* The time in a type 5, in the place of a port: network order. */
IPOS_INLINE __u16 question_time(const struct ipos_settings *set, __u64 now)
{
	return bpf_htons(wall_s(set, now));
}

/* time_believed() of sixteen bits. */
IPOS_INLINE int question_believed(const struct ipos_settings *set, __u16 sent, __u64 now)
{
	return (__u16)(wall_s(set, now) - bpf_ntohs(sent) + IPOS_FRAME_LIFE_S) <=
	       2 * IPOS_FRAME_LIFE_S;
}

#define LOCATED_TAGGED (offsetof(struct ipos_located, tag))

/* What a type 12's tag covers behind header and body in w->words, as notice_macs(). */
IPOS_INLINE void located_macs(struct ipos_scratch *w, const __u8 *to, const __u8 *from)
{
	__u8 *macs = (void *)w->words + HEADER_LEN + LOCATED_TAGGED;

	mac_copy(macs, to);
	mac_copy(macs + ETH_ALEN, from);
	words_end(w, HEADER_LEN + LOCATED_TAGGED + 2 * ETH_ALEN);
}

/* The whole type 12 at w->frame.  Returns its length. */
IPOS_APART int located_write(const struct ipos_settings *set, struct ipos_scratch *w,
			     const struct ipos_tuple *t, const __u8 *to,
			     const struct ipos_endpoint *ep)
{
	__u32 l2 = l2_length(set->back_vlan);
	struct ipos_located *body;
	struct ipos_header *h;
	__u64 tag;

	__builtin_memset(w->frame, 0, SHORT_ROOM);
	l2_write(w->frame, to, set->back_mac, set->back_vlan, set->ethertype);
	h = (void *)w->frame + l2;
	body = (void *)h + HEADER_LEN;
	header_write(h, t, set->self_ip, ep->endpoint_port, IPOS_LOCATED);
	body->service_ip = t->service_ip;
	body->service_port = t->service_port;
	body->move = bpf_htons((__u16)ep->migration);
	body->iss = bpf_htonl(ep->hs.iss);
	body->irs = bpf_htonl(ep->hs.irs);
	body->question = ep->question;
	words_take(w, h, HEADER_LEN + LOCATED_TAGGED);
	located_macs(w, to, set->back_mac);
	tag = tag_of(set, w, HEADER_LEN + LOCATED_TAGGED + 2 * ETH_ALEN, 0);
	__builtin_memcpy(body->tag, &tag, IPOS_TAG_LEN);
	return l2 - sizeof(struct ethhdr) + LOCATED_LEN;
}

#endif /* IPOS_QUESTION_H */
