/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The one truth for everything that the data plane shares with anyone else: constants,
 * the structs in the maps, who writes each map and what happens when it is full.
 *
 * Byte order: a field whose comment says "network" holds wire bytes; every other integer is
 * in host order.  Structs have no implicit padding; `ipos.inic.layout` reads this header and
 * tests/inic/test_layout.py compares it with the BTF of the compiled objects.
 */
#ifndef IPOS_H
#define IPOS_H

#include <linux/types.h>

#define IPOS_ABI 6U			/* programs and maps of one number work in any mix */

/* ---- limits -------------------------------------------------------------------------- */

#define IPOS_SERVERS_MAX 256		/* members of a farm; index 0 is "none" */
#define IPOS_SERVICES_MAX 64
#define IPOS_POOLS_MAX 1024
#define IPOS_CANDIDATES_MAX 64		/* servers of one pool */
#define IPOS_RULES_MAX 10000		/* of all services together */
#define IPOS_RULE_HOST_MAX 120		/* bytes of a rule's host, the dot of a wildcard included */
#define IPOS_RULE_HOST_ROOM 124
#define IPOS_SHORT_HOST 28		/* bytes of a name that takes less to be looked up */
#define IPOS_RULE_PATH_MAX 240		/* bytes of a rule's path */
#define IPOS_RULE_PATH_ROOM 248
#define IPOS_WILDCARD_LABELS 8		/* of a wildcard host, at most */
#define IPOS_DOTS 16			/* the dots before them that are remembered; a power of two */
/* Two banks of rules, one in use and one being written. */
#define IPOS_URLS_MAX 128		/* twice IPOS_SERVICES_MAX */
#define IPOS_PATTERNS_MAX 20480		/* host patterns; index 0 is "none" */
#define IPOS_PATHS_MAX 20000		/* twice IPOS_RULES_MAX */
#define IPOS_RAMP_FULL 256		/* a server that has started long ago */
#define IPOS_SLOTS 65521		/* of one pool's source-hash table; a prime */
#define IPOS_SLOTS_BLOCK 4096		/* slots of one row of `slots` */
#define IPOS_SLOTS_BLOCKS 16		/* rows that hold IPOS_SLOTS */
#define IPOS_EPOCHS 8192		/* cookie keys loaded ahead: 36 hours of 16 s epochs */
#define IPOS_HEAD_MAX 14600		/* bytes an unattached endpoint can hold: its window */
#define IPOS_CHUNK 1024			/* bytes of one piece of the hold pool */
#define IPOS_CHUNKS 15			/* pieces that cover IPOS_HEAD_MAX */
#define IPOS_RANGES 4			/* pieces of sequence space a held request may be in */
#define IPOS_CAPTURE_LEN 1600		/* bytes of a frame that `ipos capture` sees */

/* ---- handshake ------------------------------------------------------------------------ */

#define IPOS_EPOCH_S 16U		/* a cookie lives one to two epochs */
#define IPOS_WSCALE 7			/* our window scale, one for the whole farm */
#define IPOS_WINDOW 14600		/* what we offer in a SYN-ACK, unscaled (RFC 7323, 2.2) */
#define IPOS_MSS 1432			/* 1500 - 40 - ipOS header 16 - trailer 8 - VLAN tag 4 */
#define IPOS_MSS_MIN 536		/* the kernel refuses endpoints with less */
#define IPOS_WSCALE_NONE 15U

/* ---- wire: Figure 11 ------------------------------------------------------------------- */

#define IPOS_ETHERTYPE 0x0007
#define IPOS_HEADER_LEN 16
#define IPOS_CONNECTION_LEN 146		/* server IP, server port, control block */
#define IPOS_TCB_LEN 140
#define IPOS_TAG_LEN 8
#define IPOS_TRAILER_LEN 20		/* service IP, service port, reason, iss, tag */

enum ipos_type {
	IPOS_CONNECTION = 1,
	IPOS_PACKET = 2,
	IPOS_ACKNOWLEDGEMENT = 3,
	IPOS_CLOSED = 4,
	IPOS_LOCATE = 5,
	IPOS_MOVED = 6,
	IPOS_REFUSED = 7,
	IPOS_PROBE = 8,
	IPOS_PROBE_ANSWER = 9,
	IPOS_LEARNED = 10,
	IPOS_FORGOTTEN = 11,
};

enum ipos_protocol { IPOS_TCP = 1, IPOS_UDP = 2 };

/* Reasons in the trailer of a type 7. */
enum ipos_refusal {
	IPOS_REFUSE_NONE = 0,
	IPOS_REFUSE_NO_LISTENER = 1,	/* nothing listens on the application's port */
	IPOS_REFUSE_QUEUE_FULL = 2,	/* the accept queue has no room */
	IPOS_REFUSE_TUPLE_LIVE = 3,	/* a live socket has the four-tuple */
	IPOS_REFUSE_TABLE_FULL = 4,	/* Forward-Connect is full */
	IPOS_REFUSE_NOT_ADOPTED = 5,	/* the kernel made no socket of the request */
	IPOS_REFUSE_UNKNOWN = 6,	/* no such connection here; iss is the packet's ack, or a SYN's seq */
	IPOS_REFUSE_STATE = 7,		/* this server is in maintenance */
};

/* Flags of the TCP control block. */
enum ipos_options {
	IPOS_OPT_SACK = 1,
	IPOS_OPT_TIMESTAMPS = 2,
	IPOS_OPT_WSCALE = 4,
	IPOS_OPT_ECN = 8,
	IPOS_OPT_USEC_TS = 16,
	IPOS_OPT_SESSION = 32,		/* no TCP option: the first response is to begin a session */
};

struct ipos_header {			/* Figure 11b; all network order */
	__u32 client_ip;
	__u16 client_port;
	__u32 endpoint_ip;
	__u16 endpoint_port;
	__u8 type;
	__u8 protocol;
	__u16 checksum;
} __attribute__((packed));

struct ipos_tcb {			/* TCP control block, version 1; all network order */
	__u8 version;
	__u8 state;
	__u16 flags;
	__u32 iss;
	__u32 irs;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 snd_max;
	__u32 snd_wl1;
	__u32 snd_wl2;
	__u32 snd_wnd;
	__u32 rcv_nxt;
	__u32 rcv_wnd;
	__u32 rcv_adv;
	__u16 peer_mss;
	__u16 effective_mss;
	__u8 snd_wscale;
	__u8 rcv_wscale;
	__u16 zero;
	__u32 ts_recent;
	__u32 ts_recent_age_ms;
	__u32 ts_last_sent;
	__u32 srtt_us;
	__u32 rttvar_us;
	__u32 rto_us;
	__u32 snd_cwnd;
	__u32 snd_ssthresh;
	__u32 send_queue_len;
	__u32 receive_queue_len;
	__u64 migration;		/* rises with every migration of the connection */
	__u64 request_len;		/* of the request that moves: enum ipos_body says of what */
	__u8 body;			/* enum ipos_body */
	__u8 zeros[11];
	__u8 tag[16];
} __attribute__((packed));

struct ipos_connection {		/* Figure 11d: connection information (TCP) */
	__u32 server_ip;
	__u16 server_port;
	struct ipos_tcb tcb;
} __attribute__((packed));

struct ipos_trailer {			/* after types 3, 4, 6, 7 */
	__u32 service_ip;
	__u16 service_port;
	__u16 reason;
	__u32 iss;
	__u8 tag[8];
} __attribute__((packed));

struct ipos_probe {			/* after types 8 and 9, in the trailer's place */
	__u8 nonce[12];			/* the asker's random bytes, repeated in the answer */
	__u8 tag[8];
} __attribute__((packed));

struct ipos_learned {			/* after types 10 and 11, in the trailer's place */
	__u8 hash[8];			/* of the cookie's value: SipHash-2-4 under `learn_key` */
	__u8 tag[8];			/* over the header and the hash; what follows is padding */
} __attribute__((packed));

/* ---- settings: written by the agent, read by every program ------------------------------ */

enum ipos_settings_flags {
	IPOS_AUTHENTICATE = 1,		/* back frames need a valid tag */
	IPOS_CAPTURE = 2,		/* copy frames into the capture ring */
	IPOS_WATCH = 4,			/* report decisions into the decision ring */
	IPOS_ANSWERS_UNREAD = 8,	/* no service moves connections or adds or learns cookies, nor
					 * has one since the data plane was loaded */
};

struct ipos_settings {			/* map `settings`, one element */
	__u32 abi;
	__u32 flags;			/* enum ipos_settings_flags */
	__u32 front_ifindex;
	__u32 back_ifindex;		/* may equal front_ifindex */
	__u16 front_vlan;		/* 0: untagged */
	__u16 back_vlan;
	__u16 ethertype;		/* of our frames, host order */
	__u16 self;			/* this server's index in `servers` */
	__u8 front_mac[6];
	__u8 back_mac[6];
	__u32 self_ip;			/* network: the first of our addresses */
	__u64 wall_offset_ns;		/* realtime clock minus boottime clock */
	__u64 slept_ns;			/* boottime clock minus monotonic clock */
	__u64 frame_key[2];		/* SipHash key of tags: bytes 0-7 and 8-15, little-endian */
	__u64 learn_key[2];		/* the same, of learned cookies' values */
	__u32 header_timeout_ms;
	__u32 idle_s;
};

struct ipos_epoch_key {			/* map `cookie_keys`, slot = epoch % IPOS_EPOCHS */
	__u64 key[2];
	__u32 epoch;			/* the slot holds this epoch's key and no other's */
	__u32 valid;
};

/* ---- servers, services, pools ------------------------------------------------------------ */

enum ipos_server_state {
	IPOS_SERVER_NONE = 0,		/* no such server */
	IPOS_SERVER_READY = 1,
	IPOS_SERVER_DRAIN = 2,		/* keeps what it has, gets nothing new */
	IPOS_SERVER_MAINT = 3,
	IPOS_SERVER_DOWN = 4,
};

struct ipos_server {			/* map `servers`, by index; Figure 12 "Server state" */
	__u32 address;			/* network: first service address, the row's key */
	__u32 back_ip;			/* network */
	__u8 mac[6];			/* of its back interface */
	__u8 state;			/* enum ipos_server_state */
	__u8 stale;			/* the row is old, the server is not known to be down */
	__u32 tcp_connections;
	__u32 cpu_permille;
	__u64 memory_available;		/* bytes */
	__u64 bandwidth_available;	/* bits per second */
	__u64 updated_ns;		/* boottime clock, when the row came */
	__s64 base;			/* sent - closed of `traffic` when the row came */
	__u32 limit;			/* connections it takes at most; 0: no limit */
	__u32 sent;			/* low half of `sent` of `traffic` when the row came */
};

struct ipos_traffic {			/* map `traffic`, by server index; written by the data plane */
	__s64 sent;			/* endpoints this server gave it */
	__s64 closed;			/* and how many of them have ended */
};

enum ipos_select { IPOS_SELECT_REQUEST = 0, IPOS_SELECT_CONNECTION = 1 };

enum ipos_decide { IPOS_DECIDE_CONNECTION = 0, IPOS_DECIDE_REQUEST = 1 };

enum ipos_policy {
	IPOS_LEAST_LOADED = 0,		/* two random candidates, the less loaded wins */
	IPOS_ROUND_ROBIN = 1,
	IPOS_RANDOM = 2,
	IPOS_FIXED = 3,			/* the first candidate that is ready */
	IPOS_LEAST_CONNECTIONS = 4,	/* of all; ties at random */
	IPOS_WEIGHTED = 5,		/* in turn, each as often as its weight says */
	IPOS_SOURCE_HASH = 6,		/* by the client's address, through `slots` */
	IPOS_LEAST_CPU = 7,		/* two random candidates, the one with more CPU left wins */
};

struct ipos_address_key {		/* map `addresses` */
	__u32 ip;			/* network */
	__u16 port;			/* network */
	__u8 protocol;			/* IPPROTO_TCP or IPPROTO_UDP */
	__u8 zero;
};

struct ipos_address {
	__u16 service;			/* index in `services` */
	__u16 holder;			/* index of the server that owns the address */
};

struct ipos_service {			/* map `services`, by index */
	__u8 protocol;
	__u8 select;			/* enum ipos_select */
	__u8 used;
	__u8 decide;			/* enum ipos_decide */
	__u16 pool;			/* index in `pools`: where requests go by default */
	__u16 port;			/* network: clients connect to this */
	__u32 application_ip;		/* network: our own listener; 0: any address */
	__u16 application_port;		/* network */
	__u16 listening;		/* index in `pools`: all who could serve any request of it */
	__u32 log;			/* a decision is logged if a random number is not above; 0: none */
};

struct ipos_candidate {
	__u16 server;			/* index in `servers` */
	__u16 port;			/* network: the application's port there */
	__u16 weight;			/* 1 to 65535 */
	__u16 ramp;			/* slow start: of IPOS_RAMP_FULL */
};

struct ipos_pool {			/* map `pools`, by index */
	__u8 policy;			/* enum ipos_policy */
	__u8 zero[3];
	__u32 count;			/* candidates in use */
	__u32 turn;			/* round-robin, weighted; the data plane counts it up */
	__u32 firsts;			/* servers that decide by the same rows; 0 counts as 1 */
	struct ipos_candidate candidates[IPOS_CANDIDATES_MAX];
};

/* ---- requests: what a head says --------------------------------------------------------------- */

#define IPOS_HOST_MAX 256
#define IPOS_PATH_MAX 256
#define IPOS_COOKIE_MAX 128
#define IPOS_COOKIE_NAME_MAX 64

enum ipos_grammar {
	IPOS_GRAMMAR_UNKNOWN = 0,	/* no byte yet that tells */
	IPOS_GRAMMAR_HTTP1 = 1,
	IPOS_GRAMMAR_TLS = 2,
	IPOS_GRAMMAR_OPAQUE = 3,
	IPOS_GRAMMAR_H2 = 4,
};

enum ipos_progress {
	IPOS_READ_MORE = 0,
	IPOS_READ_DONE = 1,
	IPOS_READ_REFUSED = 2,		/* `refusal` says why; nobody may serve it */
};

enum ipos_body {
	IPOS_BODY_NONE = 0,
	IPOS_BODY_LENGTH = 1,		/* content_length bytes */
	IPOS_BODY_CHUNKED = 2,		/* its end is not known in advance */
	IPOS_BODY_OPAQUE = 3,		/* no HTTP any more: an upgrade, or CONNECT */
	/* And what a server that is to follow the connection must know beside. */
	IPOS_BODY_UPGRADE = 4,		/* content_length bytes, and no HTTP any more if it is taken */
	IPOS_BODY_CONNECT = 5,
	IPOS_BODY_LEAVES = 64,		/* a bit, of chunks: behind them as behind an UPGRADE */
	IPOS_BODY_OF_HEAD = 128,	/* a bit: the request was HEAD */
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
	X(21, TOO_LONG, "a head that does not end within 14,600 bytes")

#define IPOS_AMBIGUITIES_MAX 32

enum ipos_ambiguity {
#define X(number, name, text) IPOS_AMBIGUOUS_##name = number,
	IPOS_AMBIGUITIES(X)
#undef X
};

enum ipos_request_flags {
	IPOS_REQUEST_HEAD = 1,		/* the answer has no body, whatever it says */
	IPOS_REQUEST_HTTP10 = 2,
	IPOS_REQUEST_CLOSE = 4,		/* Connection: close */
	IPOS_REQUEST_KEEP_ALIVE = 8,	/* Connection: keep-alive */
	IPOS_REQUEST_CONTINUE = 16,	/* Expect: 100-continue */
	IPOS_REQUEST_PATH_CUT = 32,	/* the path is longer than IPOS_PATH_MAX */
	IPOS_REQUEST_UNREAD = 64,	/* HTTP/2 that has asked nothing yet, or nothing readable */
};

enum ipos_alpn {			/* what a ClientHello offers (RFC 7301) */
	IPOS_ALPN_H2 = 1,
	IPOS_ALPN_HTTP1 = 2,
	IPOS_ALPN_OTHER = 4,
};

struct ipos_request {			/* in `scratch`: what the head at hand says */
	__u8 grammar;			/* enum ipos_grammar */
	__u8 progress;			/* enum ipos_progress */
	__u8 refusal;			/* enum ipos_ambiguity */
	__u8 body;			/* enum ipos_body */
	__u8 flags;			/* enum ipos_request_flags */
	__u8 alpn;			/* enum ipos_alpn, of a ClientHello */
	__u8 zero[2];
	__u16 host_len;			/* 0: it names none */
	__u16 path_len;			/* 0: it has none */
	__u16 cookie_len;		/* 0: no cookie of the service's session */
	__u16 service;			/* whose session cookie is looked for */
	__u32 head_len;			/* bytes fed so far that belong to the head */
	__u32 zero2;
	__u64 content_length;
	__u64 parser[16];		/* the grammar's own, from piece to piece */
	__u32 host_scope;		/* with the bytes that follow: struct ipos_host_key */
	__u8 host[IPOS_HOST_MAX];	/* lower case, without port; zero padded */
	__u8 host_end[IPOS_RULE_HOST_ROOM];	/* zero, for keys from the end of `host` */
	__u32 path_prefix_len;		/* with the bytes that follow: struct ipos_path_key */
	__u32 path_pattern;
	__u8 path[IPOS_PATH_MAX];	/* normalised, without query; cut if longer */
	__u8 cookie[IPOS_COOKIE_MAX];	/* the value */
};

/* ---- URL map: where a request goes by its host and path ---------------------------------------- */

struct ipos_rule {			/* map `paths`, LPM trie */
	__u16 pool;			/* index in `pools` */
	__u16 length;			/* of its path: the longest wins */
	__u16 number;			/* its place in the configuration, from 1; 0: no rule */
	__u16 zero;
};

struct ipos_pattern {			/* map `patterns`: the rules of one host pattern */
	struct ipos_rule root;		/* for every path */
	__u32 wider;			/* the next pattern that fits all hosts of this; 0: none */
	__u16 longest;			/* path of its rules in `paths`; 0: none are there */
	__u16 zero;
};

struct ipos_path_key {			/* map `paths`; an exact path has a zero byte behind it */
	__u32 prefix_len;		/* in bits, of what follows */
	__u32 pattern;			/* network: index in `patterns` */
	__u8 path[IPOS_RULE_PATH_ROOM];
};

struct ipos_host_key {			/* map `hosts`, of longer names: to an index in `patterns` */
	__u32 scope;			/* bank * IPOS_SERVICES_MAX + service */
	__u8 name[IPOS_RULE_HOST_ROOM];	/* *.example.org is .example.org; zero padded */
};

struct ipos_short_host_key {		/* map `short_hosts`: the beginning of a host's key */
	__u32 scope;
	__u8 name[IPOS_SHORT_HOST];
};

struct ipos_urls {			/* map `urls`, by bank * IPOS_SERVICES_MAX + service */
	__u32 any;			/* the pattern that fits every host; 0: it has no rules */
	__u16 pool;			/* index in `pools`: for requests that no rule fits */
	__u16 wildcards;		/* bit n: some have n labels behind the asterisk */
	__u8 used;
	__u8 hosts;			/* 1: some rules are for one host */
	__u8 zero[2];
};

/* ---- sessions: which server a client comes back to --------------------------------------------- */

#define IPOS_SESSION_VALUE_LEN 32	/* characters of an inserted value */
#define IPOS_SESSION_LINE_MAX 416
#define IPOS_SESSION_DAY_S 86400U
#define IPOS_SESSION_DAYS 64		/* slots of `session_keys`: day % IPOS_SESSION_DAYS */
#define IPOS_NAME_MAX 96		/* bytes of a server's own host name */
#define IPOS_REDIRECT_MAX 224

/* Map `cookies`, the Cookie map of Figure 12: who has the session of a learned cookie. */
struct ipos_cookie_key {
	__u64 hash;			/* of the value: SipHash-2-4 under `learn_key` */
	__u16 service_port;		/* network: indices of services are each server's own */
	__u16 zero[3];
};

struct ipos_cookie {
	__u32 server_ip;		/* network: the first of its addresses */
	__u32 zero;
	__u64 expires_ns;		/* boottime clock */
};

struct ipos_cookie_news {		/* queue `cookie_news`: what the agent is to tell the others */
	struct ipos_cookie_key key;
	struct ipos_cookie row;		/* expires_ns 0: forgotten */
};

enum ipos_learn {
	IPOS_LEARN_BEGIN = 0,		/* a response may begin: its status line */
	IPOS_LEARN_STATUS = 1,		/* the rest of a status line */
	IPOS_LEARN_LINE = 2,		/* the first byte of a field line */
	IPOS_LEARN_FIELD = 3,		/* a field's name */
	IPOS_LEARN_SKIP = 4,		/* up to the end of the line */
	IPOS_LEARN_NAME = 5,		/* the cookie's name */
	IPOS_LEARN_VALUE = 6,
	IPOS_LEARN_ATTRIBUTE = 7,	/* an attribute's name */
	IPOS_LEARN_MAX_AGE = 8,		/* the first character of Max-Age */
	IPOS_LEARN_EXPIRES = 9,
	IPOS_LEARN_OTHER = 10,		/* up to the next attribute */
	IPOS_LEARN_DONE = 11,		/* the head is over, or is none */
};

struct ipos_learning {			/* map `learning`: a response's head, at its owner */
	__u32 next;			/* sequence number of the byte to be looked at next */
	__u32 asked;			/* what the server had acknowledged when the last head ended */
	__u8 phase;			/* enum ipos_learn */
	__u8 at;			/* how much of what is expected is here */
	__u8 status;			/* it is 1xx: another head follows */
	__u8 deleted;			/* the cookie is being deleted */
	__u16 value_len;
	__u8 news;			/* `hash` is not told yet */
	__u8 forgotten;			/* what there is to tell: forgotten, not learned */
	__u16 service;
	__u8 expires;			/* the attribute at hand is Expires, else Max-Age */
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
};

struct ipos_session {			/* map `sessions`, by service index */
	__u8 kind;			/* enum ipos_session_kind */
	__u8 name_len;			/* of the cookie; 0: none */
	__u16 line_len;			/* insert: of `line`; 0: there is none */
	__u16 value_at;			/* insert: where in `line` the value goes */
	__u16 zero;
	__u32 lifetime_s;		/* learn: how long a row lives without being used */
	__u8 name[IPOS_COOKIE_NAME_MAX];
	__u8 line[IPOS_SESSION_LINE_MAX];	/* Set-Cookie, with CR and LF; zeros for the value */
};

struct ipos_name_key {			/* map `names`: whose name a host is, by its index */
	__u32 service;			/* index in `services` */
	__u8 host[IPOS_NAME_MAX];	/* lower case; zero padded */
};

struct ipos_redirect_key {		/* map `redirects` */
	__u16 service;			/* index in `services` */
	__u16 server;			/* index in `servers` */
};

struct ipos_redirect {			/* how a client is sent to a server's own name */
	__u16 length;			/* of `start` */
	__u8 start[IPOS_REDIRECT_MAX];	/* the response up to the target in its Location */
};

/*
 * The value of an inserted cookie, in lower-case hexadecimal: the day of its key since 1970
 * and the server's first address, each four bytes big-endian, and SipHash-2-4 of these eight.
 */
struct ipos_session_value {
	__u32 day;			/* network */
	__u32 server_ip;		/* network */
	__u64 tag;
};

/*
 * Map `slots`: the source-hash table of a pool (Maglev), which the agent fills.  Its key is
 * the pool's index * IPOS_SLOTS_BLOCKS + slot / IPOS_SLOTS_BLOCK.
 */
struct ipos_slots {
	__u8 servers[IPOS_SLOTS_BLOCK];	/* index in `servers`; 0: none that is known */
};

/* ---- connection tables: Figure 12 --------------------------------------------------------- */

struct ipos_tuple {			/* the key of every connection table; network order */
	__u32 client_ip;
	__u32 service_ip;
	__u16 client_port;
	__u16 service_port;
	__u8 protocol;			/* IPPROTO_TCP or IPPROTO_UDP */
	__u8 zero[3];
};

/* What a handshake agreed on; kept wherever an unattached endpoint may be. */
struct ipos_handshake {
	__u32 iss;			/* ours */
	__u32 irs;			/* the client's */
	__u16 mss;			/* the client's */
	__u8 snd_wscale;		/* the client's, 0 without the option */
	__u8 options;			/* enum ipos_options */
	__u32 ts_recent;		/* the client's last timestamp */
	__u32 ts_sent;			/* the last of ours that it echoed */
};

/*
 * Rows of connections are whole cache lines, behind one with the hash table's own 48 bytes and the
 * 16 of the key.  The first 64 bytes of each are what every packet asks; the rest is for what
 * happens once, or for connections that are followed.
 */
struct ipos_forward {			/* map `forward`: full means serve here or refuse */
	__u32 destination_ip;		/* network */
	__u16 destination_port;		/* network */
	__u16 server;			/* index of the owner */
	__u8 acknowledged;		/* type 3 came: never choose again */
	__u8 ending;			/* the client sent FIN or RST: type 4 should come soon */
	__u16 service;
	__u32 client_end;		/* highest sequence number (end) seen from the client */
	__u32 client_ack;		/* highest acknowledgement seen from the client */
	__u32 request_end;		/* after the last byte the first server holds */
	__u64 packets;
	__u64 last_seen_ns;
	__u32 iss;
	__u32 irs;
	__u32 last_syn;			/* sequence number of the last SYN sent on to the owner */
	__u16 first;			/* index of the first server; not self: we own it, and offer it */
	__u16 zero;
	__u64 migration;
	__u64 offered_ns;		/* when the last type 1 went out */
	__u8 zeros[56];
};

enum ipos_endpoint_state {
	IPOS_EP_PENDING = 1,		/* connection information is here, the request is not */
	IPOS_EP_ADOPTING = 2,		/* its packet is on the way into the kernel */
	IPOS_EP_ATTACHED = 3,		/* sockops saw the socket */
	IPOS_EP_CLOSED = 4,		/* the socket has ended; peers are being told */
};

struct ipos_endpoint {			/* maps `local` and `connect`: full means refuse */
	__u32 rcv_nxt;			/* an acknowledgement our kernel sent: IPOS_ANSWERS_UNREAD */
	__u32 snd_nxt;			/* end of what our kernel sent: as far as we looked */
	__u32 client_fin;		/* sequence number after the client's FIN, if flagged */
	__u32 server_fin;		/* sequence number after ours, if flagged */
	__u64 last_seen_ns;
	__u8 state;			/* enum ipos_endpoint_state */
	__u8 flags;			/* enum ipos_endpoint_flags */
	__u16 service;
	__u8 client_fin_seen;		/* bytes, not bits: ingress and egress write them at once */
	__u8 server_fin_seen;
	__u8 server_fin_acked;
	__u8 reason;			/* why it was not adopted: enum ipos_refusal */
	__u8 insert;			/* enum ipos_insert */
	__u8 insert_at;			/* place in a status line, up to where it tells nothing more */
	__u8 follow;			/* enum ipos_follow */
	__u8 learn;			/* its responses may name sessions */
	__u16 first;			/* index of the first server; self in `local` */
	__u16 giver;			/* index of who gave it to us; self: we ourselves */
	__u32 request_end;		/* followed: our kernel may have all before this */
	__u32 answer_next;		/* our sequence number up to which answers were read */
	__u32 adopt_seq;		/* sequence number of the packet to adopt from */
	__u32 rcv_need;			/* what the farm acknowledged; type 3 waits for it */
	struct ipos_handshake hs;
	__u32 endpoint_ip;		/* network */
	__u64 cookie;			/* the socket's, 0 until it exists */
	__u64 migration;
	__u64 body_left;		/* bytes of the body, or of a chunk, beyond request_end */
	__u64 answer_left;		/* the same of the answer */
	__u64 heads;			/* which of the last 64 requests were HEAD: bit n % 64 */
	__u32 asked;			/* requests our kernel was given */
	__u32 answered;			/* answers of theirs that are over */
	__u16 answer_status;
	__u16 endpoint_port;		/* network: the application's */
	__u8 client_mac[6];		/* followed: next hop towards the client */
	__u8 chunk;			/* enum ipos_chunk_state */
	__u8 answer;			/* enum ipos_answer_phase */
	__u8 answer_at;			/* place in a status line, a name or a value */
	__u8 answer_chunk;		/* enum ipos_chunk_state */
	__u8 answer_seen;		/* enum ipos_answer_seen */
	__u8 leaves;			/* enum ipos_leaves */
	__u8 zeros[48];
};

/* What of an application's answer comes next. */
enum ipos_answer_phase {
	IPOS_ANSWER_STATUS = 0,		/* a byte of its status line, up to the status */
	IPOS_ANSWER_LINE = 1,		/* the first byte of a field line; a blank one ends the head */
	IPOS_ANSWER_SKIP = 2,		/* the rest of a line that tells nothing */
	IPOS_ANSWER_LENGTH_NAME = 3,
	IPOS_ANSWER_ENCODING_NAME = 4,
	IPOS_ANSWER_LENGTH_VALUE = 5,
	IPOS_ANSWER_ENCODING_VALUE = 6,
	IPOS_ANSWER_BODY = 7,		/* answer_left bytes */
	IPOS_ANSWER_CHUNKS = 8,
	IPOS_ANSWER_UNKNOWN = 9,	/* where it ends is not known; no more is read */
};

enum ipos_answer_seen {
	IPOS_ANSWER_SEEN_LENGTH = 1,
	IPOS_ANSWER_SEEN_ENCODING = 2,
	IPOS_ANSWER_SEEN_CHUNKED = 4,
};

/* How far the response that begins a session is. Until DONE, what is expected next. */
enum ipos_insert {
	IPOS_INSERT_NONE = 0,		/* its socket is not in `inserting` */
	IPOS_INSERT_STATUS = 1,		/* a byte of a status line */
	IPOS_INSERT_INTERIM = 2,	/* the same, of an interim response (1xx) */
	IPOS_INSERT_FIELDS = 3,		/* a byte of an interim response's field line */
	IPOS_INSERT_LINE = 4,		/* the first byte of such a line; a blank one ends it */
	IPOS_INSERT_HERE = 5,		/* a status line is out; the cookie's line comes next */
	IPOS_INSERT_DONE = 6,		/* its socket is to leave `inserting` */
	IPOS_INSERT_TEN = 7,		/* as INTERIM, behind "10": 101 would be final after all */
};

enum ipos_endpoint_flags {
	IPOS_EP_HANDSHAKE = 1,		/* our kernel shook hands itself; `reason` counts notices */
	IPOS_EP_RETRIED = 2,		/* the packet is on its way again, behind a reset */
	IPOS_EP_NOTICE_RETRIED = 4,	/* and so is the notice that follows it */
	IPOS_EP_MOVING = 8,		/* offered to another server; the socket is still ours */
	IPOS_EP_WAITING = 16,		/* the next request is held, here */
	IPOS_EP_LIVE = 32,		/* it was another server's before, with a socket there */
};

/* What is known of where the next request of a connection starts. */
enum ipos_follow {
	IPOS_FOLLOW_NOT = 0,		/* the service decides once */
	IPOS_FOLLOW_LENGTH = 1,		/* at request_end + body_left */
	IPOS_FOLLOW_CHUNKED = 2,	/* behind a body whose end it says itself */
	IPOS_FOLLOW_OPAQUE = 3,		/* there will be none */
	IPOS_FOLLOW_UPGRADE = 4,	/* none if the application answers 101; nothing goes up before */
	IPOS_FOLLOW_CONNECT = 5,	/* the same, if it answers 2xx */
};

/* Whether a request whose chunks are read is to leave HTTP behind them. */
enum ipos_leaves {
	IPOS_LEAVES_NOT = 0,
	IPOS_LEAVES_ASKED = 1,
	IPOS_LEAVES_TAKEN = 2,		/* the application has answered 101 before it had them all */
};

/* What comes next in a chunked body (RFC 9112 7.1). */
enum ipos_chunk_state {
	IPOS_CHUNK_FIRST = 0,		/* the first digit of a size */
	IPOS_CHUNK_SIZE = 1,		/* another one, or what ends it */
	IPOS_CHUNK_LINE = 2,		/* the rest of the size's line */
	IPOS_CHUNK_DATA = 3,		/* body_left bytes */
	IPOS_CHUNK_CR = 4,		/* the line end behind them */
	IPOS_CHUNK_LF = 5,
	IPOS_CHUNK_TRAILER = 6,		/* the first byte of a trailer line; a blank one ends it all */
	IPOS_CHUNK_FIELD = 7,		/* the rest of such a line */
	IPOS_CHUNK_END = 8,		/* the last LF */
	IPOS_CHUNK_WRONG = 9,		/* no chunk begins like this: nothing more goes up */
	IPOS_CHUNK_OVER = 10,		/* behind the last LF */
};

/*
 * Map `left_behind`, LRU: a connection that was ours and has moved.  Its socket's application
 * is told the end, and what it still sends is swallowed; packets that the first server sends
 * us until it hears of the move go on.  A row that is lost was the longest gone.
 */
struct ipos_left {
	__u64 told_ns;			/* when the first server was told */
	__u64 migration;		/* the number it went with */
	__u32 next;			/* the sequence number our kernel expects of the client */
	__u32 iss;
	__u32 destination_ip;		/* network */
	__u16 destination_port;		/* network */
	__u16 server;			/* index of who has it; 0: it was reset or answered */
	__u16 first;			/* index of the first server */
	__u16 zero;
	__u32 zero2;
};

enum ipos_temporary_state {
	IPOS_TEMP_OPEN = 1,		/* handshake done, nothing acknowledged */
	IPOS_TEMP_CLOSED = 2,		/* ended; its cookie opens nothing any more */
	IPOS_TEMP_SYN = 3,		/* select on connection: the SYN went to `server` */
	IPOS_TEMP_RESET = 5,		/* ended by our reset, which late segments get again */
	IPOS_TEMP_SYN_HERE = 4,		/* the same at the owner; `server` is the first server */
};

struct ipos_temporary {			/* map `temporary`, LRU: losing a row loses nothing */
	struct ipos_handshake hs;
	__u8 state;			/* enum ipos_temporary_state */
	__u8 zero;
	__u16 server;			/* SYN: where it went; SYN_HERE: where it came from */
	__u64 created_ns;
	__u64 last_seen_ns;
	__u32 client_end;		/* CLOSED: after the client's last byte (its FIN counts) */
	__u16 port;			/* SYN: network, the application's */
	__u16 zero2;
};

struct ipos_range { __u16 start, end; };	/* of request bytes, from irs + 1 */

struct ipos_holding {			/* map `holding`: full means drop, unacknowledged */
	struct ipos_handshake hs;
	__u16 held;			/* bytes in order from irs + 1 */
	__u16 acknowledged;		/* of those, how many the client was told of */
	__u16 parsed;			/* of those, how many the head parser has seen */
	__u8 unacknowledged;		/* segments since the last acknowledgement */
	__u8 head_state;		/* of the parser */
	__u8 complete;			/* the head is all here */
	__u8 fin;			/* a FIN follows the held bytes */
	__u16 service;
	__u16 window;			/* the client's last, unscaled */
	__u8 client_mac[6];		/* next hop towards the client */
	struct ipos_range ranges[IPOS_RANGES];	/* out of order, beyond `held`; end 0: unused */
	__u64 refused;			/* servers that said no: bit index % 64 */
	__u64 created_ns;
	__u64 last_seen_ns;
	__u32 chunks[IPOS_CHUNKS];	/* index + 1 in `hold_pool`; 0: none */
	__u32 head_left;		/* of the parser: bytes of a record or frame still missing */
	__u16 server;			/* chosen already; 0: not yet; answered: who is told the end */
	__u16 port;			/* network: the application's there */
	__u16 pool;			/* whom it was chosen from */
	__u8 again;			/* why it is decided again: enum ipos_reason; 0: it is not */
	__u8 moving;			/* a later request of a connection that is ours */
	__u32 head_more;		/* of the parser: the rest of its state */
	__u32 client_end;		/* answered: what we acknowledge, from a refused head on */
	__u16 answer;			/* bytes of our answer, in the first piece; 0: none was given */
	__u8 body;			/* of a request decided: enum ipos_body */
	__u8 late;			/* moving: it did not end in time */
	__u8 redirect;			/* the client is to be sent to `server` */
	__u8 session;			/* of the last decision: enum choice_session */
	__u16 rule;			/* likewise: number of the rule that gave the pool */
	__u32 iss, irs;			/* of the connection; hs has those of the stream from here on */
	__u64 request_len;		/* and its bytes as far as they are known in advance */
	__u64 migration;		/* number of the last offer */
	__u32 silent;			/* enum ipos_silent */
	__u32 zero;
};

/*
 * Of a first flight of HTTP/2 that has asked for nothing: its client's next packet decides, or
 * the agent's frame, whichever takes it out of WAITS.  They may run on two CPUs at once.
 */
enum ipos_silent {
	IPOS_SILENT_NO = 0,
	IPOS_SILENT_WAITS = 1,
	IPOS_SILENT_OVER = 2,		/* decided without a request */
};

struct ipos_chunk { __u8 bytes[IPOS_CHUNK]; };

struct ipos_prefix {			/* map `deny`, LPM trie, value __u8 */
	__u32 prefix_len;
	__u32 ip;			/* network */
};

struct ipos_captured {			/* ring `captured`; then the bytes */
	__u64 when_ns;			/* boottime clock */
	__u32 ifindex;
	__u32 length;			/* of the frame */
	__u32 captured;			/* of it, how many follow */
	__u32 outbound;			/* 1: we sent it */
};

/* ---- decisions: what `ipos watch` and the access log tell ------------------------------------- */

enum ipos_outcome {
	IPOS_OUTCOME_NEW = 1,		/* decided for the first time */
	IPOS_OUTCOME_AGAIN = 2,		/* decided again */
	IPOS_OUTCOME_MOVED = 3,		/* a live connection goes to another server */
	IPOS_OUTCOME_REFUSED = 4,	/* nobody serves it: its client is reset */
	IPOS_OUTCOME_TAKEN = 5,		/* what another server decided has a socket here */
	IPOS_OUTCOME_STAYS = 6,		/* a later request stays where its connection is */
};

/* Append only, never renumbered: the texts are what logs and `ipos watch` say. */
enum ipos_reason {
	IPOS_REASON_POLICY = 1,		/* the policy's choice */
	IPOS_REASON_REFUSED = 2,	/* the server chosen before refused it */
	IPOS_REASON_OWNER_DOWN = 3,	/* the server chosen before is down */
	IPOS_REASON_NOT_ADOPTED = 4,	/* this server's kernel did not take it */
	IPOS_REASON_FORWARD_FULL = 5,	/* the Forward table has no room */
	IPOS_REASON_TABLE_FULL = 6,	/* the Local table has no room */
	IPOS_REASON_NO_SERVER = 7,	/* no server is ready for the service */
	IPOS_REASON_OFFERED = 8,	/* the first server's decision */
	IPOS_REASON_REDIRECTED = 9,	/* the client is sent to the server's own name */
	IPOS_REASON_SESSION = 10,	/* the server of its session */
	IPOS_REASON_SESSION_MOVED = 11,	/* the server of its session serves no more */
	IPOS_REASON_SESSION_AWAY = 12,	/* the server of its session may not have this request */
	IPOS_REASON_MAY_STAY = 13,	/* its route and its session let it stay */
	IPOS_REASON_HEAD = 14,		/* its head is refused */
	IPOS_REASON_TIMEOUT = 15,	/* its head did not end in time */
	IPOS_REASON_UNREAD = 16,	/* the policy's choice for HTTP/2 that named no host or path */
};

enum ipos_decision_flags {
	IPOS_DECISION_LOGGED = 1,	/* drawn for the access log */
	IPOS_DECISION_HOST_CUT = 2,	/* the host is longer than what is here of it */
	IPOS_DECISION_PATH_CUT = 4,
};

#define IPOS_DECISION_HOST_MAX 64
#define IPOS_DECISION_PATH_MAX 128

struct ipos_decision {			/* ring `decisions` */
	__u16 length;			/* of this struct: readers take what they know of it */
	__u16 rule;			/* number of the rule that gave the pool; 0: none */
	__u8 outcome;			/* enum ipos_outcome */
	__u8 reason;			/* enum ipos_reason */
	__u16 service;			/* index in `services` */
	__u16 server;			/* index of the server chosen; 0: nobody */
	__u16 first;			/* index of the first server */
	__u16 pool;			/* index in `pools`; of no meaning without a server */
	__u8 flags;			/* enum ipos_decision_flags */
	__u8 refusal;			/* REASON_HEAD: enum ipos_ambiguity */
	__u64 when_ns;			/* boottime clock */
	struct ipos_tuple tuple;
	__u8 host_len;			/* 0: it names none, or none was read */
	__u8 path_len;
	__u8 zero[6];
	__u8 host[IPOS_DECISION_HOST_MAX];	/* lower case, without port; zero padded */
	__u8 path[IPOS_DECISION_PATH_MAX];	/* normalised, without query */
};

/* ---- counters: append only, never renumbered ----------------------------------------------- */

#define IPOS_COUNTERS(X) \
	/* drops: the frame ends here */ \
	X(0, DROP_MALFORMED, "a header is cut short or contradicts itself") \
	X(1, DROP_DENIED, "the source is in the deny set") \
	X(2, DROP_FRAGMENT, "an IP fragment for a service") \
	X(3, DROP_IP_OPTIONS, "IP options in a packet for a service") \
	X(4, DROP_NO_COOKIE, "no such connection, and the acknowledgement is no valid cookie") \
	X(5, DROP_COOKIE_USED, "a late duplicate of a connection that has ended") \
	X(6, DROP_BAD_SEQUENCE, "a sequence number outside the unattached endpoint's window") \
	X(7, DROP_BAD_FLAGS, "a combination of TCP flags that no state expects") \
	X(8, DROP_NO_SERVER, "no server is ready for the service; answered by RST") \
	X(9, DROP_HOLD_FULL, "the hold pool or its table has no room; the client sends again") \
	X(10, DROP_HEAD_TOO_LONG, "a request head longer than the window; answered by 431") \
	X(11, DROP_TABLE_FULL, "a connection table has no room") \
	X(12, DROP_FRAME_ON_FRONT, "an ipOS frame from the front side") \
	X(13, DROP_FRAME_FOREIGN, "an ipOS frame from a MAC address that is no member's") \
	X(14, DROP_FRAME_SHORT, "an ipOS frame cut short") \
	X(15, DROP_FRAME_CHECKSUM, "an ipOS frame with a wrong checksum") \
	X(16, DROP_FRAME_TYPE, "an ipOS frame of a type this version does not know") \
	X(17, DROP_FRAME_TAG, "an ipOS frame with a wrong tag") \
	X(18, DROP_FRAME_UNKNOWN, "an ipOS frame for a connection that is not here") \
	X(19, DROP_FRAME_ISS, "an ipOS frame of another incarnation of the connection") \
	X(20, DROP_FRAME_VERSION, "a control block of another version") \
	X(21, DROP_NOT_ADOPTED, "no socket: no listener, a full accept queue, or a live four-tuple") \
	X(22, DROP_OWNER_DOWN, "the owner of the connection is down; answered by RST") \
	X(23, DROP_EMIT, "the kernel could not build or send a frame") \
	X(24, DROP_OUT_OF_ORDER, "a migrated packet ahead of the one to adopt from") \
	X(25, DROP_FRAME_LOCATE, "a locate frame that is not for us") \
	X(26, DROP_BAD_CHECKSUM, "an IP or TCP checksum that is wrong, before an endpoint exists") \
	X(27, DROP_BACK_DIRECT, "a client's packet on the back interface") \
	X(28, DROP_FRAME_ELSEWHERE, "an ipOS frame to another MAC address, flooded by a switch") \
	X(29, DROP_AHEAD, "a segment ahead of a request head that is not all here; it comes again") \
	X(30, DROP_LOOP, "a packet that went round between servers until its TTL ran out") \
	X(31, DROP_MOVED, "sent by an application whose connection has moved to another server") \
	/* events: the frame went on, or an answer went out */ \
	X(64, SYN_ACK, "handshakes answered") \
	X(65, COOKIE_ACCEPTED, "acknowledgements that proved a cookie") \
	X(66, ADOPTED, "sockets the kernel made of our endpoints") \
	X(67, SERVED_HERE, "requests decided for this server") \
	X(68, MIGRATED, "requests decided for another server") \
	X(69, CHOSEN_AGAIN, "decisions repeated after a refusal") \
	X(70, REFUSED, "endpoints we refused (type 7 sent)") \
	X(71, FORWARDED, "client packets encapsulated") \
	X(72, DECAPSULATED, "client packets taken out of frames") \
	X(73, ACKNOWLEDGED, "migrations acknowledged to us (type 3 received)") \
	X(74, CLOSED, "connections that ended here") \
	X(75, HELD, "request segments held") \
	X(76, HOLD_ACKED, "acknowledgements sent for held segments") \
	X(77, RST_SENT, "resets sent to clients") \
	X(78, FIN_ANSWERED, "connections closed before any request") \
	X(79, KEEPALIVE_ANSWERED, "keepalives answered for unattached endpoints") \
	X(80, TIME_WAIT_ENDED, "TIME_WAIT sockets ended in our kernel") \
	X(81, SYN_FORWARDED, "SYNs given to the selected server's kernel") \
	X(82, FRAMES_SENT, "ipOS frames sent") \
	X(83, FRAMES_RECEIVED, "ipOS frames accepted") \
	X(84, ICMP_FORWARDED, "ICMP errors sent on to the owner") \
	X(85, FIN_REPEATED, "retransmitted FINs answered after the end") \
	X(86, ACK_REPEATED, "acknowledgements repeated for duplicates") \
	X(87, CAPTURE_LOST, "frames the capture ring had no room for") \
	X(88, HEAD_TIMEOUT, "held requests given up after the header timeout") \
	X(89, PASSED, "frames that are not ours, untouched") \
	X(90, ABSORBED, "acknowledgements that needed no answer") \
	X(91, ENDED_UNSEEN, "endpoints whose socket the agent found gone") \
	X(92, TIME_WAIT_SWEPT, "TIME_WAIT sockets that the agent ended, a second late") \
	X(93, PROBE_ANSWERED, "probes of other servers' agents answered (type 9 sent)") \
	X(94, DECISION_LOST, "decisions the ring had no room for, watched or logged") \
	X(95, ANSWERED, "requests answered by the iNIC itself") \
	X(96, ANSWER_REPEATED, "such answers sent again") \
	X(97, ANSWER_ACKED, "acknowledgements sent behind such answers") \
	X(98, ANSWER_EXPIRED, "answered clients that had not closed by the header timeout") \
	X(100, SESSION_KEPT, "requests decided for the server that has their session") \
	X(101, SESSION_MOVED, "sessions whose server serves no more: chosen anew") \
	X(102, SESSION_BEGUN, "session cookies inserted into responses") \
	X(103, SESSION_UNTOLD, "responses that could not be given a session cookie") \
	X(104, MOVED, "live connections given to another server between two requests") \
	X(105, MOVE_TOLD, "moves of connections we are the first server of (type 6 received)") \
	X(106, BOUNCED, "packets sent on by a server that has given their connection on") \
	X(107, COOKIE_LEARNED, "applications' session cookies noticed in responses") \
	X(108, COOKIE_FORGOTTEN, "session cookies that applications have deleted") \
	X(109, COOKIE_HEARD, "rows of the Cookie map that other servers told (types 10 and 11)") \
	X(110, COOKIE_UNTOLD, "rows of the Cookie map that could not be told by frame at once") \
	X(111, SESSION_ELSEWHERE, "requests that the server of their session may not have") \
	X(112, REDIRECTED, "requests answered with a redirect to a server's own name") \
	X(113, SILENCE_ENDED, "connections of HTTP/2 let in without a request: their clients wait") \
	X(114, OWNER_LOST, "connections whose owner died: the agent has sent their clients a reset")

#define IPOS_COUNTERS_MAX 128
#define IPOS_COUNTERS_AMBIGUOUS 32	/* + enum ipos_ambiguity: AMBIGUOUS_* */

enum ipos_counter {
#define X(number, name, text) COUNT_##name = number,
	IPOS_COUNTERS(X)
#undef X
#define X(number, name, text) COUNT_AMBIGUOUS_##name = IPOS_COUNTERS_AMBIGUOUS + number,
	IPOS_AMBIGUITIES(X)
#undef X
};

#endif /* IPOS_H */
