/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A node's tables from outside: part of native.c, behind the programs, whose maps it names. */
#ifndef IPOS_NATIVE_TABLES_H
#define IPOS_NATIVE_TABLES_H

#include <errno.h>
#include <string.h>

#include "lib/roles.h"

__u32 ipos_maps(void)
{
	return native_maps();
}

int ipos_map_describe(__u32 index, struct native_map *to)
{
	const struct native_map *m = native_map_at(index);

	if (!m)
		return -ENOENT;
	*to = *m;
	return 0;
}

int ipos_map_resize(struct native_node *n, __u32 index, __u32 entries)
{
	return native_table_resize(n, index, entries);
}

int ipos_map_get(struct native_node *n, __u32 index, const void *key, void *value)
{
	const struct native_map *m = native_map_at(index);
	void *at = native_map_lookup(n, m, key);

	if (!at)
		return -ENOENT;
	memcpy(value, at, m->value_size);
	return 0;
}

/* The role whose rows a map has; -1: none that is counted. */
static int role_of(const struct native_map *m)
{
	if (m == &FAMILY(forward))
		return IPOS_ROLE_FORWARD;
	if (m == &FAMILY(local))
		return IPOS_ROLE_LOCAL;
	if (m == &FAMILY(connect))
		return IPOS_ROLE_CONNECT;
	return m == &FAMILY(holding) ? IPOS_ROLE_HOLDING : -1;
}

/* Rows that come from outside are counted as those of programs are: lib/roles.h. */
static void role_note(struct native_node *n, int role, const void *key, int made)
{
	native_enter(n);
	if (made)
		role_begins(key, role);
	else
		role_ends(key, role);
	native_leave(n);
}

int ipos_map_put(struct native_node *n, __u32 index, const void *key, const void *value,
		 __u64 flags)
{
	const struct native_map *m = native_map_at(index);
	int error, role = role_of(m), made;

	if (m->type == BPF_MAP_TYPE_QUEUE)
		return native_map_push(n, m, value);
	made = role >= 0 && !native_map_lookup(n, m, key);
	error = native_map_update(n, m, key, value, flags);
	if (made && !error)
		role_note(n, role, key, 1);
	native_dead_free(n);
	return error;
}

int ipos_map_remove(struct native_node *n, __u32 index, const void *key)
{
	const struct native_map *m = native_map_at(index);
	int error = native_map_delete(n, m, key), role = role_of(m);

	if (!error && role >= 0)
		role_note(n, role, key, 0);
	native_dead_free(n);
	return error;
}

int ipos_map_pop(struct native_node *n, __u32 index, void *value)
{
	return native_map_pop(n, native_map_at(index), value);
}

int ipos_map_next(struct native_node *n, __u32 index, const void *key, void *next)
{
	return native_map_next(n, native_map_at(index), key, next);
}

/* All of an array's values, one after the other; NULL for other maps. */
const void *ipos_map_values(const struct native_node *n, __u32 index)
{
	return n->tables[index].bytes;
}

/* What the last program asked of a map. */
void ipos_map_asked(const struct native_node *n, __u32 index, struct native_asked *to)
{
	*to = n->asked[index];
}

__u32 ipos_map_count(const struct native_node *n, __u32 index)
{
	return n->tables[index].count;
}

#endif /* IPOS_NATIVE_TABLES_H */
