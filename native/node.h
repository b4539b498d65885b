/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * One iNIC in memory: its tables, its clock and random numbers, the sockets its kernel is
 * said to have, and what it sends.  Many live in one process; a program runs on one of them
 * at a time in each thread.
 */
#ifndef IPOS_NATIVE_NODE_H
#define IPOS_NATIVE_NODE_H

#include <stddef.h>
#include "abi/address.h"
#include <linux/bpf.h>

#define NATIVE_MAPS_MAX 64
#define NATIVE_BUFFER 4096  /* room for a frame, headroom included */
#define NATIVE_HEADROOM 256 /* as XDP_PACKET_HEADROOM */
#define NATIVE_FRAME_MAX (NATIVE_BUFFER - NATIVE_HEADROOM - 320)
#define NATIVE_SOCKETS_MAX 64
#define NATIVE_RECORDS_MAX 64

struct native_map { /* the size of its alignment: an array in its section */
	char name[24];
	__u32 type; /* enum bpf_map_type */
	__u32 key_size, value_size, max_entries;
	__u32 zero[6];
} __attribute__((aligned(64)));

struct native_entry {
	struct native_entry *next;		  /* in its bucket, or among the dead */
	struct native_entry *newer, *older;	  /* by use, for LRU */
	__u8 bytes[] __attribute__((aligned(8))); /* key, padded to 8; value */
};

struct native_table {
	__u32 entries, count, head; /* limit, use, and a queue's front */
	__u32 buckets;		    /* of a hash; a power of two */
	struct native_entry **bucket;
	struct native_entry *newest, *oldest;
	__u8 *bytes; /* of arrays and queues */
};

/* A socket of the node's kernel, as the lookups find it. */
struct native_socket {
	ipos_ip client_ip;		 /* network; 0 in a listener */
	ipos_ip service_ip;		 /* network; 0 in a listener on any address */
	__u16 client_port, service_port; /* network */
	__u32 state;			 /* BPF_TCP_... */
	__u32 rcv_nxt;
	__u32 ack_backlog, max_ack_backlog;
	__u32 copied_seq, snd_nxt, write_seq;
	__u32 snd_una, max_window, ts_recent;
	__u32 backlog;	/* bytes that wait for the process that has the socket */
	__u32 gaps;	/* 1: bytes behind a gap are there */
	__u32 shutdown; /* 1: nobody reads what comes */
	__u32 data_segs_out, lsndtime, lrcvtime;
	__s32 netns; /* id of its network namespace; -1: the node's own */
};

struct bpf_tcp_req_attrs {
	__u32 rcv_tsval;
	__u32 rcv_tsecr;
	__u16 mss;
	__u8 rcv_wscale;
	__u8 snd_wscale;
	__u8 ecn_ok;
	__u8 wscale_ok;
	__u8 sack_ok;
	__u8 tstamp_ok;
	__u8 usec_ts_ok;
	__u8 reserved[3];
};

enum native_way {
	NATIVE_OUT = 0,	  /* onto the wire */
	NATIVE_IN = 1,	  /* into the node's own kernel, at that interface's ingress */
	NATIVE_PEER = 2,  /* into the other end of that interface */
	NATIVE_NEIGH = 3, /* onto the wire, to the next hop of its destination */
};

struct native_frame { /* a frame the node sends */
	__u32 ifindex;
	__u32 inward; /* enum native_way */
	__u32 mark;
	__u32 length;
	__u8 bytes[NATIVE_BUFFER];
};

struct native_assignment { /* a packet given to a listener */
	__u32 socket;	   /* which of the node's */
	__u32 request;	   /* 1: with attributes, as an established socket */
	struct bpf_tcp_req_attrs attributes;
};

struct native_record {	   /* of a ring */
	__u32 length, map; /* index of the ring */
	__u8 bytes[2048];
};

struct native_xdp { /* struct xdp_md */
	unsigned long data, data_end, data_meta;
	__u32 ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct native_skb { /* struct __sk_buff, as far as it is used */
	unsigned long data, data_end, data_meta;
	__u32 len, mark, ifindex, ingress_ifindex;
	__u32 protocol, vlan_present, vlan_tci, vlan_proto, tstamp_type, gso_segs, gso_size;
	__u32 cb[5];
	struct bpf_sock *sk; /* NULL: it is nobody's */
};

struct native_dynptr {
	__u8 *data;
	__u64 size;
};

struct sock_common {
	__u32 skc_tw_rcv_nxt;
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
};

struct native_node {
	struct native_table tables[NATIVE_MAPS_MAX];
	struct native_entry *dead; /* replaced and deleted: readable until the program ends */
	__u64 now_ns;		   /* boottime clock */
	__u64 random;		   /* state of the generator */
	__u32 cpu;		   /* which runs the program at hand */
	__u32 random_fixed;	   /* 1: every number is the lower half of `random` */
	__s32 assign_answer;	   /* of bpf_sk_assign and bpf_sk_assign_tcp_reqsk */
	__u64 cookie;		   /* of the socket that sockops is called for */
	__s32 redirect_verdict;	   /* XDP_REDIRECT or TC_ACT_REDIRECT */
	__u32 sockets, redirect_ifindex, redirect_inward, emit_fails;
	struct native_socket socket[NATIVE_SOCKETS_MAX];
	struct bpf_sock found[NATIVE_SOCKETS_MAX]; /* the same, as programs see them */
	struct bpf_tcp_sock found_tcp;
	struct tcp_timewait_sock found_tw;
	struct {
		__u32 ack_backlog, max_ack_backlog;
		struct {
			__u32 len;
		} sk_backlog;
		__u32 sk_shutdown;
		struct {
			__u32 lrcvtime;
		} icsk_ack;
		__u32 socket, rcv_nxt, copied_seq, snd_nxt, write_seq;
		__u32 snd_una, max_window;
		__u32 data_segs_out, lsndtime;
		struct {
			void *rb_node;
		} out_of_order_queue;
		struct {
			__u32 ts_recent;
		} rx_opt;
	} full[NATIVE_SOCKETS_MAX]; /* as struct tcp_sock */

	/* what came of the last program */
	__s32 verdict;
	__u32 sent, assigned, records, metadata;
	struct native_frame frame; /* the packet after it */
	struct native_frame *out;  /* what it sent, in order */
	__u32 out_room;
	struct native_assignment assignment[8];
	struct native_record record[NATIVE_RECORDS_MAX];
	__u8 buffer[NATIVE_BUFFER]; /* the packet during it */

	/* of the last program: how often it asked each map, and found nothing there */
	struct native_asked {
		__u32 times, vain;
	} asked[NATIVE_MAPS_MAX];
};

struct native_node *native_now(void);
void native_enter(struct native_node *node);
void native_leave(struct native_node *node);

/* The maps of the programs, in the order in which they are declared. */
__u32 native_maps(void);
const struct native_map *native_map_at(__u32 index);

int native_tables_open(struct native_node *n);
void native_tables_close(struct native_node *n);
int native_table_resize(struct native_node *n, __u32 index, __u32 entries);

void *native_map_lookup(struct native_node *n, const struct native_map *m, const void *key);
/* The same by a program, which is counted. */
void *native_map_ask(struct native_node *n, const struct native_map *m, const void *key);
long native_map_update(struct native_node *n, const struct native_map *m, const void *key,
		       const void *value, __u64 flags);
long native_map_delete(struct native_node *n, const struct native_map *m, const void *key);
long native_map_push(struct native_node *n, const struct native_map *m, const void *value);
long native_map_pop(struct native_node *n, const struct native_map *m, void *value);
/* The key after `key`, the first for NULL.  Returns 0 after the last. */
int native_map_next(struct native_node *n, const struct native_map *m, const void *key, void *next);
void native_dead_free(struct native_node *n);

void *native_ring_reserve(struct native_node *n, const struct native_map *m, __u32 size);
void native_ring_submit(struct native_node *n, void *record);

/* A copy of the packet in hand leaves the node. */
int native_send(struct native_node *n, __u32 ifindex, __u32 inward, __u32 mark, const void *bytes,
		__u32 length);

#endif /* IPOS_NATIVE_NODE_H */
