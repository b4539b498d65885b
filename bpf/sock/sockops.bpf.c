/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The proof of adoption: the kernel calls here when the socket exists, and not before. */
#include "lib/decision.h"
#include "lib/rows.h"
#include "select/session.h"

/* Another server's decision has a socket here. */
IPOS_INLINE void report_taken(const struct ipos_settings *set, const struct ipos_tuple *t,
			      const struct ipos_endpoint *ep)
{
	struct verdict v = { .service = ep->service,
			     .server = set->self,
			     .first = ep->first,
			     .outcome = IPOS_OUTCOME_TAKEN,
			     .reason = IPOS_REASON_OFFERED };

	if (set->flags & IPOS_WATCH)
		decision_write(NULL, t, &v);
}

/* A handshake that the kernel did itself: the service selects on connection. */
IPOS_INLINE void connected(struct bpf_sock_ops *ctx, const struct ipos_tuple *t, __u64 cookie)
{
	struct ipos_temporary *row = bpf_map_lookup_elem(&FAMILY(temporary), t);
	struct ipos_settings *set = settings_now();
	struct ipos_service *service;
	struct ipos_server *self;
	struct ipos_address *a;
	struct ipos_endpoint ep = {};
	int failed;

	if (!set || !row || row->state != IPOS_TEMP_SYN_HERE)
		return;
	self = server_at(set->self);
	a = address_of(t->service_ip, t->service_port);
	if (!a || !self)
		return;
	ep.endpoint_ip = self->address;
	ep.endpoint_port = row->port;
	ep.first = ep.giver = row->server;
	ep.cookie = cookie;
	ep.hs.iss = ctx->snd_nxt - 1;
	ep.hs.irs = ctx->rcv_nxt - 1;
	ep.state = IPOS_EP_ATTACHED;
	ep.flags = IPOS_EP_HANDSHAKE;
	ep.service = a->service;
	service = service_at(a->service);
	if (IPOS_FAMILY == 4 && service && service->box) {
		ep.flags |= IPOS_EP_BOXED;
		ep.box = service->box;
		ep.box_netns = service->box_netns;
	}
	ep.rcv_need = ep.adopt_seq = ep.rcv_nxt = ctx->rcv_nxt;
	ep.snd_nxt = ctx->snd_nxt;
	ep.last_seen_ns = ep.asked_ns = bpf_ktime_get_boot_ns();
	failed = ep.first == set->self ? local_put(t, &ep) : connect_put(t, &ep);
	if (failed) {
		count(COUNT_DROP_TABLE_FULL);
		return;
	}
	if (ep.first == set->self) {
		count(COUNT_SERVED_HERE);
	} else {
		report_taken(set, t, &ep);
	}
	count(COUNT_ADOPTED);
	bpf_map_delete_elem(&FAMILY(temporary), t);
}

/* A live connection is ours now, perhaps again: rows that said otherwise go. */
IPOS_INLINE void came(const struct ipos_tuple *t)
{
	struct ipos_forward *f = forward_among(roles_of(t), t);

	if (f)
		forward_delete(t, f->server);
}

#define INET6 10		 /* AF_INET6 */
#define MAPPED bpf_htonl(0xffff) /* the third word of an IPv4 address in an IPv6 socket */

/* The addresses of a socket, which may be the other family's: then 0. */
IPOS_INLINE int addresses_of(struct bpf_sock_ops *ctx, struct ipos_tuple *t)
{
#if IPOS_FAMILY == 6
	__u32 client[4], service[4];

	if (ctx->family != INET6)
		return 0;
	/* one word after another, as the kernel gives them: a compiler would read two at once */
	for (int i = 0; i < 4; i++) {
		client[i] = ctx->remote_ip6[i];
		IPOS_OPAQUE(client[i]);
		service[i] = ctx->local_ip6[i];
		IPOS_OPAQUE(service[i]);
	}
	if (!client[0] && !client[1] && client[2] == MAPPED)
		return 0;
	t->client_ip = IP_AT(client, 0);
	t->service_ip = IP_AT(service, 0);
#else
	t->client_ip = ctx->remote_ip4;
	t->service_ip = ctx->local_ip4;
#endif
	return 1;
}

SEC("sockops")
int FAMILY(ipos_sockops)(struct bpf_sock_ops *ctx)
{
	struct ipos_tuple t = { .protocol = IPPROTO_TCP };
	struct ipos_settings *set;
	struct ipos_session *session;
	struct ipos_endpoint *ep;
	__u64 cookie, roles;

	if (ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	if (!addresses_of(ctx, &t))
		return 1;
	t.client_port = ctx->remote_port >> 16;
	t.service_port = bpf_htons(ctx->local_port);
	cookie = bpf_get_socket_cookie(ctx);
	roles = roles_of(&t);
	ep = endpoint_among(roles, &t);
	set = settings_now();
	if (ep && set && ep->first == set->self && roles & ROLE_MASK(IPOS_ROLE_HOLDING))
		holding_release(&t);
	if (!ep) {
		connected(ctx, &t, cookie);
		return 1;
	}
	if (ep->flags & IPOS_EP_LIVE)
		came(&t);
	bpf_map_delete_elem(&FAMILY(left_behind), &t); /* of this connection, or of one before */
	ep->cookie = cookie;
	ep->state = IPOS_EP_ATTACHED;
	if (ep->hs.options & IPOS_OPT_SESSION) { /* into its first response: tc/line_out.h */
		ep->insert_at = 0;
		ep->insert_next = ep->snd_nxt;
		ep->insert = IPOS_INSERT_STATUS;
	}
	if (set && ep->first != set->self)
		report_taken(set, &t, ep);
	session = session_at(ep->service);
	ep->learn = session && session->kind == IPOS_SESSION_LEARN;
	count(COUNT_ADOPTED);
	return 1;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
