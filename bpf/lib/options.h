/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * TCP options (RFC 9293 3.1, 7323, 2018) out of the header in scratch->tcp.  The list ends
 * at EOL or at a length that cannot be; what stood before it counts.  The first of each
 * kind counts.
 */
#ifndef IPOS_CORE_OPTIONS_H
#define IPOS_CORE_OPTIONS_H

#include "lib/maps.h"
#include "lib/packet.h"

enum option_kind {
	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_MSS = 2,
	OPTION_WSCALE = 3,
	OPTION_SACK_PERMITTED = 4,
	OPTION_TIMESTAMPS = 8,
};

#define OPTION_HAS_MSS 0x80 /* beside enum ipos_options in option_flags */

IPOS_INLINE __u8 option_byte(const struct ipos_scratch *w, __u32 at)
{
	return w->tcp[at & 63];
}

IPOS_INLINE __u32 option_u32(const struct ipos_scratch *w, __u32 at)
{
	return (__u32)option_byte(w, at) << 24 | option_byte(w, at + 1) << 16 |
	       option_byte(w, at + 2) << 8 | option_byte(w, at + 3);
}

/* How long the option at `at` is, its kind included; 0 at the end of the list. */
IPOS_INLINE __u32 option_length(const struct ipos_scratch *w, __u32 at, __u32 header_len)
{
	__u32 kind, len;

	if (at >= header_len)
		return 0;
	kind = option_byte(w, at);
	if (kind == OPTION_END)
		return 0;
	if (kind == OPTION_NOP)
		return 1;
	if (at + 2 > header_len)
		return 0;
	len = option_byte(w, at + 1);
	return len < 2 || at + len > header_len ? 0 : len;
}

/* One option at w->cursor.  Returns 0 at the end of the list. */
IPOS_FUNCTION int option_next(struct ipos_scratch *w, __u32 header_len)
{
	__u32 at, kind, len;

	if (!w)
		return 0;
	at = w->cursor;
	len = option_length(w, at, header_len);
	if (!len)
		return 0;
	kind = option_byte(w, at);
	w->cursor = at + len;
	if (kind == OPTION_MSS && len == 4 && !(w->option_flags & OPTION_HAS_MSS)) {
		w->mss = option_byte(w, at + 2) << 8 | option_byte(w, at + 3);
		w->option_flags |= OPTION_HAS_MSS;
	} else if (kind == OPTION_WSCALE && len == 3 && !(w->option_flags & IPOS_OPT_WSCALE)) {
		w->wscale = option_byte(w, at + 2) > 14 ? 14 : option_byte(w, at + 2);
		w->option_flags |= IPOS_OPT_WSCALE;
	} else if (kind == OPTION_SACK_PERMITTED && len == 2) {
		w->option_flags |= IPOS_OPT_SACK;
	} else if (kind == OPTION_TIMESTAMPS && len == 10 &&
		   !(w->option_flags & IPOS_OPT_TIMESTAMPS)) {
		w->ts_value = option_u32(w, at + 2);
		w->ts_echo = option_u32(w, at + 6);
		w->option_flags |= IPOS_OPT_TIMESTAMPS;
	}
	return 1;
}

/* What is not to be offered is as if the SYN had not asked for it. */
IPOS_INLINE void options_withhold(struct ipos_scratch *w, __u32 withheld)
{
	w->option_flags &= ~withheld;
	if (withheld & IPOS_OPT_WSCALE)
		w->wscale = IPOS_WSCALE_NONE;
}

IPOS_INLINE void options_clear(struct ipos_scratch *w)
{
	w->cursor = sizeof(struct tcphdr);
	w->option_flags = 0;
	w->ts_value = w->ts_echo = 0;
	w->mss = FAMILY_MSS_MIN;
	w->wscale = IPOS_WSCALE_NONE;
}

IPOS_FUNCTION int options_parse(struct ipos_scratch *w, __u32 header_len)
{
	if (!w)
		return 0;
	options_clear(w);
	/* What nearly every segment but a SYN carries: NOP NOP timestamps. */
	if (header_len == 32 && option_u32(w, 20) == 0x0101080a) {
		w->ts_value = option_u32(w, 24);
		w->ts_echo = option_u32(w, 28);
		w->option_flags = IPOS_OPT_TIMESTAMPS;
		return 0;
	}
	for (int i = 0; i < 40; i++)
		if (!option_next(w, header_len))
			break;
	if (w->mss < FAMILY_MSS_MIN)
		w->mss = FAMILY_MSS_MIN;
	return 0;
}

#endif /* IPOS_CORE_OPTIONS_H */
