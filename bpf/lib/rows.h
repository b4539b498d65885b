/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What several programs do to the rows of the connection tables. */
#ifndef IPOS_ENDPOINTS_H
#define IPOS_ENDPOINTS_H

#include "lib/packet.h"
#include "lib/maps.h"
#include "lib/network_share.h"
#include "lib/lock.h"
#include "lib/roles.h"

#if IPOS_FAMILY == 6
#define FAMILY_GATE(g) ((g)->deny6_empty)
#else
#define FAMILY_GATE(g) ((g)->deny_empty)
#endif

#define OFFER_AGAIN_MS 50 /* an unanswered type 1 is repeated after this */
#define DENIAL_MS 1000	  /* a packet, and what an owner says of it, are no older */

_Static_assert(sizeof(struct ipos_forward) == 64, "a row of Forward is one cache line");

/* In milliseconds: the time as a row of Forward has it, and how long ago its offer was. */
IPOS_INLINE __u32 offered_now(__u64 now)
{
	return now / 1000000;
}

IPOS_INLINE __u32 offered_since(const struct ipos_forward *f, __u64 now)
{
	return offered_now(now) - f->offered_ms;
}

/* The service at an address, or NULL. */
IPOS_INLINE struct ipos_address *address_of(ipos_ip ip, __u16 port)
{
	struct ipos_address_key key = { .ip = ip, .port = port, .protocol = IPPROTO_TCP };

	return bpf_map_lookup_elem(&FAMILY(addresses), &key);
}

/*
 * The same for what was parsed: a fragment belongs to every service of its address, because only
 * the first one has ports, and not all of them if that one is short.  So does what has extension
 * headers.
 */
IPOS_INLINE struct ipos_address *address_parsed(const struct segment *s, enum parsed what)
{
	struct ipos_address_key any = { .ip = s->tuple.service_ip };

	return !has_ports(what) ? bpf_map_lookup_elem(&FAMILY(addresses), &any)
				: address_of(s->tuple.service_ip, s->tuple.service_port);
}

IPOS_INLINE int denied(ipos_ip ip)
{
	struct ipos_prefix key = { .prefix_len = IP_BITS, .ip = ip };
	const struct ipos_gates *g = gates_now();

	return (!g || !FAMILY_GATE(g)) && bpf_map_lookup_elem(&FAMILY(deny), &key) != NULL;
}

/*
 * The server that four bytes name in frames and rows of connections to `port`: the one that lists
 * them as its service address.  IPv6 has a table of its own for that.  Returns its index, or 0.
 */
IPOS_INLINE __u16 server_named(__be32 name, __u16 port)
{
#if IPOS_FAMILY == 6
	struct ipos_identity key = { .address = name };
	struct ipos_member *found = bpf_map_lookup_elem(&identities, &key);

	(void)port;
	return found ? found->server : 0;
#else
	struct ipos_address *found = address_of(name, port);

	return found ? found->holder : 0;
#endif
}

IPOS_INLINE int interface_is(__u32 ifindex, __u16 vlan, __u32 wanted, __u16 wanted_vlan)
{
	return ifindex == wanted && vlan == wanted_vlan;
}

/* Whether a SYN or a cookie of another attempt must not take its place. */
IPOS_INLINE int is_kept(const struct ipos_holding *h)
{
	return h->acknowledged || h->live;
}

/* Whether bytes are here that others must come before. */
IPOS_INLINE int hold_gap(const struct ipos_holding *h)
{
	__u32 ends = 0;

	for (int i = 0; i < IPOS_RANGES; i++)
		ends |= h->ranges[i].end;
	return ends != 0;
}

/* As holding_release(); the caller has locked the connection. */
IPOS_FUNCTION int holding_free(const struct ipos_tuple *t)
{
	__u32 chunks[IPOS_CHUNKS], pieces = 0;
	struct ipos_holding *h;

	if (!t)
		return 0;
	h = bpf_map_lookup_elem(&FAMILY(holding), t);
	if (!h)
		return 0;
	__builtin_memcpy(chunks, h->chunks, sizeof(chunks));
	if (bpf_map_delete_elem(&FAMILY(holding), t))
		return 0;
	role_ends(t, IPOS_ROLE_HOLDING);
	for (__u32 i = 0; i < IPOS_CHUNKS; i++) {
		__u32 index = chunks[i] - 1;

		if (!chunks[i])
			continue;
		bpf_map_push_elem(&hold_free, &index, 0);
		pieces++;
	}
	share_add(client_word(t->client_ip), -(__s32)pieces);
	return 1;
}

/*
 * Forgets a held request and gives its pieces back.  The side that deletes the row returns the
 * pieces: the agent reaps rows too, and a piece given back twice would be two requests' at once. 
 * Another CPU may be reading the row or its pieces: if it goes on with that, this is left to the
 * agent.
 */
IPOS_INLINE int holding_release(const struct ipos_tuple *t)
{
	__u32 *lock;
	int released;

	if (!bpf_map_lookup_elem(&FAMILY(holding), t))
		return 0;
	lock = lock_of(t);
	if (lock && *lock == this_cpu())
		return holding_free(t);
	if (!connection_lock(t))
		return 0;
	released = holding_free(t);
	connection_unlock(t);
	return released;
}

/*
 * The end of a connection, at its owner or its first server: a row that makes the old
 * cookie open nothing and answers a repeated FIN (CLOSED) or anything (RESET).  Or one that is as
 * it was before its request (OPEN).
 */
IPOS_FUNCTION int closed_remember(const struct ipos_tuple *t, const struct ipos_handshake *hs,
				  __u32 client_end, __u64 now, __u32 state)
{
	struct ipos_temporary row = {
		.state = state,
		.client_end = client_end,
		.created_ns = now,
		.last_seen_ns = now,
	};

	if (!t || !hs)
		return -1;
	row.hs = *hs;
	return bpf_map_update_elem(&FAMILY(temporary), t, &row, BPF_ANY);
}

/* ---- rows, and `traffic` that counts them --------------------------------------------------- */

/*
 * `traffic` says of every server how many rows of Forward lead to it, and of this one how many rows
 * Local has: sent - closed.  So such a row is made or deleted only by these functions, and of
 * two CPUs that end a connection only the one that took its row away counts the end.
 */
IPOS_FUNCTION int local_put(const struct ipos_tuple *t, const struct ipos_endpoint *ep)
{
	struct ipos_settings *set = settings_now();

	if (!t || !ep || !set || role_begins(t, IPOS_ROLE_LOCAL))
		return -1;
	if (bpf_map_update_elem(&FAMILY(local), t, ep, BPF_NOEXIST)) {
		role_ends(t, IPOS_ROLE_LOCAL);
		return -1; /* never over a row: a socket may be known by it */
	}
	traffic_add(set->self, 1, 0);
	return 0;
}

IPOS_FUNCTION int local_delete(const struct ipos_tuple *t)
{
	struct ipos_settings *set = settings_now();

	if (!t || !set || bpf_map_delete_elem(&FAMILY(local), t))
		return -1;
	role_ends(t, IPOS_ROLE_LOCAL);
	traffic_add(set->self, 0, 1);
	return 0;
}

IPOS_FUNCTION int connect_put(const struct ipos_tuple *t, const struct ipos_endpoint *ep)
{
	if (!t || !ep || role_begins(t, IPOS_ROLE_CONNECT))
		return -1;
	if (bpf_map_update_elem(&FAMILY(connect), t, ep, BPF_NOEXIST)) {
		role_ends(t, IPOS_ROLE_CONNECT);
		return -1;
	}
	return 0;
}

IPOS_FUNCTION int connect_delete(const struct ipos_tuple *t)
{
	if (!t || bpf_map_delete_elem(&FAMILY(connect), t))
		return -1;
	role_ends(t, IPOS_ROLE_CONNECT);
	return 0;
}

/*
 * An endpoint is not ours any more, or never became so: whichever table it is in.  Returns 0, or -1
 * when it is in none.
 */
IPOS_INLINE int endpoint_delete(const struct ipos_tuple *t)
{
	return local_delete(t) && connect_delete(t) ? -1 : 0;
}

IPOS_FUNCTION int forward_put(const struct ipos_tuple *t, const struct ipos_forward *row)
{
	struct ipos_forward *old;
	__u32 server;

	if (!t || !row || role_begins(t, IPOS_ROLE_FORWARD))
		return -1;
	if (!bpf_map_update_elem(&FAMILY(forward), t, row, BPF_NOEXIST)) {
		traffic_add(row->server, 1, 0);
		return 0;
	}
	role_ends(t, IPOS_ROLE_FORWARD);
	old = bpf_map_lookup_elem(&FAMILY(forward), t);
	if (!old)
		return -1; /* the table is full */
	server = old->server;
	if (bpf_map_update_elem(&FAMILY(forward), t, row, BPF_EXIST))
		return -1;
	traffic_add(server, 0, 1);
	traffic_add(row->server, 1, 0);
	return 0;
}

IPOS_FUNCTION int holding_put(const struct ipos_tuple *t, const struct ipos_holding *row)
{
	if (!t || !row || role_begins(t, IPOS_ROLE_HOLDING))
		return -1;
	if (bpf_map_update_elem(&FAMILY(holding), t, row, BPF_NOEXIST)) {
		role_ends(t, IPOS_ROLE_HOLDING);
		return -1;
	}
	return 0;
}

/* `server` is the owner that the row names. */
IPOS_FUNCTION int forward_delete(const struct ipos_tuple *t, __u32 server)
{
	if (!t || bpf_map_delete_elem(&FAMILY(forward), t))
		return -1;
	role_ends(t, IPOS_ROLE_FORWARD);
	traffic_add(server, 0, 1);
	return 0;
}

/* A socket for the tuple that is not a listener, in the network namespace with that id. */
IPOS_APART int netns_has(void *ctx, const struct ipos_tuple *t, __u64 netns)
{
	struct bpf_sock_tuple tuple;
	struct bpf_sock *sk;
	int alive;

	sock_tuple(&tuple, t);
	sk = bpf_skc_lookup_tcp(ctx, &tuple, SOCK_TUPLE_LEN, netns, 0);
	if (!sk)
		return 0;
	alive = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return alive;
}

/* ---- payloads in scratch -------------------------------------------------------------------- */

/* A sum of the first `n` bytes of w->bytes that a checksum can be made of; see bytes_pad(). */
IPOS_FUNCTION __u64 bytes_sum(struct ipos_scratch *w, __u32 n)
{
	__u32 half = IPOS_CHUNK / 2, more;
	__u64 sum;

	if (!w)
		return 0;
	n = (n + 3) & ~3U;
	more = n > half ? n - half : 0;
	n -= more;
	IPOS_OPAQUE(n);
	IPOS_OPAQUE(more);
	if (n > half || more > half)
		return 0;
	sum = (__u64)bpf_csum_diff(NULL, 0, (void *)w->bytes, n, 0);
	if (more)
		sum += bpf_csum_diff(NULL, 0, (void *)w->bytes + half, more, 0);
	return sum;
}

#endif /* IPOS_ENDPOINTS_H */
