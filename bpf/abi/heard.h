/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What other servers have said of themselves, to the agent and to the data plane. */
#ifndef IPOS_ABI_HEARD_H
#define IPOS_ABI_HEARD_H

#include <linux/bpf.h>
#include "abi/limits.h"

#define IPOS_PAUSE_NS 450000000ULL /* more than two states that are lost in a row take */

struct ipos_edition { /* map `editions`, by server index: what the agent knows of it */
	__u64 boot;   /* of the newest state that the agent has read whole; 0: of none */
	__u64 sequence;
	__u32 edition;
	__u32 zero;
};

/*
 * Map `heard`, by server index: the newest frame of type 13 that was believed.  The agent reads it
 * under the lock, so it sees no half of a row.
 */
struct ipos_heard {
	struct bpf_spin_lock lock;
	__u32 tcp_connections;
	__u64 boot;
	__u64 sequence;
	__u64 memory_available;
	__u64 bandwidth_available;
	__s64 sent; /* of `traffic`, when the frame came */
	__s64 closed;
	__u16 cpu_permille;
	__u8 memory_short; /* as in `servers` */
	__u8 bandwidth_short;
	__u32 zero;
	__u64 last_ns;	/* when the last frame of type 13, or probe, with a right tag came */
	__u64 since_ns; /* since when none came later than IPOS_PAUSE_NS after the one before */
};

/*
 * No server has index 0.  In this row, last_ns is when any server was heard last, 0 when the agent
 * knows that there is none.  Who hears nobody for IPOS_AWAY_NS may have been away itself, and
 * another server may hold its addresses by now.  So it answers no ARP request for IPOS_DOUBT_NS
 * from since_ns on, when it heard a server again, or got the first request if that was sooner.  In
 * this time an agent that goes on gives the addresses up that others hold.
 */
#define IPOS_HEARD_ANY 0
#define IPOS_AWAY_NS 800000000ULL /* later than a server that is alone knows it */
#define IPOS_DOUBT_NS 500000000ULL

#endif /* IPOS_ABI_HEARD_H */
