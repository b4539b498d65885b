/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Type 13: another server's state, of which only numbers have changed.  They are written into its
 * row of `servers` here, so the agent need not read each frame: it looks into `heard` at its own
 * pace.  What the agent must know first comes to it in datagrams, and `editions` says what it has
 * read of them.
 */
#ifndef IPOS_SERVER_STATE_H
#define IPOS_SERVER_STATE_H

#include "lib/frame.h"

/*
 * The row of a server that has just spoken, if this is newer than the last.  One CPU at a time: two
 * frames of one server may come by two queues.
 */
IPOS_INLINE int state_write(struct ipos_server *server, struct ipos_heard *row,
			    const struct ipos_numbers *n, const struct ipos_traffic *t, __u64 now)
{
	__u64 boot = bpf_be64_to_cpu(n->boot), sequence = bpf_be64_to_cpu(n->sequence);
	__s64 sent = t->sent, closed = t->closed;
	int is_old;

	bpf_spin_lock(&row->lock);
	is_old = row->boot == boot && sequence <= row->sequence;
	if (!is_old) {
		row->boot = boot;
		row->sequence = sequence;
		row->sent = sent;
		row->closed = closed;
		row->tcp_connections = server->tcp_connections = bpf_ntohl(n->tcp_connections);
		row->cpu_permille = server->cpu_permille = bpf_ntohs(n->cpu_permille);
		row->memory_short = server->memory_short = n->memory_short;
		row->bandwidth_short = server->bandwidth_short = n->bandwidth_short;
		row->memory_available = server->memory_available =
			bpf_be64_to_cpu(n->memory_available);
		row->bandwidth_available = server->bandwidth_available =
			bpf_be64_to_cpu(n->bandwidth_available);
		server->updated_ns = now;
		server->base = sent - closed;
		server->sent = sent;
	}
	bpf_spin_unlock(&row->lock);
	return is_old ? COUNT_DROP_STATE_OLD : COUNT_STATE_HEARD;
}

/*
 * Note that a server was heard.  An agent that had no CPU for a while learns from it whether the
 * whole machine was away or only itself: a data plane that hears the others has answered them.
 */
IPOS_INLINE void server_noticed(struct ipos_heard *row, __u64 now)
{
	bpf_spin_lock(&row->lock);
	if (now - row->last_ns > IPOS_PAUSE_NS)
		row->since_ns = now;
	row->last_ns = now;
	bpf_spin_unlock(&row->lock);
	row = heard_any();
	if (!row)
		return;
	if (row->last_ns && now - row->last_ns > IPOS_AWAY_NS && row->since_ns < row->last_ns)
		row->since_ns = now;
	row->last_ns = now;
}

/*
 * The header of a frame of type 13 is in w->words, and sound.  Without tags no frame is believed.
 * Whose state it is the tag says, by back address, agent and edition, and not the MAC address
 * alone: that another's frame came from it makes no row.  Returns a counter.
 */
IPOS_FUNCTION int state_take(struct xdp_md *ctx, struct ipos_scratch *w, __u32 l2, __u32 index)
{
	struct ipos_settings *set = settings_now();
	__u64 now = bpf_ktime_get_boot_ns(), sent;
	struct ipos_edition *known;
	struct ipos_server *server;
	struct ipos_traffic *t;
	struct ipos_header *h;
	struct ipos_heard *row;
	struct ipos_numbers *n;

	if (!w || !set || !(set->flags & IPOS_AUTHENTICATE))
		return COUNT_DROP_FRAME_TYPE;
	h = (void *)w->words;
	n = (void *)w->words + HEADER_LEN;
	if (bpf_xdp_load_bytes(ctx, l2 + HEADER_LEN, n, sizeof(*n)))
		return COUNT_DROP_FRAME_SHORT;
	__builtin_memcpy(&sent, n->tag, IPOS_TAG_LEN);
	__builtin_memset(n->tag, 0, IPOS_TAG_LEN);
	if (!tag_right(set, w, HEADER_LEN + NUMBERS_TAGGED, sent))
		return COUNT_DROP_FRAME_TAG;
	if (!time_believed(set, n->sent_s, now))
		return COUNT_DROP_FRAME_TIME;
	known = bpf_map_lookup_elem(&editions, &index);
	row = bpf_map_lookup_elem(&heard, &index);
	t = bpf_map_lookup_elem(&traffic, &index);
	server = server_at(index);
	if (!known || !row || !t || !server || server->back_ip != h->client_ip)
		return COUNT_DROP_STATE_UNKNOWN;
	server_noticed(row, now);
	if (!known->boot || known->boot != bpf_be64_to_cpu(n->boot) ||
	    known->edition != bpf_ntohl(n->edition))
		return COUNT_DROP_STATE_UNKNOWN;
	if (bpf_be64_to_cpu(n->sequence) <= known->sequence)
		return COUNT_DROP_STATE_OLD;
	return state_write(server, row, n, t, now);
}

#endif /* IPOS_SERVER_STATE_H */
