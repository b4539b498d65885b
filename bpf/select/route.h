/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which rule fits a request: the one with the longest path; among those the one with the most
 * exact host; and an exact path before a prefix.  Before them all, of a ClientHello: the first
 * protocol of its list that a rule names.
 *
 * Rules are kept by host pattern: a host, a wildcard, or any.  The patterns that fit one host are
 * a chain from the most exact to the widest, known when they are written, so one lookup of the
 * host finds them all.  Each has one longest-prefix lookup of the path, which is left out where
 * no rule of the pattern could be longer than what is found already.
 */
#ifndef IPOS_CORE_ROUTE_H
#define IPOS_CORE_ROUTE_H

#include "select/policy.h"

#define PATTERN_CHAIN (IPOS_WILDCARD_LABELS + 2) /* a host, its wildcards, any */

/* The pattern of a name of `length` bytes.  Hashing the whole of a key costs as much as a path. */
IPOS_INLINE __u32 pattern_of(const void *key, __u32 length)
{
	__u32 *pattern;

	if (length <= IPOS_SHORT_HOST) {
		pattern = bpf_map_lookup_elem(&short_hosts, key);
	} else {
		pattern = bpf_map_lookup_elem(&hosts, key);
		IPOS_OPAQUE(pattern); /* a call each: only one of a known map is inlined */
	}
	return pattern ? *pattern : 0;
}

/* Where the last dots of the request's host are. */
IPOS_FUNCTION int host_dots(struct ipos_scratch *w)
{
	if (!w)
		return 0;
	w->dot_count = 0;
	/* Without a branch: each would double what the verifier walks through. */
	for (__u32 i = 0; i < IPOS_HOST_MAX && i < w->request.host_len; i++) {
		w->dots[w->dot_count & (IPOS_DOTS - 1)] = i;
		w->dot_count += w->request.host[i] == '.';
		IPOS_RELOAD();
	}
	return w->dot_count;
}

/* The host from `at` on as a key; `host` and `host_end` are one, so zero follows it. */
IPOS_INLINE void host_tail(struct ipos_scratch *w, __u32 at)
{
	const __u8 *from = (__u8 *)&w->request + offsetof(struct ipos_request, host) + at;

	for (__u32 i = 0; i < IPOS_RULE_HOST_ROOM; i += 4)
		*(__u32 *)(w->host_key.name + i) = *(__u32 *)(from + i);
}

/* The wildcard of n labels that fits the host: an index in `patterns`, 0 for none. */
IPOS_FUNCTION int wildcard_of(struct ipos_scratch *w, __u32 n)
{
	__u32 at;

	if (!w || n > w->dot_count)
		return 0;
	at = w->dots[(w->dot_count - n) & (IPOS_DOTS - 1)];
	if (!at || w->request.host_len - at > IPOS_RULE_HOST_MAX)
		return 0;
	w->host_key.scope = w->request.host_scope;
	host_tail(w, at);
	return pattern_of(&w->host_key, w->request.host_len - at);
}

/* The longest wildcard that fits the host; bit n of `labels`: some have n. */
IPOS_FUNCTION int wildcard_pattern(struct ipos_scratch *w, __u32 labels)
{
	int pattern;

	if (!w)
		return 0;
	host_dots(w);
	for (__u32 n = IPOS_WILDCARD_LABELS; n; n--) {
		if (!(labels >> n & 1))
			continue;
		pattern = wildcard_of(w, n);
		if (pattern)
			return pattern;
	}
	return 0;
}

/* The most exact pattern that fits the host. */
IPOS_INLINE __u32 host_pattern(struct ipos_scratch *w, const struct ipos_urls *u, __u32 scope)
{
	struct ipos_request *r = &w->request;
	__u32 found = 0;

	r->host_scope = scope;
	/* What begins with a dot is a wildcard's key, and no name of a host. */
	if (u->hosts && r->host_len && r->host_len <= IPOS_RULE_HOST_MAX && r->host[0] != '.')
		found = pattern_of(&r->host_scope, r->host_len);
	if (!found && u->wildcards)
		found = wildcard_pattern(w, u->wildcards);
	return found ? found : u->any;
}

/* The rule of one pattern for the request's path, if it is longer than `length`. */
IPOS_INLINE struct ipos_rule *path_rule(struct ipos_request *r, struct ipos_pattern *p, __u32 index,
					__u32 length)
{
	struct ipos_rule *rule = NULL;

	if (p->longest > length && r->path_len > length) {
		r->path_pattern = bpf_htonl(index);
		rule = bpf_map_lookup_elem(&paths, &r->path_prefix_len);
	}
	if (!rule && p->root.number)
		rule = &p->root;
	return rule && rule->length > length ? rule : NULL;
}

/* The rule for the protocol of `n` bytes at `at` in the list, of the most exact host. */
IPOS_FUNCTION int offer_rule(struct ipos_scratch *w, __u32 index, __u32 at, __u32 n,
			     struct choice *c)
{
	struct ipos_request *r;
	const __u8 *from;

	if (!w || !c || n > IPOS_PROTOCOL_MAX)
		return 0;
	r = &w->request;
	/* A ClientHello has no path: there is the key. */
	from = &r->offers[at & (IPOS_OFFERS_MAX - 1)];
	r->path[0] = 0;
	for (__u32 i = 0; i < IPOS_PROTOCOL_MAX; i += 8)
		*(__u64 *)(r->path + 1 + i) = *(__u64 *)(from + i);
	r->path[(1 + n) & (IPOS_PATH_MAX - 1)] = 0;
	for (int i = 0; i < PATTERN_CHAIN && index; i++) {
		struct ipos_pattern *p = bpf_map_lookup_elem(&patterns, &index);
		struct ipos_rule *rule;

		if (!p)
			return 0;
		r->path_pattern = bpf_htonl(index);
		rule = bpf_map_lookup_elem(&paths, &r->path_prefix_len);
		if (rule) {
			c->pool = rule->pool;
			c->rule = rule->number;
			return 1;
		}
		index = p->wider;
	}
	return 0;
}

/* The rule for the first protocol of the list that has one. */
IPOS_FUNCTION int protocol_rule(struct ipos_scratch *w, __u32 index, struct choice *c)
{
	struct ipos_request *r;
	__u32 at = 0;

	if (!w || !c)
		return 0;
	r = &w->request;
	for (__u32 i = w->zero; i < IPOS_OFFERS && at < r->offers_len; i++) {
		__u32 n = r->offers[at & (IPOS_OFFERS_MAX - 1)];

		IPOS_CONVERGES;
		if (offer_rule(w, index, at + 1, n, c))
			return 1;
		at += n + 1;
	}
	return 0;
}

/* Sets c->pool and c->rule from what w->request says.  Returns the rule's number, 0 for none. */
IPOS_INLINE int route(struct ipos_scratch *w, struct choice *c)
{
	__u32 zero = 0, scope, index, length = 0, *bank;
	struct ipos_request *r;
	struct ipos_urls *u;

	r = &w->request;
	bank = bpf_map_lookup_elem(&url_bank, &zero);
	scope = (bank && *bank & 1) * IPOS_SERVICES_MAX + (r->service & (IPOS_SERVICES_MAX - 1));
	u = bpf_map_lookup_elem(&urls, &scope);
	if (!u || !u->used)
		return 0;
	c->pool = u->pool;
	c->rule = 0;
	if (!u->any && !u->hosts && !u->wildcards)
		return 0;
	index = host_pattern(w, u, scope);
	r->path_prefix_len =
		8 * (sizeof(struct ipos_path_key) - offsetof(struct ipos_path_key, pattern));
	if (unlikely(u->protocols && r->offers_len) && protocol_rule(w, index, c))
		return c->rule;
	/* The end of an exact path; no rule goes on behind it, so nothing behind it matters. */
	if (r->path_len < IPOS_PATH_MAX)
		r->path[r->path_len] = 0;
	for (int i = 0; i < PATTERN_CHAIN && index; i++) {
		struct ipos_pattern *p = bpf_map_lookup_elem(&patterns, &index);
		struct ipos_rule *rule;

		if (!p)
			break;
		rule = path_rule(r, p, index, length);
		if (rule) {
			length = rule->length;
			c->pool = rule->pool;
			c->rule = rule->number;
		}
		index = p->wider;
	}
	return c->rule;
}

#endif /* IPOS_CORE_ROUTE_H */
