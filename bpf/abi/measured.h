/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is counted and timed for each service, pool, rule and server. */
#ifndef IPOS_ABI_MEASURED_H
#define IPOS_ABI_MEASURED_H

#include "abi/limits.h"

/* Where a decided request went. */
enum ipos_decided {
	IPOS_DECIDED_HERE = 0,	     /* served by the server that decided */
	IPOS_DECIDED_AWAY = 1,	     /* another server is to serve it */
	IPOS_DECIDED_MOVED = 2,	     /* a later request that took its connection elsewhere */
	IPOS_DECIDED_STAYS = 3,	     /* a later request that stayed where its connection was */
	IPOS_DECIDED_REDIRECTED = 4, /* its client was sent to a server's own name */
};
#define IPOS_DECIDEDS 6 /* one more than there are now */

/* What the client of a refused request was told. */
enum ipos_refused_by {
	IPOS_REFUSED_BY_400 = 0, /* two readers could take its head for different requests */
	IPOS_REFUSED_BY_408 = 1, /* its head did not end in time */
	IPOS_REFUSED_BY_431 = 2, /* its head was too long */
	IPOS_REFUSED_BY_503 = 3, /* no server was left for it */
	IPOS_REFUSED_BY_RST = 4, /* no HTTP/1, or behind an answer without an end */
};
#define IPOS_REFUSED_BYS 6 /* one more than there are now */

struct ipos_service_tally { /* map `service_tallies`, by service and CPU */
	__u64 decided[IPOS_DECIDEDS];
	__u64 refused[IPOS_REFUSED_BYS];
};

struct ipos_tally {    /* maps `pool_tallies`, `rule_tallies`, `server_tallies`, likewise */
	__u64 decided; /* of the pool, by the rule (0: by none), given to the server */
	__u64 refused; /* with no server left in the pool or for the rule; by the server */
};
#define IPOS_RULE_TALLIES 10001 /* IPOS_RULES_MAX, and those that no rule decided */

/*
 * A time falls into the bucket whose number is the bits of its microseconds, so below 2^number us;
 * the last bucket has all that is longer.
 */
#define IPOS_BUCKETS 32

enum ipos_timed {
	IPOS_TIMED_FIRST_BYTE = 0, /* from a request to the first byte of its answer */
	IPOS_TIMED_REQUEST = 1,	   /* from a request to the last byte of its answer */
	IPOS_TIMED_MIGRATION = 2,  /* from the choice to the word that the socket exists */
};
#define IPOS_TIMEDS 3
#define IPOS_HISTOGRAMS 192 /* IPOS_TIMEDS of each service */

enum ipos_answer_flags {
	IPOS_ANSWER_BEGUN = 1,	/* its first byte has left */
	IPOS_ANSWER_LOGGED = 2, /* its end is for the access log */
};

struct ipos_histogram { /* map `histograms`, by IPOS_TIMEDS * service + enum ipos_timed, likewise */
	__u64 sum_ns;
	__u64 buckets[IPOS_BUCKETS];
};

#endif /* IPOS_ABI_MEASURED_H */
