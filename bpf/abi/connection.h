/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The connection tables (Figure 12): what a server is to a connection. */
#ifndef IPOS_ABI_CONNECTION_H
#define IPOS_ABI_CONNECTION_H

#include "abi/limits.h"

struct ipos_tuple { /* the key of every connection table */
	ipos_ip client_ip;
	ipos_ip service_ip;
	__be16 client_port;
	__be16 service_port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 zero[3];
} IPOS_ALIGNED;

/* The servers that refused a request or a SYN.  While it is full, no server is asked. */
struct ipos_refusers {
	__u16 count;
	__u16 servers[IPOS_REFUSERS_MAX]; /* the first `count`: indices in `servers` */
};

#define IPOS_SYN_REFUSERS_MAX 5 /* the same, of a SYN that travels */

/*
 * What a server can be to a connection: map `roles` counts its rows by a hash of their four-tuples,
 * see lib/roles.h.
 */
enum ipos_role {
	IPOS_ROLE_FORWARD = 0, /* rows of `forward` */
	IPOS_ROLE_LOCAL = 1,
	IPOS_ROLE_CONNECT = 2,
	IPOS_ROLE_HOLDING = 3,
};

/* What a handshake agreed on; kept wherever an unattached endpoint may be. */
struct ipos_handshake {
	__u32 iss;	 /* ours */
	__u32 irs;	 /* the client's */
	__u16 mss;	 /* the client's */
	__u8 snd_wscale; /* the client's, 0 without the option */
	__u8 options;	 /* enum ipos_options */
	__u32 ts_recent; /* the client's last timestamp */
	__u32 ts_sent;	 /* the last of ours that it echoed */
};

/*
 * Rows of connections are whole cache lines, behind one with the hash table's own 48 bytes and the
 * 16 of the key.  A row of Forward is one line.  Of an endpoint the first 64 bytes are what every
 * packet asks; the rest is for what happens once, or for connections that are followed.
 */
struct ipos_forward { /* map `forward`: full means serve here or refuse */
	__be32 destination_ip;
	__be16 destination_port;
	__u16 server;	   /* index of the owner */
	__u8 acknowledged; /* 1: type 3 came: never choose again */
	__u8 ending;	   /* the client sent FIN or RST: type 4 should come soon */
	__u16 service;
	__u32 client_end;  /* highest sequence number (end) seen from the client */
	__u32 client_ack;  /* highest acknowledgement seen from the client */
	__u32 request_end; /* after the last byte the first server holds */
	__u32 packets;	   /* modulo 2^32 */
	__u32 offered_ms;  /* when the last type 1 went out, likewise */
	__u64 last_seen_ns;
	__u32 iss;
	__u32 irs;
	__u32 last_syn; /* sequence number of the last SYN sent on to the owner */
	__u16 first;	/* index of the first server; not self: we offer it */
	__u16 zero;
	__u64 migration;
};

#define IPOS_IN_DOUBT 0U

enum ipos_endpoint_state {
	IPOS_EP_NONE = 0,
	IPOS_EP_PENDING = 1,  /* connection information is here, the request is not */
	IPOS_EP_ADOPTING = 2, /* its packet is on the way into the kernel */
	IPOS_EP_ATTACHED = 3, /* sockops saw the socket */
};

/*
 * The line that begins a session, in an application's first response.  Our kernel knows nothing of
 * it: for the client all numbers from `at` on are `length` higher.
 */
struct ipos_line {
	__u32 at;     /* our kernel's sequence number where a segment began */
	__u16 length; /* 0: no line was inserted, and numbers are our kernel's */
	__u16 behind; /* bytes of the application's between `at` and the line */
	__u32 day;    /* of its value's key */
	__u32 sum;    /* of the line as it was configured */
};

/* segments that our kernel may owe at once, after they were read */
#define IPOS_MARKS 4

/*
 * Where reading stood before a segment that our kernel was then given: should it not have taken
 * that segment, reading goes on from here.
 */
struct ipos_mark {
	__u32 request_end;
	__u32 read_end;
	__u32 asked;
	__u8 follow;
	__u8 chunk;
	__u8 leaves;
	__u8 zero;
	__u64 body_left;
};

struct ipos_endpoint {	    /* maps `local` and `connect`: full means refuse */
	__u32 rcv_nxt;	    /* one our kernel has acknowledged: IPOS_ANSWERS_UNREAD */
	__u32 snd_nxt;	    /* end of what our kernel sent: as far as we looked */
	__u32 client_fin;   /* sequence number after the client's FIN, if flagged */
	__u32 server_fin;   /* sequence number after ours, if flagged */
	__u64 last_seen_ns; /* IPOS_IN_DOUBT: is there a socket? the agent is to ask */
	__u8 state;	    /* enum ipos_endpoint_state */
	__u8 flags;	    /* enum ipos_endpoint_flags */
	__u16 service;
	__u8 client_fin_seen; /* bytes, not bits: ingress and egress write them at once */
	__u8 server_fin_seen;
	__u8 server_fin_acked;
	__u8 reason;	   /* why it was not adopted: enum ipos_refusal */
	__u8 insert;	   /* enum ipos_insert */
	__u8 insert_at;	   /* place in a status line, as far as it matters */
	__u8 follow;	   /* enum ipos_follow */
	__u8 learn;	   /* its responses may name sessions */
	__u16 first;	   /* index of the first server; self in `local` */
	__u16 giver;	   /* index of the server that gave it to us; self: we did */
	__u32 request_end; /* followed: our kernel may have all before this */
	__u32 answer_next; /* our sequence number up to which answers were read */
	__u32 adopt_seq;   /* sequence number of the packet to adopt from */
	__u32 rcv_need;	   /* what the farm acknowledged; type 3 waits for it */
	struct ipos_handshake hs;
	__be32 endpoint_ip;
	__u64 cookie; /* the socket's, 0 until it exists */
	__u64 migration;
	__u64 body_left;   /* bytes of the body, or of a chunk, beyond request_end */
	__u64 answer_left; /* the same of the answer */
	__u64 heads;	   /* which of the last 64 requests were HEAD: bit n % 64 */
	__u32 asked;	   /* requests our kernel was given */
	__u32 answered;	   /* answers of theirs that are over */
	__u16 answer_status;
	__be16 endpoint_port; /* the application's */
	__u8 client_mac[6];   /* followed: next hop towards the client */
	__u8 chunk;	      /* enum ipos_chunk_state */
	__u8 answer;	      /* enum ipos_answer_phase */
	__u8 answer_at;	      /* place in a status line, a name or a value */
	__u8 answer_chunk;    /* enum ipos_chunk_state */
	__u8 answer_seen;     /* enum ipos_answer_seen */
	__u8 leaves;	      /* enum ipos_leaves */
	struct ipos_line line;
	__u32 insert_next; /* our sequence number: the response was read up to it */
	__u32 adopting;	   /* 1 + the CPU that gives its packet to TCP; 0: none does */
	__u32 read_end;	   /* behind the last byte that request_end depends on */
	__u32 given;	   /* behind what our kernel was given without a gap */
	__u32 heard;	   /* followed: the client has our bytes before this */
	__u32 given_by;	   /* 1 + the CPU that gave our kernel what it may not have yet */
	__u32 given_ms;	   /* and when */
	__u8 marks_used;   /* 0: our kernel has all before read_end, as it was read */
	__u8 zero;
	__u16 asker;	    /* index of the server that asks for its owner; 0: none */
	__be32 question;    /* the last four bytes of that question's tag */
	__u32 asked_seq;    /* sequence number of the packet in its question */
	__u64 asked_ns;	    /* since when an answer is owed, boottime clock; 0: none is */
	__u64 answer_bytes; /* of it, that have left */
	__u32 first_us;	    /* from then to its first byte */
	__u8 timed;	    /* enum ipos_answer_flags */
	__u8 zeros[3];
	__u32 box;			    /* BOXED: our end of the wire to its container */
	__u32 box_netns;		    /* and 1 + the id of that one's network namespace */
	struct ipos_mark marks[IPOS_MARKS]; /* the oldest first */
};

/* What of an application's answer comes next. */
enum ipos_answer_phase {
	IPOS_ANSWER_STATUS = 0, /* a byte of its status line, up to the status */
	IPOS_ANSWER_LINE = 1,	/* first byte of a field line; a blank line ends the head */
	IPOS_ANSWER_SKIP = 2,	/* the rest of a line that tells nothing */
	IPOS_ANSWER_LENGTH_NAME = 3,
	IPOS_ANSWER_ENCODING_NAME = 4,
	IPOS_ANSWER_LENGTH_VALUE = 5,
	IPOS_ANSWER_ENCODING_VALUE = 6,
	IPOS_ANSWER_BODY = 7, /* answer_left bytes */
	IPOS_ANSWER_CHUNKS = 8,
	IPOS_ANSWER_UNKNOWN = 9, /* where it ends is not known; no more is read */
};

enum ipos_answer_seen {
	IPOS_ANSWER_SEEN_LENGTH = 1,
	IPOS_ANSWER_SEEN_ENCODING = 2,
	IPOS_ANSWER_SEEN_CHUNKED = 4,
};

/* How far the response that begins a session is. Until DONE, what is expected next. */
enum ipos_insert {
	IPOS_INSERT_NONE = 0,	 /* nothing is to be inserted */
	IPOS_INSERT_STATUS = 1,	 /* a byte of a status line */
	IPOS_INSERT_INTERIM = 2, /* the same, of an interim response (1xx) */
	IPOS_INSERT_FIELDS = 3,	 /* a byte of an interim response's field line */
	IPOS_INSERT_LINE = 4,	 /* the first byte of such a line; a blank one ends it */
	IPOS_INSERT_HERE = 5,	 /* behind a status line: the cookie's line comes next */
	IPOS_INSERT_DONE = 6,	 /* the client has it, or gets none */
	IPOS_INSERT_TEN = 7,	 /* as INTERIM, behind "10": 101 would be final after all */
	IPOS_INSERT_SENT = 8,	 /* the line is on its way, perhaps again */
};

enum ipos_endpoint_flags {
	IPOS_EP_HANDSHAKE = 1,	    /* our kernel shook hands itself; `reason` counts notices */
	IPOS_EP_RETRIED = 2,	    /* the packet is on its way again, behind a reset */
	IPOS_EP_NOTICE_RETRIED = 4, /* and so is the notice that follows it */
	IPOS_EP_MOVING = 8,	    /* offered to another server; the socket is still ours */
	IPOS_EP_WAITING = 16,	    /* the next request is held, here */
	IPOS_EP_LIVE = 32,	    /* it was another server's before, with a socket there */
	IPOS_EP_BOXED = 64,	    /* its socket is in a container */
};

/* What is known of where the next request of a connection starts. */
enum ipos_follow {
	IPOS_FOLLOW_NOT = 0,	 /* the service decides once */
	IPOS_FOLLOW_LENGTH = 1,	 /* at request_end + body_left */
	IPOS_FOLLOW_CHUNKED = 2, /* behind a body whose end it says itself */
	IPOS_FOLLOW_OPAQUE = 3,	 /* there will be none */
	IPOS_FOLLOW_UPGRADE = 4, /* none if the answer is 101; nothing goes up before it */
	IPOS_FOLLOW_CONNECT = 5, /* the same, if it answers 2xx */
};

/* Whether a request whose chunks are read is to leave HTTP behind them. */
enum ipos_leaves {
	IPOS_LEAVES_NOT = 0,
	IPOS_LEAVES_ASKED = 1,
	IPOS_LEAVES_TAKEN = 2, /* the application answered 101 before it had them all */
};

/* What comes next in a chunked body (RFC 9112 7.1). */
enum ipos_chunk_state {
	IPOS_CHUNK_FIRST = 0, /* the first digit of a size */
	IPOS_CHUNK_SIZE = 1,  /* another one, or what ends it */
	IPOS_CHUNK_LINE = 2,  /* the rest of the size's line, behind a semicolon */
	IPOS_CHUNK_DATA = 3,  /* body_left bytes */
	IPOS_CHUNK_CR = 4,    /* the line end behind them */
	IPOS_CHUNK_LF = 5,
	IPOS_CHUNK_TRAILER = 6,	  /* first byte of a trailer line; a blank line ends all */
	IPOS_CHUNK_FIELD = 7,	  /* the rest of such a line */
	IPOS_CHUNK_END = 8,	  /* the last LF */
	IPOS_CHUNK_WRONG = 9,	  /* no chunk begins like this: nothing more goes up */
	IPOS_CHUNK_OVER = 10,	  /* behind the last LF */
	IPOS_CHUNK_SPACE = 11,	  /* white space behind a size */
	IPOS_CHUNK_LINE_LF = 12,  /* the LF of the size's line */
	IPOS_CHUNK_FIELD_LF = 13, /* the LF of a trailer line */
};

/*
 * Map `left_behind`, LRU: a connection that was ours and has moved.  Its socket's application
 * is told the end, and what it still sends is swallowed; packets that the first server sends
 * us until it hears of the move go on.  A row that is lost was the longest gone.
 */
struct ipos_left {
	__u64 told_ns;	 /* when the first server was told */
	__u64 migration; /* the number it went with */
	__u32 next;	 /* the sequence number our kernel expects of the client */
	__u32 iss;
	__be32 destination_ip;
	__be16 destination_port;
	__u16 server; /* index of its server; 0: it was reset or answered */
	__u16 first;  /* index of the first server */
	__u16 zero;
	__u32 sent; /* our kernel's next sequence number when the socket left */
};

enum ipos_temporary_state {
	IPOS_TEMP_NONE = 0,
	IPOS_TEMP_OPEN = 1,	/* handshake done, nothing acknowledged */
	IPOS_TEMP_CLOSED = 2,	/* ended; its cookie opens nothing any more */
	IPOS_TEMP_SYN = 3,	/* select on connection: the SYN went to `server` */
	IPOS_TEMP_RESET = 5,	/* ended by our reset, which late segments get again */
	IPOS_TEMP_SYN_HERE = 4, /* the same at the owner; `server` is the first server */
	IPOS_TEMP_REFUSED = 6,	/* we refused the offer `offer`, for `reason` */
};

enum ipos_closed {
	IPOS_CLOSED_NOT_IDLE = 0,
	IPOS_CLOSED_IDLE = 1, /* by its client, between two requests: our FIN answers its own */
};

struct ipos_temporary { /* map `temporary`, LRU: losing a row loses nothing */
	struct ipos_handshake hs;
	__u8 state;   /* enum ipos_temporary_state */
	__u8 reason;  /* REFUSED: enum ipos_refusal; CLOSED: enum ipos_closed */
	__u16 server; /* SYN: where it went; SYN_HERE: where it came from */
	__u64 created_ns;
	__u64 last_seen_ns;
	__u32 client_end; /* CLOSED: after the client's last byte (its FIN counts) */
	__be16 port;	  /* SYN: the application's */
	__u16 offer;	  /* REFUSED: the low bits of its migration number */
	__u16 refused[IPOS_SYN_REFUSERS_MAX]; /* SYN: servers that said no; 0: no more */
	__u8 client_mac[6];		      /* SYN: next hop towards the client */
};

/*
 * Map `questions`, LRU: a connection whose owner all servers were asked for.  A row that is lost
 * makes its next packet the first one again.
 */
struct ipos_question {
	__u64 first_ns;	  /* when it was asked first, boottime clock */
	__u64 asked_ns;	  /* and last */
	__be32 question;  /* the last four bytes of that frame's tag */
	__u32 client_end; /* sequence number (end) of the packet in it */
	__u32 client_ack;
	__u8 count; /* how often it was asked without an answer */
	__u8 due;   /* XDP had no room for the frame: tc is to ask */
	__u8 zero[2];
};

struct ipos_range {
	__u16 start, end;
}; /* of request bytes, from irs + 1 */

struct ipos_holding { /* map `holding`: full means drop, unacknowledged */
	struct ipos_handshake hs;
	__u16 held;	     /* bytes in order from irs + 1 */
	__u16 acknowledged;  /* of those, how many the client was told of */
	__u16 parsed;	     /* of those, how many the head parser has seen */
	__u8 unacknowledged; /* segments since the last acknowledgement */
	__u8 head_state;     /* of the parser: enum ipos_head_state */
	__u8 complete;	     /* 1: the head is all here */
	__u8 fin;	     /* a FIN follows the held bytes */
	__u16 service;
	__u16 window;			       /* the client's last, unscaled */
	__u8 client_mac[6];		       /* next hop towards the client */
	struct ipos_range ranges[IPOS_RANGES]; /* out of order, beyond `held`; end 0: unused */
	struct ipos_refusers refused;	       /* servers that said no */
	__u64 created_ns;
	__u64 last_seen_ns;
	__u32 chunks[IPOS_CHUNKS]; /* index + 1 in `hold_pool`; 0: none */
	__u32 head_left;	   /* of the parser: missing bytes of a record or frame */
	__u16 server;		   /* chosen; 0: not yet; answered: who is told of the end */
	__be16 port;		   /* the application's there */
	__u16 pool;		   /* the pool that it was chosen from */
	__u8 again;		   /* why it is decided again, enum ipos_reason; or 0 */
	__u8 moving;		   /* a later request of a connection that is ours */
	__u32 head_more;	   /* of the parser: the rest of its state */
	__u32 client_end;	   /* answered: what we acknowledge, from a refused head on */
	__u16 answer;		   /* bytes of our answer, in the first piece; 0: none */
	__u8 body;		   /* of a request decided: enum ipos_body */
	__u8 late;		   /* moving: it did not end in time */
	__u8 redirect;		   /* the client is to be sent to `server` */
	__u8 session;		   /* of the last decision: enum choice_session */
	__u16 rule;		   /* likewise: number of the rule that gave the pool */
	__u32 iss, irs;		   /* of the connection; hs has those of the stream now */
	__u64 request_len;	   /* and its bytes as far as they are known in advance */
	__u64 migration;	   /* number of the last offer */
	__u32 silent;		   /* enum ipos_silent */
	__be32 client_ip;	   /* whose share its pieces are of; of IPv6 see client_word() */
	__u8 looked;		   /* read whole, it waits: moving for its turn, else to be asked */
	__u8 crowded;		   /* a server refused it for want of room */
	__u16 skip;		   /* bytes of empty lines before it: no other server gets them */
	__u32 crowded_ms;	   /* since when nobody can take it; 0: it was not so */
	__u8 live;		   /* an application has had the connection: see tc/hand_back.h */
	__u8 zeros[3];
	__u32 offered_us; /* when it was offered to another server, modulo 2^32 */
};

/*
 * Of a first flight of HTTP/2 that has asked for nothing: its client's next packet decides, or
 * the agent's frame, whichever takes it out of WAITS.  They may run on two CPUs at once.
 */
enum ipos_silent {
	IPOS_SILENT_NO = 0,
	IPOS_SILENT_WAITS = 1,
	IPOS_SILENT_OVER = 2, /* decided without a request */
};

struct ipos_chunk {
	__u8 bytes[IPOS_CHUNK];
};

struct ipos_prefix { /* map `deny`, LPM trie, value __u8 */
	__u32 prefix_len;
	ipos_ip ip;
};

struct ipos_captured { /* ring `captured`; then the bytes */
	__u64 when_ns; /* boottime clock */
	__u32 ifindex;
	__u32 length;	/* of the frame */
	__u32 captured; /* of it, how many follow */
	__u32 outbound; /* 1: we sent it */
};

#endif /* IPOS_ABI_CONNECTION_H */
