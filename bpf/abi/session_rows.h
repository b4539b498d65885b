/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sessions: which server a client comes back to. */
#ifndef IPOS_ABI_SESSION_ROWS_H
#define IPOS_ABI_SESSION_ROWS_H

#include "abi/limits.h"

#define IPOS_SESSION_VALUE_LEN 40 /* characters of an inserted value */
#define IPOS_SESSION_OPEN_LEN 32  /* the same before ABI 11 */
#define IPOS_SESSION_LINE_MAX 416
#define IPOS_SESSION_TURNS 65534   /* no higher turn, but that of a revoked one */
#define IPOS_SESSION_REVOKED 65535 /* its turn */
#define IPOS_SESSION_DAY_S 86400U
#define IPOS_SESSION_DAYS 64 /* slots of `session_keys`: day % IPOS_SESSION_DAYS */
#define IPOS_NAME_MAX 96     /* bytes of a server's own host name */
#define IPOS_REDIRECT_MAX 224

/*
 * Map `cookies`, the Cookie map of Figure 12: which server has the session of a cookie.  Of two
 * rows of one identified session the one with the higher turn is the newer one; with one turn, that
 * of the server with the higher address; then the one that lives longer.
 */
struct ipos_cookie_key {
	__u64 hash; /* of a learned value: SipHash-2-4 under `learn_key`; or an identifier */
	__be16 service_port; /* indices of services are each server's own */
	__u16 zero[3];
};

struct ipos_cookie {
	__be32 server_ip; /* the first of its addresses; 0: the session is revoked */
	__u16 turn;	  /* identified: how often it got a server; 0: a learned one's row */
	__u16 zero;
	__u64 expires_ns; /* boottime clock */
};

struct ipos_cookie_news { /* queue `cookie_news`: what the agent tells others */
	struct ipos_cookie_key key;
	struct ipos_cookie row; /* expires_ns 0: forgotten */
};

enum ipos_learn {
	IPOS_LEARN_BEGIN = 0,  /* a response may begin: its status line */
	IPOS_LEARN_STATUS = 1, /* the rest of a status line */
	IPOS_LEARN_LINE = 2,   /* the first byte of a field line */
	IPOS_LEARN_FIELD = 3,  /* a field's name */
	IPOS_LEARN_SKIP = 4,   /* up to the end of the line */
	IPOS_LEARN_NAME = 5,   /* the cookie's name */
	IPOS_LEARN_VALUE = 6,
	IPOS_LEARN_ATTRIBUTE = 7, /* an attribute's name */
	IPOS_LEARN_MAX_AGE = 8,	  /* the first character of Max-Age */
	IPOS_LEARN_EXPIRES = 9,
	IPOS_LEARN_OTHER = 10, /* up to the next attribute */
	IPOS_LEARN_DONE = 11,  /* the head is over, or is none */
};

struct ipos_learning { /* map `learning`: a response's head, at its owner */
	__u32 next;    /* sequence number of the byte to be looked at next */
	__u32 asked;   /* our acknowledgement when the last head ended */
	__u8 phase;    /* enum ipos_learn */
	__u8 at;       /* how much of what is expected is here */
	__u8 status;   /* it is 1xx: another head follows */
	__u8 deleted;  /* the cookie is being deleted */
	__u16 value_len;
	__u8 news;	/* `hash` is not told yet */
	__u8 forgotten; /* what there is to tell: forgotten, not learned */
	__u16 service;
	__u8 expires; /* the attribute at hand is Expires, else Max-Age */
	__u8 zero[5];
	__u64 hash;
	__u8 value[IPOS_COOKIE_MAX];
};

enum ipos_session_kind {
	IPOS_SESSION_NONE = 0,
	IPOS_SESSION_INSERT = 1,
	IPOS_SESSION_LEARN = 2,
	IPOS_SESSION_REDIRECT = 3,
	IPOS_SESSION_SOURCE = 4,
	IPOS_SESSION_IDENTIFY = 5,
};

struct ipos_session {	/* map `sessions`, by service index */
	__u8 kind;	/* enum ipos_session_kind */
	__u8 name_len;	/* of the cookie; 0: none */
	__u16 line_len; /* insert, identify: of `line`; 0: there is none */
	__u16 value_at; /* the same: where in `line` the value goes */
	__u16 zero;
	__u32 lifetime_s;		  /* learn, identify: how long a row lives unused */
	__u8 name[IPOS_COOKIE_NAME_MAX];  /* the first `name_len` */
	__u8 line[IPOS_SESSION_LINE_MAX]; /* the first `line_len`: Set-Cookie, with CR and
						 * LF; zeros for the value */
};

struct ipos_name_key {		  /* map `names`: whose name a host is, by its index */
	__u32 service;		  /* index in `services` */
	__u8 host[IPOS_NAME_MAX]; /* lower case; zero padded */
};

struct ipos_redirect_key { /* map `redirects` */
	__u16 service;	   /* index in `services` */
	__u16 server;	   /* index in `servers` */
};

struct ipos_redirect {		       /* how a client is sent to a server's own name */
	__u16 length;		       /* of `start` */
	__u8 start[IPOS_REDIRECT_MAX]; /* the response up to the target in its Location */
};

/*
 * The value of an inserted cookie: these bytes up to `day`, in lower-case hexadecimal.  It names a
 * server by its first address, four bytes, beside a nonce of four, which is another one in each
 * connection.  `tag` is SipHash-2-4 of address, nonce and day (12 bytes); `sealed` is address and
 * nonce, XOR SipHash-2-4 of the tag and a zero byte (9 bytes); both are under the key of the day.
 * Before ABI 11 a value was day and address, each big-endian, and SipHash-2-4 of these 8 bytes.
 *
 * The value of an identified session has the identifier itself in the place of `sealed`: it tells
 * nothing.  Its tag is SipHash-2-4 of identifier, day and a byte 1 (13 bytes) under the same key.
 */
struct ipos_session_value {
	__u64 sealed;
	__u64 tag;
	__be32 day;	  /* of its key, since 1970 */
	__be32 server_ip; /* not in the value: the server it names */
};

#endif /* IPOS_ABI_SESSION_ROWS_H */
