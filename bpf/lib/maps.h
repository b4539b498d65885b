/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every table of the iNIC.  "Writer" is the only one that changes it; "full" says what
 * happens to the connection that finds no room.  Sizes here are defaults: the loader sets
 * them from [farm.limits] before the maps exist.
 */
#ifndef IPOS_MAPS_H
#define IPOS_MAPS_H

#include "lib/packet.h"

/* Writer: agent.  Fixed size. */
IPOS_MAP(settings, ARRAY, __u32, struct ipos_settings, 1);
IPOS_MAP(tag_keys, ARRAY, __u32, struct ipos_tag_keys, 1);
IPOS_MAP(servers, ARRAY, __u32, struct ipos_server, IPOS_SERVERS_MAX);
IPOS_MAP(services, ARRAY, __u32, struct ipos_service, IPOS_SERVICES_MAX);
IPOS_MAP(pools, ARRAY, __u32, struct ipos_pool, IPOS_POOLS_MAX); /* 12 MiB */
IPOS_MAP(sessions, ARRAY, __u32, struct ipos_session, IPOS_SERVICES_MAX);
IPOS_MAP(cookie_keys, ARRAY, __u32, struct ipos_epoch_key, IPOS_EPOCHS);
IPOS_MAP(session_keys, ARRAY, __u32, struct ipos_epoch_key, IPOS_SESSION_DAYS);

/* Writer: agent.  Fixed size.  Written before what it tells of comes, and after it has gone. */
IPOS_MAP(gates, ARRAY, __u32, struct ipos_gates, 1);

/* Writer: agent.  Full: the agent says so and keeps what was there. */
IPOS_FAMILY_MAP(addresses, HASH, struct ipos_address_key, struct ipos_address, 4096);

/* Writer: agent.  Room for two lists: a new one is whole before what is not in it goes. */
IPOS_FAMILY_MAP_FLAGS(deny, LPM_TRIE, struct ipos_prefix, __u8, 32768, BPF_F_NO_PREALLOC);

IPOS_MAP_FLAGS(names, HASH, struct ipos_name_key, __u32, 16384, BPF_F_NO_PREALLOC);
IPOS_MAP_FLAGS(redirects, HASH, struct ipos_redirect_key, struct ipos_redirect, 16384,
	       BPF_F_NO_PREALLOC);

IPOS_MAP(members, HASH, struct ipos_mac, struct ipos_member, IPOS_SERVERS_MAX);

/* Writer: agent.  Fixed size. */
IPOS_MAP(editions, ARRAY, __u32, struct ipos_edition, IPOS_SERVERS_MAX);
/* Writer: data plane.  Fixed size. */
IPOS_MAP(heard, ARRAY, __u32, struct ipos_heard, IPOS_SERVERS_MAX);

/*
 * The URL map, twice: the agent writes the bank that is not in use, whole, and then the number
 * that says which is.  A request looks at that number once.
 */
/* Writer: agent.  Fixed size. */
IPOS_MAP(url_bank, ARRAY, __u32, __u32, 1);
IPOS_MAP(urls, ARRAY, __u32, struct ipos_urls, IPOS_URLS_MAX);
IPOS_MAP(patterns, ARRAY, __u32, struct ipos_pattern, IPOS_PATTERNS_MAX);

/* Writer: agent.  Full: the agent says so, and the rules in use stay. */
IPOS_MAP_FLAGS(hosts, HASH, struct ipos_host_key, __u32, IPOS_PATTERNS_MAX, BPF_F_NO_PREALLOC);
IPOS_MAP_FLAGS(short_hosts, HASH, struct ipos_short_host_key, __u32, IPOS_PATTERNS_MAX,
	       BPF_F_NO_PREALLOC);
IPOS_MAP_FLAGS(paths, LPM_TRIE, struct ipos_path_key, struct ipos_rule, IPOS_PATHS_MAX,
	       BPF_F_NO_PREALLOC);

/* Writer: agent.  Room for every pool; only those that hash cost memory. */
IPOS_MAP_FLAGS(slots, HASH, __u32, struct ipos_slots, 16384, BPF_F_NO_PREALLOC);

/* Writer: data plane.  Never evicted.  Full: serve here, or refuse; DROP_TABLE_FULL. */
IPOS_FAMILY_MAP(forward, HASH, struct ipos_tuple, struct ipos_forward, 262144);
IPOS_FAMILY_MAP(local, HASH, struct ipos_tuple, struct ipos_endpoint, 131072);
IPOS_FAMILY_MAP(connect, HASH, struct ipos_tuple, struct ipos_endpoint, 131072);

/* Writer: data plane.  Fixed size.  Two connections in one slot share its counts. */
IPOS_FAMILY_MAP(roles, ARRAY, __u32, __u64, IPOS_ROLES);

/* Writer: data plane.  Evicts the least recently used: its cookie still validates. */
IPOS_FAMILY_MAP(temporary, LRU_HASH, struct ipos_tuple, struct ipos_temporary, 262144);

/* Writer: data plane.  Evicts the least recently used: its socket is long gone. */
IPOS_FAMILY_MAP(left_behind, LRU_HASH, struct ipos_tuple, struct ipos_left, 65536);

/* Writer: data plane.  Evicts the least recently used: its next packet asks anew. */
IPOS_FAMILY_MAP(questions, LRU_HASH, struct ipos_tuple, struct ipos_question, 65536);
/* Writer: data plane.  Fixed size; the last slot is of all sources. */
IPOS_MAP(locates, ARRAY, __u32, struct ipos_guesses, IPOS_GUESSES_SLOTS);

#if IPOS_FAMILY == 4
/*
 * Writer: data plane; the agent takes idle rows away.  Full: the flow stays in `udp_new`, where it
 * can be evicted.
 */
IPOS_MAP_FLAGS(udp_flows, HASH, struct ipos_tuple, struct ipos_flow, IPOS_FLOW_ROWS,
	       BPF_F_NO_PREALLOC);
/* Writer: data plane.  Evicts the least recently used: its next datagram is the first again. */
IPOS_MAP(udp_new, LRU_HASH, struct ipos_tuple, struct ipos_flow, IPOS_FLOW_NEW_ROWS);
IPOS_MAP(udp_owned, LRU_HASH, struct ipos_tuple, struct ipos_owned, IPOS_FLOW_OWNED_ROWS);
IPOS_MAP(udp_fragments, LRU_HASH, struct ipos_fragment_key, struct ipos_fragment, 16384);
/* Writer: data plane.  Fixed size.  As `hold_used`, of rows of `udp_flows`. */
IPOS_MAP(udp_used, ARRAY, __u32, __u32, IPOS_SHARES_SLOTS);
/* Writer: agent.  Fixed size.  As `hold_returned`. */
IPOS_MAP(udp_returned, ARRAY, __u32, __u32, IPOS_SHARES_SLOTS);
#endif

/* Writer: data plane, and the agent for what it hears.  The least recently used row goes. */
IPOS_MAP(cookies, LRU_HASH, struct ipos_cookie_key, struct ipos_cookie, 131072);
IPOS_FAMILY_MAP(learning, LRU_HASH, struct ipos_tuple, struct ipos_learning, 16384);
IPOS_QUEUE(cookie_news, struct ipos_cookie_news, 65536); /* full: told by frame only */

/* Writer: data plane.  Never evicted.  Full: DROP_HOLD_FULL, the client sends again. */
IPOS_FAMILY_MAP(holding, HASH, struct ipos_tuple, struct ipos_holding, 65536);
IPOS_MAP(hold_pool, ARRAY, __u32, struct ipos_chunk, 65536); /* 64 MiB */
IPOS_QUEUE(hold_free, __u32, 65536); /* the loader fills it with every index */
/* Writer: data plane.  Fixed size.  Two sources in one slot share a number. */
IPOS_MAP(guesses, ARRAY, __u32, struct ipos_guesses, IPOS_GUESSES_SLOTS);
/*
 * Writer: data plane.  Fixed size.  Pieces given to a client network, less those given back by
 * the data plane.
 */
IPOS_MAP(hold_used, ARRAY, __u32, __u32, IPOS_SHARES_SLOTS);
/*
 * Writer: agent.  Fixed size.  Pieces that the agent gave back.  Only the agent writes it, so no
 * sum is lost.
 */
IPOS_MAP(hold_returned, ARRAY, __u32, __u32, IPOS_SHARES_SLOTS);

/* Writer: data plane.  One for many connections; a lock is kept for microseconds. */
IPOS_MAP(locks, ARRAY, __u32, __u32, IPOS_LOCKS); /* 1 + the CPU that has it; 0: none */

/* Writer: data plane. */
IPOS_MAP(traffic, ARRAY, __u32, struct ipos_traffic, IPOS_SERVERS_MAX);
IPOS_MAP(counters, PERCPU_ARRAY, __u32, __u64, IPOS_COUNTERS_MAX);
/* Writer: data plane; the agent empties the row of an index that is used anew.  Fixed size. */
IPOS_MAP(service_tallies, PERCPU_ARRAY, __u32, struct ipos_service_tally, IPOS_SERVICES_MAX);
IPOS_MAP(pool_tallies, PERCPU_ARRAY, __u32, struct ipos_tally, IPOS_POOLS_MAX);
IPOS_MAP(rule_tallies, PERCPU_ARRAY, __u32, struct ipos_tally, IPOS_RULE_TALLIES);
IPOS_MAP(server_tallies, PERCPU_ARRAY, __u32, struct ipos_tally, IPOS_SERVERS_MAX);
IPOS_MAP(histograms, PERCPU_ARRAY, __u32, struct ipos_histogram, IPOS_HISTOGRAMS);
IPOS_RING(captured, 4194304); /* full: CAPTURE_LOST */
IPOS_RING(decisions, 262144); /* full: DECISION_LOST */
IPOS_RING(silent, 65536);     /* full: its client has to send again */
IPOS_RING(awaiting, 262144);  /* the same */

/* Writer: `ipos capture`, as long as it lives: until when frames are copied, boottime. */
IPOS_MAP(capture_until, ARRAY, __u32, __u64, 1);

#if IPOS_FAMILY == 6
/* Writer: agent.  Fixed size.  The server that four bytes name. */
IPOS_MAP(identities, HASH, struct ipos_identity, struct ipos_member, IPOS_SERVERS_MAX);
#endif

/* Where a socket of our kernel's stands. */
struct stands {
	__u32 rcv_nxt;
	__u32 snd_una, snd_nxt;
	__u32 write_seq;  /* what our application has written, sent or not */
	__u32 max_window; /* the largest that the client has offered */
	__u32 ts_recent;
	__u8 state;
	__u8 busy;   /* packets wait for the process that has the socket */
	__u8 gaps;   /* bytes are there that others must come before */
	__u8 unread; /* the application will not read what comes */
};

enum ours { OURS_NOT, OURS_PIECE, OURS_AGAIN }; /* a piece of a held request; put back by us */

struct reading { /* of one packet of a followed connection */
	struct stands at;
	__u32 rounds;  /* how often it has come by before */
	__u32 refused; /* our kernel did not take what it was given of it meanwhile */
	int verdict;
};

/*
 * Working space, one per program and CPU: too large for the stack, and a place where the
 * verifier forgets what it knew of a scalar, so that loops converge.
 */
enum ipos_program { IPOS_PROG_XDP, IPOS_PROG_INGRESS, IPOS_PROG_EGRESS, IPOS_PROGRAMS };

#define FRAME_ROOM (IPOS_FAMILY == 6 ? 224 : 192)

struct ipos_scratch {
	__u8 tcp[64]; /* a TCP header with its options, zero padded */
	__u64 ticks;  /* see boot_ns_tick() */
	__u64 ticked_ns;
	__u32 cursor;
	__u32 option_flags; /* enum ipos_options found */
	__u32 ts_value, ts_echo;
	__u16 mss;
	__u8 wscale; /* IPOS_WSCALE_NONE: absent */
	__u8 pad;
	__u32 zero;    /* always 0, unknown to the verifier: IPOS_CONVERGES */
	__u32 found;   /* candidates in `usable` */
	__u32 weights; /* of all of them */
	__u16 ramp_least, ramp_most;
	__u32 left, best, tied; /* of a draw by weight, and of the fewest connections */
	struct ipos_line line;	/* of the packet's connection; length 0: none */
	__u32 line_final;	/* see lib/line.h */
	__u32 pad3;
	__u16 usable[IPOS_CANDIDATES_MAX];
	__u64 scores[IPOS_CANDIDATES_MAX]; /* of the usable */
	__u32 state;			   /* of the head parser */
	__u32 end;			   /* where it stopped */
	__u32 more;			   /* of the head parser, beside `cursor` */
	__u32 ours;			   /* enum ours: whose word the packet's bytes are */
	__u32 locked;			   /* enum lock: of the packet's connection */
	__u32 round;			   /* how often it has gone round, see goes_round() */
	__be32 question;		   /* of the type 5 that was made last */
	__u64 words[24];		   /* what a MAC is computed over, zero padded */
	__u8 frame[FRAME_ROOM];		   /* a frame being built */
	__u8 saved[144];		   /* the frame it is built in, to be put back */
	__u8 bytes[IPOS_CHUNK];		   /* payload being looked at */
	struct ipos_request request;	   /* what its head says */
	struct ipos_session_value value;   /* of its session's cookie, inserted */
	struct ipos_cookie_news news;	   /* of its session's cookie, learned */
	__u32 dot_count;		   /* dots in the request's host */
	__u8 dots[IPOS_DOTS];		   /* where the last of them are: dot n % IPOS_DOTS */
	struct ipos_host_key host_key;
	struct ipos_name_key name_key;
	struct ipos_refusers refused; /* of the request being decided */
	struct ipos_holding holding;  /* a row being made */
	struct ipos_endpoint endpoint;
	struct ipos_forward forward;
	struct reading reading;
#if IPOS_FAMILY == 6
	struct segment segment; /* the packet at hand: the stack has no room for it */
	__u64 arrived[12];	/* one that comes in a frame */
#endif
	__u64 now;		   /* when request_place() was asked, boottime clock */
	__u32 pool, rule;	   /* what it has found */
	__u8 text[2 * IPOS_CHUNK]; /* what HTTP/2 says, out of its coding */
};

/* Where a program has the packet at hand. */
#if IPOS_FAMILY == 6
#define SEGMENT(s, w) struct segment *s = &(w)->segment
#else
#define SEGMENT(s, w) struct segment s##_here, *s = &s##_here
#endif

IPOS_FAMILY_MAP(scratch, PERCPU_ARRAY, __u32, struct ipos_scratch, IPOS_PROGRAMS);

IPOS_INLINE struct ipos_scratch *scratch_of(__u32 program)
{
	return bpf_map_lookup_elem(&FAMILY(scratch), &program);
}

IPOS_INLINE void count(__u32 counter)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &counter);

	if (n)
		*n += 1;
}

IPOS_INLINE struct ipos_settings *settings_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

IPOS_INLINE const struct ipos_gates *gates_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&gates, &zero);
}

/*
 * The boottime clock as of the last tick of the kernel's timer or the one before, milliseconds ago:
 * for what is only ever compared with seconds.  Asking the true one costs as much as a look-up, and
 * this one is asked once in a tick, because the kernel's count of ticks is read in place.
 */
IPOS_INLINE __u64 boot_ns_tick(const struct ipos_settings *set, struct ipos_scratch *w)
{
	__u64 ticks = bpf_jiffies64();

	if (unlikely(w->ticks != ticks)) {
		w->ticks = ticks;
		w->ticked_ns = bpf_ktime_get_coarse_ns();
	}
	return w->ticked_ns + set->slept_ns;
}

#define SEEN_NS 50000000ULL /* how exact `last_seen_ns` is kept */

/* Written seldom: another CPU is reading what lies beside it. */
IPOS_INLINE void seen(__u64 *last_seen_ns, __u64 now)
{
	if (now - *last_seen_ns > SEEN_NS)
		*last_seen_ns = now;
}

/* When any other server was heard. */
IPOS_INLINE struct ipos_heard *heard_any(void)
{
	__u32 index = IPOS_HEARD_ANY;

	return bpf_map_lookup_elem(&heard, &index);
}

IPOS_INLINE struct ipos_server *server_at(__u32 index)
{
	return bpf_map_lookup_elem(&servers, &index);
}

IPOS_INLINE struct ipos_service *service_at(__u32 index)
{
	return bpf_map_lookup_elem(&services, &index);
}

IPOS_INLINE void traffic_add(__u32 server, __s64 sent, __s64 closed)
{
	struct ipos_traffic *t = bpf_map_lookup_elem(&traffic, &server);

	if (!t)
		return;
	if (sent)
		__sync_fetch_and_add(&t->sent, sent);
	if (closed)
		__sync_fetch_and_add(&t->closed, closed);
}

#endif /* IPOS_MAPS_H */
