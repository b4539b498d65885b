/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A connection that is decided once, at a server that is to lose its connections.  Nobody has read
 * where its requests begin; but when both sides are at rest, our application has spoken last, and
 * a segment begins with a whole head, then that is the next request.  From here on it is followed
 * like one that is decided at every request, and so it moves.
 */
#ifndef IPOS_JOIN_H
#define IPOS_JOIN_H

#include "abi/verdict.h"
#include "lib/line.h"
#include "lib/sk.h"
#include "tc/next_request.h"

/*
 * Whether a client that does not send its next request before it has the answer may begin one at
 * `next`, having acknowledged our bytes before `ack`: our application has read all there is, and
 * has spoken since it came.
 */
IPOS_APART int socket_rests(struct __sk_buff *skb, const struct ipos_tuple *t, __u32 next,
			    __u32 ack)
{
	struct bpf_sock *sk = connected_socket(skb, t);
	struct inet_connection_sock *connection;
	struct tcp_sock *tcp;
	int rests = 0;

	if (!sk)
		return 0;
	if (sk->state == BPF_TCP_ESTABLISHED) {
		tcp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
		connection = (struct inet_connection_sock *)tcp;
		if (tcp)
			rests = tcp->rcv_nxt == next && tcp->copied_seq == next &&
				tcp->write_seq == ack && tcp->snd_nxt == ack &&
				tcp->data_segs_out &&
				!seq_before(tcp->lsndtime, connection->icsk_ack.lrcvtime);
	}
	bpf_sk_release(sk);
	return rests;
}

/* What the configuration says is opaque is never read, whatever it looks like. */
IPOS_INLINE int speaks_http(const struct ipos_service *service)
{
	return service->mode != IPOS_MODE_TCP && service->mode != IPOS_MODE_TLS;
}

IPOS_APART int join(struct __sk_buff *skb, struct ipos_scratch *w, const struct segment *s,
		    struct ipos_endpoint *ep)
{
	struct ipos_service *service = service_at(ep->service);
	__u32 ours = endpoint_ack(ep, s->ack);

	if (!service || service->select != IPOS_SELECT_REQUEST || !speaks_http(service) ||
	    (s->flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK ||
	    !socket_rests(skb, &s->tuple, s->seq, ours))
		return 0;
	request_open(w, ep->service, IPOS_MODE_LATER);
	if (head_read(skb, w, s->payload, s->length) != IPOS_READ_DONE)
		return 0;
	ep->request_end = ep->read_end = ep->given = s->seq;
	ep->answer_next = ours;
	ep->snd_nxt = ep->heard = s->ack;
	ep->asked = ep->answered = ep->marks_used = 0;
	ep->heads = ep->body_left = ep->answer_left = 0;
	ep->answer = IPOS_ANSWER_STATUS;
	ep->answer_at = ep->answer_chunk = ep->answer_seen = ep->leaves = 0;
	if (ep->giver == ep->first && bpf_skb_load_bytes(skb, ETH_ALEN, ep->client_mac, ETH_ALEN))
		return 0;
	ep->follow = IPOS_FOLLOW_LENGTH;
	count(COUNT_JOINED);
	return 1;
}

#endif /* IPOS_JOIN_H */
