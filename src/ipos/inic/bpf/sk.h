/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Making a socket of the kernel's out of an endpoint: bpf_sk_assign_tcp_reqsk(), Linux 6.9.
 * Only the fields we read are declared; CO-RE finds them in the running kernel.
 */
#ifndef IPOS_SK_H
#define IPOS_SK_H

#include "endpoints.h"
#include "core/options.h"

#ifndef IPOS_NATIVE
struct sock {
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 rcv_nxt, copied_seq, snd_nxt, write_seq;
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

IPOS_INLINE void sock_tuple(struct bpf_sock_tuple *at, const struct ipos_tuple *t)
{
	at->ipv4.saddr = t->client_ip;
	at->ipv4.daddr = t->service_ip;
	at->ipv4.sport = t->client_port;
	at->ipv4.dport = t->service_port;
}

/*
 * What our socket with the tuple expects next of the client.  Returns 0 when there is none, or one
 * in TIME_WAIT; the lookup finds the listener then.
 */
IPOS_APART int socket_expects(struct __sk_buff *skb, const struct ipos_tuple *t, __u32 *next)
{
	struct bpf_sock_tuple tuple;
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *sk;
	int found = 0;

	sock_tuple(&tuple, t);
	sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	tcp = sk->state == BPF_TCP_LISTEN ? NULL : bpf_tcp_sock(sk);
	if (tcp) {
		*next = tcp->rcv_nxt;
		found = 1;
	}
	bpf_sk_release(sk);
	return found;
}

/* What a TIME_WAIT socket with the tuple expects next.  Returns 0 when there is none. */
IPOS_APART int time_wait_expects(struct __sk_buff *skb, const struct ipos_tuple *t, __u32 *next)
{
	struct bpf_sock_tuple tuple;
	struct tcp_timewait_sock *tw;
	struct bpf_sock *sk;
	int found = 0;

	sock_tuple(&tuple, t);
	sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
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

/* The listener of the application behind a service, as the client's packet would find it. */
IPOS_INLINE void listener_tuple(struct bpf_sock_tuple *at, const struct ipos_tuple *t,
				const struct ipos_service *service, __u16 port)
{
	sock_tuple(at, t);
	if (service->application_ip)
		at->ipv4.daddr = service->application_ip;
	at->ipv4.dport = port;
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
 * the kernel took it, not that a socket exists: only sockops says so.
 */
IPOS_APART __u32 adopt(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
		       const struct ipos_endpoint *ep, const struct ipos_service *service)
{
	__u32 reason = IPOS_REFUSE_NO_LISTENER;
	struct bpf_tcp_req_attrs attrs;
	struct bpf_sock_tuple tuple;
	struct bpf_sock *skc;
	struct sock *sk;

	if (kernel_has(skb, &s->tuple))
		return IPOS_REFUSE_TUPLE_LIVE;
	if (load_options(skb, w, s))
		return IPOS_REFUSE_NOT_ADOPTED;
	adopt_attributes(&attrs, w, &ep->hs);
	listener_tuple(&tuple, &s->tuple, service, ep->endpoint_port);
	skc = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!skc)
		return reason;
	if (skc->state != BPF_TCP_LISTEN)
		goto out;
	sk = (struct sock *)bpf_skc_to_tcp_sock(skc);
	if (!sk)
		goto out;
	reason = IPOS_REFUSE_QUEUE_FULL;
	if (sk->sk_ack_backlog > sk->sk_max_ack_backlog)
		goto out;
	reason = IPOS_REFUSE_NOT_ADOPTED;
	if (!bpf_sk_assign_tcp_reqsk(skb, sk, &attrs, sizeof(attrs)))
		reason = IPOS_REFUSE_NONE;
out:
	bpf_sk_release(skc);
	return reason;
}

/* A SYN for the application's own kernel handshake; its listener may be on another port. */
IPOS_INLINE int assign_listener(struct __sk_buff *skb, const struct ipos_tuple *t,
				const struct ipos_service *service, __u16 port)
{
	struct bpf_sock_tuple tuple;
	struct bpf_sock *skc;
	int failed = 1;

	if (kernel_has(skb, t))			/* sent again: the kernel repeats its SYN-ACK */
		return 0;
	listener_tuple(&tuple, t, service, port);
	skc = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!skc)
		return 1;
	if (skc->state == BPF_TCP_LISTEN)
		failed = bpf_sk_assign(skb, skc, 0);
	bpf_sk_release(skc);
	return failed;
}

#endif /* IPOS_SK_H */
