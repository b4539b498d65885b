/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The kernel asks here before it gives a connection to a listener.  What came by front and by our
 * other programs is let through; what did not is a program's on this server, or of a container
 * behind it, and would get this server's application whatever the rules say.  Where these could
 * lead to another server it is refused: the kernel answers with a reset.
 */
#include "lib/rows.h"
#include "lib/uplink.h"

#define LOOPBACK 1 /* LOOPBACK_IFINDEX: every network namespace has it there */

/*
 * Whether a client of the farm may be behind it.  Lookups of our programs on front and back come
 * with their interfaces; those of the kernel for a tagged front with an interface of that VLAN.  A
 * program that is bound to front looks the same, but for its address: no client has ours.
 */
IPOS_INLINE int from_outside(const struct bpf_sk_lookup *ctx, const struct ipos_settings *set)
{
	__u32 came = ctx->ingress_ifindex;

	if (came == LOOPBACK)
		return 0;
	if (set->own_ifindex && (came == set->own_front_ifindex || came == set->front_ifindex))
		return 1; /* they are clients: tc/own.bpf.c */
	if (ctx->remote_ip4 == ctx->local_ip4)
		return 0;
	return is_front(set, came) || came == set->back_ifindex || set->front_vlan ||
	       set->back_vlan;
}

SEC("sk_lookup")
int ipos_lookup(struct bpf_sk_lookup *ctx)
{
	struct ipos_settings *set = settings_now();
	struct ipos_service *service;
	struct ipos_address *a;

	if (!set || ctx->family != 2 /* AF_INET */ || ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (from_outside(ctx, set) || (ctx->remote_ip4 & HOST_MASK) == HOST_NET)
		return SK_PASS; /* 127.0.0.0/8 means this server; health checks use it, too */
	a = address_of(ctx->local_ip4, bpf_htons(ctx->local_port));
	service = a ? service_at(a->service) : NULL;
	if (!service || !service->own_refused)
		return SK_PASS;
	count(COUNT_OWN_PROGRAM_REFUSED);
	return SK_DROP;
}

const volatile __u32 ipos_abi = IPOS_ABI;
char _license[] SEC("license") = "Dual BSD/GPL";
