/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A client's segment on its way up to our kernel, which does not know of the line that was inserted
 * into what it sends: its acknowledgements are translated last of all (lib/line.h).  Everything
 * before that, and every row, counts as the client does.
 */
#ifndef IPOS_LINE_IN_H
#define IPOS_LINE_IN_H

#include "lib/line.h"
#include "lib/emit.h"
#include "lib/sk.h"

/* Notes the line of the packet's connection: its row may be gone when the packet goes up. */
IPOS_APART int line_note(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			 struct ipos_endpoint *ep)
{
	__u32 end = line_end(&ep->line);

	w->line = ep->line;
	w->line_final = line_final(ep);
	/* Our kernel must have taken it: no other acknowledgement may be believed. */
	if (ep->insert == IPOS_INSERT_SENT && s->flags & TCP_ACK &&
	    !seq_before(s->ack, end + ep->line.length) && socket_acknowledged(skb, &s->tuple, end))
		ep->insert = IPOS_INSERT_DONE;
	return 0;
}

/* Returns a TC verdict. */
IPOS_APART int line_to_kernel(struct __sk_buff *skb, struct ipos_scratch *w,
			      const struct segment *s)
{
	__u32 len = s->tcp_len & 63, more = len - sizeof(struct tcphdr);
	__s64 difference;

	__builtin_memset(w->tcp, 0, sizeof(w->tcp));
	if (len < sizeof(struct tcphdr) || bpf_skb_load_bytes(skb, s->l4, w->tcp, len))
		return shot(COUNT_DROP_EMIT);
	__builtin_memcpy(w->frame, w->tcp, sizeof(w->tcp));
	line_header(w, len);
	difference =
		bpf_csum_diff((void *)w->frame, sizeof(w->tcp), (void *)w->tcp, sizeof(w->tcp), 0);
	if (difference < 0 ||
	    bpf_l4_csum_replace(skb, s->l4 + offsetof(struct tcphdr, check), 0, difference, 0) ||
	    bpf_skb_store_bytes(skb, s->l4 + 8, w->tcp + 8, 4, 0))
		return shot(COUNT_DROP_EMIT);
	IPOS_OPAQUE(more);
	if (more < 1 || more > 40)
		return TC_ACT_OK;
	return bpf_skb_store_bytes(skb, s->l4 + sizeof(struct tcphdr),
				   w->tcp + sizeof(struct tcphdr), more, 0)
		       ? shot(COUNT_DROP_EMIT)
		       : TC_ACT_OK;
}

#endif /* IPOS_LINE_IN_H */
