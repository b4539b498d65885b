/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A client's packet of a connection that this server knows nothing of, because its first server has
 * died, or routers send it here now: whose is it?
 */
#ifndef IPOS_XDP_LOCATE_H
#define IPOS_XDP_LOCATE_H

#include "lib/question.h"
#include "xdp/encapsulation.h"

enum locate {
	LOCATE_SILENTLY, /* whatever comes of it, the client is told nothing */
	LOCATE_SPENT,	 /* the same, of a source that has guessed too often */
	LOCATE_RESETS,	 /* if no server has it, the client is reset */
	LOCATE_OPENS,	 /* if no server answers, its cookie opens it here */
};

#define LOCATE_IN_VAIN (-1)
#define LOCATE_SEND (-2)

/* Asks.  The row of the question is in w->saved. */
IPOS_APART int question_send(struct xdp_md *ctx, const struct ipos_settings *set,
			     struct ipos_scratch *w, const struct segment *s)
{
	struct ipos_question *row = (void *)w->saved;
	struct wrapping by = { .mac = everybody, .ip = set->self_ip, .type = IPOS_LOCATE };
	__u64 tag = 0;
	int verdict;

	by.port = question_time(set, row->asked_ns);
	verdict = wrap(ctx, set, s, &by, &tag);
	row->question = question_of(tag);
	row->due = verdict == NO_ROOM;
	if (verdict == XDP_REDIRECT || verdict == NO_ROOM)
		bpf_map_update_elem(&FAMILY(questions), &s->tuple, row, BPF_ANY);
	if (verdict == NO_ROOM)
		return pass_alone(ctx);
	if (verdict == XDP_REDIRECT)
		count(COUNT_LOCATE_ASKED);
	return verdict;
}

/* A verdict, LOCATE_IN_VAIN, or LOCATE_SEND for the question whose row is in w->saved. */
IPOS_APART int question_judge(struct xdp_md *ctx, const struct ipos_settings *set,
			      struct ipos_scratch *w, const struct segment *s, enum locate how)
{
	struct ipos_question *before = bpf_map_lookup_elem(&FAMILY(questions), &s->tuple);
	struct asking a = { .client_ip = client_word(s->tuple.client_ip) };
	struct ipos_handshake nobody = {}; /* it has no ISN that we know */
	__u64 now = bpf_ktime_get_boot_ns();

	if (how == LOCATE_OPENS && before && now - before->asked_ns >= QUESTION_NS &&
	    now - before->asked_ns < QUESTION_LIFE_NS)
		return LOCATE_IN_VAIN;
	a.resets = how == LOCATE_RESETS && set->flags & IPOS_ALL_ANSWER && s->flags & TCP_ACK &&
		   !(s->flags & TCP_RST);
	switch (question_next(set, before, &a, now)) {
	case QUESTION_WAITS:
		return drop(COUNT_DROP_LOCATING);
	case QUESTION_SOURCE:
		return drop(how == LOCATE_SPENT ? COUNT_DROP_GUESSING : COUNT_DROP_LOCATE_SOURCE);
	case QUESTION_LIMIT:
		return drop(how == LOCATE_SPENT ? COUNT_DROP_GUESSING : COUNT_DROP_LOCATE_LIMIT);
	case QUESTION_NOBODY:
		closed_remember(&s->tuple, &nobody, segment_end(s), now, IPOS_TEMP_RESET);
		count(COUNT_LOCATE_NOBODY);
		return answer_reset(ctx, w, s);
	default:
		question_begin((void *)w->saved, before, s, now);
		return LOCATE_SEND;
	}
}

/*
 * A verdict; after LOCATE_OPENS also LOCATE_IN_VAIN, of a packet that was asked about without an
 * answer.
 */
IPOS_INLINE int client_locate(struct xdp_md *ctx, const struct ipos_settings *set,
			      struct ipos_scratch *w, const struct segment *s, enum locate how)
{
	int verdict = question_judge(ctx, set, w, s, how);

	return verdict == LOCATE_SEND ? question_send(ctx, set, w, s) : verdict;
}

#define LATE_SPAN (1U << 20) /* a late segment is no further before the end of its connection */
#define LATE_BEYOND 65535U   /* nor behind it, where it had not been taken */

/*
 * Whether a segment is a late one of the connection that has ended.  Linux begins the next one on
 * ports that are in TIME_WAIT 65,537 numbers behind the last.
 */
IPOS_INLINE int is_late(const struct ipos_temporary *t, const struct segment *s)
{
	return (t->state == IPOS_TEMP_CLOSED || t->state == IPOS_TEMP_RESET) &&
	       segment_end(s) - t->client_end + LATE_SPAN <= LATE_SPAN + LATE_BEYOND;
}

/* Whether other servers may have packets of connections to this address, before and after us. */
IPOS_INLINE int is_shared(const struct segment *s)
{
	struct ipos_address *a = address_of(s->tuple.service_ip, s->tuple.service_port);

	return a && a->asks;
}

/*
 * A packet of an unknown connection, without a cookie: another server may know it.  Not while a
 * client that has shaken hands here may use the same ports, unless routers have sent only its
 * handshake here: then its owner is looked for, and the client is told nothing.
 */
IPOS_INLINE int client_elsewhere(struct xdp_md *ctx, const struct ipos_settings *set,
				 struct ipos_scratch *w, const struct segment *s,
				 const struct ipos_temporary *t, enum locate how, __u32 reason)
{
	if (!set->locates || (t && is_late(t, s)))
		return drop(reason);
	if (t && t->state == IPOS_TEMP_OPEN) {
		if (!is_shared(s))
			return drop(reason);
		how = how == LOCATE_SPENT ? how : LOCATE_SILENTLY;
	}
	return client_locate(ctx, set, w, s, how);
}

/*
 * Whether the request of a cookie that was never seen here before may have an owner already: the
 * server that had the address until now may have given it on.
 */
IPOS_INLINE int may_be_taken(const struct ipos_settings *set, const struct segment *s)
{
	return set->locates && s->length && is_shared(s);
}

#endif /* IPOS_XDP_LOCATE_H */
