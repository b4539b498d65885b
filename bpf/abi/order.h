/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What an agent orders its own data plane about one endpoint that migrates with its application's
 * state: see tc/with_state.h.  It is on no wire: the agent runs the frame through tc.
 */
#ifndef IPOS_ABI_ORDER_H
#define IPOS_ABI_ORDER_H

#include "abi/limits.h"

enum ipos_order_kind {
	IPOS_ORDER_NONE = 0,
	IPOS_ORDER_FREEZE = 1, /* giver: nothing reaches our socket any more */
	IPOS_ORDER_THAW = 2,   /* giver: it goes on here */
	IPOS_ORDER_GIVE = 3,   /* giver: it is `server`'s from now on, and never ours again */
	IPOS_ORDER_TAKE = 4,   /* taker: its socket is here, and nothing reaches it yet */
	IPOS_ORDER_LIVE = 5,   /* taker: `server` has given it, so it is ours */
	IPOS_ORDER_DROP = 6,   /* taker: it is not */
};

struct ipos_order { /* behind the header, with IPOS_MARK_ORDER */
	__u32 service_ip;
	__be16 service_port;
	__u16 kind; /* enum ipos_order_kind */
	__u32 iss;
	__u32 irs;
	__u64 migration; /* the number that the connection has, or is to have */
	__u64 cookie;	 /* FREEZE, TAKE: the socket's */
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 rcv_nxt;
	__u32 ts_recent;
	__u32 ts_sent;
	__u16 server; /* GIVE: index of the taker; TAKE, LIVE: of the giver */
	__u16 first;  /* TAKE, LIVE: index of the first server */
	__u16 mss;
	__u8 snd_wscale;
	__u8 options; /* enum ipos_options */
	__u8 zero[4];
};

#endif /* IPOS_ABI_ORDER_H */
