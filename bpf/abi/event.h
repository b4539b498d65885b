/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the data plane tells: decisions, captured frames, counters. */
#ifndef IPOS_ABI_EVENT_H
#define IPOS_ABI_EVENT_H

#include "abi/connection.h"
#include "abi/request.h"

/* ---- decisions: what `ipos watch` and the access log tell ---- */

enum ipos_outcome {
	IPOS_OUTCOME_NONE = 0,
	IPOS_OUTCOME_NEW = 1,	   /* decided for the first time */
	IPOS_OUTCOME_AGAIN = 2,	   /* decided again */
	IPOS_OUTCOME_MOVED = 3,	   /* a live connection goes to another server */
	IPOS_OUTCOME_REFUSED = 4,  /* no server serves it: its client is reset */
	IPOS_OUTCOME_TAKEN = 5,	   /* what another server decided has a socket here */
	IPOS_OUTCOME_STAYS = 6,	   /* a later request stays where its connection is */
	IPOS_OUTCOME_ANSWERED = 7, /* an answer to one that was logged is over */
};

/* Append only, never renumbered: the texts are what logs and `ipos watch` say. */
enum ipos_reason {
	IPOS_REASON_NONE = 0,		/* nothing was decided */
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
	IPOS_REASON_SESSION_MOVED = 11, /* the server of its session serves no more */
	IPOS_REASON_SESSION_AWAY = 12,	/* the server of its session may not have this request */
	IPOS_REASON_MAY_STAY = 13,	/* its route and its session let it stay */
	IPOS_REASON_HEAD = 14,		/* its head is refused */
	IPOS_REASON_TIMEOUT = 15,	/* its head did not end in time */
	IPOS_REASON_UNREAD = 16,	/* the policy's choice for HTTP/2 that named no host or
					 * path */
};

enum ipos_decision_flags {
	IPOS_DECISION_LOGGED = 1,   /* drawn for the access log */
	IPOS_DECISION_HOST_CUT = 2, /* the host is longer than what is here of it */
	IPOS_DECISION_PATH_CUT = 4,
	IPOS_DECISION_UNFINISHED = 8, /* ANSWERED: the connection has ended before the answer */
	IPOS_DECISION_BY_CLIENT = 16, /* and the client has reset it */
};

#define IPOS_DECISION_HOST_MAX 64
#define IPOS_DECISION_PATH_MAX 128

struct ipos_decision { /* ring `decisions` */
	__u16 length;  /* of this struct: readers take what they know of it */
	__u16 rule;    /* number of the rule that gave the pool; 0: none */
	__u8 outcome;  /* enum ipos_outcome */
	__u8 reason;   /* enum ipos_reason */
	__u16 service; /* index in `services` */
	__u16 server;  /* index of the server chosen; 0: none */
	__u16 first;   /* index of the first server */
	__u16 pool;    /* index in `pools`; of no meaning without a server */
	__u8 flags;    /* enum ipos_decision_flags */
	__u8 refusal;  /* REASON_HEAD: enum ipos_ambiguity */
	__u64 when_ns; /* boottime clock */
	struct ipos_tuple tuple;
	__u8 host_len; /* 0: it names none, or none was read */
	__u8 path_len;
	__u8 method;  /* enum ipos_method */
	__u8 version; /* of HTTP: 10, 11 or 20; 0: none was read */
	__u8 zero[4];
	__u8 host[IPOS_DECISION_HOST_MAX]; /* lower case, without port; zero padded */
	__u8 path[IPOS_DECISION_PATH_MAX]; /* normalised, without query */
	__u64 bytes;			   /* ANSWERED: of the answer, its head included */
	__u64 took_ns;			   /* from the request to its last byte */
	__u32 first_us;			   /* and to its first */
	__u16 status;			   /* 0: nobody has read it */
	__u16 answers;			   /* that ended with one packet */
};

/* ---- counters: append only, never renumbered ---- */

#define IPOS_COUNTERS(X) \
	/* drops: the frame ends here */ \
	X(0, DROP_MALFORMED, "a header is cut short or contradicts itself") \
	X(1, DROP_DENIED, "the source is in the deny set") \
	X(2, DROP_FRAGMENT, "an IP fragment of TCP for a service address") \
	X(3, DROP_IP_OPTIONS, "IP options in a packet for a service") \
	X(4, DROP_NO_COOKIE, "no such connection, and the acknowledgement is no valid cookie") \
	X(5, DROP_COOKIE_USED, "a late duplicate of a connection that has ended") \
	X(6, DROP_BAD_SEQUENCE, "a sequence number outside the unattached endpoint's window") \
	X(7, DROP_BAD_FLAGS, "a combination of TCP flags that no state expects") \
	X(8, DROP_NO_SERVER, "no server is ready for the packet; answered by 503, or by RST") \
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
	X(20, DROP_FRAME_VERSION, "a control block of another version, or with an unknown option") \
	X(21, DROP_NOT_ADOPTED, \
	  "no socket: no listener, a full accept queue, or a live four-tuple") \
	X(22, DROP_OWNER_DOWN, "the owner of the connection is down; answered by RST") \
	X(23, DROP_EMIT, "the kernel could not build or send a frame") \
	X(24, DROP_OUT_OF_ORDER, "a migrated packet ahead of the one to adopt from") \
	X(25, DROP_FRAME_LOCATE, \
	  "a question about a connection that is not ours, or not with these numbers") \
	X(26, DROP_BAD_CHECKSUM, "an IP or TCP checksum that is wrong, before an endpoint exists") \
	X(27, DROP_BACK_DIRECT, "a client's packet on the back interface") \
	X(28, DROP_FRAME_ELSEWHERE, "an ipOS frame to another MAC address, flooded by a switch") \
	X(29, DROP_AHEAD, \
	  "a segment ahead of a request head that is not all here; it comes again") \
	X(30, DROP_LOOP, "a packet that went round between servers until its TTL ran out") \
	X(31, DROP_MOVED, \
	  "a packet of an application whose connection has moved to another server") \
	X(150, DROP_BUSY, \
	  "a packet of a connection that another CPU is busy with; it comes again") \
	X(175, DROP_VLAN_TAGS, "a frame with nested VLAN tags, or with a tag other than 802.1Q") \
	X(176, DROP_FRAME_UNSEEN, "an ipOS frame that reached tc without having passed XDP") \
	X(177, DROP_FRAME_TIME, \
	  "an ipOS frame with a wrong time: played back, or a clock is wrong") \
	X(178, DROP_FRAME_RECEIVER, "an ipOS frame that was made for another server") \
	X(163, DROP_GUESSING, "a cookie of a source that has sent more wrong cookies than it may") \
	X(160, DROP_HOLD_SHARE, \
	  "a segment whose client's network has used its share of the hold pool; it comes again") \
	X(182, DROP_LOCATING, \
	  "a packet about whose owner all servers are being asked; it comes again") \
	X(183, DROP_LOCATE_SOURCE, \
	  "a packet of an unknown connection, whose source has used up its questions") \
	X(184, DROP_LOCATE_LIMIT, \
	  "a packet of an unknown connection, when this server has used up its questions") \
	X(181, DROP_FRAME_OFFER, \
	  "an acknowledgement of an offer that is not the connection's last one") \
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
	X(96, ANSWER_REPEATED, "responses of the iNIC itself that were sent again") \
	X(97, ANSWER_ACKED, "acknowledgements sent after responses of the iNIC itself") \
	X(98, ANSWER_EXPIRED, "clients answered by the iNIC that did not close in time") \
	X(100, SESSION_KEPT, "requests decided for the server that has their session") \
	X(101, SESSION_MOVED, "sessions chosen anew, because their server serves no more") \
	X(102, SESSION_BEGUN, "session cookies inserted into responses") \
	X(103, SESSION_UNTOLD, "responses that could not be given a session cookie") \
	X(190, DROP_LINE, "part of a response whose session cookie cannot be written again") \
	X(104, MOVED, "live connections given to another server between two requests") \
	X(105, MOVE_TOLD, "moves of connections we are the first server of (type 6 received)") \
	X(141, DROP_BAD_ACK, \
	  "a segment of a request without acknowledgement, or with one of unsent bytes") \
	X(142, DROP_OLD, "a segment of a request whose timestamp is older than the last one") \
	X(143, WENT_ROUND, \
	  "packets that were put into ingress once more, after the packets before them") \
	X(144, READ_AGAIN, \
	  "times that bytes were read again, because our kernel had not taken them") \
	X(145, READ_LOST, \
	  "connections reset because our kernel lost some bytes that were read and kept others") \
	X(140, URGENT_CLEARED, "segments that were freed of urgent data") \
	X(106, BOUNCED, "packets sent on by a server that has given their connection on") \
	X(107, COOKIE_LEARNED, "applications' session cookies noticed in responses") \
	X(108, COOKIE_FORGOTTEN, "session cookies that applications have deleted") \
	X(109, COOKIE_HEARD, "rows of the Cookie map heard from other servers (types 10 and 11)") \
	X(110, COOKIE_UNTOLD, "rows of the Cookie map that could not be sent in a frame at once") \
	X(111, SESSION_ELSEWHERE, "requests that the server of their session may not have") \
	X(112, REDIRECTED, "requests answered with a redirect to a server's own name") \
	X(113, SILENCE_ENDED, \
	  "connections of HTTP/2 decided without a request, because the client waits") \
	X(180, GHOSTS_ENDED, \
	  "sockets ended because the first server had reset or forgotten the connection") \
	X(115, LOCATE_ASKED, "packets about whose owner all servers were asked (type 5 sent)") \
	X(116, LOCATED, "rows of Forward made anew, because an owner answered (type 12 received)") \
	X(117, LOCATE_ANSWERED, \
	  "questions about our connections that were answered (type 12 sent)") \
	X(118, LOCATE_NOBODY, "packets of connections that no server has; answered by RST") \
	X(119, FORGOTTEN, \
	  "rows of Forward, and held requests, that a server forgot because it had been away") \
	X(179, FRAMES_OTHER_KEY, \
	  "ipOS frames accepted under the second key while the secret is changed") \
	X(151, ASKED_LATER, \
	  "requests that no server had room for: offered again when they come again") \
	X(152, DROP_DENIAL_EARLY, \
	  "an owner's denial of a packet that may have arrived before our offer") \
	X(114, OWNER_LOST, \
	  "connections whose clients the agent has reset, because their owner died") \
	X(128, UNAVAILABLE, "requests answered by 503, because no allowed server is left") \
	X(161, UNTAKEN, "clients reset because no server took their whole request in time") \
	X(162, WAITED, "clients reset because the turn of a later request did not come in time") \
	X(164, COOKIE_EXPIRED, "segments with a right cookie that is too old; answered by RST") \
	X(165, SILENT_CLOSED, "clients reset because they connected and sent nothing in time") \
	X(255, DROP_ARP_ELSEWHERE, \
	  "ARP requests on front for a service address that another server holds") \
	X(230, OWN_PROGRAM_REFUSED, \
	  "connections of this server's own programs refused: rules may lead them elsewhere") \
	X(231, DROP_OWN_ADDRESS, \
	  "packets on front that begin a connection in the name of a server's own address") \
	X(200, HANDED_BACK, \
	  "idle connections that left their application here, to wait for their next request") \
	X(201, UNATTACHED, \
	  "idle connections that wait here for their next request, without an application") \
	X(204, HANDED_ON, \
	  "idle connections without an application, given to the new holder of their address") \
	X(203, JOINED, \
	  "connections of services that decide once, moved when their next request was found") \
	X(202, DRAIN_RESET, \
	  "connections reset because they were still here at the deadline of a drain") \
	X(232, STATE_HEARD, "states of other servers that were stored (type 13)") \
	X(233, DROP_STATE_UNKNOWN, \
	  "states of a server or an edition that this server's agent does not know") \
	X(234, DROP_STATE_OLD, "states that are no newer than the last one of their server") \
	X(205, DROP_FLOW_NO_SERVER, "a datagram of a UDP service that no server is ready for") \
	X(206, DROP_FLOW_LONG, \
	  "a datagram that may not be split and is too long for a frame; its sender is told") \
	X(207, DROP_FLOW_NO_LISTENER, \
	  "a datagram from another server that nothing here listens for") \
	X(208, DROP_FLOW_EVICTED, \
	  "a datagram whose flow's row was evicted before it could leave; it is the first again") \
	X(209, DROP_FLOW_APPLICATION, \
	  "a fragment for an application at another address or port than its client asked") \
	X(210, FLOW_NEW, "flows of UDP services that were given a server") \
	X(211, FLOW_AGAIN, \
	  "flows given another server: theirs refused, is down or in maintenance") \
	X(212, FLOW_OFFERED, "flows told to their servers (type 1 of UDP sent)") \
	X(213, FLOW_ACKNOWLEDGED, "flows that their servers have acknowledged (type 3 received)") \
	X(214, FLOW_REFUSED, "flows that we refused (type 7 of UDP sent)") \
	X(215, FLOW_KEPT, "answered flows that got a row which is never evicted") \
	X(216, FLOW_FULL, "answered flows that may be evicted, because Flow has no room") \
	X(217, FLOW_SHARE, \
	  "answered flows that may be evicted, because their client's network has used its share") \
	X(218, FLOW_SOURCE, \
	  "datagrams of applications that got the source that their client asked") \
	X(219, FLOW_SPLIT, "datagrams and fragments that travelled in two fragments") \
	X(220, FLOW_FRAGMENT_LOST, \
	  "fragments of UDP whose first one was not seen: left to this server's kernel") \
	X(221, FLOW_EXPIRED, "rows of flows taken away because no datagram came in time") \
	X(240, DROP_UPLINK, "a packet that came by another uplink than its service address's") \
	X(222, DROP_BOX_FOREIGN, "a container's packet of a connection that is not its own") \
	X(223, BOX_LOST, "connections reset because the container of their application has gone") \
	X(224, DROP_ARP_AWAY, \
	  "ARP requests not answered: this server was away, and another may hold the address") \
	X(241, DROP_EXTENSION_HEADER, \
	  "an IPv6 packet for a service address with an extension header") \
	X(242, DROP_ND_ELSEWHERE, \
	  "neighbour solicitations on front for a service address that another server holds") \
	X(243, DROP_ND_AWAY, \
	  "neighbour solicitations not answered: this server was away, as for DROP_ARP_AWAY") \
	X(228, START_AWAITED, "times that a request began or went on to wait for its application")

#define IPOS_COUNTERS_MAX 256
#define IPOS_COUNTERS_AMBIGUOUS 32 /* + enum ipos_ambiguity: AMBIGUOUS_* */

enum ipos_counter {
#define X(number, name, text) COUNT_##name = number,
	IPOS_COUNTERS(X)
#undef X
#define X(number, name, text) COUNT_AMBIGUOUS_##name = IPOS_COUNTERS_AMBIGUOUS + number,
		IPOS_AMBIGUITIES(X)
#undef X
};

#endif /* IPOS_ABI_EVENT_H */
