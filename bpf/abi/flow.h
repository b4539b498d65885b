/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Flows of UDP services: what a server is to a client's datagrams. */
#ifndef IPOS_ABI_FLOW_H
#define IPOS_ABI_FLOW_H

#include "abi/connection.h"

#define IPOS_FLOW_ROWS 262144	 /* of flows whose clients went on after an answer */
#define IPOS_FLOW_NEW_ROWS 65536 /* of all others, of which the least recently used goes */
#define IPOS_FLOW_OWNED_ROWS 131072
#define IPOS_FLOW_REFUSERS 5 /* servers that a flow is refused by, before it begins anew */
#define IPOS_FLOW_OFFER_BITS 12
/* Bytes of an IP packet that one frame on back has room for, where the LAN's MTU is 1500. */
#define IPOS_FLOW_PACKET_MAX 1472 /* IPOS_MSS + 40 */

enum ipos_flow_state {
	IPOS_FLOW_OFFERED = 0,	    /* no type 3 has come for the last type 1 */
	IPOS_FLOW_ACKNOWLEDGED = 1, /* its owner has a row */
	IPOS_FLOW_ANSWERED = 2,	    /* its client went on after the application had answered */
	IPOS_FLOW_REFUSED = 3,	    /* its next datagram is chosen a server for anew */
};

struct ipos_flow { /* maps `udp_flows` and `udp_new`, at the first server */
	__u64 last_seen_ns;
	__u64 offered_ns; /* when the last type 1 went out; 0: none has */
	__be32 destination_ip;
	__be16 destination_port; /* the application's */
	__u16 server;		 /* index of the owner; self: the flow is served here */
	__u16 service;
	__u16 offer; /* number of the last type 1, modulo 2^IPOS_FLOW_OFFER_BITS */
	__u8 state;  /* enum ipos_flow_state */
	__u8 refusals;
	__u16 refused[IPOS_FLOW_REFUSERS]; /* the first `refusals`: indices in `servers` */
	__u32 packets;			   /* modulo 2^32 */
	__u32 initial;			   /* QUIC: hash of its first connection ID; 0: not known */
};

/*
 * Map `udp_owned`, LRU, at the owner, by two keys: the flow's, and the same with the application's
 * port and no service address, which says what the client asked last.
 */
struct ipos_owned {
	__u64 last_seen_ns;
	__u64 answered_ns; /* when the application last answered; 0: it has not */
	__be32 service_ip; /* what the client asked */
	__be16 service_port;
	__u16 first; /* index of the first server; 0: not known */
	__u16 service;
	__u16 zero;
	__u32 packets; /* modulo 2^32 */
};

struct ipos_fragment_key { /* map `udp_fragments`: of one IP packet */
	__be32 source;
	__be32 destination;
	__be16 id;
	__u8 outbound; /* 1: an application's */
	__u8 zero;
};

struct ipos_fragment { /* what its first fragment said */
	__u64 seen_ns;
	__be32 service_ip; /* outbound: the source that all of them get */
	__be16 client_port;
	__be16 service_port;
	__be16 port;  /* the application's */
	__u16 server; /* index of the owner */
	__u32 zero;
};

/* After a UDP flow's header in type 1; of the size of a notice's trailer. */
struct ipos_flow_offer {
	__be32 service_ip; /* Figure 11f: server IP and port */
	__be16 service_port;
	__be32 sent_s; /* ours from here on: as in the control block */
	__be16 offer;
	__u8 tag[8]; /* as a trailer's */
} __attribute__((packed));

#endif /* IPOS_ABI_FLOW_H */
