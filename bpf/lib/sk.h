/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Making a socket of the kernel's out of an endpoint: bpf_sk_assign_tcp_reqsk(), Linux 6.9.
 * Only the fields we read are declared; CO-RE finds them in the running kernel.
 */
#ifndef IPOS_SK_H
#define IPOS_SK_H

#include "lib/rows.h"
#include "lib/options.h"

#ifndef IPOS_NATIVE
struct sock {
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	struct {
		int len;
	} sk_backlog;
	__u8 sk_shutdown;
} __attribute__((preserve_access_index));

struct rb_node;

struct rb_root {
	struct rb_node *rb_node;
} __attribute__((preserve_access_index));

struct tcp_options_received {
	__u32 ts_recent;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 rcv_nxt, copied_seq, snd_nxt, write_seq;
	__u32 snd_una, max_window;
	__u32 data_segs_out, lsndtime; /* segments with data; when the last was sent, in ticks */
	struct rb_root out_of_order_queue;
	struct tcp_options_received rx_opt;
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	struct {
		__u32 lrcvtime; /* when the last data came, in ticks */
	} icsk_ack;
} __attribute__((preserve_access_index));

struct sock_common {
	__u32 skc_tw_rcv_nxt;
} __attribute__((preserve_access_index));

struct inet_timewait_sock {
	struct sock_common __tw_common;
} __attribute__((preserve_access_index));

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
} __attribute__((preserve_access_index));

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

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk,
				   struct bpf_tcp_req_attrs *attrs, int attrs__sz) __ksym;
#endif

/*
 * Where the socket of the packet's connection is, or its listener: see box_find().  The kernel
 * finds sockets of any network namespace that has an id in ours.
 */
IPOS_INLINE __u64 netns_of(const struct __sk_buff *skb)
{
	return (__u64)(__s64)((__s32)skb->cb[IPOS_CB_NETNS] - 1);
}

/* A socket of our own kernel for the tuple that is not a listener. */
IPOS_INLINE int kernel_has(struct __sk_buff *skb, const struct ipos_tuple *t)
{
	return netns_has(skb, t, netns_of(skb));
}

/*
 * Our kernel's socket with the tuple, to be released; NULL when there is none, or one in TIME_WAIT:
 * the lookup finds the listener then.
 */
IPOS_INLINE struct bpf_sock *connected_socket(struct __sk_buff *skb, const struct ipos_tuple *t)
{
	struct bpf_sock_tuple tuple;
	struct bpf_sock *sk;

	sock_tuple(&tuple, t);
	sk = bpf_sk_lookup_tcp(skb, &tuple, SOCK_TUPLE_LEN, netns_of(skb), 0);
	if (!sk || sk->state != BPF_TCP_LISTEN)
		return sk;
	bpf_sk_release(sk);
	return NULL;
}

/* What that socket expects next of the client.  Returns 0 when there is none. */
IPOS_APART int socket_expects(struct __sk_buff *skb, const struct ipos_tuple *t, __u32 *next)
{
	struct bpf_sock *sk = connected_socket(skb, t);
	struct bpf_tcp_sock *tcp;
	int found = 0;

	if (!sk)
		return 0;
	tcp = bpf_tcp_sock(sk);
	if (tcp) {
		*next = tcp->rcv_nxt;
		found = 1;
	}
	bpf_sk_release(sk);
	return found;
}

/* Whether the client has acknowledged that socket's bytes before `number`, for our kernel. */
IPOS_APART int socket_acknowledged(struct __sk_buff *skb, const struct ipos_tuple *t, __u32 number)
{
	struct bpf_sock *sk = connected_socket(skb, t);
	struct bpf_tcp_sock *tcp;
	int has = 0;

	if (!sk)
		return 0;
	tcp = bpf_tcp_sock(sk);
	if (tcp)
		has = !seq_before(tcp->snd_una, number);
	bpf_sk_release(sk);
	return has;
}

#define SHUTDOWN_RECEIVE 1 /* RCV_SHUTDOWN */

/* Of the socket with the tuple.  Returns 0 when there is none that takes bytes. */
IPOS_APART int socket_stands(struct __sk_buff *skb, const struct ipos_tuple *t, struct stands *at)
{
	struct bpf_sock *sk = connected_socket(skb, t);
	struct tcp_sock *tcp;
	int found = 0;

	if (!sk)
		return 0;
	tcp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		struct sock *base = (struct sock *)tcp;

		at->state = sk->state;
		at->rcv_nxt = tcp->rcv_nxt;
		at->snd_una = tcp->snd_una;
		at->snd_nxt = tcp->snd_nxt;
		at->write_seq = tcp->write_seq;
		at->max_window = tcp->max_window;
		at->ts_recent = tcp->rx_opt.ts_recent;
		at->busy = base->sk_backlog.len != 0;
		at->gaps = tcp->out_of_order_queue.rb_node != NULL;
		at->unread = !!(base->sk_shutdown & SHUTDOWN_RECEIVE);
		found = 1;
	}
	bpf_sk_release(sk);
	return found;
}

/*
 * RFC 5961 5.2: whether an acknowledgement may come from the connection's client.  A stranger
 * must hit a number near ours.  `behind`: how far it is behind what has left by egress, which our
 * kernel counts a moment later.
 */
IPOS_INLINE int ack_acceptable(const struct stands *at, __u32 ack, __u32 behind)
{
	return (!seq_before(at->snd_nxt, ack) || !(behind >> 31)) &&
	       !seq_before(ack, at->snd_una - at->max_window);
}

/* What a TIME_WAIT socket with the tuple expects next.  Returns 0 when there is none. */
IPOS_APART int time_wait_expects(struct __sk_buff *skb, const struct ipos_tuple *t, __u32 *next)
{
	struct bpf_sock_tuple tuple;
	struct tcp_timewait_sock *tw;
	struct bpf_sock *sk;
	int found = 0;

	sock_tuple(&tuple, t);
	sk = bpf_skc_lookup_tcp(skb, &tuple, SOCK_TUPLE_LEN, netns_of(skb), 0);
	if (!sk)
		return 0;
	tw = (struct tcp_timewait_sock *)bpf_skc_to_tcp_timewait_sock(sk);
	if (tw) {
		*next = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
		found = 1;
	}
	bpf_sk_release(sk);
	return found;
}

/*
 * The listener of the application behind a service, as the client's packet would find it; one on
 * an address of ours takes what came for other servers' addresses too.  To be released.
 */
IPOS_INLINE struct bpf_sock *listener_of(struct __sk_buff *skb, const struct ipos_tuple *t,
					 const struct ipos_service *service, __u16 port)
{
	struct bpf_sock_tuple tuple;
	struct bpf_sock *skc;

	sock_tuple(&tuple, t);
	if (service_application(service))
		sock_daddr(&tuple, service_application(service));
	tuple.SOCK_TUPLE.dport = port;
	skc = bpf_skc_lookup_tcp(skb, &tuple, SOCK_TUPLE_LEN, netns_of(skb), 0);
	if (skc && skc->state == BPF_TCP_LISTEN)
		return skc;
	if (skc)
		bpf_sk_release(skc);
	if (!service_listener(service))
		return NULL;
	sock_daddr(&tuple, service_listener(service));
	skc = bpf_skc_lookup_tcp(skb, &tuple, SOCK_TUPLE_LEN, netns_of(skb), 0);
	if (!skc || skc->state == BPF_TCP_LISTEN)
		return skc;
	bpf_sk_release(skc);
	return NULL;
}

IPOS_INLINE void adopt_attributes(struct bpf_tcp_req_attrs *a, const struct ipos_scratch *w,
				  const struct ipos_handshake *hs)
{
	__builtin_memset(a, 0, sizeof(*a));
	a->mss = hs->mss;
	a->snd_wscale = hs->snd_wscale;
	a->wscale_ok = !!(hs->options & IPOS_OPT_WSCALE);
	a->rcv_wscale = a->wscale_ok ? IPOS_WSCALE : 0;
	a->sack_ok = !!(hs->options & IPOS_OPT_SACK);
	a->ecn_ok = !!(hs->options & IPOS_OPT_ECN);
	if (!(hs->options & IPOS_OPT_TIMESTAMPS))
		return;
	a->tstamp_ok = 1;
	a->rcv_tsval = w->option_flags & IPOS_OPT_TIMESTAMPS ? w->ts_value : hs->ts_recent;
	a->rcv_tsecr = w->option_flags & IPOS_OPT_TIMESTAMPS ? w->ts_echo : hs->ts_sent;
}

/* The segment's options, as XDP would have parsed them. */
IPOS_INLINE int load_options(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s)
{
	__u32 len = s->tcp_len & 63;

	__builtin_memset(w->tcp, 0, sizeof(w->tcp));
	if (len < sizeof(struct tcphdr) || bpf_skb_load_bytes(skb, s->l4, w->tcp, len))
		return -1;
	return options_parse(w, len);
}

/*
 * Gives the packet, and with it the endpoint, to the listener.  IPOS_REFUSE_NONE means that
 * the kernel took it, not that a socket exists: only sockops says so.  A listener in a container
 * can only be given it on the interface there: tc/box.bpf.c calls this once more.
 */
IPOS_APART __u32 adopt(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
		       const struct ipos_endpoint *ep, const struct ipos_service *service)
{
	__u32 reason = IPOS_REFUSE_NO_LISTENER;
	struct bpf_tcp_req_attrs attrs;
	struct bpf_sock *skc;
	struct sock *sk;

	if (kernel_has(skb, &s->tuple))
		return IPOS_REFUSE_TUPLE_LIVE;
	if (load_options(skb, w, s))
		return IPOS_REFUSE_NOT_ADOPTED;
	adopt_attributes(&attrs, w, &ep->hs);
	skc = listener_of(skb, &s->tuple, service, ep->endpoint_port);
	if (!skc)
		return reason;
	sk = (struct sock *)bpf_skc_to_tcp_sock(skc);
	if (!sk)
		goto out;
	reason = IPOS_REFUSE_QUEUE_FULL;
	if (sk->sk_ack_backlog > sk->sk_max_ack_backlog)
		goto out;
	reason = IPOS_REFUSE_NOT_ADOPTED;
	if (unlikely(skb->cb[IPOS_CB_BOX])) {
		skb->mark = IPOS_MARK_BOX;
		reason = IPOS_REFUSE_NONE;
	} else if (!bpf_sk_assign_tcp_reqsk(skb, sk, &attrs, sizeof(attrs))) {
		reason = IPOS_REFUSE_NONE;
	}
out:
	bpf_sk_release(skc);
	return reason;
}

/* A SYN for the application's own kernel handshake; its listener may be on another port. */
IPOS_INLINE int assign_listener(struct __sk_buff *skb, const struct ipos_tuple *t,
				const struct ipos_service *service, __u16 port)
{
	struct bpf_sock *skc;
	int failed;

	if (kernel_has(skb, t)) /* sent again: the kernel repeats its SYN-ACK */
		return 0;
	skc = listener_of(skb, t, service, port);
	if (!skc)
		return 1;
	failed = 0;
	if (unlikely(skb->cb[IPOS_CB_BOX]))
		skb->mark = IPOS_MARK_BOX;
	else
		failed = bpf_sk_assign(skb, skc, 0);
	bpf_sk_release(skc);
	return failed;
}

#endif /* IPOS_SK_H */
