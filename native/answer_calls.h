/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* An application's responses, read by themselves. */
#ifndef IPOS_NATIVE_ANSWER_CALLS_H
#define IPOS_NATIVE_ANSWER_CALLS_H

#include <errno.h>
#include <string.h>

#include "http/response.h"
#include "select/learn.h"
#include "select/session_line.h"

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

#endif /* IPOS_NATIVE_ANSWER_CALLS_H */
