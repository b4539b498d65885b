/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Types 8 and 9, which are about no connection and come with no address of a client. */
#ifndef IPOS_XDP_PROBE_H
#define IPOS_XDP_PROBE_H

#include "xdp/encapsulation.h"
#include "xdp/server_state.h"

/*
 * Another server's agent hears nothing of ours and asks the data plane.  No agent is needed to
 * answer; the server that asked finds its own nonce in it, so no answer can be played back.
 */
IPOS_APART int back_probe(struct xdp_md *ctx, struct ipos_settings *set, struct ipos_scratch *w,
			  const struct segment *s, __u32 index)
{
	struct ipos_probe *probe = (void *)w->words + HEADER_LEN;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipos_header *h = (void *)w->words;
	struct ethhdr *eth = data;
	struct ipos_heard *row;
	__u64 tag, sent;

	if (bpf_xdp_load_bytes(ctx, s->l2 + HEADER_LEN, probe, sizeof(*probe)))
		return drop(COUNT_DROP_FRAME_SHORT);
	__builtin_memcpy(&sent, probe->tag, IPOS_TAG_LEN);
	__builtin_memset(probe->tag, 0, IPOS_TAG_LEN);
	if (!tag_right(set, w, HEADER_LEN + PROBE_TAGGED, sent))
		return drop(COUNT_DROP_FRAME_TAG);
	count(COUNT_FRAMES_RECEIVED);
	if (h->type == IPOS_PROBE_ANSWER)
		return h->client_ip == set->self_ip ? XDP_PASS : drop(COUNT_DROP_FRAME_UNKNOWN);
	if (h->endpoint_ip != set->self_ip)
		return drop(COUNT_DROP_FRAME_UNKNOWN);
	if ((void *)(eth + 1) > end)
		return drop(COUNT_DROP_FRAME_SHORT);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, set->back_mac, ETH_ALEN);
	h->type = IPOS_PROBE_ANSWER;
	h->checksum = 0;
	h->checksum = (__u16)~fold(sum_words(h, HEADER_LEN));
	tag = tag_of(set, w, HEADER_LEN + PROBE_TAGGED, 0);
	__builtin_memcpy(probe->tag, &tag, IPOS_TAG_LEN);
	if (bpf_xdp_store_bytes(ctx, s->l2, h, HEADER_LEN + sizeof(*probe)))
		return drop(COUNT_DROP_EMIT);
	row = bpf_map_lookup_elem(&heard, &index);
	if (row)
		server_noticed(row, bpf_ktime_get_boot_ns());
	count(COUNT_PROBE_ANSWERED);
	count(COUNT_FRAMES_SENT);
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

#endif /* IPOS_XDP_PROBE_H */
