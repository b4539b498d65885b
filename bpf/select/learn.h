/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * An application's own session cookie in the heads of its responses: Set-Cookie (RFC 6265,
 * 4.1) of the configured name.  The row goes into the Cookie map under a keyed hash of the
 * value, so that no table and no frame tells anybody a session.
 */
#ifndef IPOS_CORE_LEARN_H
#define IPOS_CORE_LEARN_H

#include "select/session.h"

IPOS_INLINE __u8 lower(__u8 c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/*
 * The characters that are waited for, as numbers: a table of them would be data of its own,
 * which BTF of clang 14 describes in a way that the kernel refuses.
 */
#define EIGHT(a, b, c, d, e, f, g, h) \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define TEXT_HTTP EIGHT('h', 't', 't', 'p', '/', '1', '.', 0)
#define TEXT_SET_COOKIE EIGHT('s', 'e', 't', '-', 'c', 'o', 'o', 'k')
#define TEXT_SET_COOKIE_END EIGHT('i', 'e', ':', 0, 0, 0, 0, 0)
#define TEXT_MAX_AGE EIGHT('m', 'a', 'x', '-', 'a', 'g', 'e', '=')
#define TEXT_EXPIRES EIGHT('e', 'x', 'p', 'i', 'r', 'e', 's', '=')
#define TEXT_1970 EIGHT('1', '9', '7', '0', 0, 0, 0, 0)

IPOS_INLINE __u8 text_at(__u64 text, __u32 at)
{
	return text >> (at & 7) * 8;
}

/* The next character of what begins a head, or a field of interest; 0 behind it. */
IPOS_INLINE __u8 learn_expected(__u8 phase, __u8 at)
{
	if (phase == IPOS_LEARN_BEGIN)
		return text_at(TEXT_HTTP, at);
	return text_at(at < 8 ? TEXT_SET_COOKIE : TEXT_SET_COOKIE_END, at);
}

IPOS_INLINE void learn_phase(struct ipos_learning *l, __u8 phase)
{
	l->phase = phase;
	l->at = 0;
}

/* A whole Set-Cookie of the session's name has gone by. */
IPOS_FUNCTION int learn_take(struct ipos_learning *l)
{
	struct ipos_settings *set = settings_now();
	struct ipos_cookie_news news = {};
	struct ipos_session *session;
	struct ipos_service *service;
	__u32 n;

	if (!l || !set)
		return 0;
	session = session_at(l->service);
	service = service_at(l->service);
	n = l->value_len;
	if (!session || !service)
		return 0;
	for (__u32 i = 0; i < IPOS_COOKIE_MAX; i++) {
		if (n < 1 || n > IPOS_COOKIE_MAX ||
		    (l->value[n - 1] != ' ' && l->value[n - 1] != '\t'))
			break;
		l->value[--n] = 0;
	}
	if (n < 1 || n > IPOS_COOKIE_MAX)
		return 0;
	news.key.hash = l->hash = cookie_hash(set->learn_key, (void *)l->value, n);
	news.key.service_port = service->port;
	news.row.server_ip = set->self_ip;
	l->news = 1;
	l->forgotten = l->deleted;
	if (l->deleted) {
		bpf_map_delete_elem(&cookies, &news.key);
		count(COUNT_COOKIE_FORGOTTEN);
	} else {
		news.row.expires_ns = bpf_ktime_get_boot_ns() + session->lifetime_s * 1000000000ULL;
		bpf_map_update_elem(&cookies, &news.key, &news.row, BPF_ANY);
		count(COUNT_COOKIE_LEARNED);
	}
	bpf_map_push_elem(&cookie_news, &news, 0);
	return 1;
}

IPOS_INLINE void learn_line_ends(struct ipos_learning *l)
{
	if (l->phase >= IPOS_LEARN_VALUE && l->phase <= IPOS_LEARN_OTHER)
		learn_take(l);
	learn_phase(l, IPOS_LEARN_LINE);
}

/* An attribute's name, which may say that the cookie goes. */
IPOS_INLINE void learn_attribute(struct ipos_learning *l, __u8 c)
{
	__u8 at = l->at;

	if (!at && (c == ' ' || c == '\t'))
		return;
	if (lower(c) == text_at(TEXT_EXPIRES, at) && (!at || l->expires))
		l->expires = 1;
	else if (lower(c) == text_at(TEXT_MAX_AGE, at) && (!at || !l->expires))
		l->expires = 0;
	else {
		learn_phase(l, IPOS_LEARN_OTHER);
		return;
	}
	l->at = at + 1;
	if (at == 7)
		learn_phase(l, l->expires ? IPOS_LEARN_EXPIRES : IPOS_LEARN_MAX_AGE);
}

/* A byte of what begins a head, or of the field that is waited for. */
IPOS_INLINE void learn_word(struct ipos_learning *l, __u8 c)
{
	__u8 at = l->at, first = l->phase == IPOS_LEARN_BEGIN;
	__u8 expected = learn_expected(l->phase, at);

	if (lower(c) != expected) {
		learn_phase(l, first ? IPOS_LEARN_DONE : IPOS_LEARN_SKIP);
		return;
	}
	l->at = at + 1;
	if (!learn_expected(l->phase, at + 1))
		learn_phase(l, first ? IPOS_LEARN_STATUS : IPOS_LEARN_NAME);
}

/* A byte of the status line, from the minor version on: "1 200". */
IPOS_INLINE void learn_status(struct ipos_learning *l, __u8 c)
{
	__u8 at = l->at;

	if (c == '\n')
		learn_phase(l, IPOS_LEARN_LINE);
	else if (at < 5)
		l->at = at + 1;
	if (at == 2)
		l->status = c == '1';
	if (at == 3 && l->status && c != '0')
		l->status = 2; /* 1xx, and not 101 */
	if (at == 4 && l->status == 1 && c == '1')
		l->status = 0; /* 101 is final */
}

/* The first byte of a line, which may be the last of the head. */
IPOS_INLINE void learn_line(struct ipos_learning *l, __u8 c)
{
	if (c == '\r')
		return;
	if (c == '\n') {
		learn_phase(l, l->status ? IPOS_LEARN_BEGIN : IPOS_LEARN_DONE);
		return;
	}
	learn_phase(l, lower(c) == 's' ? IPOS_LEARN_FIELD : IPOS_LEARN_SKIP);
	l->at = 1;
}

/* A byte of a cookie's name. */
IPOS_INLINE void learn_name(struct ipos_learning *l, const struct ipos_session *session, __u8 c)
{
	__u8 at = l->at;

	if (!at && (c == ' ' || c == '\t'))
		return;
	if (at < session->name_len && at < IPOS_COOKIE_NAME_MAX && c == session->name[at]) {
		l->at = at + 1;
		return;
	}
	if (at != session->name_len || c != '=') {
		learn_phase(l, IPOS_LEARN_SKIP);
		return;
	}
	learn_phase(l, IPOS_LEARN_VALUE);
	l->value_len = 0;
	l->deleted = 0;
	__builtin_memset(l->value, 0, sizeof(l->value));
}

/* A byte of the cookie's value. */
IPOS_INLINE void learn_value(struct ipos_learning *l, __u8 c)
{
	if (!l->value_len && (c == ' ' || c == '\t'))
		return;
	if (l->value_len < IPOS_COOKIE_MAX)
		l->value[l->value_len] = c;
	if (l->value_len <= IPOS_COOKIE_MAX)
		l->value_len++; /* one too many: no request's is kept either */
}

/* One byte of a response's head. */
IPOS_FUNCTION int learn_step(struct ipos_learning *l, const struct ipos_session *session,
			     __u32 byte)
{
	__u8 c = byte;

	if (!l || !session)
		return 0;
	if (l->phase >= IPOS_LEARN_VALUE && l->phase <= IPOS_LEARN_OTHER && c == ';') {
		learn_phase(l, IPOS_LEARN_ATTRIBUTE);
		return 0;
	}
	if (l->phase > IPOS_LEARN_LINE && (c == '\n' || c == '\r')) {
		if (c == '\n')
			learn_line_ends(l);
		return 0;
	}
	switch (l->phase) {
	case IPOS_LEARN_BEGIN:
	case IPOS_LEARN_FIELD:
		learn_word(l, c);
		return 0;
	case IPOS_LEARN_STATUS:
		learn_status(l, c);
		return 0;
	case IPOS_LEARN_LINE:
		learn_line(l, c);
		return 0;
	case IPOS_LEARN_NAME:
		learn_name(l, session, c);
		return 0;
	case IPOS_LEARN_VALUE:
		learn_value(l, c);
		return 0;
	case IPOS_LEARN_ATTRIBUTE:
		learn_attribute(l, c);
		return 0;
	case IPOS_LEARN_MAX_AGE:
		l->deleted = c == '0' || c == '-';
		learn_phase(l, IPOS_LEARN_OTHER);
		return 0;
	case IPOS_LEARN_EXPIRES:
		l->at = c == text_at(TEXT_1970, l->at) ? l->at + 1 : c == '1';
		if (l->at == 4) {
			l->deleted = 1;
			learn_phase(l, IPOS_LEARN_OTHER);
		}
		return 0;
	}
	return 0;
}

/* The first `length` bytes of w->bytes.  Returns whether the head goes on. */
IPOS_FUNCTION int learn_feed(const struct ipos_scratch *w, struct ipos_learning *l, __u32 length)
{
	struct ipos_session *session;

	if (!w || !l)
		return 0;
	session = session_at(l->service);
	if (!session)
		return 0;
	for (__u32 i = 0; i < IPOS_CHUNK && i < length; i++) {
		if (l->phase == IPOS_LEARN_DONE)
			break;
		learn_step(l, session, w->bytes[i]);
	}
	return l->phase != IPOS_LEARN_DONE;
}

#endif /* IPOS_CORE_LEARN_H */
