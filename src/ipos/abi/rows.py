# SPDX-License-Identifier: Apache-2.0
"""The enums and structs of the data plane as Python values.

Written by `make abi` from bpf/abi.

An address is an `IPv4Address` or `IPv6Address`, a port a plain number, an enum's member has its
name. Members that only fill space (`zero...`, `pad...`) are left out, and so are those that only
count what is used of an array: the array here is that long. `ipos.abi.codec` makes bytes of these
and reads them. A class that ends in 6 is of IPv6, where a row of the class without it is of IPv4.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

NOWHERE = IPv4Address(0)
NOWHERE6 = IPv6Address(0)
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17


RAMP_FULL = 256
SLOTS = 65521
SLOTS_BLOCK = 4096
SLOTS_BLOCKS = 16


class Type(IntEnum):
    """`enum ipos_type`."""

    CONNECTION = 1
    PACKET = 2
    ACKNOWLEDGEMENT = 3
    CLOSED = 4
    LOCATE = 5
    MOVED = 6
    REFUSED = 7
    PROBE = 8
    PROBE_ANSWER = 9
    LEARNED = 10
    FORGOTTEN = 11
    LOCATED = 12
    STATE = 13


class Protocol(IntEnum):
    """`enum ipos_protocol`."""

    TCP = 1
    UDP = 2
    TCP6 = 3
    UDP6 = 4


class Refusal(IntEnum):
    """`enum ipos_refusal`."""

    NONE = 0
    NO_LISTENER = 1
    QUEUE_FULL = 2
    TUPLE_LIVE = 3
    TABLE_FULL = 4
    NOT_ADOPTED = 5
    UNKNOWN = 6
    STATE = 7


class Options(IntFlag):
    """`enum ipos_options`."""

    SACK = 1
    TIMESTAMPS = 2
    WSCALE = 4
    ECN = 8
    USEC_TS = 16
    SESSION = 32
    BEGUN = 64
    LOCATED = 128


class SettingsFlags(IntFlag):
    """`enum ipos_settings_flags`."""

    AUTHENTICATE = 1
    CAPTURE = 2
    WATCH = 4
    ANSWERS_UNREAD = 8
    KEYS_CHANGE = 16
    ALL_ANSWER = 32
    DRAINS = 64
    FLOWS = 128
    BOXES = 256


class KeyValid(IntFlag):
    """`enum ipos_key_valid`."""

    VALID = 1
    OTHER = 2


class ServerState(IntEnum):
    """`enum ipos_server_state`."""

    NONE = 0
    READY = 1
    DRAIN = 2
    MAINT = 3
    DOWN = 4


class Select(IntEnum):
    """`enum ipos_select`."""

    REQUEST = 0
    CONNECTION = 1


class Decide(IntEnum):
    """`enum ipos_decide`."""

    CONNECTION = 0
    REQUEST = 1


class Mode(IntEnum):
    """`enum ipos_mode`."""

    AUTO = 0
    HTTP = 1
    TLS = 2
    TCP = 3
    ANY = 4
    LATER = 5
    QUIC = 6


class Starts(IntEnum):
    """`enum ipos_starts`."""

    NOT = 0
    WAIT = 1
    FAILED = 2


class Policy(IntEnum):
    """`enum ipos_policy`."""

    LEAST_LOADED = 0
    ROUND_ROBIN = 1
    RANDOM = 2
    FIXED = 3
    LEAST_CONNECTIONS = 4
    WEIGHTED = 5
    SOURCE_HASH = 6
    LEAST_CPU = 7


class Arp(IntEnum):
    """`enum ipos_arp`."""

    KERNEL = 0
    ANSWER = 1
    SILENT = 2


class Learn(IntEnum):
    """`enum ipos_learn`."""

    BEGIN = 0
    STATUS = 1
    LINE = 2
    FIELD = 3
    SKIP = 4
    NAME = 5
    VALUE = 6
    ATTRIBUTE = 7
    MAX_AGE = 8
    EXPIRES = 9
    OTHER = 10
    DONE = 11


class SessionKind(IntEnum):
    """`enum ipos_session_kind`."""

    NONE = 0
    INSERT = 1
    LEARN = 2
    REDIRECT = 3
    SOURCE = 4
    IDENTIFY = 5


class Grammar(IntEnum):
    """`enum ipos_grammar`."""

    UNKNOWN = 0
    HTTP1 = 1
    TLS = 2
    OPAQUE = 3
    H2 = 4


class Progress(IntEnum):
    """`enum ipos_progress`."""

    MORE = 0
    DONE = 1
    REFUSED = 2


class Body(IntEnum):
    """`enum ipos_body`."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    OPAQUE = 3
    UPGRADE = 4
    CONNECT = 5
    LEAVES = 64
    OF_HEAD = 128


class HeadState(IntEnum):
    """`enum ipos_head_state`."""

    START = 0
    VALUE = 1
    FIELD = 2
    END = 3
    TLS_TYPE = 4
    TLS_MAJOR = 5
    TLS_MINOR = 6
    TLS_LENGTH = 7
    TLS_BODY = 8
    DONE = 9
    TLS_NEXT = 10
    BLANK = 11
    H2_PREFACE = 12
    H2_FIRST = 13
    H2_NEXT = 14
    H2_HEADER = 15
    H2_PAYLOAD = 16
    BLANK_CR = 17
    METHOD = 18
    TARGET_FIRST = 19
    TARGET = 20
    VERSION = 21
    LINE_CR = 22
    NAME = 23
    START_HTTP = 24
    START_TLS = 25
    START_OPAQUE = 26


class RequestFlags(IntFlag):
    """`enum ipos_request_flags`."""

    HEAD = 1
    HTTP10 = 2
    CLOSE = 4
    KEEP_ALIVE = 8
    CONTINUE = 16
    PATH_CUT = 32
    UNREAD = 64


class Method(IntEnum):
    """`enum ipos_method`."""

    NONE = 0
    GET = 1
    HEAD = 2
    POST = 3
    PUT = 4
    DELETE = 5
    CONNECT = 6
    OPTIONS = 7
    TRACE = 8
    PATCH = 9


class Role(IntEnum):
    """`enum ipos_role`."""

    FORWARD = 0
    LOCAL = 1
    CONNECT = 2
    HOLDING = 3


class EndpointState(IntEnum):
    """`enum ipos_endpoint_state`."""

    NONE = 0
    PENDING = 1
    ADOPTING = 2
    ATTACHED = 3
    PREPARED = 4


class AnswerPhase(IntEnum):
    """`enum ipos_answer_phase`."""

    STATUS = 0
    LINE = 1
    SKIP = 2
    LENGTH_NAME = 3
    ENCODING_NAME = 4
    LENGTH_VALUE = 5
    ENCODING_VALUE = 6
    BODY = 7
    CHUNKS = 8
    UNKNOWN = 9


class AnswerSeen(IntFlag):
    """`enum ipos_answer_seen`."""

    LENGTH = 1
    ENCODING = 2
    CHUNKED = 4


class Insert(IntEnum):
    """`enum ipos_insert`."""

    NONE = 0
    STATUS = 1
    INTERIM = 2
    FIELDS = 3
    LINE = 4
    HERE = 5
    DONE = 6
    TEN = 7
    SENT = 8


class EndpointFlags(IntFlag):
    """`enum ipos_endpoint_flags`."""

    HANDSHAKE = 1
    RETRIED = 2
    NOTICE_RETRIED = 4
    MOVING = 8
    WAITING = 16
    LIVE = 32
    BOXED = 64
    FROZEN = 128


class Follow(IntEnum):
    """`enum ipos_follow`."""

    NOT = 0
    LENGTH = 1
    CHUNKED = 2
    OPAQUE = 3
    UPGRADE = 4
    CONNECT = 5


class Leaves(IntEnum):
    """`enum ipos_leaves`."""

    NOT = 0
    ASKED = 1
    TAKEN = 2


class ChunkState(IntEnum):
    """`enum ipos_chunk_state`."""

    FIRST = 0
    SIZE = 1
    LINE = 2
    DATA = 3
    CR = 4
    LF = 5
    TRAILER = 6
    FIELD = 7
    END = 8
    WRONG = 9
    OVER = 10
    SPACE = 11
    LINE_LF = 12
    FIELD_LF = 13


class TemporaryState(IntEnum):
    """`enum ipos_temporary_state`."""

    NONE = 0
    OPEN = 1
    CLOSED = 2
    SYN = 3
    RESET = 5
    SYN_HERE = 4
    REFUSED = 6


class Closed(IntEnum):
    """`enum ipos_closed`."""

    NOT_IDLE = 0
    IDLE = 1


class Silent(IntEnum):
    """`enum ipos_silent`."""

    NO = 0
    WAITS = 1
    OVER = 2


class FlowState(IntEnum):
    """`enum ipos_flow_state`."""

    OFFERED = 0
    ACKNOWLEDGED = 1
    ANSWERED = 2
    REFUSED = 3


class OrderKind(IntEnum):
    """`enum ipos_order_kind`."""

    NONE = 0
    FREEZE = 1
    THAW = 2
    GIVE = 3
    TAKE = 4
    LIVE = 5
    DROP = 6


class Outcome(IntEnum):
    """`enum ipos_outcome`."""

    NONE = 0
    NEW = 1
    AGAIN = 2
    MOVED = 3
    REFUSED = 4
    TAKEN = 5
    STAYS = 6
    ANSWERED = 7


class Reason(IntEnum):
    """`enum ipos_reason`."""

    NONE = 0
    POLICY = 1
    REFUSED = 2
    OWNER_DOWN = 3
    NOT_ADOPTED = 4
    FORWARD_FULL = 5
    TABLE_FULL = 6
    NO_SERVER = 7
    OFFERED = 8
    REDIRECTED = 9
    SESSION = 10
    SESSION_MOVED = 11
    SESSION_AWAY = 12
    MAY_STAY = 13
    HEAD = 14
    TIMEOUT = 15
    UNREAD = 16


class DecisionFlags(IntFlag):
    """`enum ipos_decision_flags`."""

    LOGGED = 1
    HOST_CUT = 2
    PATH_CUT = 4
    UNFINISHED = 8
    BY_CLIENT = 16


class Decided(IntEnum):
    """`enum ipos_decided`."""

    HERE = 0
    AWAY = 1
    MOVED = 2
    STAYS = 3
    REDIRECTED = 4


class RefusedBy(IntEnum):
    """`enum ipos_refused_by`."""

    BY_400 = 0
    BY_408 = 1
    BY_431 = 2
    BY_503 = 3
    BY_RST = 4


class Timed(IntEnum):
    """`enum ipos_timed`."""

    FIRST_BYTE = 0
    REQUEST = 1
    MIGRATION = 2


class AnswerFlags(IntFlag):
    """`enum ipos_answer_flags`."""

    BEGUN = 1
    LOGGED = 2


class Ambiguity(IntEnum):
    """`enum ipos_ambiguity`."""

    NONE = 0
    LINE_FEED = 1
    CARRIAGE_RETURN = 2
    NUL = 3
    CONTROL = 4
    FOLD = 5
    LEADING_SPACE = 6
    SPACE_BEFORE_COLON = 7
    METHOD = 8
    TARGET = 9
    PERCENT = 10
    ABOVE_ROOT = 11
    VERSION = 12
    HEADER_NAME = 13
    HOST = 14
    HOST_MISSING = 15
    HOST_TWICE = 16
    LENGTH = 17
    LENGTH_TWICE = 18
    ENCODING = 19
    LENGTH_AND_ENCODING = 20
    TOO_LONG = 21
    HOST_DIFFERS = 22
    NOT_TLS = 23
    NO_HELLO = 24
    ENCODED_SLASH = 25


@dataclass(frozen=True, slots=True)
class Header:
    """`struct ipos_header`: Figure 11b."""

    STRUCT: ClassVar[str] = "ipos_header"
    client_ip: IPv4Address = NOWHERE
    client_port: int = 0
    endpoint_ip: IPv4Address = NOWHERE
    endpoint_port: int = 0
    type: int = 0
    protocol: int = 0
    checksum: int = 0


@dataclass(frozen=True, slots=True)
class Header6:
    """`struct ipos_header6`: of protocols 3 and 4, which are ours."""

    STRUCT: ClassVar[str] = "ipos_header6"
    client_low: int = 0
    client_port: int = 0
    endpoint_ip: IPv4Address = NOWHERE
    endpoint_port: int = 0
    type: int = 0
    protocol: int = 0
    checksum: int = 0
    client_ip: IPv6Address = NOWHERE6


@dataclass(frozen=True, slots=True)
class Tcb:
    """`struct ipos_tcb`: TCP control block, version 1."""

    STRUCT: ClassVar[str] = "ipos_tcb"
    version: int = 0
    state: int = 0
    flags: int = 0
    iss: int = 0
    irs: int = 0
    snd_una: int = 0
    snd_nxt: int = 0
    snd_max: int = 0
    snd_wl1: int = 0
    snd_wl2: int = 0
    snd_wnd: int = 0
    rcv_nxt: int = 0
    rcv_wnd: int = 0
    rcv_adv: int = 0
    peer_mss: int = 0
    effective_mss: int = 0
    snd_wscale: int = 0
    rcv_wscale: int = 0
    ts_recent: int = 0
    ts_recent_age_ms: int = 0
    ts_last_sent: int = 0
    srtt_us: int = 0
    rttvar_us: int = 0
    rto_us: int = 0
    snd_cwnd: int = 0
    snd_ssthresh: int = 0
    send_queue_len: int = 0
    receive_queue_len: int = 0
    migration: int = 0
    request_len: int = 0
    body: Body = Body(0)
    sent_s: int = 0
    first: int = 0
    tag: bytes = bytes(16)


@dataclass(frozen=True, slots=True)
class Connection:
    """`struct ipos_connection`: Figure 11d: connection information (TCP)."""

    STRUCT: ClassVar[str] = "ipos_connection"
    server_ip: IPv4Address = NOWHERE
    server_port: int = 0
    tcb: Tcb = Tcb()


@dataclass(frozen=True, slots=True)
class Connection6:
    """`struct ipos_connection6`: Figure 11d: connection information (TCP)."""

    STRUCT: ClassVar[str] = "ipos_connection6"
    server_ip: IPv6Address = NOWHERE6
    server_port: int = 0
    tcb: Tcb = Tcb()


@dataclass(frozen=True, slots=True)
class Trailer:
    """`struct ipos_trailer`: after types 3, 4, 6, 7."""

    STRUCT: ClassVar[str] = "ipos_trailer"
    service_ip: IPv4Address = NOWHERE
    service_port: int = 0
    reason: int = 0
    iss: int = 0
    tag: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Trailer6:
    """`struct ipos_trailer6`: after types 3, 4, 6, 7."""

    STRUCT: ClassVar[str] = "ipos_trailer6"
    service_ip: IPv6Address = NOWHERE6
    service_port: int = 0
    reason: int = 0
    iss: int = 0
    spare: int = 0
    tag: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Probe:
    """`struct ipos_probe`: after types 8 and 9, in the trailer's place."""

    STRUCT: ClassVar[str] = "ipos_probe"
    nonce: bytes = bytes(12)
    tag: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Learned:
    """`struct ipos_learned`: After types 10 and 11, in the trailer's place. The header's endpoint
    is the session's server, and in the port's place stands the turn of an identified session; 0 of
    a learned one.
    """

    STRUCT: ClassVar[str] = "ipos_learned"
    hash: bytes = bytes(8)
    sent_s: int = 0
    tag: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Located:
    """`struct ipos_located`: After type 12. Its header names the owner's endpoint; the one of a
    type 5 has instead of that the asker's first service address, and in the port's place the low
    bits of the time.
    """

    STRUCT: ClassVar[str] = "ipos_located"
    service_ip: IPv4Address = NOWHERE
    service_port: int = 0
    move: int = 0
    iss: int = 0
    irs: int = 0
    question: int = 0
    tag: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Located6:
    """`struct ipos_located6`: After type 12. Its header names the owner's endpoint; the one of a
    type 5 has instead of that the asker's first service address, and in the port's place the low
    bits of the time.
    """

    STRUCT: ClassVar[str] = "ipos_located6"
    service_ip: IPv6Address = NOWHERE6
    service_port: int = 0
    move: int = 0
    iss: int = 0
    irs: int = 0
    question: int = 0
    tag: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Numbers:
    """`struct ipos_numbers`: After type 13, in the trailer's place: what changes all the time in a
    server's state. The header's source is its back address; everything else it says in datagrams to
    the agents, of which the newest has this edition.
    """

    STRUCT: ClassVar[str] = "ipos_numbers"
    boot: int = 0
    sequence: int = 0
    memory_available: int = 0
    bandwidth_available: int = 0
    tcp_connections: int = 0
    memory_short: int = 0
    bandwidth_short: int = 0
    cpu_permille: int = 0
    edition: int = 0
    sent_s: int = 0
    tag: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class TagKey:
    """`struct ipos_tag_key`: Keys of the tag of a packet in a frame: NH's, of which a word of the
    message takes the two at its place and the two behind them, and SipHash's.
    """

    STRUCT: ClassVar[str] = "ipos_tag_key"
    sip: tuple[int, ...] = (0,) * 2
    nh: tuple[int, ...] = (0,) * 292


@dataclass(frozen=True, slots=True)
class TagKeys:
    """`struct ipos_tag_keys`: map `tag_keys`, one element."""

    STRUCT: ClassVar[str] = "ipos_tag_keys"
    keys: tuple[TagKey, ...] = (TagKey(),) * 2


@dataclass(frozen=True, slots=True)
class Uplink:
    """`struct ipos_uplink`: one way by which clients come, and the front interface of it."""

    STRUCT: ClassVar[str] = "ipos_uplink"
    prefix: int = 0
    mask: int = 0
    ifindex: int = 0
    mac: bytes = bytes(6)


@dataclass(frozen=True, slots=True)
class Settings:
    """`struct ipos_settings`: map `settings`, one element."""

    STRUCT: ClassVar[str] = "ipos_settings"
    COUNTED: ClassVar[dict[str, str]] = {"uplink": "uplinks"}
    abi: int = 0
    flags: SettingsFlags = SettingsFlags(0)
    front_ifindex: int = 0
    back_ifindex: int = 0
    front_vlan: int = 0
    back_vlan: int = 0
    ethertype: int = 0
    self: int = 0
    front_mac: bytes = bytes(6)
    back_mac: bytes = bytes(6)
    self_ip: IPv4Address = NOWHERE
    wall_offset_ns: int = 0
    slept_ns: int = 0
    frame_key: tuple[int, ...] = (0,) * 2
    learn_key: tuple[int, ...] = (0,) * 2
    other_frame_key: tuple[int, ...] = (0,) * 2
    other_learn_key: tuple[int, ...] = (0,) * 2
    vouch: int = 0
    header_timeout_ms: int = 0
    idle_s: int = 0
    hold_pieces: int = 0
    guesses: int = 0
    silent_s: int = 0
    waiting_s: int = 0
    withheld: Options = Options(0)
    own_ifindex: int = 0
    own_front_ifindex: int = 0
    locates: int = 0
    locates_source: int = 0
    out_ifindex: int = 0
    uplink: tuple[Uplink, ...] = ()


@dataclass(frozen=True, slots=True)
class Guesses:
    """`struct ipos_guesses`: map `guesses`."""

    STRUCT: ClassVar[str] = "ipos_guesses"
    since_ns: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class EpochKey:
    """`struct ipos_epoch_key`: map `cookie_keys`, slot = epoch % IPOS_EPOCHS."""

    STRUCT: ClassVar[str] = "ipos_epoch_key"
    key: tuple[int, ...] = (0,) * 2
    other: tuple[int, ...] = (0,) * 2
    epoch: int = 0
    valid: KeyValid = KeyValid(0)


@dataclass(frozen=True, slots=True)
class Server:
    """`struct ipos_server`."""

    STRUCT: ClassVar[str] = "ipos_server"
    address: IPv4Address = NOWHERE
    back_ip: IPv4Address = NOWHERE
    mac: bytes = bytes(6)
    state: ServerState = ServerState(0)
    stale: bool = False
    tcp_connections: int = 0
    cpu_permille: int = 0
    memory_short: int = 0
    bandwidth_short: int = 0
    memory_available: int = 0
    bandwidth_available: int = 0
    updated_ns: int = 0
    base: int = 0
    limit: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """`struct ipos_traffic`: map `traffic`, by server; the data plane writes it."""

    STRUCT: ClassVar[str] = "ipos_traffic"
    sent: int = 0
    closed: int = 0


@dataclass(frozen=True, slots=True)
class AddressKey:
    """`struct ipos_address_key`: map `addresses`."""

    STRUCT: ClassVar[str] = "ipos_address_key"
    ip: IPv4Address = NOWHERE
    port: int = 0
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class AddressKey6:
    """`struct ipos_address_key6`: map `addresses`."""

    STRUCT: ClassVar[str] = "ipos_address_key6"
    ip: IPv6Address = NOWHERE6
    port: int = 0
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """`struct ipos_address`."""

    STRUCT: ClassVar[str] = "ipos_address"
    service: int = 0
    holder: int = 0
    arp: Arp = Arp(0)
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Gates:
    """`struct ipos_gates`: Map `gates`, one element: look-ups that need not be made. All zeros is
    always right. Bit n is bit n % 8 of byte n / 8. A bit that was cleared is never set again:
    connections of a service may outlive it.
    """

    STRUCT: ClassVar[str] = "ipos_gates"
    foreign_ports: bytes = bytes(8192)
    foreign_addresses: bytes = bytes(1024)
    deny_empty: bool = False
    deny6_empty: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """`struct ipos_service`: map `services`, by index."""

    STRUCT: ClassVar[str] = "ipos_service"
    protocol: int = 0
    select: Select = Select(0)
    used: bool = False
    decide: Decide = Decide(0)
    pool: int = 0
    port: int = 0
    application_ip: IPv4Address = NOWHERE
    application_port: int = 0
    listening: int = 0
    log: int = 0
    mode: Mode = Mode(0)
    own_refused: bool = False
    flow_idle_s: int = 0
    listener_ip: IPv4Address = NOWHERE
    box: int = 0
    box_netns: int = 0
    start_s: int = 0
    starts: Starts = Starts(0)
    own_only: bool = False
    id_at: int = 0
    id_bytes: int = 0
    application_ip6: IPv6Address = NOWHERE6
    listener_ip6: IPv6Address = NOWHERE6


@dataclass(frozen=True, slots=True)
class Candidate:
    """`struct ipos_candidate`."""

    STRUCT: ClassVar[str] = "ipos_candidate"
    server: int = 0
    port: int = 0
    weight: int = 0
    ramp: int = 0
    upto: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """`struct ipos_pool`: map `pools`, by index."""

    STRUCT: ClassVar[str] = "ipos_pool"
    COUNTED: ClassVar[dict[str, str]] = {"candidates": "count"}
    policy: Policy = Policy(0)
    turn: int = 0
    firsts: int = 0
    ramp_least: int = 0
    ramp_most: int = 0
    even: int = 0
    mean: int = 0
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """`struct ipos_rule`: map `paths`, LPM trie."""

    STRUCT: ClassVar[str] = "ipos_rule"
    pool: int = 0
    length: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Pattern:
    """`struct ipos_pattern`: map `patterns`: the rules of one host pattern."""

    STRUCT: ClassVar[str] = "ipos_pattern"
    root: Rule = Rule()
    wider: int = 0
    longest: int = 0


@dataclass(frozen=True, slots=True)
class PathKey:
    """`struct ipos_path_key`: map `paths`."""

    STRUCT: ClassVar[str] = "ipos_path_key"
    prefix_len: int = 0
    pattern: int = 0
    path: bytes = bytes(248)


@dataclass(frozen=True, slots=True)
class HostKey:
    """`struct ipos_host_key`: map `hosts`, of longer names: index in `patterns`."""

    STRUCT: ClassVar[str] = "ipos_host_key"
    scope: int = 0
    name: bytes = bytes(124)


@dataclass(frozen=True, slots=True)
class ShortHostKey:
    """`struct ipos_short_host_key`: map `short_hosts`: the beginning of a host's key."""

    STRUCT: ClassVar[str] = "ipos_short_host_key"
    scope: int = 0
    name: bytes = bytes(28)


@dataclass(frozen=True, slots=True)
class Urls:
    """`struct ipos_urls`: map `urls`, by bank * IPOS_SERVICES_MAX + service."""

    STRUCT: ClassVar[str] = "ipos_urls"
    any: int = 0
    pool: int = 0
    wildcards: int = 0
    used: bool = False
    hosts: bool = False
    protocols: bool = False


@dataclass(frozen=True, slots=True)
class Slots:
    """`struct ipos_slots`: Map `slots`: the source-hash table of a pool (Maglev), which the agent
    fills. Its key is the pool's index * IPOS_SLOTS_BLOCKS + slot / IPOS_SLOTS_BLOCK.
    """

    STRUCT: ClassVar[str] = "ipos_slots"
    servers: tuple[int, ...] = (0,) * 4096


@dataclass(frozen=True, slots=True)
class CookieKey:
    """`struct ipos_cookie_key`: Map `cookies`, the Cookie map of Figure 12: which server has the
    session of a cookie. Of two rows of one identified session the one with the higher turn is the
    newer one; with one turn, that of the server with the higher address; then the one that lives
    longer.
    """

    STRUCT: ClassVar[str] = "ipos_cookie_key"
    hash: int = 0
    service_port: int = 0


@dataclass(frozen=True, slots=True)
class Cookie:
    """`struct ipos_cookie`."""

    STRUCT: ClassVar[str] = "ipos_cookie"
    server_ip: IPv4Address = NOWHERE
    turn: int = 0
    expires_ns: int = 0


@dataclass(frozen=True, slots=True)
class CookieNews:
    """`struct ipos_cookie_news`: queue `cookie_news`: what the agent tells others."""

    STRUCT: ClassVar[str] = "ipos_cookie_news"
    key: CookieKey = CookieKey()
    row: Cookie = Cookie()


@dataclass(frozen=True, slots=True)
class Learning:
    """`struct ipos_learning`: map `learning`: a response's head, at its owner."""

    STRUCT: ClassVar[str] = "ipos_learning"
    next: int = 0
    asked: int = 0
    phase: Learn = Learn(0)
    at: int = 0
    status: int = 0
    deleted: int = 0
    value_len: int = 0
    news: int = 0
    forgotten: int = 0
    service: int = 0
    expires: int = 0
    hash: int = 0
    value: bytes = bytes(128)


@dataclass(frozen=True, slots=True)
class Session:
    """`struct ipos_session`: map `sessions`, by service index."""

    STRUCT: ClassVar[str] = "ipos_session"
    COUNTED: ClassVar[dict[str, str]] = {"name": "name_len", "line": "line_len"}
    kind: SessionKind = SessionKind(0)
    value_at: int = 0
    lifetime_s: int = 0
    name: bytes = b""
    line: bytes = b""


@dataclass(frozen=True, slots=True)
class NameKey:
    """`struct ipos_name_key`: map `names`: whose name a host is, by its index."""

    STRUCT: ClassVar[str] = "ipos_name_key"
    service: int = 0
    host: bytes = bytes(96)


@dataclass(frozen=True, slots=True)
class RedirectKey:
    """`struct ipos_redirect_key`: map `redirects`."""

    STRUCT: ClassVar[str] = "ipos_redirect_key"
    service: int = 0
    server: int = 0


@dataclass(frozen=True, slots=True)
class Redirect:
    """`struct ipos_redirect`: how a client is sent to a server's own name."""

    STRUCT: ClassVar[str] = "ipos_redirect"
    length: int = 0
    start: bytes = bytes(224)


@dataclass(frozen=True, slots=True)
class SessionValue:
    """`struct ipos_session_value`: The value of an inserted cookie: these bytes up to `day`, in
    lower-case hexadecimal. It names a server by its first address, four bytes, beside a nonce of
    four, which is another one in each connection. `tag` is SipHash-2-4 of address, nonce and day
    (12 bytes); `sealed` is address and nonce, XOR SipHash-2-4 of the tag and a zero byte (9 bytes);
    both are under the key of the day. Before ABI 11 a value was day and address, each big-endian,
    and SipHash-2-4 of these 8 bytes. The value of an identified session has the identifier itself
    in the place of `sealed`: it tells nothing. Its tag is SipHash-2-4 of identifier, day and a byte
    1 (13 bytes) under the same key.
    """

    STRUCT: ClassVar[str] = "ipos_session_value"
    sealed: int = 0
    tag: int = 0
    day: int = 0
    server_ip: IPv4Address = NOWHERE


@dataclass(frozen=True, slots=True)
class Mac:
    """`struct ipos_mac`: map `members`: the address of its back interface."""

    STRUCT: ClassVar[str] = "ipos_mac"
    bytes: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Member:
    """`struct ipos_member`."""

    STRUCT: ClassVar[str] = "ipos_member"
    server: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """`struct ipos_identity`: map `identities`: by which IPv6 frames and rows name a server."""

    STRUCT: ClassVar[str] = "ipos_identity"
    address: IPv4Address = NOWHERE


@dataclass(frozen=True, slots=True)
class Edition:
    """`struct ipos_edition`: map `editions`, by server index: what the agent knows of it."""

    STRUCT: ClassVar[str] = "ipos_edition"
    boot: int = 0
    sequence: int = 0
    edition: int = 0


@dataclass(frozen=True, slots=True)
class Heard:
    """`struct ipos_heard`: Map `heard`, by server index: the newest frame of type 13 that was
    believed. The agent reads it under the lock, so it sees no half of a row.
    """

    STRUCT: ClassVar[str] = "ipos_heard"
    lock: int = 0
    tcp_connections: int = 0
    boot: int = 0
    sequence: int = 0
    memory_available: int = 0
    bandwidth_available: int = 0
    sent: int = 0
    closed: int = 0
    cpu_permille: int = 0
    memory_short: int = 0
    bandwidth_short: int = 0
    last_ns: int = 0
    since_ns: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """`struct ipos_request`: in `scratch`: what the head at hand says."""

    STRUCT: ClassVar[str] = "ipos_request"
    grammar: Grammar = Grammar(0)
    progress: Progress = Progress(0)
    refusal: Ambiguity = Ambiguity(0)
    body: Body = Body(0)
    flags: RequestFlags = RequestFlags(0)
    mode: Mode = Mode(0)
    method: Method = Method(0)
    host_len: int = 0
    path_len: int = 0
    cookie_len: int = 0
    service: int = 0
    head_len: int = 0
    blank: int = 0
    offers_len: int = 0
    content_length: int = 0
    parser: tuple[int, ...] = (0,) * 16
    host_scope: int = 0
    host: bytes = bytes(256)
    host_end: bytes = bytes(124)
    path_prefix_len: int = 0
    path_pattern: int = 0
    path: bytes = bytes(256)
    cookie: bytes = bytes(128)
    offers: bytes = bytes(288)


@dataclass(frozen=True, slots=True)
class Tuple:
    """`struct ipos_tuple`: the key of every connection table."""

    STRUCT: ClassVar[str] = "ipos_tuple"
    client_ip: IPv4Address = NOWHERE
    service_ip: IPv4Address = NOWHERE
    client_port: int = 0
    service_port: int = 0
    protocol: int = PROTOCOL_TCP


@dataclass(frozen=True, slots=True)
class Tuple6:
    """`struct ipos_tuple6`: the key of every connection table."""

    STRUCT: ClassVar[str] = "ipos_tuple6"
    client_ip: IPv6Address = NOWHERE6
    service_ip: IPv6Address = NOWHERE6
    client_port: int = 0
    service_port: int = 0
    protocol: int = PROTOCOL_TCP


@dataclass(frozen=True, slots=True)
class Refusers:
    """`struct ipos_refusers`: The servers that refused a request or a SYN. While it is full, no
    server is asked.
    """

    STRUCT: ClassVar[str] = "ipos_refusers"
    COUNTED: ClassVar[dict[str, str]] = {"servers": "count"}
    servers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Handshake:
    """`struct ipos_handshake`: What a handshake agreed on; kept wherever an unattached endpoint may
    be.
    """

    STRUCT: ClassVar[str] = "ipos_handshake"
    iss: int = 0
    irs: int = 0
    mss: int = 0
    snd_wscale: int = 0
    options: Options = Options(0)
    ts_recent: int = 0
    ts_sent: int = 0


@dataclass(frozen=True, slots=True)
class Forward:
    """`struct ipos_forward`: map `forward`: full means serve here or refuse."""

    STRUCT: ClassVar[str] = "ipos_forward"
    destination_ip: IPv4Address = NOWHERE
    destination_port: int = 0
    server: int = 0
    acknowledged: bool = False
    ending: int = 0
    service: int = 0
    client_end: int = 0
    client_ack: int = 0
    request_end: int = 0
    packets: int = 0
    offered_ms: int = 0
    last_seen_ns: int = 0
    iss: int = 0
    irs: int = 0
    last_syn: int = 0
    first: int = 0
    migration: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """`struct ipos_line`: The line that begins a session, in an application's first response. Our
    kernel knows nothing of it: for the client all numbers from `at` on are `length` higher.
    """

    STRUCT: ClassVar[str] = "ipos_line"
    at: int = 0
    length: int = 0
    behind: int = 0
    day: int = 0
    sum: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """`struct ipos_mark`: Where reading stood before a segment that our kernel was then given:
    should it not have taken that segment, reading goes on from here.
    """

    STRUCT: ClassVar[str] = "ipos_mark"
    request_end: int = 0
    read_end: int = 0
    asked: int = 0
    follow: int = 0
    chunk: int = 0
    leaves: int = 0
    body_left: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`struct ipos_endpoint`: maps `local` and `connect`: full means refuse."""

    STRUCT: ClassVar[str] = "ipos_endpoint"
    rcv_nxt: int = 0
    snd_nxt: int = 0
    client_fin: int = 0
    server_fin: int = 0
    last_seen_ns: int = 0
    state: EndpointState = EndpointState(0)
    flags: EndpointFlags = EndpointFlags(0)
    service: int = 0
    client_fin_seen: int = 0
    server_fin_seen: int = 0
    server_fin_acked: int = 0
    reason: Refusal = Refusal(0)
    insert: Insert = Insert(0)
    insert_at: int = 0
    follow: Follow = Follow(0)
    learn: int = 0
    first: int = 0
    giver: int = 0
    request_end: int = 0
    answer_next: int = 0
    adopt_seq: int = 0
    rcv_need: int = 0
    hs: Handshake = Handshake()
    endpoint_ip: IPv4Address = NOWHERE
    cookie: int = 0
    migration: int = 0
    body_left: int = 0
    answer_left: int = 0
    heads: int = 0
    asked: int = 0
    answered: int = 0
    answer_status: int = 0
    endpoint_port: int = 0
    client_mac: bytes = bytes(6)
    chunk: ChunkState = ChunkState(0)
    answer: AnswerPhase = AnswerPhase(0)
    answer_at: int = 0
    answer_chunk: ChunkState = ChunkState(0)
    answer_seen: AnswerSeen = AnswerSeen(0)
    leaves: Leaves = Leaves(0)
    line: Line = Line()
    insert_next: int = 0
    adopting: int = 0
    read_end: int = 0
    given: int = 0
    heard: int = 0
    given_by: int = 0
    given_ms: int = 0
    marks_used: int = 0
    tells: int = 0
    asker: int = 0
    question: int = 0
    asked_seq: int = 0
    asked_ns: int = 0
    answer_bytes: int = 0
    first_us: int = 0
    timed: AnswerFlags = AnswerFlags(0)
    box: int = 0
    box_netns: int = 0
    identity: int = 0
    marks: tuple[Mark, ...] = (Mark(),) * 4


@dataclass(frozen=True, slots=True)
class Left:
    """`struct ipos_left`: Map `left_behind`, LRU: a connection that was ours and has moved. Its
    socket's application is told the end, and what it still sends is swallowed; packets that the
    first server sends us until it hears of the move go on. A row that is lost was the longest gone.
    """

    STRUCT: ClassVar[str] = "ipos_left"
    told_ns: int = 0
    migration: int = 0
    next: int = 0
    iss: int = 0
    destination_ip: IPv4Address = NOWHERE
    destination_port: int = 0
    server: int = 0
    first: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Temporary:
    """`struct ipos_temporary`: map `temporary`, LRU: losing a row loses nothing."""

    STRUCT: ClassVar[str] = "ipos_temporary"
    hs: Handshake = Handshake()
    state: TemporaryState = TemporaryState(0)
    reason: Refusal = Refusal(0)
    server: int = 0
    created_ns: int = 0
    last_seen_ns: int = 0
    client_end: int = 0
    port: int = 0
    offer: int = 0
    refused: tuple[int, ...] = (0,) * 5
    client_mac: bytes = bytes(6)


@dataclass(frozen=True, slots=True)
class Question:
    """`struct ipos_question`: Map `questions`, LRU: a connection whose owner all servers were asked
    for. A row that is lost makes its next packet the first one again.
    """

    STRUCT: ClassVar[str] = "ipos_question"
    first_ns: int = 0
    asked_ns: int = 0
    question: int = 0
    client_end: int = 0
    client_ack: int = 0
    count: int = 0
    due: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """`struct ipos_range`."""

    STRUCT: ClassVar[str] = "ipos_range"
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """`struct ipos_holding`: map `holding`: full means drop, unacknowledged."""

    STRUCT: ClassVar[str] = "ipos_holding"
    hs: Handshake = Handshake()
    held: int = 0
    acknowledged: int = 0
    parsed: int = 0
    unacknowledged: int = 0
    head_state: HeadState = HeadState(0)
    complete: bool = False
    fin: int = 0
    service: int = 0
    window: int = 0
    client_mac: bytes = bytes(6)
    ranges: tuple[Range, ...] = (Range(),) * 4
    refused: Refusers = Refusers()
    created_ns: int = 0
    last_seen_ns: int = 0
    chunks: tuple[int, ...] = (0,) * 15
    head_left: int = 0
    server: int = 0
    port: int = 0
    pool: int = 0
    again: int = 0
    moving: int = 0
    head_more: int = 0
    client_end: int = 0
    answer: int = 0
    body: Body = Body(0)
    late: int = 0
    redirect: int = 0
    session: int = 0
    rule: int = 0
    iss: int = 0
    irs: int = 0
    request_len: int = 0
    migration: int = 0
    silent: Silent = Silent(0)
    client_ip: IPv4Address = NOWHERE
    looked: int = 0
    crowded: int = 0
    skip: int = 0
    crowded_ms: int = 0
    live: int = 0
    tells: int = 0
    offered_us: int = 0
    identity: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """`struct ipos_chunk`."""

    STRUCT: ClassVar[str] = "ipos_chunk"
    bytes: bytes = bytes(1024)


@dataclass(frozen=True, slots=True)
class Prefix:
    """`struct ipos_prefix`: map `deny`, LPM trie, value __u8."""

    STRUCT: ClassVar[str] = "ipos_prefix"
    prefix_len: int = 0
    ip: IPv4Address = NOWHERE


@dataclass(frozen=True, slots=True)
class Prefix6:
    """`struct ipos_prefix6`: map `deny`, LPM trie, value __u8."""

    STRUCT: ClassVar[str] = "ipos_prefix6"
    prefix_len: int = 0
    ip: IPv6Address = NOWHERE6


@dataclass(frozen=True, slots=True)
class Captured:
    """`struct ipos_captured`: ring `captured`; then the bytes."""

    STRUCT: ClassVar[str] = "ipos_captured"
    when_ns: int = 0
    ifindex: int = 0
    length: int = 0
    captured: int = 0
    outbound: bool = False


@dataclass(frozen=True, slots=True)
class Flow:
    """`struct ipos_flow`: maps `udp_flows` and `udp_new`, at the first server."""

    STRUCT: ClassVar[str] = "ipos_flow"
    COUNTED: ClassVar[dict[str, str]] = {"refused": "refusals"}
    last_seen_ns: int = 0
    offered_ns: int = 0
    destination_ip: IPv4Address = NOWHERE
    destination_port: int = 0
    server: int = 0
    service: int = 0
    offer: int = 0
    state: FlowState = FlowState(0)
    refused: tuple[int, ...] = ()
    packets: int = 0
    initial: int = 0


@dataclass(frozen=True, slots=True)
class Owned:
    """`struct ipos_owned`: Map `udp_owned`, LRU, at the owner, by two keys: the flow's, and the
    same with the application's port and no service address, which says what the client asked last.
    """

    STRUCT: ClassVar[str] = "ipos_owned"
    last_seen_ns: int = 0
    answered_ns: int = 0
    service_ip: IPv4Address = NOWHERE
    service_port: int = 0
    first: int = 0
    service: int = 0
    packets: int = 0


@dataclass(frozen=True, slots=True)
class FragmentKey:
    """`struct ipos_fragment_key`: map `udp_fragments`: of one IP packet."""

    STRUCT: ClassVar[str] = "ipos_fragment_key"
    source: int = 0
    destination: int = 0
    id: int = 0
    outbound: bool = False


@dataclass(frozen=True, slots=True)
class Fragment:
    """`struct ipos_fragment`: what its first fragment said."""

    STRUCT: ClassVar[str] = "ipos_fragment"
    seen_ns: int = 0
    service_ip: IPv4Address = NOWHERE
    client_port: int = 0
    service_port: int = 0
    port: int = 0
    server: int = 0


@dataclass(frozen=True, slots=True)
class FlowOffer:
    """`struct ipos_flow_offer`: After a UDP flow's header in type 1; of the size of a notice's
    trailer.
    """

    STRUCT: ClassVar[str] = "ipos_flow_offer"
    service_ip: IPv4Address = NOWHERE
    service_port: int = 0
    sent_s: int = 0
    offer: int = 0
    tag: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Hello:
    """`struct ipos_hello`: map `quic_hellos`, LRU, by the flow."""

    STRUCT: ClassVar[str] = "ipos_hello"
    since_ns: int = 0
    initial: int = 0
    held: int = 0
    length: tuple[int, ...] = (0,) * 4
    here: tuple[int, ...] = (0,) * 64
    hello: bytes = bytes(4104)
    packets: bytes = bytes(6016)


@dataclass(frozen=True, slots=True)
class QuicNumber:
    """`struct ipos_quic_number`: map `quic_numbers`: index in `servers` of who has a number."""

    STRUCT: ClassVar[str] = "ipos_quic_number"
    number: int = 0
    service: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """`struct ipos_order`: behind the header, with IPOS_MARK_ORDER."""

    STRUCT: ClassVar[str] = "ipos_order"
    service_ip: int = 0
    service_port: int = 0
    kind: OrderKind = OrderKind(0)
    iss: int = 0
    irs: int = 0
    migration: int = 0
    cookie: int = 0
    snd_una: int = 0
    snd_nxt: int = 0
    rcv_nxt: int = 0
    ts_recent: int = 0
    ts_sent: int = 0
    server: int = 0
    first: int = 0
    mss: int = 0
    snd_wscale: int = 0
    options: Options = Options(0)


@dataclass(frozen=True, slots=True)
class Decision:
    """`struct ipos_decision`: ring `decisions`."""

    STRUCT: ClassVar[str] = "ipos_decision"
    length: int = 0
    rule: int = 0
    outcome: Outcome = Outcome(0)
    reason: Reason = Reason(0)
    service: int = 0
    server: int = 0
    first: int = 0
    pool: int = 0
    flags: DecisionFlags = DecisionFlags(0)
    refusal: Ambiguity = Ambiguity(0)
    when_ns: int = 0
    tuple: Tuple = Tuple()
    host_len: int = 0
    path_len: int = 0
    method: Method = Method(0)
    version: int = 0
    host: bytes = bytes(64)
    path: bytes = bytes(128)
    bytes: int = 0
    took_ns: int = 0
    first_us: int = 0
    status: int = 0
    answers: int = 0


@dataclass(frozen=True, slots=True)
class Decision6:
    """`struct ipos_decision6`: ring `decisions`."""

    STRUCT: ClassVar[str] = "ipos_decision6"
    length: int = 0
    rule: int = 0
    outcome: Outcome = Outcome(0)
    reason: Reason = Reason(0)
    service: int = 0
    server: int = 0
    first: int = 0
    pool: int = 0
    flags: DecisionFlags = DecisionFlags(0)
    refusal: Ambiguity = Ambiguity(0)
    when_ns: int = 0
    tuple: Tuple6 = Tuple6()
    host_len: int = 0
    path_len: int = 0
    method: Method = Method(0)
    version: int = 0
    host: bytes = bytes(64)
    path: bytes = bytes(128)
    bytes: int = 0
    took_ns: int = 0
    first_us: int = 0
    status: int = 0
    answers: int = 0


@dataclass(frozen=True, slots=True)
class ServiceTally:
    """`struct ipos_service_tally`: map `service_tallies`, by service and CPU."""

    STRUCT: ClassVar[str] = "ipos_service_tally"
    decided: tuple[int, ...] = (0,) * 6
    refused: tuple[int, ...] = (0,) * 6


@dataclass(frozen=True, slots=True)
class Tally:
    """`struct ipos_tally`: maps `pool_tallies`, `rule_tallies`, `server_tallies`, likewise."""

    STRUCT: ClassVar[str] = "ipos_tally"
    decided: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """`struct ipos_histogram`: map `histograms`, by IPOS_TIMEDS * service + enum ipos_timed,
    likewise.
    """

    STRUCT: ClassVar[str] = "ipos_histogram"
    sum_ns: int = 0
    buckets: tuple[int, ...] = (0,) * 32
