/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A header block of HTTP/2 (RFC 7541), byte by byte: the values of :authority, :path, host and
 * cookie go to w->text; all other fields are stepped over, Huffman-coded or not.
 *
 * It is the first block of its connection.  So the dynamic table holds nothing but this block's
 * own fields, and of those only what they are is kept, not their values: a field that is there
 * twice by an index is one that was read already.
 */
#ifndef IPOS_CORE_HPACK_H
#define IPOS_CORE_HPACK_H

#include "http/huffman.h"
#include "lib/maps.h"

enum hpack_step {
	HPACK_FIELD,	   /* the first byte of a field */
	HPACK_INDEX,	   /* an integer goes on: an indexed field */
	HPACK_NAME_INDEX,  /* ... the name of a literal */
	HPACK_SIZE,	   /* ... a new size of the table */
	HPACK_NAME_START,  /* the first byte of a name's length */
	HPACK_NAME_LENGTH, /* ... goes on */
	HPACK_NAME,
	HPACK_VALUE_START,
	HPACK_VALUE_LENGTH,
	HPACK_VALUE,
	HPACK_BROKEN,
};

enum hpack_kind { /* of a field */
		  HPACK_OTHER = 0,
		  HPACK_AUTHORITY = 1,
		  HPACK_PATH = 2,
		  HPACK_COOKIE = 3,
		  HPACK_HOST = 4,
};

#define HPACK_STATIC 61 /* entries of the static table */
#define HPACK_KINDS 32	/* entries of the dynamic table whose kind is known */
#define HPACK_NAME_ROOM 16

/* Where values go in w->text: one piece for path and host, one for cookies. */
#define TEXT_PATH 0U
#define TEXT_PATH_ROOM 640U
#define TEXT_HOST TEXT_PATH_ROOM
#define TEXT_HOST_ROOM 256U
#define TEXT_COOKIE ((__u32)IPOS_CHUNK)
#define TEXT_COOKIE_ROOM (IPOS_CHUNK - 2U)

enum hpack_seen {			/* 1 << kind, and: */
		  HPACK_SEEN_QUERY = 1, /* the rest of the path tells nothing */
};

struct hpack {	       /* at the start of ipos_request.parser */
	__u8 step;     /* enum hpack_step */
	__u8 shift;    /* of the integer that goes on */
	__u8 kind;     /* enum hpack_kind of the field at hand */
	__u8 insert;   /* it goes into the dynamic table */
	__u8 coded;    /* the string is Huffman-coded */
	__u8 seen;     /* enum hpack_seen */
	__u16 name_at; /* bytes of the name so far */
	__u32 number;
	__u32 left;		  /* bytes of the string that are missing */
	__u32 inserted;		  /* fields in the dynamic table */
	__u16 path_len, host_len; /* bytes in w->text */
	__u16 cookie_len;
	__u16 zero[3];
	__u64 name[2];	/* the name as it came, zero padded */
	__u64 kinds[2]; /* of dynamic entries, four bits each, the newest lowest */
	struct huffman huffman;
};

IPOS_INLINE __u8 hpack_static_kind(__u32 index)
{
	return index == 1		  ? HPACK_AUTHORITY
	       : index == 4 || index == 5 ? HPACK_PATH
	       : index == 32		  ? HPACK_COOKIE
	       : index == 38		  ? HPACK_HOST
					  : HPACK_OTHER;
}

/* The kind at an index of either table; -1: there is none. */
IPOS_INLINE int hpack_kind_at(const struct hpack *p, __u32 index)
{
	__u32 nth = index - HPACK_STATIC - 1;

	if (index <= HPACK_STATIC)
		return index ? hpack_static_kind(index) : -1;
	if (nth >= p->inserted)
		return -1;
	if (nth >= HPACK_KINDS)
		return HPACK_OTHER;
	return p->kinds[nth / 16 & 1] >> (nth % 16 * 4) & 15;
}

/* What a literal name is, coded or not. */
IPOS_INLINE __u8 hpack_name_kind(const struct hpack *p)
{
	__u64 a = p->name[0], b = p->name[1];

	if (p->coded)
		return b					       ? HPACK_OTHER
		       : a == 0x7f7d32ec39533bb8ULL && p->name_at == 8 ? HPACK_AUTHORITY
		       : a == 0x3fd358b9 && p->name_at == 4	       ? HPACK_PATH
		       : a == 0xc5d4cf21 && p->name_at == 4	       ? HPACK_COOKIE
		       : a == 0x4fe89c && p->name_at == 3	       ? HPACK_HOST
								       : HPACK_OTHER;
	if (a == 0x69726f687475613aULL && b == 0x7974 && p->name_at == 10)
		return HPACK_AUTHORITY;
	return b					   ? HPACK_OTHER
	       : a == 0x687461703aULL && p->name_at == 5   ? HPACK_PATH
	       : a == 0x65696b6f6f63ULL && p->name_at == 6 ? HPACK_COOKIE
	       : a == 0x74736f68 && p->name_at == 4	   ? HPACK_HOST
							   : HPACK_OTHER;
}

IPOS_INLINE struct hpack *hpack_of(struct ipos_scratch *w)
{
	return (void *)w->request.parser;
}

/* A byte of a value that counts. */
IPOS_FUNCTION int hpack_put(struct ipos_scratch *w, __u32 c)
{
	struct hpack *p;
	__u32 at;

	if (!w)
		return 0;
	p = hpack_of(w);
	switch (p->kind) {
	case HPACK_PATH:
		at = p->path_len;
		if (c == '?' || c == '#')
			p->seen |= HPACK_SEEN_QUERY;
		if (p->seen & HPACK_SEEN_QUERY)
			return 0;
		if (at < TEXT_PATH_ROOM)
			w->text[TEXT_PATH + at] = c;
		if (at < 0xffff)
			p->path_len = at + 1;
		return 0;
	case HPACK_COOKIE:
		at = p->cookie_len;
		if (at >= TEXT_COOKIE_ROOM)
			return 0;
		w->text[TEXT_COOKIE + at] = c;
		p->cookie_len = at + 1;
		return 0;
	default:
		at = p->host_len;
		if (at < TEXT_HOST_ROOM)
			w->text[TEXT_HOST + at] = c;
		if (at < 0xffff)
			p->host_len = at + 1;
	}
	return 0;
}

/* The kind of a field is known; one that may be there once is broken when it comes again. */
IPOS_INLINE void hpack_begin(struct ipos_scratch *w, struct hpack *p, int kind)
{
	__u8 bit = 1 << (kind & 7);

	p->kind = kind;
	if (kind == HPACK_OTHER)
		return;
	if (kind == HPACK_COOKIE) {
		if (p->cookie_len) { /* crumbs of one header (RFC 9113, 8.2.3) */
			hpack_put(w, ';');
			hpack_put(w, ' ');
		}
	} else if (p->seen & bit) {
		p->step = HPACK_BROKEN;
	} else if (kind == HPACK_HOST && p->seen & 1 << HPACK_AUTHORITY) {
		p->kind = HPACK_OTHER; /* :authority stands (RFC 9113, 8.3.1) */
	}
	p->seen |= bit;
}

IPOS_INLINE void hpack_insert(struct hpack *p, __u8 kind)
{
	p->kinds[1] = p->kinds[1] << 4 | p->kinds[0] >> 60;
	p->kinds[0] = p->kinds[0] << 4 | kind;
	p->inserted++;
}

/* A whole field by its index; of those with values two count. */
IPOS_INLINE void hpack_indexed(struct ipos_scratch *w, struct hpack *p, __u32 index)
{
	int kind = hpack_kind_at(p, index);

	p->step = HPACK_FIELD;
	if (kind < 0) {
		p->step = HPACK_BROKEN;
		return;
	}
	if (index > HPACK_STATIC && kind == HPACK_COOKIE)
		return; /* the same crumb again */
	hpack_begin(w, p, kind);
	if (p->step == HPACK_BROKEN || (index != 4 && index != 5))
		return;
	__builtin_memcpy(w->text + TEXT_PATH, "/index.html", 11);
	p->path_len = index == 4 ? 1 : 11;
}

/* An integer is whole. */
IPOS_INLINE void hpack_number(struct ipos_scratch *w, struct hpack *p)
{
	__u32 n = p->number;
	int kind;

	switch (p->step) {
	case HPACK_INDEX:
		hpack_indexed(w, p, n);
		return;
	case HPACK_NAME_INDEX:
		kind = n ? hpack_kind_at(p, n) : 0;
		p->step = n ? HPACK_VALUE_START : HPACK_NAME_START;
		if (kind < 0)
			p->step = HPACK_BROKEN;
		else if (n)
			hpack_begin(w, p, kind);
		return;
	case HPACK_NAME_LENGTH:
		p->left = n;
		p->name_at = 0;
		p->name[0] = p->name[1] = 0;
		p->step = n ? HPACK_NAME : HPACK_BROKEN;
		return;
	case HPACK_VALUE_LENGTH:
		p->left = n;
		p->huffman.bits = 0;
		p->huffman.count = 0;
		p->step = n ? HPACK_VALUE : HPACK_FIELD;
		return;
	default:
		p->step = HPACK_FIELD;
	}
}

/* An integer begins in the low bits of c (RFC 7541, 5.1).  Returns whether it is whole. */
IPOS_INLINE int hpack_integer(struct hpack *p, __u8 step, __u8 c, __u32 mask)
{
	p->step = step;
	p->number = c & mask;
	p->shift = 0;
	return p->number != mask;
}

IPOS_INLINE int hpack_integer_goes_on(struct hpack *p, __u8 c)
{
	__u32 shift = p->shift;

	if (shift > 14) {
		p->step = HPACK_BROKEN;
		return 0;
	}
	p->number += (__u32)(c & 127) << (shift & 31);
	p->shift = shift + 7;
	return !(c & 128);
}

/* The first byte of a field (RFC 7541, 6). */
IPOS_INLINE int hpack_field(struct hpack *p, __u8 c)
{
	p->insert = (c & 0xc0) == 0x40;
	if (c & 0x80)
		return hpack_integer(p, HPACK_INDEX, c, 0x7f);
	if (c & 0x40)
		return hpack_integer(p, HPACK_NAME_INDEX, c, 0x3f);
	if (c & 0x20)
		return hpack_integer(p, HPACK_SIZE, c, 0x1f);
	return hpack_integer(p, HPACK_NAME_INDEX, c, 0x0f);
}

IPOS_INLINE void hpack_name(struct ipos_scratch *w, struct hpack *p, __u8 c)
{
	__u32 at = p->name_at;

	if (at < HPACK_NAME_ROOM) {
		((__u8 *)p->name)[at] = c;
		p->name_at = at + 1;
	} else {
		p->name_at = HPACK_NAME_ROOM + 1;
	}
	if (--p->left)
		return;
	p->step = HPACK_VALUE_START;
	hpack_begin(w, p, hpack_name_kind(p));
}

IPOS_INLINE void hpack_value(struct ipos_scratch *w, struct hpack *p, __u8 c)
{
	p->left--;
	if (p->kind == HPACK_OTHER)
		return;
	if (!p->coded) {
		hpack_put(w, c);
		return;
	}
	huffman_add(&p->huffman, c);
	for (int i = 0; i < 2; i++) {
		int symbol = huffman_next(&p->huffman);

		if (symbol == HUFFMAN_BROKEN)
			p->step = HPACK_BROKEN;
		if (symbol < 0)
			break;
		hpack_put(w, symbol);
	}
	if (!p->left && !huffman_ends(&p->huffman))
		p->step = HPACK_BROKEN;
}

/* One byte of the block. */
IPOS_FUNCTION int hpack_byte(struct ipos_scratch *w, __u32 c)
{
	struct hpack *p;
	int whole = 0;

	if (!w)
		return 0;
	p = hpack_of(w);
	switch (p->step) {
	case HPACK_FIELD:
		whole = hpack_field(p, c);
		break;
	case HPACK_INDEX:
	case HPACK_NAME_INDEX:
	case HPACK_SIZE:
	case HPACK_NAME_LENGTH:
	case HPACK_VALUE_LENGTH:
		whole = hpack_integer_goes_on(p, c);
		break;
	case HPACK_NAME_START:
	case HPACK_VALUE_START:
		p->coded = (c & 0x80) != 0;
		whole = hpack_integer(p, p->step + 1, c, 0x7f);
		break;
	case HPACK_NAME:
		hpack_name(w, p, c);
		break;
	case HPACK_VALUE:
		hpack_value(w, p, c);
		if (p->step == HPACK_VALUE && !p->left)
			p->step = HPACK_FIELD;
		break;
	default:
		return 0;
	}
	if (whole)
		hpack_number(w, p);
	/* A literal is over, maybe with an empty value. */
	if (p->step == HPACK_FIELD && p->insert) {
		hpack_insert(p, p->kind);
		p->insert = 0;
	}
	return 0;
}

#endif /* IPOS_CORE_HPACK_H */
