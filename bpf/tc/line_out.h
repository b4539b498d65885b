/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The line that begins a session, on its way out (select/session_line.h says where it goes).
 *
 * The socket is left alone: an application that asks how much it may read (FIONREAD), or sends a
 * file, must find the kernel it knows.  A segment of the kernel's may be a batch of 64 KiB, whose
 * bytes cannot be pushed aside.  So, of a segment that begins at `at`:
 *
 *   our kernel sends               HTTP/1.1 200 OK | Content-Length: 5 ...
 *   a segment of ours, at `at`     HTTP/1.1 200 OK | Set-Cookie: IPOS=0123
 *   then its own, `length` higher  4567...; Path=/ | Content-Length: 5 ...
 *
 * The new segment has as many bytes as the line, and the first bytes of the kernel's, which stood
 * before the line's place, are overwritten with the line's last.  When TCP sends again, from where
 * and in pieces of whatever size, the same bytes leave again.  A client whose window is full
 * gets up
 * to a line more than it can take: it drops that, and TCP sends it again.
 */
#ifndef IPOS_LINE_OUT_H
#define IPOS_LINE_OUT_H

#include "abi/verdict.h"
#include "select/session_line.h"
#include "lib/line.h"
#include "lib/emit.h"

#define LINE_ROOM (IPOS_CHUNK - IPOS_SESSION_LINE_MAX) /* bytes that may stand before the line */

/* A line as it was configured, so that the same is made again. */
IPOS_INLINE __u32 line_sum(const struct ipos_session *session)
{
	return bpf_csum_diff(NULL, 0, (void *)session->line, IPOS_SESSION_LINE_MAX, 0);
}

/* The place of the line has been found, in the segment at hand. */
IPOS_APART int line_begins(const struct segment *s, struct ipos_endpoint *ep)
{
	/* What has been sent keeps its number. */
	__u32 at = seq_before(s->seq, ep->snd_nxt) ? ep->snd_nxt : s->seq;
	struct ipos_session *session = session_at(ep->service);
	struct ipos_settings *set = settings_now();
	__u32 behind = ep->insert_next - at, day;

	ep->insert = IPOS_INSERT_DONE;
	if (!session || session->kind != IPOS_SESSION_INSERT)
		return 0;
	day = set ? session_day(set, bpf_ktime_get_boot_ns()) : 0;
	if (!set || !session->line_len || session->line_len > IPOS_SESSION_LINE_MAX || !behind ||
	    behind > LINE_ROOM || !session_key(day)) {
		count(COUNT_SESSION_UNTOLD);
		return 0;
	}
	ep->line.at = at;
	ep->line.behind = behind;
	ep->line.day = day;
	ep->line.sum = line_sum(session);
	ep->line.length = session->line_len;
	ep->insert = IPOS_INSERT_SENT;
	count(COUNT_SESSION_BEGUN);
	return 0;
}

/* Looks in a segment for the place of the line, from the first byte that was not looked at. */
IPOS_FUNCTION int line_look(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			    struct ipos_endpoint *ep)
{
	__u32 from, left, n;

	if (!w || !s || !ep || !seq_before(ep->insert_next, s->seq + s->length))
		return 0;
	from = ep->insert_next - s->seq;
	left = s->length - from;
	n = left > IPOS_CHUNK ? IPOS_CHUNK : left;
	IPOS_OPAQUE(n);
	if (seq_before(ep->insert_next, s->seq) || n < 1 || n > IPOS_CHUNK ||
	    bpf_skb_load_bytes(skb, s->payload + from, w->bytes, n)) {
		ep->insert = IPOS_INSERT_DONE;
		count(COUNT_SESSION_UNTOLD);
		return 0;
	}
	w->cursor = 0;
	IPOS_REPEAT(IPOS_CHUNK)
	{
		__u32 at = w->cursor;

		if (at >= n || at >= IPOS_CHUNK || ep->insert == IPOS_INSERT_HERE ||
		    ep->insert == IPOS_INSERT_DONE)
			break;
		insert_step(ep, w->bytes[at & (IPOS_CHUNK - 1)]);
		w->cursor = at + 1;
	}
	ep->insert_next += w->cursor;
	if (ep->insert == IPOS_INSERT_HERE)
		return line_begins(s, ep);
	if (ep->insert != IPOS_INSERT_DONE && n < left) { /* more than anybody sends */
		ep->insert = IPOS_INSERT_DONE;
		count(COUNT_SESSION_UNTOLD);
	}
	return 0;
}

/*
 * The bytes before the line, from the segment's first on, and the line: at their places in text,
 * of which the first is at `at`.  Returns 0, or -1 when they cannot be made again.
 */
IPOS_FUNCTION int line_compose(struct __sk_buff *skb, const struct segment *s,
			       struct ipos_endpoint *ep)
{
	struct ipos_scratch *w = scratch_of(IPOS_PROG_EGRESS);
	struct ipos_settings *set = settings_now();
	struct ipos_session *session;
	__u32 from, n, len;
	struct bpf_dynptr d;

	if (!w || !set || !s || !ep)
		return -1;
	session = session_at(ep->service);
	if (!session || session->kind != IPOS_SESSION_INSERT ||
	    session->line_len != ep->line.length || line_sum(session) != ep->line.sum ||
	    !insert_value(set, ep, w))
		return -1;
	from = s->seq - ep->line.at;
	n = ep->line.behind - from;
	len = session->line_len;
	IPOS_OPAQUE(n);
	IPOS_OPAQUE(len);
	if (n < 1 || n > LINE_ROOM || n > s->length || len < 1 || len > IPOS_SESSION_LINE_MAX ||
	    bpf_skb_load_bytes(skb, s->payload, w->bytes, n) ||
	    bpf_dynptr_from_mem(w->text, sizeof(w->text), 0, &d))
		return -1;
	return bpf_dynptr_write(&d, from, w->bytes, n, 0) ||
			       bpf_dynptr_write(&d, ep->line.behind, session->line, len, 0) ||
			       bpf_dynptr_write(&d, ep->line.behind + session->value_at, w->saved,
						IPOS_SESSION_VALUE_LEN, 0) ||
			       bpf_dynptr_read(w->bytes, n, &d, ep->line.length + from, 0)
		       ? -1
		       : 0;
}

/*
 * The segment at hand keeps the first `keep` bytes of its payload, and gets room for `grow` more.
 * What our kernel sends has its checksum finished later; now it is one of the pseudo header.
 */
IPOS_APART int segment_resize(struct __sk_buff *skb, struct ipos_scratch *w,
			      const struct segment *s, __u32 keep, __u32 grow)
{
	__u8 flags = s->flags & ~(TCP_FIN | TCP_PSH);
	__u32 was = s->tcp_len + s->length, is = s->tcp_len + keep + grow;
	ip_header *ip = (void *)w->saved;

	if (bpf_skb_load_bytes(skb, s->l2, ip, sizeof(*ip)))
		return -1;
	ip_resize(ip, sizeof(*ip) + is);
	return bpf_skb_change_tail(skb, s->payload + keep, 0) ||
			       (grow && bpf_skb_change_tail(skb, s->payload + keep + grow, 0)) ||
			       bpf_l4_csum_replace(skb, s->l4 + offsetof(struct tcphdr, check),
						   bpf_htons(was), bpf_htons(is),
						   BPF_F_PSEUDO_HDR | 2) ||
			       bpf_skb_store_bytes(skb, s->l2, ip, sizeof(*ip), 0) ||
			       bpf_skb_store_bytes(skb, s->l4 + 13, &flags, 1, 0)
		       ? -1
		       : 0;
}

/* The copy of a segment becomes the one that goes before it: w->line.length bytes of text. */
IPOS_APART int line_leaves(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s)
{
	__u32 n = w->line.length;

	IPOS_OPAQUE(n);
	if (n < 1 || n > IPOS_SESSION_LINE_MAX || segment_resize(skb, w, s, 0, n) ||
	    bpf_skb_store_bytes(skb, s->payload, w->text, n, 0))
		return shot(COUNT_DROP_EMIT);
	return TC_ACT_OK;
}

/* A segment with bytes that stand before the line.  Returns 0 when it may leave. */
IPOS_INLINE int line_before(struct __sk_buff *skb, const struct ipos_settings *set,
			    struct ipos_scratch *w, const struct segment *s,
			    struct ipos_endpoint *ep)
{
	__u32 n = line_end(&ep->line) - s->seq, mark = skb->mark;

	if (line_compose(skb, s, ep))
		return -1;
	w->line = ep->line;
	if (s->seq == ep->line.at) {
		skb->mark = IPOS_MARK_LINE;
		if (bpf_clone_redirect(skb, set->front_ifindex, 0))
			return -1;
		skb->mark = mark;
	}
	IPOS_OPAQUE(n);
	if (n < 1 || n > LINE_ROOM)
		return -1;
	return bpf_skb_store_bytes(skb, s->payload, w->bytes, n, 0);
}

/*
 * A segment of our kernel's as the client is to see it.  Returns 0, or a TC verdict:
 * TC_ACT_SHOT, or
 * TC_ACT_UNSPEC for one that was cut where the line begins; TCP sends the rest again.
 */
IPOS_APART int line_to_client(struct __sk_buff *skb, const struct ipos_settings *set,
			      struct ipos_scratch *w, const struct segment *s,
			      struct ipos_endpoint *ep)
{
	__u32 seq = line_seq(&ep->line, line_final(ep), s->seq, s->length);
	__be32 was = bpf_htonl(s->seq), is = bpf_htonl(seq);

	if (!line_final(ep) && s->length && seq_before(s->seq, line_end(&ep->line))) {
		if (seq == s->seq && seq_before(ep->line.at, s->seq + s->length))
			return segment_resize(skb, w, s, ep->line.at - s->seq, 0)
				       ? shot(COUNT_DROP_EMIT)
				       : TC_ACT_UNSPEC;
		if (seq != s->seq && line_before(skb, set, w, s, ep))
			return shot(COUNT_DROP_LINE);
	}
	if (seq == s->seq)
		return 0;
	return bpf_l4_csum_replace(skb, s->l4 + offsetof(struct tcphdr, check), was, is, 4) ||
			       bpf_skb_store_bytes(skb, s->l4 + 4, &is, 4, 0)
		       ? shot(COUNT_DROP_EMIT)
		       : 0;
}

#endif /* IPOS_LINE_OUT_H */
