/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The tables of a node, with the kernel's own manners where a program could notice. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "native/node.h"

extern const struct native_map __start_ipos_map_list[], __stop_ipos_map_list[];

__u32 native_maps(void)
{
	return __stop_ipos_map_list - __start_ipos_map_list;
}

const struct native_map *native_map_at(__u32 index)
{
	return index < native_maps() ? &__start_ipos_map_list[index] : NULL;
}

static struct native_table *table_of(struct native_node *n, const struct native_map *m)
{
	return &n->tables[m - __start_ipos_map_list];
}

static int is_hash(const struct native_map *m)
{
	return m->type == BPF_MAP_TYPE_HASH || m->type == BPF_MAP_TYPE_LRU_HASH ||
	       m->type == BPF_MAP_TYPE_LPM_TRIE;
}

static int is_array(const struct native_map *m)
{
	return m->type == BPF_MAP_TYPE_ARRAY || m->type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static int table_open(const struct native_map *m, struct native_table *t, __u32 entries)
{
	memset(t, 0, sizeof(*t));
	t->entries = entries;
	if (is_hash(m)) {
		for (t->buckets = 16; t->buckets < entries && t->buckets < 65536; t->buckets *= 2)
			;
		t->bucket = calloc(t->buckets, sizeof(*t->bucket));
		return t->bucket ? 0 : -ENOMEM;
	}
	if (m->type == BPF_MAP_TYPE_RINGBUF)
		return 0;
	t->bytes = calloc(entries ? entries : 1, m->value_size);
	return t->bytes ? 0 : -ENOMEM;
}

static void table_close(struct native_table *t)
{
	for (__u32 i = 0; i < t->buckets; i++)
		while (t->bucket && t->bucket[i]) {
			struct native_entry *e = t->bucket[i];

			t->bucket[i] = e->next;
			free(e);
		}
	free(t->bucket);
	free(t->bytes);
	memset(t, 0, sizeof(*t));
}

int native_tables_open(struct native_node *n)
{
	if (native_maps() > NATIVE_MAPS_MAX)
		return -E2BIG;
	for (__u32 i = 0; i < native_maps(); i++)
		if (table_open(native_map_at(i), &n->tables[i], native_map_at(i)->max_entries))
			return -ENOMEM;
	return 0;
}

void native_tables_close(struct native_node *n)
{
	for (__u32 i = 0; i < native_maps(); i++)
		table_close(&n->tables[i]);
	native_dead_free(n);
}

int native_table_resize(struct native_node *n, __u32 index, __u32 entries)
{
	if (index >= native_maps() || !entries)
		return -EINVAL;
	table_close(&n->tables[index]);
	return table_open(native_map_at(index), &n->tables[index], entries);
}

void native_dead_free(struct native_node *n)
{
	while (n->dead) {
		struct native_entry *e = n->dead;

		n->dead = e->next;
		free(e);
	}
}

/* ---- hashes ---------------------------------------------------------------------------------- */

static __u32 key_room(const struct native_map *m)
{
	return (m->key_size + 7) & ~7U;
}

static __u32 bucket_of(const struct native_table *t, const struct native_map *m, const void *key)
{
	const __u8 *byte = key;
	__u64 hash = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (__u32 i = 0; i < m->key_size; i++)
		hash = (hash ^ byte[i]) * 0x100000001b3ULL;
	return (hash ^ hash >> 32) & (t->buckets - 1);
}

static void use_forget(struct native_table *t, struct native_entry *e)
{
	if (e->newer)
		e->newer->older = e->older;
	else
		t->newest = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else
		t->oldest = e->newer;
}

static void use_note(struct native_table *t, struct native_entry *e)
{
	e->newer = NULL;
	e->older = t->newest;
	if (t->newest)
		t->newest->newer = e;
	else
		t->oldest = e;
	t->newest = e;
}

static struct native_entry *hash_find(struct native_table *t, const struct native_map *m,
				      const void *key)
{
	struct native_entry *e = t->bucket[bucket_of(t, m, key)];

	while (e && memcmp(e->bytes, key, m->key_size))
		e = e->next;
	return e;
}

static long hash_delete(struct native_node *n, const struct native_map *m, const void *key)
{
	struct native_table *t = table_of(n, m);
	struct native_entry **at = &t->bucket[bucket_of(t, m, key)], *e;

	while (*at && memcmp((*at)->bytes, key, m->key_size))
		at = &(*at)->next;
	e = *at;
	if (!e)
		return -ENOENT;
	*at = e->next;
	use_forget(t, e);
	t->count--;
	e->next = n->dead;
	n->dead = e;
	return 0;
}

/* As in the kernel, a new value is a new entry; pointers to the old one read the old one. */
static long hash_update(struct native_node *n, const struct native_map *m, const void *key,
			const void *value, __u64 flags)
{
	struct native_table *t = table_of(n, m);
	struct native_entry *known = hash_find(t, m, key), *e;
	__u32 bucket;

	if (known && flags == BPF_NOEXIST)
		return -EEXIST;
	if (!known && flags == BPF_EXIST)
		return -ENOENT;
	if (!known && t->count >= t->entries) {
		if (m->type != BPF_MAP_TYPE_LRU_HASH)
			return m->type == BPF_MAP_TYPE_LPM_TRIE ? -ENOSPC : -E2BIG;
		hash_delete(n, m, t->oldest->bytes);
	}
	e = calloc(1, sizeof(*e) + key_room(m) + m->value_size);
	if (!e)
		return -ENOMEM;
	memcpy(e->bytes, key, m->key_size);
	memcpy(e->bytes + key_room(m), value, m->value_size);
	if (known)
		hash_delete(n, m, key);
	bucket = bucket_of(t, m, key);
	e->next = t->bucket[bucket];
	t->bucket[bucket] = e;
	use_note(t, e);
	t->count++;
	return 0;
}

/* The longest prefix that covers the key: a length in host order, then the bits. */
static void *prefix_find(struct native_table *t, const struct native_map *m, const void *key)
{
	const __u8 *wanted = (const __u8 *)key + 4;
	struct native_entry *best = NULL;
	__u32 best_len = 0, key_len;

	memcpy(&key_len, key, 4);
	for (struct native_entry *e = t->newest; e; e = e->older) {
		__u32 len, i = 0;

		memcpy(&len, e->bytes, 4);
		if (len > key_len || (best && len <= best_len))
			continue;
		while (i < len && !((e->bytes[4 + i / 8] ^ wanted[i / 8]) >> (7 - i % 8) & 1))
			i++;
		if (i < len)
			continue;
		best = e;
		best_len = len;
	}
	return best ? best->bytes + key_room(m) : NULL;
}

/* ---- any map -------------------------------------------------------------------------------- */

void *native_map_lookup(struct native_node *n, const struct native_map *m, const void *key)
{
	struct native_table *t = table_of(n, m);
	struct native_entry *e;
	__u32 index;

	if (m->type == BPF_MAP_TYPE_LPM_TRIE)
		return prefix_find(t, m, key);
	if (is_hash(m)) {
		e = hash_find(t, m, key);
		if (!e)
			return NULL;
		use_forget(t, e);
		use_note(t, e);
		return e->bytes + key_room(m);
	}
	if (!is_array(m))
		return NULL;
	memcpy(&index, key, 4);
	return index < t->entries ? t->bytes + (size_t)index * m->value_size : NULL;
}

void *native_map_ask(struct native_node *n, const struct native_map *m, const void *key)
{
	struct native_asked *asked = &n->asked[m - __start_ipos_map_list];
	void *found = native_map_lookup(n, m, key);

	asked->times++;
	asked->vain += !found;
	return found;
}

long native_map_update(struct native_node *n, const struct native_map *m, const void *key,
		       const void *value, __u64 flags)
{
	void *at;

	if (is_hash(m))
		return hash_update(n, m, key, value, flags);
	at = native_map_lookup(n, m, key);
	if (!at)
		return -E2BIG;
	memcpy(at, value, m->value_size);
	return 0;
}

long native_map_delete(struct native_node *n, const struct native_map *m, const void *key)
{
	return is_hash(m) ? hash_delete(n, m, key) : -EINVAL;
}

long native_map_push(struct native_node *n, const struct native_map *m, const void *value)
{
	struct native_table *t = table_of(n, m);
	__u32 at;

	if (t->count >= t->entries)
		return -E2BIG;
	at = (t->head + t->count++) % t->entries;
	memcpy(t->bytes + (size_t)at * m->value_size, value, m->value_size);
	return 0;
}

long native_map_pop(struct native_node *n, const struct native_map *m, void *value)
{
	struct native_table *t = table_of(n, m);

	if (!t->count)
		return -ENOENT;
	memcpy(value, t->bytes + (size_t)t->head * m->value_size, m->value_size);
	t->head = (t->head + 1) % t->entries;
	t->count--;
	return 0;
}

int native_map_next(struct native_node *n, const struct native_map *m, const void *key, void *next)
{
	struct native_table *t = table_of(n, m);
	struct native_entry *e = NULL;
	__u32 index = 0;

	if (is_hash(m)) {
		if (key && (e = hash_find(t, m, key)))
			e = e->newer;
		else
			e = t->oldest;
		if (e)
			memcpy(next, e->bytes, m->key_size);
		return !!e;
	}
	if (!is_array(m))
		return 0;
	if (key) {
		memcpy(&index, key, 4);
		index++;
	}
	memcpy(next, &index, 4);
	return index < t->entries;
}

/* ---- rings ---------------------------------------------------------------------------------- */

void *native_ring_reserve(struct native_node *n, const struct native_map *m, __u32 size)
{
	struct native_record *r = &n->record[n->records];

	if (n->records >= NATIVE_RECORDS_MAX || size > sizeof(r->bytes))
		return NULL;
	memset(r->bytes, 0, size);
	r->length = size;
	r->map = m - native_map_at(0);
	return r->bytes;
}

void native_ring_submit(struct native_node *n, void *record)
{
	if (record == n->record[n->records].bytes)
		n->records++;
}
