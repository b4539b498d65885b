/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* `ipos watch`: decisions as they are made.  Nothing is written unless somebody watches. */
#ifndef IPOS_DECISION_H
#define IPOS_DECISION_H

#include "maps.h"

struct verdict {			/* what is decided of a connection */
	__u16 service;			/* index in `services` */
	__u16 server;			/* index of the server chosen; 0: nobody */
	__u16 first;			/* index of the first server */
	__u8 outcome;			/* enum ipos_outcome */
	__u8 reason;			/* enum ipos_reason */
};

IPOS_APART int decision_write(const struct ipos_tuple *t, const struct verdict *v)
{
	struct ipos_decision *d = bpf_ringbuf_reserve(&decisions, sizeof(*d), 0);

	if (!d) {
		count(COUNT_DECISION_LOST);
		return 0;
	}
	d->length = sizeof(*d);
	d->text = 0;
	d->outcome = v->outcome;
	d->reason = v->reason;
	d->service = v->service;
	d->server = v->server;
	d->first = v->first;
	d->zero = 0;
	d->when_ns = bpf_ktime_get_boot_ns();
	d->tuple = *t;
	bpf_ringbuf_submit(d, 0);
	return 0;
}

IPOS_INLINE void decision_report(const struct ipos_settings *set, const struct ipos_tuple *t,
				 const struct verdict *v)
{
	if (unlikely(set->flags & IPOS_WATCH))
		decision_write(t, v);
}

#endif /* IPOS_DECISION_H */
