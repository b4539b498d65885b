/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What several programs do to the rows of the connection tables. */
#ifndef IPOS_ENDPOINTS_H
#define IPOS_ENDPOINTS_H

#include "core/parse.h"
#include "maps.h"

#define OFFER_AGAIN_NS 50000000ULL	/* an unanswered type 1 is repeated after this */

#define IPOS_META_SETTLED 0x69704f5d	/* XDP's metadata of a packet that tc has nothing to do with */

/* The service at an address, or NULL. */
IPOS_INLINE struct ipos_address *address_of(__u32 ip, __u16 port)
{
	struct ipos_address_key key = { .ip = ip, .port = port, .protocol = IPPROTO_TCP };

	return bpf_map_lookup_elem(&addresses, &key);
}

/* The endpoint that is ours: in `local` if we gave it to ourselves. */
IPOS_INLINE struct ipos_endpoint *endpoint_of(const struct ipos_tuple *t)
{
	struct ipos_endpoint *ep = bpf_map_lookup_elem(&local, t);

	return ep ? ep : bpf_map_lookup_elem(&connect, t);
}

/* The same for a packet from back: a table asked in vain is a cache miss. */
IPOS_INLINE struct ipos_endpoint *endpoint_on_back(const struct ipos_tuple *t)
{
	struct ipos_endpoint *ep = bpf_map_lookup_elem(&connect, t);

	return ep ? ep : bpf_map_lookup_elem(&local, t);
}

/* The same for a packet of our own kernel's: those from another server's address came by back. */
IPOS_INLINE struct ipos_endpoint *endpoint_on_egress(const struct ipos_settings *set,
						     const struct ipos_tuple *t)
{
	return t->service_ip == set->self_ip ? endpoint_of(t) : endpoint_on_back(t);
}

IPOS_INLINE int interface_is(__u32 ifindex, __u16 vlan, __u32 wanted, __u16 wanted_vlan)
{
	return ifindex == wanted && vlan == wanted_vlan;
}

/*
 * Forgets a held request and gives its pieces back.  Who deletes the row returns the pieces:
 * the agent reaps rows too, and a piece given back twice would be two requests' at once.
 */
IPOS_FUNCTION int holding_release(const struct ipos_tuple *t)
{
	__u32 chunks[IPOS_CHUNKS];
	struct ipos_holding *h;

	if (!t)
		return 0;
	h = bpf_map_lookup_elem(&holding, t);
	if (!h)
		return 0;
	__builtin_memcpy(chunks, h->chunks, sizeof(chunks));
	if (bpf_map_delete_elem(&holding, t))
		return 0;
	for (__u32 i = 0; i < IPOS_CHUNKS; i++) {
		__u32 index = chunks[i] - 1;

		if (chunks[i])
			bpf_map_push_elem(&hold_free, &index, 0);
	}
	return 1;
}

/*
 * The end of a connection, at its owner or its first server: a row that makes the old
 * cookie open nothing and answers a repeated FIN (CLOSED) or anything (RESET).
 */
IPOS_FUNCTION int closed_remember(const struct ipos_tuple *t, const struct ipos_handshake *hs,
				  __u32 client_end, __u64 now, __u32 state)
{
	struct ipos_temporary row = {
		.state = state, .client_end = client_end,
		.created_ns = now, .last_seen_ns = now,
	};

	if (!t || !hs)
		return -1;
	row.hs = *hs;
	return bpf_map_update_elem(&temporary, t, &row, BPF_ANY);
}

/* A socket of our own kernel for the tuple that is not a listener. */
IPOS_APART int kernel_has(void *ctx, const struct ipos_tuple *t)
{
	struct bpf_sock_tuple tuple = {
		.ipv4 = { .saddr = t->client_ip, .daddr = t->service_ip,
			  .sport = t->client_port, .dport = t->service_port },
	};
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4),
						 BPF_F_CURRENT_NETNS, 0);
	int alive;

	if (!sk)
		return 0;
	alive = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return alive;
}

/* ---- where the next request starts ----------------------------------------------------------- */

#define STRETCH (1U << 29)		/* of sequence numbers that are compared */

/* The request of `len` bytes at `from` is our application's. */
IPOS_INLINE void endpoint_follow(struct ipos_endpoint *ep, __u32 from, __u64 len, __u8 body)
{
	__u32 near = len < STRETCH ? len : STRETCH;
	__u64 head = 1ULL << (ep->asked & 63);

	ep->heads = body & IPOS_BODY_OF_HEAD ? ep->heads | head : ep->heads & ~head;
	ep->asked++;
	ep->leaves = body & IPOS_BODY_LEAVES ? IPOS_LEAVES_ASKED : IPOS_LEAVES_NOT;
	body &= ~(IPOS_BODY_OF_HEAD | IPOS_BODY_LEAVES);
	ep->follow = body == IPOS_BODY_OPAQUE ? IPOS_FOLLOW_OPAQUE :
		     body == IPOS_BODY_CHUNKED ? IPOS_FOLLOW_CHUNKED :
		     body == IPOS_BODY_UPGRADE ? IPOS_FOLLOW_UPGRADE :
		     body == IPOS_BODY_CONNECT ? IPOS_FOLLOW_CONNECT : IPOS_FOLLOW_LENGTH;
	ep->request_end = from + near;
	ep->body_left = len - near;
	ep->chunk = IPOS_CHUNK_FIRST;
}

/* Whether our application has answered all it was asked. */
IPOS_INLINE int endpoint_answered(const struct ipos_endpoint *ep)
{
	return ep->answered == ep->asked || ep->answer == IPOS_ANSWER_UNKNOWN;
}

/* Whether a segment of a followed connection has bytes that must be looked at. */
IPOS_INLINE int follows(const struct ipos_endpoint *ep, const struct segment *s)
{
	return ep->follow != IPOS_FOLLOW_NOT && ep->follow != IPOS_FOLLOW_OPAQUE &&
	       s->length && seq_before(ep->request_end, s->seq + s->length);
}

/* A body longer than half of the sequence space: the mark goes on with the stream. */
IPOS_INLINE void follow_stretch(struct ipos_endpoint *ep, __u32 end)
{
	__u64 more = ep->body_left < STRETCH ? ep->body_left : STRETCH;

	if (!more || (ep->follow != IPOS_FOLLOW_LENGTH && ep->follow < IPOS_FOLLOW_UPGRADE) ||
	    seq_before(end + STRETCH / 2, ep->request_end))
		return;
	ep->request_end += more;
	ep->body_left -= more;
}

#endif /* IPOS_ENDPOINTS_H */
