/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Figure 11: the frames that servers exchange, and our own. */
#ifndef IPOS_ABI_WIRE_H
#define IPOS_ABI_WIRE_H

#include "abi/limits.h"

#define IPOS_ETHERTYPE 0x0007
#define IPOS_HEADER_LEN 16
#define IPOS_CONNECTION_LEN 146 /* server IP, server port, control block */
#define IPOS_TCB_LEN 140
#define IPOS_TAG_LEN 8
#define IPOS_TRAILER_LEN 20 /* service IP, service port, reason, iss, tag */
/* The same of protocols 3 and 4, whose service address has 16 bytes. */
#define IPOS_HEADER6_LEN 32
#define IPOS_CONNECTION6_LEN 158
#define IPOS_TRAILER6_LEN 36
/* a frame with a time is believed so long before and after */
#define IPOS_FRAME_LIFE_S 5
/* bytes of a payload that the tag of a type 2 covers; IPOS_CHUNK */
#define IPOS_TAGGED_MAX 1024
/* words of eight bytes that the tag of a type 2 covers at most: of headers, then of a payload */
#define IPOS_NH_HEADERS 12
#define IPOS_NH_HEADERS6 17 /* of protocols 3 and 4 */
#define IPOS_NH_KEYS 292    /* 2 * (IPOS_NH_HEADERS6 + IPOS_TAGGED_MAX / 8 + 1) */

enum ipos_type {
	IPOS_CONNECTION = 1,
	IPOS_PACKET = 2,
	IPOS_ACKNOWLEDGEMENT = 3,
	IPOS_CLOSED = 4,
	IPOS_LOCATE = 5,
	IPOS_MOVED = 6,
	IPOS_REFUSED = 7,
	IPOS_PROBE = 8,
	IPOS_PROBE_ANSWER = 9,
	IPOS_LEARNED = 10,
	IPOS_FORGOTTEN = 11,
	IPOS_LOCATED = 12,
	IPOS_STATE = 13,
};

enum ipos_protocol { IPOS_TCP = 1, IPOS_UDP = 2, IPOS_TCP6 = 3, IPOS_UDP6 = 4 };

/* Reasons in the trailer of a type 7. */
enum ipos_refusal {
	IPOS_REFUSE_NONE = 0,
	IPOS_REFUSE_NO_LISTENER = 1, /* nothing listens on the application's port */
	IPOS_REFUSE_QUEUE_FULL = 2,  /* the accept queue has no room */
	IPOS_REFUSE_TUPLE_LIVE = 3,  /* a live socket has the four-tuple */
	IPOS_REFUSE_TABLE_FULL = 4,  /* Forward-Connect is full */
	IPOS_REFUSE_NOT_ADOPTED = 5, /* the kernel made no socket of the request */
	IPOS_REFUSE_UNKNOWN = 6,     /* no such connection here; iss is the packet's ack, or a
					 * SYN's seq */
	IPOS_REFUSE_STATE = 7,	     /* this server is in maintenance */
};

/*
 * A type 7 names the offer that it refuses: above the reason stand the low bits of its migration
 * number, so that a late one cannot hit the next offer to the same server.  A type 3 has 16 of
 * these bits, because it has no reason.
 */
#define IPOS_REFUSAL_BITS 4
#define IPOS_OFFER_OF(migration) ((__u16)(migration) & (0xffff >> IPOS_REFUSAL_BITS))

/* Flags of the TCP control block. */
enum ipos_options {
	IPOS_OPT_SACK = 1,
	IPOS_OPT_TIMESTAMPS = 2,
	IPOS_OPT_WSCALE = 4,
	IPOS_OPT_ECN = 8,
	IPOS_OPT_USEC_TS = 16,
	IPOS_OPT_SESSION = 32, /* no TCP option: the first response begins a session */
	IPOS_OPT_BEGUN = 64,   /* no TCP option: a response before has begun one */
	/* no TCP option: it was located once, so that several servers may have a row of Forward,
	 * and all hear of its moves and its end */
	IPOS_OPT_LOCATED = 128,
};

struct ipos_header { /* Figure 11b */
	__be32 client_ip;
	__be16 client_port;
	__be32 endpoint_ip;
	__be16 endpoint_port;
	__u8 type;
	__u8 protocol;
	__be16 checksum;
} __attribute__((packed));

struct ipos_header6 {	   /* of protocols 3 and 4, which are ours */
	__be32 client_low; /* the last four bytes of the client's address */
	__be16 client_port;
	__be32 endpoint_ip;
	__be16 endpoint_port;
	__u8 type;
	__u8 protocol;
	__be16 checksum; /* of all 32 bytes */
	ipos_ip6 client_ip;
} __attribute__((packed));

struct ipos_tcb { /* TCP control block, version 1 */
	__u8 version;
	__u8 state;
	__be16 flags;
	__be32 iss;
	__be32 irs;
	__be32 snd_una;
	__be32 snd_nxt;
	__be32 snd_max;
	__be32 snd_wl1;
	__be32 snd_wl2;
	__be32 snd_wnd;
	__be32 rcv_nxt;
	__be32 rcv_wnd;
	__be32 rcv_adv;
	__be16 peer_mss;
	__be16 effective_mss;
	__u8 snd_wscale;
	__u8 rcv_wscale;
	__be16 zero;
	__be32 ts_recent;
	__be32 ts_recent_age_ms;
	__be32 ts_last_sent;
	__be32 srtt_us; /* with IPOS_OPT_SESSION, this and the next are an identifier, or 0 */
	__be32 rttvar_us;
	__be32 rto_us;
	__be32 snd_cwnd;
	__be32 snd_ssthresh;
	__be32 send_queue_len;
	__be32 receive_queue_len;
	__be64 migration;   /* rises with every migration of the connection */
	__be64 request_len; /* of the request that moves: enum ipos_body says of what */
	__u8 body;	    /* enum ipos_body */
	__u8 zeros[3];
	__be32 sent_s; /* wall clock, seconds since 1970: see IPOS_FRAME_LIFE_S */
	__u32 first;   /* of a connection that moves: the first service address of its first
			server, which gives its packets on; 0 of a new one: the sender */
	__u8 tag[16];
} __attribute__((packed));

struct ipos_connection { /* Figure 11d: connection information (TCP) */
	ipos_ip server_ip;
	__u16 server_port;
	struct ipos_tcb tcb;
} __attribute__((packed));

struct ipos_trailer { /* after types 3, 4, 6, 7 */
	ipos_ip service_ip;
	__u16 service_port;
	__u16 reason;
	__u32 iss;
#if IPOS_FAMILY == 6
	__u32 spare; /* a NIC may write a checksum here, see notice_beside() */
#endif
	__u8 tag[8];
} __attribute__((packed));

struct ipos_probe {	/* after types 8 and 9, in the trailer's place */
	__u8 nonce[12]; /* the asker's random bytes, repeated in the answer */
	__u8 tag[8];
} __attribute__((packed));

/*
 * After types 10 and 11, in the trailer's place.  The header's endpoint is the session's server,
 * and in the port's place stands the turn of an identified session; 0 of a learned one.
 */
struct ipos_learned {
	__u8 hash[8];  /* the key of its row in `cookies` */
	__be32 sent_s; /* as in the control block */
	__u8 tag[8];   /* over the header and all before it; padding follows */
} __attribute__((packed));

/*
 * After type 12.  Its header names the owner's endpoint; the one of a type 5 has instead of that
 * the asker's first service address, and in the port's place the low bits of the time.
 */
struct ipos_located {
	ipos_ip service_ip;
	__be16 service_port;
	__be16 move; /* low bits of the connection's migration number */
	__be32 iss;
	__be32 irs;
	__be32 question; /* the last four bytes of the question's tag */
	__u8 tag[8];	 /* as a trailer's */
} __attribute__((packed));

/*
 * After type 13, in the trailer's place: what changes all the time in a server's state.  The
 * header's source is its back address; everything else it says in datagrams to the agents, of which
 * the newest has this edition.
 */
struct ipos_numbers {
	__be64 boot;	 /* when its agent started, ms since 1970 */
	__be64 sequence; /* rises with each state of one agent's life */
	__be64 memory_available;
	__be64 bandwidth_available;
	__be32 tcp_connections;
	__u8 memory_short; /* percent; with the next two, a busy CPU to releases before ABI 12 */
	__u8 bandwidth_short;
	__be16 cpu_permille;
	__be32 edition;
	__be32 sent_s; /* as in the control block */
	__u8 tag[8];   /* over the header and all before it; what follows is padding */
} __attribute__((packed));

/*
 * Keys of the tag of a packet in a frame: NH's, of which a word of the message takes the two at its
 * place and the two behind them, and SipHash's.
 */
struct ipos_tag_key {
	__u64 sip[2]; /* bytes 0-7 and 8-15, little-endian */
	__u32 nh[IPOS_NH_KEYS];
};

struct ipos_tag_keys {		     /* map `tag_keys`, one element */
	struct ipos_tag_key keys[2]; /* ours; believed too, while keys change */
};

#endif /* IPOS_ABI_WIRE_H */
