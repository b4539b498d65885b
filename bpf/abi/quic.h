/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* QUIC over UDP services: clients' first flights that are not whole, and servers' numbers. */
#ifndef IPOS_ABI_QUIC_H
#define IPOS_ABI_QUIC_H

#include "abi/flow.h"

#define IPOS_QUIC_HELLOS 1024	 /* first flights of which a part has come; 11 MiB */
#define IPOS_QUIC_HELLO_MAX 4096 /* bytes of a ClientHello that are collected; a power of two */
#define IPOS_QUIC_HELLO_ROOM 4104
#define IPOS_QUIC_HELLO_WORDS 64   /* of 64 bits, a bit for each of those bytes */
#define IPOS_QUIC_HELD 4	   /* datagrams of one first flight; a power of two */
#define IPOS_QUIC_PACKET_MAX 1500  /* bytes of the IP packet of one */
#define IPOS_QUIC_PACKET_ROOM 1504 /* a multiple of eight */
#define IPOS_QUIC_PACKETS 6016	   /* bytes of so many */
#define IPOS_QUIC_STALE_MS 3000	   /* after this a client that goes on begins its flight anew */
#define IPOS_QUIC_NUMBER_MAX 4	   /* bytes of a server's number */
#define IPOS_QUIC_NUMBERS 65536	   /* rows of `quic_numbers` */
/* Initial packets that are read in a second, of one network (/24) and of all. */
#define IPOS_QUIC_READS_NETWORK 1024
#define IPOS_QUIC_READS 16384
#define IPOS_QUIC_READS_SLOTS 8193 /* a power of two, and the slot of all networks behind them */

struct ipos_hello { /* map `quic_hellos`, LRU, by the flow */
	__u64 since_ns;
	__u32 initial; /* hash of the connection ID that its keys are made of */
	__u16 held;    /* of `packets` */
	__u16 zero;
	__u16 length[IPOS_QUIC_HELD];	   /* of each of them */
	__u64 here[IPOS_QUIC_HELLO_WORDS]; /* bit n % 64 of word n / 64: byte n has come */
	__u8 hello[IPOS_QUIC_HELLO_ROOM];  /* of the ClientHello; eight more */
	__u8 packets[IPOS_QUIC_PACKETS];   /* IP packets, as they came */
};

struct ipos_quic_number { /* map `quic_numbers`: index in `servers` of who has a number */
	__u32 number;	  /* the bytes of a connection ID as one number, the first one highest */
	__u16 service;	  /* index in `services` */
	__u16 zero;
};

#endif /* IPOS_ABI_QUIC_H */
