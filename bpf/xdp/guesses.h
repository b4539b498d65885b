/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sources that guess cookies.  Wrong ones without timestamps, which have the fewest bits that must
 * be right, are counted for each source address and second, in a table of fixed size by a keyed
 * hash. A source that has spent its number is not looked at until the next second.
 */
#ifndef IPOS_GUESSES_H
#define IPOS_GUESSES_H

#include "lib/syn_cookie.h"

#define GUESSES_NS 1000000000ULL
#define LOOKS_BACK 1000U /* a second: each may take 64 MACs */

IPOS_INLINE __u32 guesses_slot(const struct ipos_settings *set, __u32 client_ip)
{
	__u64 key[2] = { set->vouch, 1 };
	struct sip s;

	sip_start(&s, key, 0);
	return sip_end(&s, client_ip, 4) & (IPOS_GUESSES_SLOTS - 2);
}

/* One more at a slot in this second.  Returns whether that is more than `most`. */
IPOS_INLINE int guesses_exceed(__u32 slot, __u32 most, __u64 now, __u32 more)
{
	struct ipos_guesses *g = bpf_map_lookup_elem(&guesses, &slot);

	if (!g)
		return 0;
	if (now - g->since_ns >= GUESSES_NS) {
		g->since_ns = now;
		g->wrong = 0;
	}
	if (g->wrong >= most)
		return 1;
	if (more)
		__sync_fetch_and_add(&g->wrong, more);
	return 0;
}

/* Whether the source has guessed wrong as often as it may, or once `more`. */
IPOS_APART int guesses_spent(const struct ipos_settings *set, __u32 client_ip, __u64 now,
			     __u32 more)
{
	return set->guesses &&
	       guesses_exceed(guesses_slot(set, client_ip), set->guesses, now, more);
}

/*
 * Whether a segment proves a cookie of ours that is too old to open anything: its client has been
 * silent since, and its row has had to go.  Bounded in work: so many MACs, so often a second.
 */
IPOS_FUNCTION int cookie_expired(struct ipos_scratch *w, const struct segment *s, __u64 wall_ns)
{
	__u32 timestamps, isn, options, epoch = epoch_at(wall_ns);

	if (!w || !s || s->flags & TCP_RST)
		return 0;
	timestamps = !!(w->option_flags & IPOS_OPT_TIMESTAMPS);
	isn = s->ack - 1;
	options = timestamps ? w->ts_echo & COOKIE_OPTIONS_MASK : cookie_options_bare(isn);
	for (__u32 i = w->zero; i < IPOS_EPOCHS_BACK; i++) {
		struct ipos_epoch_key *key;

		IPOS_CONVERGES;
		if (timestamps && ((epoch - i) & 1) != (isn & 1))
			continue;
		key = epoch_key(epoch - i);
		if (key && cookie_made(key->key, w, s, options, timestamps))
			return 1;
	}
	return 0;
}

#endif /* IPOS_GUESSES_H */
