/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a request's head says, and why it may be refused. */
#ifndef IPOS_ABI_REQUEST_H
#define IPOS_ABI_REQUEST_H

#include "abi/limits.h"

enum ipos_grammar {
	IPOS_GRAMMAR_UNKNOWN = 0, /* no byte yet that tells */
	IPOS_GRAMMAR_HTTP1 = 1,
	IPOS_GRAMMAR_TLS = 2,
	IPOS_GRAMMAR_OPAQUE = 3,
	IPOS_GRAMMAR_H2 = 4,
};

enum ipos_progress {
	IPOS_READ_MORE = 0,
	IPOS_READ_DONE = 1,
	IPOS_READ_REFUSED = 2, /* `refusal` says why; no server may serve it */
};

enum ipos_body {
	IPOS_BODY_NONE = 0,
	IPOS_BODY_LENGTH = 1,  /* content_length bytes */
	IPOS_BODY_CHUNKED = 2, /* its end is not known in advance */
	IPOS_BODY_OPAQUE = 3,  /* no HTTP any more: an upgrade, or CONNECT */
	/* And what a server that is to follow the connection must know beside. */
	IPOS_BODY_UPGRADE = 4, /* content_length bytes; no HTTP after it if it is taken */
	IPOS_BODY_CONNECT = 5,
	IPOS_BODY_LEAVES = 64,	 /* a bit, of chunks: behind them as behind an UPGRADE */
	IPOS_BODY_OF_HEAD = 128, /* a bit: the request was HEAD */
};

enum ipos_head_state {
	HEAD_START = 0,	   /* nothing seen */
	HEAD_VALUE = 1,	   /* inside a header's value */
	HEAD_FIELD = 2,	   /* at the first byte of a header's line */
	HEAD_END = 3,	   /* CR was the first byte of a line: LF ends the head */
	HEAD_TLS_TYPE = 4, /* record header: 0x16 seen */
	HEAD_TLS_MAJOR = 5,
	HEAD_TLS_MINOR = 6,
	HEAD_TLS_LENGTH = 7,
	HEAD_TLS_BODY = 8, /* `cursor` bytes of the record are missing */
	HEAD_DONE = 9,
	HEAD_TLS_NEXT = 10,   /* a record ended, the message goes on in the next */
	HEAD_BLANK = 11,      /* at the first byte of a line, HTTP/1's first */
	HEAD_H2_PREFACE = 12, /* `cursor` bytes of the preface seen */
	HEAD_H2_FIRST = 13,   /* at the header of the first frame */
	HEAD_H2_NEXT = 14,    /* after a frame: a client may now wait for the server */
	HEAD_H2_HEADER = 15,  /* inside a frame's header; `cursor` is its length */
	HEAD_H2_PAYLOAD = 16, /* `cursor` bytes of the frame are missing */
	HEAD_BLANK_CR = 17,
	HEAD_METHOD = 18,
	HEAD_TARGET_FIRST = 19, /* at the first byte of the target */
	HEAD_TARGET = 20,
	HEAD_VERSION = 21,	/* `cursor` bytes of it seen */
	HEAD_LINE_CR = 22,	/* a line's last byte but one */
	HEAD_NAME = 23,		/* inside a header's name */
	HEAD_START_HTTP = 24,	/* nothing seen, and it may be no TLS */
	HEAD_START_TLS = 25,	/* nothing seen, and it may be nothing else */
	HEAD_START_OPAQUE = 26, /* nothing seen: one byte is enough */
};

/* Why a head is refused: two readers could take its bytes for different requests. */
#define IPOS_AMBIGUITIES(X) \
	X(1, LINE_FEED, "a line that ends with LF alone") \
	X(2, CARRIAGE_RETURN, "a CR where no line ends, or without LF") \
	X(3, NUL, "a NUL byte") \
	X(4, CONTROL, "a control byte in the target or in a header's value") \
	X(5, FOLD, "a header that goes on in the next line") \
	X(6, LEADING_SPACE, "white space before the first header") \
	X(7, SPACE_BEFORE_COLON, "white space between a header's name and the colon") \
	X(8, METHOD, "a method with other than upper-case letters, - and _") \
	X(9, TARGET, "a request target of no form that the method allows") \
	X(10, PERCENT, "a percent sign in the path without two hexadecimal digits, or %00") \
	X(11, ABOVE_ROOT, "a path that climbs above its root, or climbs behind its 256th byte") \
	X(12, VERSION, "a version other than HTTP/1.0 and HTTP/1.1") \
	X(13, HEADER_NAME, "a header name that is empty or has no colon, or a byte no name has") \
	X(14, HOST, "a host that is none") \
	X(15, HOST_MISSING, "HTTP/1.1 without Host") \
	X(16, HOST_TWICE, "more than one Host") \
	X(17, LENGTH, "a Content-Length that is no number below 2^63") \
	X(18, LENGTH_TWICE, "more than one Content-Length") \
	X(19, ENCODING, "a Transfer-Encoding other than one chunked, or in HTTP/1.0") \
	X(20, LENGTH_AND_ENCODING, "both Content-Length and Transfer-Encoding") \
	X(21, TOO_LONG, "a head that does not end within 14,600 bytes") \
	X(22, HOST_DIFFERS, "a request target with another host than Host") \
	X(23, NOT_TLS, "no TLS, which this service expects") \
	X(24, NO_HELLO, "a first byte of TLS, and no ClientHello") \
	X(25, ENCODED_SLASH, "a path with both %2F and a segment of two dots")

#define IPOS_AMBIGUITIES_MAX 32

enum ipos_ambiguity {
	IPOS_AMBIGUOUS_NONE = 0,
#define X(number, name, text) IPOS_AMBIGUOUS_##name = number,
	IPOS_AMBIGUITIES(X)
#undef X
};

enum ipos_request_flags {
	IPOS_REQUEST_HEAD = 1, /* the answer has no body, whatever it says */
	IPOS_REQUEST_HTTP10 = 2,
	IPOS_REQUEST_CLOSE = 4,	     /* Connection: close */
	IPOS_REQUEST_KEEP_ALIVE = 8, /* Connection: keep-alive */
	IPOS_REQUEST_CONTINUE = 16,  /* Expect: 100-continue */
	IPOS_REQUEST_PATH_CUT = 32,  /* the path is longer than IPOS_PATH_MAX */
	IPOS_REQUEST_UNREAD = 64,    /* HTTP/2 that has asked nothing yet, or nothing readable */
};

/* of HTTP/1 */
enum ipos_method {
	IPOS_METHOD_NONE = 0, /* none was read, or another one */
	IPOS_METHOD_GET = 1,
	IPOS_METHOD_HEAD = 2,
	IPOS_METHOD_POST = 3,
	IPOS_METHOD_PUT = 4,
	IPOS_METHOD_DELETE = 5,
	IPOS_METHOD_CONNECT = 6,
	IPOS_METHOD_OPTIONS = 7,
	IPOS_METHOD_TRACE = 8,
	IPOS_METHOD_PATCH = 9,
};

struct ipos_request {  /* in `scratch`: what the head at hand says */
	__u8 grammar;  /* enum ipos_grammar */
	__u8 progress; /* enum ipos_progress */
	__u8 refusal;  /* enum ipos_ambiguity */
	__u8 body;     /* enum ipos_body */
	__u8 flags;    /* enum ipos_request_flags */
	__u8 zero1;
	__u8 mode;	  /* enum ipos_mode: what it may be */
	__u8 method;	  /* enum ipos_method */
	__u16 host_len;	  /* 0: it names none */
	__u16 path_len;	  /* 0: it has none */
	__u16 cookie_len; /* 0: no cookie of the service's session */
	__u16 service;	  /* whose session cookie is looked for */
	__u32 head_len;	  /* bytes fed so far that belong to the head */
	__u16 blank;	  /* of them, those of empty lines before it */
	__u16 offers_len; /* of the protocols (RFC 7301) that a ClientHello offers */
	__u64 content_length;
	__u64 parser[16];		    /* the grammar's own, from piece to piece */
	__u32 host_scope;		    /* with the bytes that follow: struct ipos_host_key */
	__u8 host[IPOS_HOST_MAX];	    /* lower case, without port; zero padded */
	__u8 host_end[IPOS_RULE_HOST_ROOM]; /* zero, for keys from the end of `host` */
	__u32 path_prefix_len;		    /* with the bytes that follow: struct ipos_path_key */
	__u32 path_pattern;
	__u8 path[IPOS_PATH_MAX];      /* normalised, without query; cut if longer */
	__u8 cookie[IPOS_COOKIE_MAX];  /* the value */
	__u8 offers[IPOS_OFFERS_ROOM]; /* of a ClientHello: names, as sent */
};

#endif /* IPOS_ABI_REQUEST_H */
