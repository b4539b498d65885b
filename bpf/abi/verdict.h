/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What one part of the data plane tells another about a packet: marks and metadata that it
 * carries, and return values that are no verdict of the kernel's.  All of them are here, so that
 * no two can be the same.
 */
#ifndef IPOS_ABI_VERDICT_H
#define IPOS_ABI_VERDICT_H

#include "abi/address.h"
#include <linux/pkt_cls.h>
#include <linux/types.h>

/* ---- skb->mark: what a program or the agent says of a packet that it put on its way ---- */

/*
 * between two passes through tc: on a frame we put back on ingress
 */
#define IPOS_MARK 0x69704f53
/*
 * on a segment we made for our own kernel, which goes up as it is; and on one of ours to a
 * client, which is no socket's and leaves as it is
 */
#define IPOS_MARK_OURS 0x69704f54
#define IPOS_MARK_VOID 0x69704f55 /* on what goes to an ingress only to end there */
/*
 * on the copy of a segment that becomes the one before it: see tc/line_out.h
 */
#define IPOS_MARK_LINE 0x69704f58
#define IPOS_MARK_TELL 0x69704f5a  /* on the copy that turns into a frame */
#define IPOS_MARK_AFTER 0x69704f5b /* on the response that follows it */
/*
 * on a frame that the agent runs through tc: what is held had its time to go on
 */
#define IPOS_MARK_LATE 0x69704f5c
#define IPOS_MARK_FLOW 0x69704f5f /* on a datagram whose flow has just been offered */
#define IPOS_MARK_BOX 0x69704f60  /* on a packet that a container's listener is to be given */
/*
 * on a piece of a held request for our own kernel: no other bytes may take its place
 */
#define IPOS_MARK_PIECE 0x69704f5e
/*
 * the same, of a packet that has been put back so many times and a little more
 */
#define IPOS_MARK_ROUND 0x69704fa0
/*
 * on a packet that is looked at once more, see follow(); the lowest four bits: how often it was
 */
#define IPOS_MARK_AGAIN 0x69704fc0

/* ---- skb->cb: what one program notes of the packet in its hands, for itself ---- */

#define IPOS_CB_NETNS 0 /* 1 + the id of the network namespace of its connection; 0: ours */
#define IPOS_CB_BOX 1	/* our end of the wire to there; 0: none */

/* ---- metadata: what XDP says of a frame that goes up ---- */

/*
 * XDP's metadata of a packet that tc has nothing to do with
 */
#define IPOS_META_SETTLED 0x69704f5d

/* ---- return values beside TC_ACT_* and enum ipos_refusal, which are all below 0x100 ---- */

#define ADOPT_AGAIN 0x100      /* the packet must go to front's ingress again */
#define DECIDE_HELD 0x101      /* the held request is complete */
#define GIVE_UP 0x102	       /* no server may or can serve it */
#define FOLLOW 0x103	       /* bytes of a later request; see follow() */
#define FIRST_SEGMENT 0x104    /* w->holding is for its request */
#define ANSWERED_SEGMENT 0x105 /* its client was answered */
#define OFFER 0x106	       /* the held request goes to the server in its row */
#define PASS_WHOLE 0x107       /* our kernel gets it, and its FIN */
#define HOLD 0x108	       /* see follow_held() */
#define SYN_AGAIN 0x109	       /* its server has refused a SYN */
#define ANSWER_HELD 0x10a      /* the answer is written, and is to be sent */
#define BOUNCE 0x10b	       /* the packet's connection lives elsewhere: see bounce() */
#define UNATTACHED 0x10c       /* it has no application here: see unattached_asked() */

/*
 * What a tc program says of what is not its family's.  IPv6's comes before IPv4's on a hook, which
 * has the last word.
 */
#if IPOS_FAMILY == 6
#define PASS_OTHER TC_ACT_UNSPEC
#else
#define PASS_OTHER TC_ACT_OK
#endif

/* No two are the same: the compiler refuses a switch with two equal cases. */
static inline __attribute__((always_inline, unused)) void verdicts_differ(__u32 verdict, __u32 mark)
{
	switch (verdict) {
	case TC_ACT_OK:
	case TC_ACT_SHOT:
	case TC_ACT_STOLEN:
	case TC_ACT_REDIRECT:
	case ADOPT_AGAIN:
	case DECIDE_HELD:
	case GIVE_UP:
	case FOLLOW:
	case FIRST_SEGMENT:
	case ANSWERED_SEGMENT:
	case OFFER:
	case PASS_WHOLE:
	case HOLD:
	case SYN_AGAIN:
	case ANSWER_HELD:
	case BOUNCE:
	case UNATTACHED:
		break;
	}
	switch (mark) {
	case IPOS_MARK:
	case IPOS_MARK_OURS:
	case IPOS_MARK_VOID:
	case IPOS_MARK_LINE:
	case IPOS_MARK_ROUND:
	case IPOS_MARK_PIECE:
	case IPOS_MARK_AGAIN:
	case IPOS_MARK_LATE:
	case IPOS_MARK_TELL:
	case IPOS_MARK_AFTER:
	case IPOS_MARK_FLOW:
	case IPOS_MARK_BOX:
	case IPOS_META_SETTLED:
		break;
	}
}

#endif /* IPOS_ABI_VERDICT_H */
