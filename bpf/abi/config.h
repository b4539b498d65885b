/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the agent writes: settings, servers, services, pools, routes, sessions. */
#ifndef IPOS_ABI_CONFIG_H
#define IPOS_ABI_CONFIG_H

#include "abi/limits.h"

/* ---- settings: written by the agent, read by every program ---- */

enum ipos_settings_flags {
	IPOS_AUTHENTICATE = 1,	 /* back frames need a valid tag */
	IPOS_CAPTURE = 2,	 /* copy frames into the capture ring */
	IPOS_WATCH = 4,		 /* report decisions into the decision ring */
	IPOS_ANSWERS_UNREAD = 8, /* no service moves connections or adds or learns cookies, nor
					 * has one since the data plane was loaded, nor has it
					 * drained */
	IPOS_KEYS_CHANGE = 16,	 /* what is made under the other key is believed, too */
	IPOS_ALL_ANSWER = 32,	 /* every server that is up hears our questions: without an
					 * answer a connection has no owner, and is reset */
	IPOS_DRAINS = 64,	 /* this server is to lose its connections: see tc/join.h */
	IPOS_FLOWS = 128,	 /* some service is UDP */
	IPOS_BOXES = 256,	 /* some service's application is, or was, in a container */
};

struct ipos_uplink {   /* one way by which clients come, and the front interface of it */
	__be32 prefix; /* service addresses in this network are the uplink's */
	__be32 mask;
	__u32 ifindex;
	__u8 mac[6];
	__u16 zero;
};

struct ipos_settings { /* map `settings`, one element */
	__u32 abi;
	__u32 flags; /* enum ipos_settings_flags */
	__u32 front_ifindex;
	__u32 back_ifindex; /* may equal front_ifindex */
	__u16 front_vlan;   /* 0: untagged */
	__u16 back_vlan;
	__u16 ethertype; /* of our frames, host order */
	__u16 self;	 /* this server's index in `servers` */
	__u8 front_mac[6];
	__u8 back_mac[6];
	__be32 self_ip;		  /* the first of our addresses */
	__u64 wall_offset_ns;	  /* realtime clock minus boottime clock */
	__u64 slept_ns;		  /* boottime clock minus monotonic clock */
	__u64 frame_key[2];	  /* SipHash key of tags: bytes 0-7 and 8-15, little-endian */
	__u64 learn_key[2];	  /* the same, of learned cookies' values */
	__u64 other_frame_key[2]; /* believed too, while keys change: IPOS_KEYS_CHANGE */
	__u64 other_learn_key[2];
	__u64 vouch; /* this server's own: XDP marks our frames with it for tc */
	__u32 header_timeout_ms;
	__u32 idle_s;
	__u32 hold_pieces;	 /* of the hold pool; 0: networks have no shares of it */
	__u32 guesses;		 /* wrong cookies a second of one source; 0: no limit */
	__u32 silent_s;		 /* how long a client may send nothing at all */
	__u32 waiting_s;	 /* how long a later request may wait for its turn */
	__u32 withheld;		 /* enum ipos_options that some server's kernel refuses */
	__u32 own_ifindex;	 /* of the pair that own programs leave by: their end; 0: none */
	__u32 own_front_ifindex; /* and ours, which is another front */
	__u16 locates;		 /* questions (type 5) a second; 0: nothing is located */
	__u16 locates_source;	 /* the same, about packets of one source */
	__u32 out_ifindex;	 /* by which clients are routed to: front, or its VLAN's */
	__u32 uplinks;		 /* in use; 0: front is the only interface for clients */
	struct ipos_uplink uplink[IPOS_UPLINKS_MAX]; /* the first `uplinks` */
};

struct ipos_guesses {	/* map `guesses` */
	__u64 since_ns; /* boottime clock: the second it counts */
	__u32 wrong;
	__u32 zero;
};

struct ipos_epoch_key { /* map `cookie_keys`, slot = epoch % IPOS_EPOCHS */
	__u64 key[2];
	__u64 other[2]; /* believed too, while the farm's secret changes */
	__u32 epoch;	/* the slot holds this epoch's key and no other's */
	__u32 valid;	/* enum ipos_key_valid */
};

enum ipos_key_valid { IPOS_KEY_VALID = 1, IPOS_KEY_OTHER = 2 };

/* ---- servers, services, pools ---- */

enum ipos_server_state {
	IPOS_SERVER_NONE = 0, /* no such server */
	IPOS_SERVER_READY = 1,
	IPOS_SERVER_DRAIN = 2, /* keeps what it has, gets nothing new */
	IPOS_SERVER_MAINT = 3,
	IPOS_SERVER_DOWN = 4,
};

struct ipos_server {	/* map `servers`, by index; Figure 12 "Server state" */
	__be32 address; /* first service address, the row's key */
	__be32 back_ip;
	__u8 mac[6]; /* of its back interface */
	__u8 state;  /* enum ipos_server_state */
	__u8 stale;  /* 1: the row is old, the server is not known to be down */
	__u32 tcp_connections;
	__u16 cpu_permille;
	__u8 memory_short;	   /* percent: 0 has enough, from 90 less than it needs */
	__u8 bandwidth_short;	   /* percent of the front link that is in use */
	__u64 memory_available;	   /* bytes */
	__u64 bandwidth_available; /* bits per second */
	__u64 updated_ns;	   /* boottime clock, when the row came */
	__s64 base;		   /* sent - closed of `traffic` when the row came */
	__u32 limit;		   /* connections it takes at most; 0: no limit */
	__u32 sent;		   /* low half of `sent` of `traffic` when the row came */
};

struct ipos_traffic { /* map `traffic`, by server; the data plane writes it */
	__s64 sent;   /* endpoints this server gave it */
	__s64 closed; /* and how many of them have ended */
};

enum ipos_select { IPOS_SELECT_REQUEST = 0, IPOS_SELECT_CONNECTION = 1 };

enum ipos_decide { IPOS_DECIDE_CONNECTION = 0, IPOS_DECIDE_REQUEST = 1 };

/* What clients of a service speak, where it selects on request; of a request, what it may be. */
enum ipos_mode {
	IPOS_MODE_AUTO = 0, /* TLS by its ClientHello, HTTP/2 by preface, or HTTP/1 */
	IPOS_MODE_HTTP = 1, /* the same without TLS */
	IPOS_MODE_TLS = 2,
	IPOS_MODE_TCP = 3,   /* anything: decided at its first byte, and never read */
	IPOS_MODE_ANY = 4,   /* the same, if no rule needs it: read for who watches */
	IPOS_MODE_LATER = 5, /* no service's: what follows a request of HTTP/1 */
	IPOS_MODE_QUIC = 6,  /* UDP: chosen by the ClientHello of its first flight */
};

/* What becomes of a request of a service while no server has its application. */
enum ipos_starts {
	IPOS_STARTS_NOT = 0,	/* it is refused */
	IPOS_STARTS_WAIT = 1,	/* it waits, and a server is to start the application */
	IPOS_STARTS_FAILED = 2, /* it is refused, because no server could start the application */
};

enum ipos_policy {
	IPOS_LEAST_LOADED = 0, /* two random candidates, the less loaded wins */
	IPOS_ROUND_ROBIN = 1,
	IPOS_RANDOM = 2,
	IPOS_FIXED = 3,		    /* the first candidate that is ready */
	IPOS_LEAST_CONNECTIONS = 4, /* of all; ties at random */
	IPOS_WEIGHTED = 5,	    /* in turn, each as often as its weight says */
	IPOS_SOURCE_HASH = 6,	    /* by the client's address, through `slots` */
	IPOS_LEAST_CPU = 7,	    /* two random candidates, the one with more CPU left wins */
};

struct ipos_address_key { /* map `addresses` */
	ipos_ip ip;
	__be16 port;   /* 0 with protocol 0: some service has the address */
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 zero;
};

struct ipos_address {
	__u16 service; /* index in `services` */
	__u16 holder;  /* index of the server whose configuration lists the address */
	__u8 arp;      /* enum ipos_arp, in the row of the address alone: port 0 */
	__u8 asks; /* 1: another server had its packets until lately: a cookie may have an owner */
	__u8 zero[2];
};

enum ipos_arp { /* what answers on front when a neighbour asks for the address */
		IPOS_ARP_KERNEL = 0, /* this server's kernel, where it has the address */
		IPOS_ARP_ANSWER = 1, /* XDP: this server holds the address */
		IPOS_ARP_SILENT = 2, /* nothing: another server holds it */
};

#define IPOS_GATE_PORTS 8192	 /* bytes with a bit for every port */
#define IPOS_GATE_ADDRESSES 1024 /* bytes with a bit for 2^13 kinds of address */
/*
 * An address * this >> 19 is its kind, modulo 2^32.  Of IPv6 the exclusive or of its four words is
 * taken for one.
 */
#define IPOS_GATE_MIX 0x9e3779b1U

/*
 * Map `gates`, one element: look-ups that need not be made.  All zeros is always right.  Bit n is
 * bit n % 8 of byte n / 8.  A bit that was cleared is never set again: connections of a service may
 * outlive it.
 */
struct ipos_gates {
	__u8 foreign_ports[IPOS_GATE_PORTS];	     /* no service ever had this port */
	__u8 foreign_addresses[IPOS_GATE_ADDRESSES]; /* nor an address of this kind */
	__u32 deny_empty;			     /* 1: `deny` has no rows */
	__u32 deny6_empty;			     /* 1: `deny6` has none */
};

struct ipos_service { /* map `services`, by index */
	__u8 protocol;
	__u8 select;	       /* enum ipos_select */
	__u8 used;	       /* 1: there is such a service */
	__u8 decide;	       /* enum ipos_decide */
	__u16 pool;	       /* index in `pools`: where requests go by default */
	__be16 port;	       /* clients connect to this */
	__be32 application_ip; /* our own listener; 0: any address */
	__be16 application_port;
	__u16 listening;    /* index in `pools`: all that could serve some request */
	__u32 log;	    /* logged if a random number is not above it; 0: none */
	__u8 mode;	    /* enum ipos_mode */
	__u8 own_refused;   /* 1: a program of this server's own may not connect to it */
	__u16 flow_idle_s;  /* UDP: a flow is over after so many seconds without a datagram */
	__be32 listener_ip; /* of its application, if not any; 0: any, or `application_ip` */
	__u32 box;	 /* our end of the wire to its application's container; 0: it is in none */
	__u32 box_netns; /* 1 + the id of that container's network namespace; 0: ours */
	__u16 start_s;	 /* how long a request may wait until its application is started */
	__u8 starts;	 /* enum ipos_starts */
	__u8 own_only;	 /* 1: its clients are own programs of the farm's servers, and no others */
	__u8 id_at, id_bytes; /* MODE_QUIC: a server's number in connection IDs; 0 bytes: none */
	__u8 zero[2];
	ipos_ip6 application_ip6; /* as `application_ip` and `listener_ip`, of IPv6 */
	ipos_ip6 listener_ip6;
};

struct ipos_candidate {
	__u16 server; /* index in `servers` */
	__be16 port;  /* the application's port there */
	__u16 weight; /* 1 to 65535 */
	__u16 ramp;   /* slow start: of IPOS_RAMP_FULL */
	__u32 upto;   /* the sum of weights up to this one's */
};

struct ipos_pool {   /* map `pools`, by index */
	__u8 policy; /* enum ipos_policy */
	__u8 zero[3];
	__u32 count;	  /* candidates in use */
	__u32 turn;	  /* round-robin, weighted; the data plane counts it up */
	__u32 firsts;	  /* servers that decide by the same rows; 0 counts as 1 */
	__u16 ramp_least; /* of all candidates */
	__u16 ramp_most;  /* of those whose servers are up, when it was written */
	__u16 even;	  /* the weight of each; 0: they differ */
	__u16 mean;	  /* the mean of their weights, rounded down */
	__u32 zeros;	  /* a 0 that the verifier does not know */
	struct ipos_candidate candidates[IPOS_CANDIDATES_MAX]; /* the first `count`, by `server` */
};

/* ---- URL map: where a request goes by its host and path ---- */

struct ipos_rule {    /* map `paths`, LPM trie */
	__u16 pool;   /* index in `pools` */
	__u16 length; /* of its path: the longest wins */
	__u16 number; /* its place in the configuration, from 1; 0: no rule */
	__u16 zero;
};

struct ipos_pattern {	       /* map `patterns`: the rules of one host pattern */
	struct ipos_rule root; /* for every path */
	__u32 wider;	       /* the next pattern that fits all hosts of this; 0: none */
	__u16 longest;	       /* path of its rules in `paths`; 0: none are there */
	__u16 zero;
};

/* An exact path has a zero byte behind it; a protocol has one before and one behind. */
struct ipos_path_key {	  /* map `paths` */
	__u32 prefix_len; /* in bits, of what follows */
	__be32 pattern;	  /* index in `patterns` */
	__u8 path[IPOS_RULE_PATH_ROOM];
};

struct ipos_host_key {			/* map `hosts`, of longer names: index in `patterns` */
	__u32 scope;			/* bank * IPOS_SERVICES_MAX + service */
	__u8 name[IPOS_RULE_HOST_ROOM]; /* *.example.org is .example.org; zero padded */
};

struct ipos_short_host_key { /* map `short_hosts`: the beginning of a host's key */
	__u32 scope;
	__u8 name[IPOS_SHORT_HOST];
};

struct ipos_urls {	 /* map `urls`, by bank * IPOS_SERVICES_MAX + service */
	__u32 any;	 /* the pattern that fits every host; 0: it has no rules */
	__u16 pool;	 /* index in `pools`: for requests that no rule fits */
	__u16 wildcards; /* bit n: some have n labels behind the asterisk */
	__u8 used;	 /* 1: the service has rules or a pool */
	__u8 hosts;	 /* 1: some rules are for one host */
	__u8 protocols;	 /* 1: some rules are for one protocol that a ClientHello offers */
	__u8 zero;
};

/* ---- source-hash ---- */

/*
 * Map `slots`: the source-hash table of a pool (Maglev), which the agent fills.  Its key is
 * the pool's index * IPOS_SLOTS_BLOCKS + slot / IPOS_SLOTS_BLOCK.
 */
struct ipos_slots {
	__u16 servers[IPOS_SLOTS_BLOCK]; /* index in `servers`; 0: none that is known */
};

#endif /* IPOS_ABI_CONFIG_H */
