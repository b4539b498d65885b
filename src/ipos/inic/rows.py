# SPDX-License-Identifier: Apache-2.0
"""The structs of `ipos.h` as Python values: what the maps of a running iNIC hold.

Offsets and widths come from the header through `ipos.inic.layout`; here are only the types a
reader wants to see: addresses as `IPv4Address`, ports as plain numbers, enums by name. A `Codec`
(`ipos.inic.codec`) binds one of these classes to its struct and refuses a field that the header
does not have. Struct members that only fill space (`zero...`) are left out.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address

from ipos.inic.layout import constant

NOWHERE = IPv4Address(0)
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
RAMP_FULL = constant("IPOS_RAMP_FULL")
SLOTS = constant("IPOS_SLOTS")
SLOTS_BLOCK = constant("IPOS_SLOTS_BLOCK")
SLOTS_BLOCKS = constant("IPOS_SLOTS_BLOCKS")


class SettingsFlag(IntFlag):
    AUTHENTICATE = constant("IPOS_AUTHENTICATE")
    CAPTURE = constant("IPOS_CAPTURE")
    WATCH = constant("IPOS_WATCH")
    ANSWERS_UNREAD = constant("IPOS_ANSWERS_UNREAD")


class ServerState(IntEnum):
    """The farm's view of a server; NONE marks an unused row."""

    NONE = constant("IPOS_SERVER_NONE")
    READY = constant("IPOS_SERVER_READY")
    DRAIN = constant("IPOS_SERVER_DRAIN")
    MAINT = constant("IPOS_SERVER_MAINT")
    DOWN = constant("IPOS_SERVER_DOWN")


class Select(IntEnum):
    REQUEST = constant("IPOS_SELECT_REQUEST")
    CONNECTION = constant("IPOS_SELECT_CONNECTION")


class Decide(IntEnum):
    CONNECTION = constant("IPOS_DECIDE_CONNECTION")
    REQUEST = constant("IPOS_DECIDE_REQUEST")


class Policy(IntEnum):
    LEAST_LOADED = constant("IPOS_LEAST_LOADED")
    ROUND_ROBIN = constant("IPOS_ROUND_ROBIN")
    RANDOM = constant("IPOS_RANDOM")
    FIXED = constant("IPOS_FIXED")
    LEAST_CONNECTIONS = constant("IPOS_LEAST_CONNECTIONS")
    WEIGHTED = constant("IPOS_WEIGHTED")
    SOURCE_HASH = constant("IPOS_SOURCE_HASH")
    LEAST_CPU = constant("IPOS_LEAST_CPU")


class SessionKind(IntEnum):
    NONE = constant("IPOS_SESSION_NONE")
    INSERT = constant("IPOS_SESSION_INSERT")
    LEARN = constant("IPOS_SESSION_LEARN")
    REDIRECT = constant("IPOS_SESSION_REDIRECT")
    SOURCE = constant("IPOS_SESSION_SOURCE")


class EndpointState(IntEnum):
    PENDING = constant("IPOS_EP_PENDING")
    ADOPTING = constant("IPOS_EP_ADOPTING")
    ATTACHED = constant("IPOS_EP_ATTACHED")
    CLOSED = constant("IPOS_EP_CLOSED")


class TemporaryState(IntEnum):
    OPEN = constant("IPOS_TEMP_OPEN")
    CLOSED = constant("IPOS_TEMP_CLOSED")
    SYN = constant("IPOS_TEMP_SYN")
    SYN_HERE = constant("IPOS_TEMP_SYN_HERE")
    RESET = constant("IPOS_TEMP_RESET")


class Option(IntFlag):
    """TCP options a handshake agreed on, and SESSION: the first response begins one."""

    SACK = constant("IPOS_OPT_SACK")
    TIMESTAMPS = constant("IPOS_OPT_TIMESTAMPS")
    WSCALE = constant("IPOS_OPT_WSCALE")
    ECN = constant("IPOS_OPT_ECN")
    USEC_TS = constant("IPOS_OPT_USEC_TS")
    SESSION = constant("IPOS_OPT_SESSION")


@dataclass(frozen=True, slots=True)
class Settings:
    """`struct ipos_settings`: one element, read by every program."""

    abi: int
    flags: SettingsFlag
    front_ifindex: int
    back_ifindex: int
    front_vlan: int
    back_vlan: int
    ethertype: int
    self: int
    front_mac: bytes
    back_mac: bytes
    self_ip: IPv4Address
    wall_offset_ns: int
    frame_key: tuple[int, int]
    header_timeout_ms: int
    idle_s: int
    learn_key: tuple[int, int] = (0, 0)
    slept_ns: int = 0


@dataclass(frozen=True, slots=True)
class EpochKey:
    """`struct ipos_epoch_key`: a cookie key and the epoch it belongs to."""

    key: tuple[int, int]
    epoch: int
    valid: bool = True


@dataclass(frozen=True, slots=True)
class Server:
    """`struct ipos_server`: Figure 12's "Server state". `updated_ns` is boottime."""

    address: IPv4Address
    back_ip: IPv4Address
    mac: bytes
    state: ServerState
    stale: bool = False
    tcp_connections: int = 0
    cpu_permille: int = 0
    memory_available: int = 0
    bandwidth_available: int = 0
    updated_ns: int = 0
    base: int = 0
    limit: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """`struct ipos_traffic`: endpoints given to a server, and how many have ended."""

    sent: int
    closed: int


@dataclass(frozen=True, slots=True)
class AddressKey:
    """`struct ipos_address_key`: a service address, as clients know it."""

    ip: IPv4Address
    port: int
    protocol: int


@dataclass(frozen=True, slots=True)
class Address:
    """`struct ipos_address`: which service it is, and the index of the server that owns it."""

    service: int
    holder: int


@dataclass(frozen=True, slots=True)
class Service:
    """`struct ipos_service`."""

    protocol: int
    select: Select
    pool: int
    port: int
    application_ip: IPv4Address
    application_port: int
    used: bool = True
    decide: Decide = Decide.CONNECTION
    listening: int = 0
    log: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """`struct ipos_session`: how clients of a service come back to the same server.

    `name` is the cookie's; `line` the whole Set-Cookie line of an inserted one, with zeros for
    the value at `value_at`.
    """

    kind: SessionKind = SessionKind.NONE
    name: bytes = b""
    line: bytes = b""
    value_at: int = 0
    lifetime_s: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """`struct ipos_candidate`: a server of a pool, the application's port there, its weight.

    `ramp` is its slow start, of 256.
    """

    server: int
    port: int
    weight: int
    ramp: int = RAMP_FULL


@dataclass(frozen=True, slots=True)
class Pool:
    """`struct ipos_pool`, with only the candidates in use. `turn` is the data plane's own.

    `firsts` is how many servers decide by the same rows, each of which adds what it sends itself.
    """

    policy: Policy
    candidates: tuple[Candidate, ...]
    turn: int = 0
    firsts: int = 1


@dataclass(frozen=True, slots=True)
class Slots:
    """`struct ipos_slots`: a block of a pool's source-hash table, a server's index in each slot."""

    servers: bytes


@dataclass(frozen=True, slots=True)
class Rule:
    """`struct ipos_rule`: the pool of a rule, the length of its path, its place in the file."""

    pool: int
    length: int
    number: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """`struct ipos_pattern`: the rules of one host pattern. Rule number 0: none."""

    root: Rule
    wider: int
    longest: int


@dataclass(frozen=True, slots=True)
class PathKey:
    """`struct ipos_path_key`: a prefix of a pattern's paths. `prefix_len` in bits."""

    prefix_len: int
    pattern: int
    path: bytes


@dataclass(frozen=True, slots=True)
class HostKey:
    """`struct ipos_host_key`: a host, or a wildcard from its dot on."""

    scope: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Urls:
    """`struct ipos_urls`: where a service's rules begin, and its pool without one."""

    any: int
    pool: int
    wildcards: int
    hosts: bool
    used: bool = True


@dataclass(frozen=True, slots=True)
class CookieKey:
    """`struct ipos_cookie_key`: a learned cookie of a service, by the keyed hash of its value."""

    hash: int
    service_port: int


@dataclass(frozen=True, slots=True)
class Cookie:
    """`struct ipos_cookie`: who has its session. `expires_ns` is boottime."""

    server_ip: IPv4Address
    expires_ns: int


@dataclass(frozen=True, slots=True)
class NameKey:
    """`struct ipos_name_key`: a server's own host name in a service, zero padded."""

    service: int
    host: bytes


@dataclass(frozen=True, slots=True)
class RedirectKey:
    """`struct ipos_redirect_key`: a server in a service."""

    service: int
    server: int


@dataclass(frozen=True, slots=True)
class Redirect:
    """`struct ipos_redirect`: the response up to the target, zero padded; `length` is its own."""

    length: int
    start: bytes


@dataclass(frozen=True, slots=True)
class Tuple:
    """`struct ipos_tuple`: the key of every connection table."""

    client_ip: IPv4Address
    service_ip: IPv4Address
    client_port: int
    service_port: int
    protocol: int = PROTOCOL_TCP


@dataclass(frozen=True, slots=True)
class Handshake:
    """`struct ipos_handshake`: what a handshake agreed on."""

    iss: int
    irs: int
    mss: int
    snd_wscale: int
    options: Option
    ts_recent: int
    ts_sent: int


@dataclass(frozen=True, slots=True)
class Forward:
    """`struct ipos_forward`: at the first server, where a connection's packets go."""

    destination_ip: IPv4Address
    destination_port: int
    server: int
    iss: int
    acknowledged: bool
    service: int
    packets: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`struct ipos_endpoint`: at the owner, in `local` and `connect`. `cookie` 0: no socket yet."""

    endpoint_ip: IPv4Address
    endpoint_port: int
    first: int
    cookie: int
    hs: Handshake
    state: EndpointState
    service: int
    migration: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True)
class Temporary:
    """`struct ipos_temporary`: a handshake done, no application yet."""

    hs: Handshake
    state: TemporaryState
    server: int
    created_ns: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True)
class Holding:
    """`struct ipos_holding`: a request whose bytes we hold, until somebody owns them."""

    hs: Handshake
    held: int
    acknowledged: int
    complete: bool
    service: int
    created_ns: int
    last_seen_ns: int


class Outcome(IntEnum):
    """What a decision means for its connection."""

    NEW = constant("IPOS_OUTCOME_NEW")
    AGAIN = constant("IPOS_OUTCOME_AGAIN")
    MOVED = constant("IPOS_OUTCOME_MOVED")
    REFUSED = constant("IPOS_OUTCOME_REFUSED")
    TAKEN = constant("IPOS_OUTCOME_TAKEN")
    STAYS = constant("IPOS_OUTCOME_STAYS")


class DecisionFlag(IntFlag):
    """Of a record: whether it is for the access log, and what it holds only the beginning of."""

    LOGGED = constant("IPOS_DECISION_LOGGED")
    HOST_CUT = constant("IPOS_DECISION_HOST_CUT")
    PATH_CUT = constant("IPOS_DECISION_PATH_CUT")


@dataclass(frozen=True, slots=True)
class Decision:
    """`struct ipos_decision`: a record of the ring `decisions`. `reason`: see `decisions`.

    Of `host` and `path`, host_len and path_len bytes count.
    """

    length: int
    rule: int
    outcome: Outcome
    reason: int
    service: int
    server: int
    first: int
    pool: int
    flags: DecisionFlag
    refusal: int
    when_ns: int
    tuple: Tuple
    host_len: int
    path_len: int
    host: bytes
    path: bytes


@dataclass(frozen=True, slots=True)
class Prefix:
    """`struct ipos_prefix`: a network of the deny set."""

    prefix_len: int
    ip: IPv4Address
