/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the data plane sees in place of the kernel.  The kernel's own contexts keep packet
 * addresses in 32 bits and rely on the verifier to widen them; here contexts with room for
 * a pointer take their names, so that the programs' sources stand as they are.
 *
 * Everything a helper knows comes from the node that runs: node.h.
 */
#ifndef IPOS_NATIVE_HELPERS_H
#define IPOS_NATIVE_HELPERS_H

#include "native/node.h"

#define xdp_md native_xdp
#define __sk_buff native_skb
#define bpf_dynptr native_dynptr

#define SEC(name)
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* ---- maps: the programs hold descriptions, the node holds the contents --------------------- */

#define NATIVE_MAP(map, kind, key_bytes, value_bytes, count) \
	static const struct native_map map __attribute__((used, section("ipos_map_list"))) = { \
		.name = #map, \
		.type = BPF_MAP_TYPE_##kind, \
		.key_size = key_bytes, \
		.value_size = value_bytes, \
		.max_entries = count, \
	}

#define IPOS_MAP(map, kind, key_type, value_type, entries) \
	NATIVE_MAP(map, kind, sizeof(key_type), sizeof(value_type), entries)
#define IPOS_MAP_FLAGS(map, kind, key_type, value_type, entries, flags) \
	NATIVE_MAP(map, kind, sizeof(key_type), sizeof(value_type), entries)
#define IPOS_QUEUE(map, value_type, entries) NATIVE_MAP(map, QUEUE, 0, sizeof(value_type), entries)
#define IPOS_JUMPS(map, entries) NATIVE_MAP(map, ARRAY, 4, 4, entries)
#define bpf_tail_call(ctx, map, index) ((void)(ctx), (void)(map)) /* as if it were empty */
#define IPOS_RING(map, bytes) NATIVE_MAP(map, RINGBUF, 0, 0, bytes)

#define bpf_map_lookup_elem(map, key) native_map_ask(native_now(), map, key)
#define bpf_map_update_elem(map, key, value, flags) \
	native_map_update(native_now(), map, key, value, flags)
#define bpf_map_delete_elem(map, key) native_map_delete(native_now(), map, key)
#define bpf_map_push_elem(map, value, flags) native_map_push(native_now(), map, value)
#define bpf_map_pop_elem(map, value) native_map_pop(native_now(), map, value)
#define bpf_ringbuf_reserve(map, size, flags) native_ring_reserve(native_now(), map, size)
#define bpf_ringbuf_submit(record, flags) native_ring_submit(native_now(), record)

/* One node runs on one thread at a time, so a lock of the kernel's is always free. */
#define bpf_spin_lock(lock) ((void)(lock))
#define bpf_spin_unlock(lock) ((void)(lock))

/* ---- the world ------------------------------------------------------------------------------- */

__u64 bpf_ktime_get_boot_ns(void);
__u64 bpf_ktime_get_coarse_ns(void);
#define bpf_jiffies64() bpf_ktime_get_coarse_ns() /* its clock never stands still */
__u32 bpf_get_prandom_u32(void);
__u32 bpf_get_smp_processor_id(void);

struct sock {
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	struct {
		__u32 len;
	} sk_backlog;
	__u32 sk_shutdown;
};

struct inet_connection_sock { /* the same object, further down */
	struct sock sk;
	struct {
		__u32 lrcvtime;
	} icsk_ack;
};

struct tcp_sock { /* and further still */
	struct inet_connection_sock connection;
	__u32 socket;
	__u32 rcv_nxt, copied_seq, snd_nxt, write_seq;
	__u32 snd_una, max_window;
	__u32 data_segs_out, lsndtime;
	struct {
		void *rb_node;
	} out_of_order_queue;
	struct {
		__u32 ts_recent;
	} rx_opt;
};

struct bpf_sock *bpf_skc_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, __u32 size,
				    __u64 netns, __u64 flags);
struct bpf_sock *bpf_sk_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns,
				   __u64 flags);
struct bpf_sock *bpf_sk_lookup_udp(void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns,
				   __u64 flags);
struct bpf_tcp_sock *bpf_tcp_sock(struct bpf_sock *sk);
void *bpf_skc_to_tcp_sock(void *sk);
void *bpf_skc_to_tcp_timewait_sock(void *sk);
long bpf_sk_release(void *sk);
__u64 bpf_get_socket_cookie(void *ctx);
long bpf_sk_assign(struct __sk_buff *skb, void *sk, __u64 flags);
int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk, struct bpf_tcp_req_attrs *attrs,
			    int attrs__sz);

/* ---- packets --------------------------------------------------------------------------------- */

long bpf_xdp_adjust_head(struct xdp_md *ctx, int delta);
long bpf_xdp_adjust_tail(struct xdp_md *ctx, int delta);
long bpf_xdp_adjust_meta(struct xdp_md *ctx, int delta);
long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 offset, void *to, __u32 len);
long bpf_xdp_store_bytes(struct xdp_md *ctx, __u32 offset, const void *from, __u32 len);
__u64 bpf_xdp_get_buff_len(struct xdp_md *ctx);

long bpf_redirect(__u32 ifindex, __u64 flags);
long bpf_redirect_peer(__u32 ifindex, __u64 flags);
long bpf_redirect_neigh(__u32 ifindex, void *parameters, int length, __u64 flags);
long bpf_clone_redirect(struct __sk_buff *skb, __u32 ifindex, __u64 flags);

long bpf_skb_load_bytes(const struct __sk_buff *skb, __u32 offset, void *to, __u32 len);
long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len,
			 __u64 flags);
long bpf_skb_change_tail(struct __sk_buff *skb, __u32 len, __u64 flags);
long bpf_skb_change_head(struct __sk_buff *skb, __u32 len, __u64 flags);
long bpf_skb_vlan_pop(struct __sk_buff *skb);
long bpf_skb_vlan_push(struct __sk_buff *skb, __u16 protocol, __u16 tci);
long bpf_skb_change_type(struct __sk_buff *skb, __u32 type);
long bpf_l3_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size);
long bpf_l4_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 flags);
__s64 bpf_csum_diff(const void *from, __u32 from_size, const void *to, __u32 to_size, __u32 seed);

long bpf_dynptr_from_mem(void *data, __u32 size, __u64 flags, struct bpf_dynptr *d);
long bpf_dynptr_read(void *to, __u32 len, const struct bpf_dynptr *d, __u32 offset, __u64 flags);
long bpf_dynptr_write(const struct bpf_dynptr *d, __u32 offset, const void *from, __u32 len,
		      __u64 flags);

#endif /* IPOS_NATIVE_HELPERS_H */
