/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The seam between the data plane and what runs it.  In the kernel the helpers are the
 * kernel's; in the native library (IPOS_NATIVE) the same sources meet helpers written in
 * native/, which hand out the caller's clock, random numbers, sockets and tables.
 */
#ifndef IPOS_SEAM_H
#define IPOS_SEAM_H

#include <stddef.h>
#include "abi/address.h"
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/version.h>

#ifdef IPOS_NATIVE
#include "native/helpers.h"
#else
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* A map pinned by name under the iNIC's directory; every program shares it. */
#define IPOS_MAP(map, kind, key_type, value_type, entries) \
	struct { \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__type(key, key_type); \
		__type(value, value_type); \
		__uint(max_entries, entries); \
	} map SEC(".maps")

#define IPOS_MAP_FLAGS(map, kind, key_type, value_type, entries, flags) \
	struct { \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__type(key, key_type); \
		__type(value, value_type); \
		__uint(max_entries, entries); \
		__uint(map_flags, flags); \
	} map SEC(".maps")

#define IPOS_QUEUE(map, value_type, entries) \
	struct { \
		__uint(type, BPF_MAP_TYPE_QUEUE); \
		__type(value, value_type); \
		__uint(max_entries, entries); \
	} map SEC(".maps")

/* Programs that another one goes on with. */
#define IPOS_JUMPS(map, entries) \
	struct { \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY); \
		__type(key, __u32); \
		__type(value, __u32); \
		__uint(max_entries, entries); \
	} map SEC(".maps")

#define IPOS_RING(map, bytes) \
	struct { \
		__uint(type, BPF_MAP_TYPE_RINGBUF); \
		__uint(max_entries, bytes); \
	} map SEC(".maps")
#endif

/*
 * A map whose rows have addresses, or a program: each family has its own, IPv6's with a 6 behind
 * its name.
 */
#if IPOS_FAMILY == 6
#define FAMILY(name) name##6
#else
#define FAMILY(name) name
#endif
#define IPOS_FAMILY_MAP(map, kind, key_type, value_type, entries) \
	IPOS_MAP(FAMILY(map), kind, key_type, value_type, entries)
#define IPOS_FAMILY_MAP_FLAGS(map, kind, key_type, value_type, entries, flags) \
	IPOS_MAP_FLAGS(FAMILY(map), kind, key_type, value_type, entries, flags)

#include <bpf/bpf_endian.h>

#define IPOS_INLINE static __always_inline __attribute__((unused))
/* A function with a stack frame of its own, looked at with what its caller knows. */
#define IPOS_APART static __attribute__((noinline, unused))
/*
 * A function the verifier looks at once, by itself, instead of at every call: its pointers
 * may be NULL for all it knows.  Everything with a loop is one.  It is weak, so that the compiler
 * knows no more of it at a call than the verifier does: no bound of what it returns.
 */
#ifdef IPOS_NATIVE
#define IPOS_FUNCTION static __attribute__((noinline, unused))
#else
#define IPOS_FUNCTION __attribute__((noinline, weak))
#endif
/*
 * The statement that follows, up to `n` times.  The verifier looks at it until nothing new comes
 * out, not `n` times, when all that changes from one round to the next is in a map value.
 */
#ifdef IPOS_NATIVE
#define IPOS_REPEAT(n) for (__u32 ipos_round = 0; ipos_round < (n); ipos_round++)
#else
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0) /* of the headers: later ones have it */
struct bpf_iter_num {
	__u64 opaque[1];
} __attribute__((aligned(8)));
#endif
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;
#define IPOS_REPEAT(n) \
	for (struct bpf_iter_num ipos_rounds __attribute__((cleanup(bpf_iter_num_destroy))), \
	     *ipos_round __attribute__((unused)) = \
		     (bpf_iter_num_new(&ipos_rounds, 0, (n)), /* its BTF needs a mention */ \
		      (void)bpf_iter_num_destroy, (void *)0); \
	     bpf_iter_num_next(&ipos_rounds);)
#endif
/* Of an array of chars: bytes, with no zero behind them. */
#if __has_attribute(nonstring)
#define IPOS_BYTES __attribute__((nonstring))
#else
#define IPOS_BYTES
#endif
/* A table.  libbpf gives only global ones their place in .rodata; without it the BTF is refused. */
#ifdef IPOS_NATIVE
#define IPOS_TABLE static const __attribute__((unused))
#else
#define IPOS_TABLE const
#endif

/*
 * First statement of a loop that the verifier is to look at until it learns nothing new, instead
 * of once for every round: may_goto, Linux 6.9.  It breaks out after eight million rounds, so
 * never.  The loop's own bound must still be there because of what it indexes; its variable starts
 * at scratch's `zero`, because one whose value is known is looked at value by value.  Written as
 * bytes, for compilers older than the instruction.
 */
#ifdef IPOS_NATIVE
#define IPOS_CONVERGES
#else
#define IPOS_CONVERGES \
	({ \
		__label__ out, on; \
		asm volatile goto( \
			"1: .byte 0xe5, 0; .long ((%l[out] - 1b - 8) / 8) & 0xffff; .short 0" \
			: \
			: \
			: \
			: out); \
		goto on; \
	out: \
		break; \
	on:; \
	})
#endif

/* Keeps the compiler from folding two bounds of `x` into one the verifier cannot read. */
#define IPOS_OPAQUE(x) asm volatile("" : "+r"(x))

/*
 * `i` as a place in an array of `n`, a power of two.  The compiler cannot take this mask away, as
 * it does with one that it has proved needless by what the verifier does not follow: a bound of a
 * function that is looked at by itself, or of a loop, where it counts a pointer instead of `i`.
 */
#define IPOS_PLACE(i, n) \
	({ \
		__u64 ipos_place = (i); \
		IPOS_OPAQUE(ipos_place); \
		ipos_place % (n); \
	})

/* Memory is read again: a loop's state that a register held would never converge. */
#define IPOS_RELOAD() asm volatile("" : : : "memory")

/* libbpf 1.6 and later have them, too. */
#undef likely
#undef unlikely
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif /* IPOS_SEAM_H */
