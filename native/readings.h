/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What programs read, by itself: part of native.c, behind the programs. */
#ifndef IPOS_NATIVE_READINGS_H
#define IPOS_NATIVE_READINGS_H

#include <errno.h>
#include <string.h>

#include "http/response.h"
#include "select/learn.h"
#include "select/read.h"
#include "select/session_line.h"

/* ---- a request head by itself: what the ingress program reads ------------------------------- */

void ipos_request_open(struct native_node *n, __u32 service, __u32 mode)
{
	native_enter(n);
	request_open(scratch_of(IPOS_PROG_INGRESS), service, mode);
	native_leave(n);
}

/* At most IPOS_CHUNK bytes.  Returns enum ipos_progress. */
int ipos_request_feed(struct native_node *n, const void *bytes, __u32 len)
{
	struct ipos_scratch *w;
	int progress;

	if (len > IPOS_CHUNK)
		return -EINVAL;
	native_enter(n);
	w = scratch_of(IPOS_PROG_INGRESS);
	memcpy(w->bytes, bytes, len);
	progress = request_feed(w, len);
	native_leave(n);
	return progress;
}

/* Where a head of this mode ends: in the piece that follows, and so on. */
void ipos_head_open(struct native_node *n, __u32 mode)
{
	struct ipos_scratch *w;

	native_enter(n);
	w = scratch_of(IPOS_PROG_INGRESS);
	w->state = head_first(mode);
	w->cursor = w->more = 0;
	native_leave(n);
}

/* At most IPOS_CHUNK bytes.  Returns how many of them the head has, -1: it goes on behind them. */
int ipos_head_feed(struct native_node *n, const void *bytes, __u32 len)
{
	struct ipos_scratch *w;
	int end = -1;

	if (len > IPOS_CHUNK)
		return -EINVAL;
	native_enter(n);
	w = scratch_of(IPOS_PROG_INGRESS);
	memcpy(w->bytes, bytes, len);
	if (head_scan(w, len))
		end = w->end;
	native_leave(n);
	return end;
}

/* What was read; until the node runs again. */
const struct ipos_request *ipos_request(struct native_node *n)
{
	struct ipos_scratch *w;

	native_enter(n);
	w = scratch_of(IPOS_PROG_INGRESS);
	native_leave(n);
	return &w->request;
}

/* ---- an application's responses by themselves ----------------------------------------------- */

/* At most IPOS_CHUNK bytes, after what `ep` has seen of answers. */
int ipos_answer_feed(struct native_node *n, struct ipos_endpoint *ep, const void *bytes, __u32 len)
{
	struct ipos_scratch *w;

	if (len > IPOS_CHUNK)
		return -EINVAL;
	native_enter(n);
	w = scratch_of(IPOS_PROG_EGRESS);
	memcpy(w->bytes, bytes, len);
	answer_feed(w, ep, len);
	native_leave(n);
	return 0;
}

/* The same, after what `l` has seen of heads.  Returns whether the head goes on. */
int ipos_learn_feed(struct native_node *n, struct ipos_learning *l, const void *bytes, __u32 len)
{
	struct ipos_scratch *w;
	int more;

	if (len > IPOS_CHUNK)
		return -EINVAL;
	native_enter(n);
	w = scratch_of(IPOS_PROG_EGRESS);
	memcpy(w->bytes, bytes, len);
	more = learn_feed(w, l, len);
	native_leave(n);
	return more;
}

/* Returns how many of these bytes come before the place of a session's line, or all. */
__u32 ipos_insert_feed(struct ipos_endpoint *ep, const __u8 *bytes, __u32 len)
{
	__u32 at = 0;

	while (at < len && ep->insert != IPOS_INSERT_HERE && ep->insert != IPOS_INSERT_DONE)
		insert_step(ep, bytes[at++]);
	return at;
}

#endif /* IPOS_NATIVE_READINGS_H */
