/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The data plane as a library: the programs as they are, and the calls that run them on a
 * node.  Each program states its ABI and licence; here they are one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ipos_abi ipos_abi_xdp
#define _license license_xdp
#include "xdp/xdp.bpf.c"
#undef ipos_abi
#undef _license
#define ipos_abi ipos_abi_ingress
#define _license license_ingress
#include "tc/ingress.bpf.c"
#undef ipos_abi
#undef _license
#define ipos_abi ipos_abi_egress
#define _license license_egress
#include "tc/egress.bpf.c"
#undef ipos_abi
#undef _license
#if IPOS_FAMILY == 4
#define ipos_abi ipos_abi_box
#define _license license_box
#include "tc/box.bpf.c"
#undef ipos_abi
#undef _license
#endif
#define ipos_abi ipos_abi_sockops
#define _license license_sockops
#include "sock/sockops.bpf.c"
#include "select/session_line.h"
#include "native/readings.h"
#include "native/tables.h"

/* ---- nodes ---------------------------------------------------------------------------------- */

struct native_node *ipos_node_new(void)
{
	struct native_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->random = 0x9e3779b97f4a7c15ULL;
	if (native_tables_open(n)) {
		native_tables_close(n);
		free(n);
		return NULL;
	}
	return n;
}

void ipos_node_free(struct native_node *n)
{
	native_tables_close(n);
	free(n->out);
	free(n);
}

void ipos_node_clock(struct native_node *n, __u64 now_ns)
{
	n->now_ns = now_ns;
}

/* `fixed`: every random number is `seed`; else it starts the generator. */
void ipos_node_random(struct native_node *n, __u64 seed, __u32 fixed)
{
	n->random = fixed || seed ? seed : 1;
	n->random_fixed = fixed;
}

/* Which of the machine's CPUs runs the next programs. */
void ipos_node_cpu(struct native_node *n, __u32 cpu)
{
	n->cpu = cpu;
}

/* What giving a packet to a listener answers: 0, or a negative errno. */
void ipos_node_assign_answer(struct native_node *n, __s32 answer)
{
	n->assign_answer = answer;
}

/* 1: no frame can be cloned and sent. */
void ipos_node_emit_fails(struct native_node *n, __u32 fails)
{
	n->emit_fails = fails;
}

int ipos_node_sockets(struct native_node *n, const struct native_socket *sockets, __u32 count)
{
	if (count > NATIVE_SOCKETS_MAX)
		return -E2BIG;
	memcpy(n->socket, sockets, count * sizeof(*sockets));
	n->sockets = count;
	return 0;
}

/* ---- tables --------------------------------------------------------------------------------- */

/* ---- programs ------------------------------------------------------------------------------- */

static void begin(struct native_node *n, __u32 ifindex, const void *frame, __u32 len)
{
	n->sent = n->assigned = n->records = n->metadata = 0;
	n->redirect_ifindex = n->redirect_inward = 0;
	n->frame.ifindex = ifindex;
	memset(n->asked, 0, sizeof(n->asked));
	memcpy(n->buffer + NATIVE_HEADROOM, frame, len);
	native_enter(n);
}

static int finish(struct native_node *n, int verdict, int redirect, unsigned long data,
		  unsigned long end, __u32 mark)
{
	n->verdict = verdict;
	n->frame.length = end - data;
	n->frame.mark = mark;
	memcpy(n->frame.bytes, (void *)data, end - data);
	if (verdict == redirect)
		native_send(n, n->redirect_ifindex, n->redirect_inward, mark, n->frame.bytes,
			    n->frame.length);
	native_leave(n);
	return 0;
}

int ipos_run_xdp(struct native_node *n, const void *frame, __u32 len, __u32 ifindex)
{
	struct xdp_md ctx = { .ingress_ifindex = ifindex };
	int verdict;

	if (len > NATIVE_FRAME_MAX || len < ETH_HLEN)
		return -EINVAL;
	begin(n, ifindex, frame, len);
	ctx.data = ctx.data_meta = (unsigned long)n->buffer + NATIVE_HEADROOM;
	ctx.data_end = ctx.data + len;
	n->redirect_verdict = XDP_REDIRECT;
	verdict = FAMILY(ipos_xdp)(&ctx);
	n->metadata = ctx.data - ctx.data_meta;
	return finish(n, verdict, XDP_REDIRECT, ctx.data, ctx.data_end, 0);
}

static int run_tc(struct native_node *n, const void *frame, __u32 len, __u32 ifindex, __u32 mark,
		  int (*program)(struct __sk_buff *))
{
	struct __sk_buff skb = { .ifindex = ifindex, .ingress_ifindex = ifindex, .mark = mark };
	int verdict;

	if (len > NATIVE_FRAME_MAX || len < ETH_HLEN)
		return -EINVAL;
	begin(n, ifindex, frame, len);
	skb.data = skb.data_meta = (unsigned long)n->buffer + NATIVE_HEADROOM;
	skb.data_end = skb.data + len;
	skb.len = len;
	n->redirect_verdict = TC_ACT_REDIRECT;
	verdict = program(&skb);
	return finish(n, verdict, TC_ACT_REDIRECT, skb.data, skb.data_end, skb.mark);
}

int ipos_run_ingress(struct native_node *n, const void *frame, __u32 len, __u32 ifindex, __u32 mark)
{
	return run_tc(n, frame, len, ifindex, mark, FAMILY(ipos_ingress));
}

int ipos_run_egress(struct native_node *n, const void *frame, __u32 len, __u32 ifindex, __u32 mark)
{
	return run_tc(n, frame, len, ifindex, mark, FAMILY(ipos_egress));
}

/* `out`: what comes from the container, else what goes into it. */
int ipos_run_box(struct native_node *n, const void *frame, __u32 len, __u32 ifindex, __u32 mark,
		 __u32 out)
{
#if IPOS_FAMILY == 4
	return run_tc(n, frame, len, ifindex, mark, out ? ipos_box_out : ipos_box_in);
#else
	(void)n, (void)frame, (void)len, (void)ifindex, (void)mark, (void)out;
	return -EINVAL;
#endif
}

/* `op` as in enum of BPF_SOCK_OPS_...; addresses and ports in network order. */
int ipos_run_sockops(struct native_node *n, __u32 op, const struct native_socket *s, __u64 cookie,
		     __u32 snd_nxt)
{
	struct bpf_sock_ops ctx = {
		.op = op,
		.remote_port = (__u32)s->client_port << 16,
		.local_port = bpf_ntohs(s->service_port),
		.snd_nxt = snd_nxt,
		.rcv_nxt = s->rcv_nxt,
		.state = s->state,
	};

#if IPOS_FAMILY == 6
	ctx.family = 10;
	memcpy(ctx.remote_ip6, &s->client_ip, sizeof(s->client_ip));
	memcpy(ctx.local_ip6, &s->service_ip, sizeof(s->service_ip));
#else
	ctx.family = 2;
	ctx.remote_ip4 = s->client_ip;
	ctx.local_ip4 = s->service_ip;
#endif
	n->sent = n->assigned = n->records = 0;
	memset(n->asked, 0, sizeof(n->asked));
	n->cookie = cookie;
	native_enter(n);
	n->verdict = FAMILY(ipos_sockops)(&ctx);
	native_leave(n);
	return 0;
}

/* Which rule fits `request`, by the tables; its service's pool where none does. */
int ipos_run_route(struct native_node *n, const struct ipos_request *request, struct choice *c)
{
	struct ipos_service *service;
	struct ipos_scratch *w;
	int number;

	native_enter(n);
	w = scratch_of(IPOS_PROG_INGRESS);
	w->request = *request;
	service = service_at(request->service);
	c->pool = service ? service->pool : 0;
	number = route(w, c);
	native_leave(n);
	return number;
}

/*
 * What the request that was read last is decided by, before any policy; the server, 0 for
 * "choose".
 */
int ipos_decide_pool(struct native_node *n, const void *refused, __u64 now, struct choice *c)
{
	int server;

	native_enter(n);
	server = decide_pool(scratch_of(IPOS_PROG_INGRESS), refused, now, c);
	native_leave(n);
	return server;
}

/* The server of a request, by itself; `client_ip` in network order, `random` as it is drawn. */
__u32 ipos_choose(struct native_node *n, __u32 pool, const struct ipos_refusers *refused,
		  __u64 random, __u32 client_ip, __u32 among_all, __u32 *port)
{
	struct draw d = { .random = random, .client_ip = client_ip, .among_all = among_all };
	struct choice c = {};

	native_enter(n);
	choose(scratch_of(IPOS_PROG_XDP), pool, refused, &d, &c);
	native_leave(n);
	*port = bpf_ntohs(c.port);
	return c.server;
}

/* ---- what came of it ------------------------------------------------------------------------ */

__s32 ipos_verdict(const struct native_node *n)
{
	return n->verdict;
}

__u32 ipos_metadata(const struct native_node *n)
{
	return n->metadata;
}

const struct native_frame *ipos_frame(const struct native_node *n)
{
	return &n->frame;
}

__u32 ipos_sent(const struct native_node *n)
{
	return n->sent;
}

const struct native_frame *ipos_sent_at(const struct native_node *n, __u32 i)
{
	return i < n->sent ? &n->out[i] : NULL;
}

__u32 ipos_assigned(const struct native_node *n)
{
	return n->assigned;
}

const struct native_assignment *ipos_assigned_at(const struct native_node *n, __u32 i)
{
	return i < n->assigned ? &n->assignment[i] : NULL;
}

__u32 ipos_records(const struct native_node *n)
{
	return n->records;
}

const struct native_record *ipos_record_at(const struct native_node *n, __u32 i)
{
	return i < n->records ? &n->record[i] : NULL;
}
