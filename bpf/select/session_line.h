/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where the line that begins a session goes: behind the status line of the first final
 * response (RFC 9112, 4).  There nothing has to be waited for, and whatever follows, fields,
 * body or none, stays as it is.
 */
#ifndef IPOS_CORE_INSERT_H
#define IPOS_CORE_INSERT_H

#include "select/identity.h"

#define INSERT_CODE_AT 9 /* the status code's first digit: "HTTP/1.1 200" */

/* The byte a status line has at a place where there is no choice; 0 where there is. */
IPOS_INLINE __u8 insert_expected(__u32 at)
{
	switch (at) {
	case 0:
		return 'H';
	case 1:
	case 2:
		return 'T';
	case 3:
		return 'P';
	case 4:
		return '/';
	case 5:
		return '1';
	case 6:
		return '.';
	case 8:
		return ' ';
	default:
		return 0;
	}
}

IPOS_INLINE int insert_digit(__u8 c)
{
	return c >= '0' && c <= '9';
}

/*
 * One byte of what an application sends.  What is no response of HTTP/1 is left alone.  101 is
 * final here: what follows it is another protocol.
 */
IPOS_FUNCTION int insert_step(struct ipos_endpoint *ep, __u32 byte)
{
	__u8 c = byte, at, expected;

	if (!ep)
		return 0;
	at = ep->insert_at;
	expected = insert_expected(at);
	switch (ep->insert) {
	case IPOS_INSERT_STATUS:
	case IPOS_INSERT_INTERIM:
	case IPOS_INSERT_TEN:
		if (at > INSERT_CODE_AT + 2) {
			if (c != '\n')
				return 0;
			ep->insert = ep->insert == IPOS_INSERT_INTERIM ? IPOS_INSERT_LINE
								       : IPOS_INSERT_HERE;
			return 0;
		}
		if (expected ? c != expected : !insert_digit(c)) {
			ep->insert = IPOS_INSERT_DONE;
			return 0;
		}
		if (at == INSERT_CODE_AT && c == '1')
			ep->insert = IPOS_INSERT_INTERIM;
		else if (at == INSERT_CODE_AT + 1 && ep->insert == IPOS_INSERT_INTERIM && c == '0')
			ep->insert = IPOS_INSERT_TEN;
		else if (at == INSERT_CODE_AT + 2 && ep->insert == IPOS_INSERT_TEN)
			ep->insert = c == '1' ? IPOS_INSERT_STATUS : IPOS_INSERT_INTERIM;
		ep->insert_at = at + 1;
		return 0;
	case IPOS_INSERT_LINE:
		if (c == '\r')
			return 0;
		ep->insert = c == '\n' ? IPOS_INSERT_STATUS : IPOS_INSERT_FIELDS;
		ep->insert_at = 0;
		return 0;
	case IPOS_INSERT_FIELDS:
		if (c == '\n')
			ep->insert = IPOS_INSERT_LINE;
		return 0;
	}
	return 0;
}

/* What makes a connection's value another than any other's: the same whenever it is made again. */
IPOS_INLINE __u32 session_nonce(const struct ipos_handshake *hs)
{
	return hs->iss ^ hs->irs;
}

/*
 * The value that a connection's client gets, of the day of its line: it names this server, or is
 * the identifier of the session.  As characters, in w->saved.  Returns 0 without a key for it.
 */
IPOS_INLINE int insert_value(const struct ipos_settings *set, const struct ipos_endpoint *ep,
			     struct ipos_scratch *w)
{
	__u64 named = (__u64)session_nonce(&ep->hs) << 32 | set->self_ip;
	struct ipos_epoch_key *key = session_key(ep->line.day);
	const __u8 *from = (void *)&w->value;
	__u8 *to = w->saved;

	if (!key)
		return 0;
	w->value.day = bpf_htonl(ep->line.day);
	if (ep->identity) {
		w->value.sealed = ep->identity;
		w->value.tag = identity_tag(key->key, ep->identity, w->value.day);
	} else {
		w->value.tag = session_tag(key->key, named, w->value.day);
		w->value.sealed = named ^ session_seal(key->key, w->value.tag);
	}
#pragma unroll
	for (int i = 0; i < IPOS_SESSION_VALUE_LEN / 2; i++) {
		to[2 * i] = hex_character(from[i] >> 4);
		to[2 * i + 1] = hex_character(from[i] & 15);
	}
	return 1;
}

#endif /* IPOS_CORE_INSERT_H */
