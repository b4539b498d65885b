/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The end of a connection that is ours, as the client's packets tell it. */
#ifndef IPOS_CLOSING_H
#define IPOS_CLOSING_H

#include "tc/migrate.h"

IPOS_APART __u32 kernel_state(struct __sk_buff *skb, const struct ipos_tuple *t)
{
	struct bpf_sock_tuple tuple;
	struct bpf_sock *sk;
	__u32 state;

	sock_tuple(&tuple, t);
	sk = bpf_skc_lookup_tcp(skb, &tuple, SOCK_TUPLE_LEN, netns_of(skb), 0);
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

/* Whether our kernel has the stream's bytes before `need`; only a socket that exists has any. */
IPOS_INLINE int kernel_received(struct __sk_buff *skb, const struct ipos_tuple *t, __u32 need)
{
	__u32 next;

	return socket_expects(skb, t, &next) && !seq_before(next, need);
}

/*
 * The client's FIN, seen before, has reached our kernel or is about to: tc sees all packets of
 * one NAPI batch before TCP sees the first.
 */
IPOS_INLINE int fin_is_in(struct __sk_buff *skb, const struct segment *s,
			  const struct ipos_endpoint *ep)
{
	return !seq_before(ep->rcv_nxt, ep->client_fin) ||
	       (s->seq == ep->client_fin && kernel_received(skb, &s->tuple, ep->client_fin - 1));
}

/* The client has acknowledged our FIN.  Returns whether that is the end: its row is gone. */
IPOS_APART int fin_acknowledged(struct __sk_buff *skb, struct ipos_settings *set,
				struct ipos_scratch *w, const struct segment *s,
				struct ipos_endpoint *ep)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 state;

	ep->server_fin_acked = 1;
	/*
	 * The packet may take the socket into TIME_WAIT, where its four-tuple would block the
	 * next adoption for a minute.  A reset at exactly the next sequence number follows it
	 * into our own kernel (RFC 1337, the other way round); the iNIC keeps the closing state.
	 */
	if (ep->client_fin_seen && fin_is_in(skb, s, ep)) {
		state = kernel_state(skb, &s->tuple);
		if (state == BPF_TCP_CLOSING || state == BPF_TCP_FIN_WAIT1)
			reset_kernel(skb, set, s, segment_end(s));
		endpoint_end(skb, set, w, &s->tuple, ep, now, 0);
		return 1;
	}
	if (s->flags & TCP_FIN &&
	    (s->seq == ep->rcv_nxt || kernel_received(skb, &s->tuple, s->seq)))
		reset_kernel(skb, set, s, segment_end(s));
	return 0;
}

/*
 * Whether a RST of the client's is the end.  With the number our socket expects it is, even while
 * a process has the socket and TCP puts the packet off: nothing tells us when it is taken.  TCP
 * takes some with another number, such as the one of the client's FIN, or of a stream whose last
 * bytes are in one NAPI batch with it: we look again when it has seen this one.  If a process has
 * the socket even then, with the packets before it put off too, the agent asks in a while.
 */
IPOS_APART int reset_taken(struct __sk_buff *skb, const struct segment *s)
{
	__u32 next;

	if (socket_expects(skb, &s->tuple, &next))
		return s->seq == next;
	return !kernel_has(skb, &s->tuple);
}

#define CLIENT_WINDOW (65535U << IPOS_WSCALE) /* the largest that our kernel offers */

/*
 * Whether a FIN may be the client's: no stranger's, and where our kernel will find it when it has
 * what comes before, or has found it.
 */
IPOS_APART int fin_counts(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
			  const struct ipos_endpoint *ep)
{
	__u32 end = segment_end(s), next;
	struct stands at;

	if (!socket_stands(skb, &s->tuple, &at)) {
		if (!time_wait_expects(skb, &s->tuple, &next))
			return 1; /* no socket that could be harmed */
		/* Also what is left of a closed socket that still waits for the client's FIN. */
		return end == next || end == next + 1;
	}
	/*
	 * Our kernel counts what it sends a moment after it has left, and where answers are not
	 * read nobody has looked at it: a client may acknowledge, with its FIN, what is being sent.
	 */
	at.snd_nxt = at.write_seq;
	if (segment_unfit(skb, w, s, ep, &at))
		return 0;
	if (at.state == BPF_TCP_CLOSE_WAIT || at.state == BPF_TCP_CLOSING ||
	    at.state == BPF_TCP_LAST_ACK)
		return end == at.rcv_nxt; /* it has had one, and there is no second */
	return end != at.rcv_nxt && end - at.rcv_nxt <= CLIENT_WINDOW;
}

/* A packet that our kernel gets as it is, when one side closes or both. */
IPOS_APART int closing(struct __sk_buff *skb, struct ipos_settings *set, struct ipos_scratch *w,
		       const struct segment *s, struct ipos_endpoint *ep)
{
	int fin = s->flags & TCP_FIN && fin_counts(skb, w, s, ep);

	if (fin)
		ep->client_fin = segment_end(s);
	if (ep->server_fin_seen && s->flags & TCP_ACK && s->ack == ep->server_fin &&
	    fin_acknowledged(skb, set, w, s, ep))
		return TC_ACT_OK;
	if (fin)
		ep->client_fin_seen = 1;
	return TC_ACT_OK;
}

#endif /* IPOS_CLOSING_H */
