/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a kernel knows and a core cannot: time, random numbers, sockets. */
#include <errno.h>
#include <string.h>

#include "abi/limits.h"
#include "native/helpers.h"

static __thread struct native_node *current_node;

struct native_node *native_now(void)
{
	return current_node;
}

void native_enter(struct native_node *node)
{
	current_node = node;
}

void native_leave(struct native_node *node)
{
	native_dead_free(node);
	current_node = NULL;
}

__u64 bpf_ktime_get_boot_ns(void)
{
	return native_now()->now_ns;
}

/* The node's machine has never slept: both clocks are one. */
__u64 bpf_ktime_get_coarse_ns(void)
{
	return native_now()->now_ns;
}

__u32 bpf_get_smp_processor_id(void)
{
	return native_now()->cpu;
}

/* xorshift64*: small, seedable, and the same everywhere. */
__u32 bpf_get_prandom_u32(void)
{
	struct native_node *n = native_now();
	__u64 x = n->random;

	if (n->random_fixed)
		return x;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	n->random = x;
	return (x * 0x2545f4914f6cdd1dULL) >> 32;
}

/* ---- sockets -------------------------------------------------------------------------------- */

/* A UDP socket of the node's kernel: its state is that of no TCP listener or connection. */
#define UDP_SOCKET BPF_TCP_CLOSE

#if IPOS_FAMILY == 6
#define ADDRESSES ipv6
#define MSS_MIN IPOS_MSS6_MIN
#else
#define ADDRESSES ipv4
#define MSS_MIN IPOS_MSS_MIN
#endif

/* An exact four-tuple before a listener on the address before one on any. */
static struct bpf_sock *lookup(struct bpf_sock_tuple *tuple, int full, __u32 listening, __u64 netns)
{
	struct native_node *n = native_now();
	int best = -1, best_rank = 0;
	ipos_ip client, service;

	memcpy(&client, &tuple->ADDRESSES.saddr, sizeof(client));
	memcpy(&service, &tuple->ADDRESSES.daddr, sizeof(service));

	for (__u32 i = 0; i < n->sockets; i++) {
		const struct native_socket *s = &n->socket[i];
		int rank;

		if (s->service_port != tuple->ADDRESSES.dport || s->netns != (__s32)netns)
			continue;
		if ((s->state == UDP_SOCKET) != (listening == UDP_SOCKET))
			continue;
		if (s->state == listening) {
			if (s->service_ip && s->service_ip != service)
				continue;
			rank = s->service_ip ? 2 : 1;
		} else {
			if (s->service_ip != service || s->client_ip != client ||
			    s->client_port != tuple->ADDRESSES.sport)
				continue;
			rank = 3;
		}
		if (rank > best_rank) {
			best = i;
			best_rank = rank;
		}
	}
	if (best < 0)
		return NULL;
	/* A full lookup sees neither TIME_WAIT nor half-open sockets. */
	if (full && (n->socket[best].state == BPF_TCP_TIME_WAIT ||
		     n->socket[best].state == BPF_TCP_NEW_SYN_RECV))
		return NULL;
	memset(&n->found[best], 0, sizeof(n->found[best]));
	n->found[best].state = n->socket[best].state;
	n->found[best].dst_port = n->socket[best].client_port;
	return &n->found[best];
}

struct bpf_sock *bpf_skc_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, __u32 size,
				    __u64 netns, __u64 flags)
{
	(void)ctx, (void)size, (void)flags;
	return lookup(tuple, 0, BPF_TCP_LISTEN, netns);
}

struct bpf_sock *bpf_sk_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns,
				   __u64 flags)
{
	(void)ctx, (void)size, (void)flags;
	return lookup(tuple, 1, BPF_TCP_LISTEN, netns);
}

struct bpf_sock *bpf_sk_lookup_udp(void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns,
				   __u64 flags)
{
	(void)ctx, (void)size, (void)flags;
	return lookup(tuple, 0, UDP_SOCKET, netns);
}

struct bpf_tcp_sock *bpf_tcp_sock(struct bpf_sock *sk)
{
	struct native_node *n = native_now();

	memset(&n->found_tcp, 0, sizeof(n->found_tcp));
	n->found_tcp.rcv_nxt = n->socket[sk - n->found].rcv_nxt;
	n->found_tcp.snd_una = n->socket[sk - n->found].snd_una;
	return &n->found_tcp;
}

void *bpf_skc_to_tcp_timewait_sock(void *sk)
{
	struct native_node *n = native_now();
	__u32 i = (struct bpf_sock *)sk - n->found;

	if (n->socket[i].state != BPF_TCP_TIME_WAIT)
		return NULL;
	n->found_tw.tw_sk.__tw_common.skc_tw_rcv_nxt = n->socket[i].rcv_nxt;
	return &n->found_tw;
}

void *bpf_skc_to_tcp_sock(void *sk)
{
	struct native_node *n = native_now();
	__u32 i = (struct bpf_sock *)sk - n->found;

	n->full[i].ack_backlog = n->socket[i].ack_backlog;
	n->full[i].max_ack_backlog = n->socket[i].max_ack_backlog;
	n->full[i].socket = i;
	n->full[i].rcv_nxt = n->socket[i].rcv_nxt;
	n->full[i].copied_seq = n->socket[i].copied_seq;
	n->full[i].snd_nxt = n->socket[i].snd_nxt;
	n->full[i].write_seq = n->socket[i].write_seq;
	n->full[i].snd_una = n->socket[i].snd_una;
	n->full[i].max_window = n->socket[i].max_window;
	n->full[i].data_segs_out = n->socket[i].data_segs_out;
	n->full[i].lsndtime = n->socket[i].lsndtime;
	n->full[i].icsk_ack.lrcvtime = n->socket[i].lrcvtime;
	n->full[i].rx_opt.ts_recent = n->socket[i].ts_recent;
	n->full[i].sk_backlog.len = n->socket[i].backlog;
	n->full[i].sk_shutdown = n->socket[i].shutdown;
	n->full[i].out_of_order_queue.rb_node = n->socket[i].gaps ? n : NULL;
	return &n->full[i];
}

long bpf_sk_release(void *sk)
{
	(void)sk;
	return 0;
}

__u64 bpf_get_socket_cookie(void *ctx)
{
	(void)ctx;
	return native_now()->cookie;
}

static int assign(__u32 socket, const struct bpf_tcp_req_attrs *attributes)
{
	struct native_node *n = native_now();
	struct native_assignment *a = &n->assignment[n->assigned];

	if (n->assigned == sizeof(n->assignment) / sizeof(n->assignment[0]))
		return -ENOMEM;
	memset(a, 0, sizeof(*a));
	a->socket = socket;
	if (attributes) {
		a->request = 1;
		a->attributes = *attributes;
	}
	n->assigned++;
	return n->assign_answer;
}

long bpf_sk_assign(struct __sk_buff *skb, void *sk, __u64 flags)
{
	(void)skb, (void)flags;
	return assign((struct bpf_sock *)sk - native_now()->found, NULL);
}

int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk, struct bpf_tcp_req_attrs *attrs,
			    int attrs__sz)
{
	struct native_node *n = native_now();

	(void)skb;
	if (attrs__sz != sizeof(*attrs) || attrs->mss < MSS_MIN)
		return -EINVAL;
	for (__u32 i = 0; i < n->sockets; i++)
		if ((void *)sk == &n->full[i])
			return assign(i, attrs);
	return -EINVAL;
}
