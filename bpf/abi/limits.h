/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Limits of the farm and its tables, and the constants of the handshake. */
#ifndef IPOS_ABI_LIMITS_H
#define IPOS_ABI_LIMITS_H

#include "abi/address.h"

#define IPOS_ABI 13U /* programs and maps of one number work in any mix */

/* ---- limits ---- */

#define IPOS_SERVERS_MAX 1024 /* rows of servers; index 0 is "none" */
#define IPOS_MEMBERS_MAX 1000 /* servers of a farm */
#define IPOS_SERVICES_MAX 64
#define IPOS_UPLINKS_MAX 8 /* that one server is on; a power of two */
#define IPOS_POOLS_MAX 1024
#define IPOS_CANDIDATES_MAX 1024 /* servers of one pool; a power of two, not below a farm's */
#define IPOS_DRAWS 8		 /* candidates that are drawn before all are looked at */
#define IPOS_REFUSERS_MAX 15	 /* servers that one request is refused by, before it waits */
#define IPOS_RULES_MAX 10000	 /* of all services together */
#define IPOS_RULE_HOST_MAX 120	 /* bytes of a rule's host, the dot of a wildcard included */
#define IPOS_RULE_HOST_ROOM 124
#define IPOS_SHORT_HOST 28     /* bytes of a name that takes less to be looked up */
#define IPOS_RULE_PATH_MAX 240 /* bytes of a rule's path */
#define IPOS_RULE_PATH_ROOM 248
#define IPOS_WILDCARD_LABELS 8 /* of a wildcard host, at most */
/* the dots before them that are remembered; a power of two */
#define IPOS_DOTS 16
/* Two banks of rules, one in use and one being written. */
#define IPOS_URLS_MAX 128	/* twice IPOS_SERVICES_MAX */
#define IPOS_PATTERNS_MAX 20480 /* host patterns; index 0 is "none" */
#define IPOS_PATHS_MAX 20000	/* twice IPOS_RULES_MAX */
#define IPOS_RAMP_FULL 256	/* a server that has started long ago */
#define IPOS_SLOTS 65521	/* of one pool's source-hash table; a prime */
#define IPOS_SLOTS_BLOCK 4096	/* slots of one row of `slots` */
#define IPOS_SLOTS_BLOCKS 16	/* rows that hold IPOS_SLOTS */
#define IPOS_EPOCHS 8192	/* cookie keys loaded ahead: 36 hours of 16 s epochs */
#define IPOS_HEAD_MAX 14600	/* bytes an unattached endpoint can hold: its window */
#define IPOS_CHUNK 1024		/* bytes of one piece of the hold pool */
#define IPOS_CHUNKS 15		/* pieces that cover IPOS_HEAD_MAX */
#define IPOS_RANGES 4		/* pieces of sequence space a held request may be in */
#define IPOS_LOCKS 65536	/* of connections; a power of two */
#define IPOS_ROLES 262144	/* slots of `roles`; a power of two */
#define IPOS_SHARES 32768	/* slots of a row of `hold_used`; a power of two */
#define IPOS_SHARES_ALL 65536	/* the slot behind its two rows: of all networks */
#define IPOS_SHARES_SLOTS 65537
#define IPOS_CAPTURE_LEN 1600 /* bytes of a frame that `ipos capture` sees */
#define IPOS_HOST_MAX 256
#define IPOS_PATH_MAX 256
#define IPOS_OFFERS 16	    /* protocols of a ClientHello that are looked up */
#define IPOS_OFFERS_MAX 256 /* bytes of their list */
#define IPOS_OFFERS_ROOM 288
#define IPOS_PROTOCOL_MAX 32 /* bytes of one that a rule names */
#define IPOS_COOKIE_MAX 128
#define IPOS_COOKIE_NAME_MAX 64

/* ---- handshake ---- */

/* a cookie lives one to two epochs, a bare one half of that */
#define IPOS_EPOCH_S 16U
#define IPOS_EPOCHS_BACK 64 /* a cookie is known for ours so long after it was made */
/* type 5: frames a second of all servers, and about one source address */
#define IPOS_LOCATES_FARM 65536
#define IPOS_LOCATES_SOURCE 2048
#define IPOS_GUESSES 256 /* wrong cookies a second of one source address */
/* a power of two; the last counts how often we looked back */
#define IPOS_GUESSES_SLOTS 65536
#define IPOS_WSCALE 7	  /* our window scale, one for the whole farm */
#define IPOS_WINDOW 14600 /* what we offer in a SYN-ACK, unscaled (RFC 7323, 2.2) */
#define IPOS_MSS 1432	  /* 1500 - 40 - ipOS header 16 - trailer 8 - VLAN tag 4 */
#define IPOS_MSS_MIN 536  /* the kernel refuses endpoints with less */
#define IPOS_MSS6 1396	  /* the same for IPv6, whose headers are 20 and 16 bytes longer */
#define IPOS_MSS6_MIN 1220
#define IPOS_WSCALE_NONE 15U

#endif /* IPOS_ABI_LIMITS_H */
