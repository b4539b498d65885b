# SPDX-License-Identifier: Apache-2.0
"""Decides what happens to rows whose packets have stopped coming. Pure: rows and times are
arguments.

The data plane acts only when a packet comes. These rows wait for one that may never come:

    holding           an idle connection without an application      idle_s: reset
                      an HTTP/1 head that never completes            header timeout: answered by 408
                      any other                                      header timeout: reset
                      a client that was answered and does not close  header timeout: forgotten
                      a request that no owner has taken in time      reset
                      a later request whose turn does not come       application and client: the end
    temporary         a client that connects and sends nothing       reset
    local, connect    an endpoint that became no socket              forgotten
                      a socket that ended unseen                     the kernel is asked: ended
                      a reset that TCP may have taken or not         the same, without a pause
    forward           the owner is down                              at once: `dead_owner`
                      the owner is not of the farm any more          reset
                      the client has closed, no word of the owner    the owner is asked: ended
                      idle for long                                  the owner is asked: ended

The code that acts on a fate has read the row some time before. So it takes the row out of its table
in one step, judges it again, and puts it back if it has changed. Only the code that took a row acts
on it.
"""

import math
import sys
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import NamedTuple

from ipos.abi.columns import Columns, Since, SinceIn
from ipos.abi.layout import constant, layout
from ipos.abi.rows import (
    EndpointState,
    HeadState,
    Options,
    ServerState,
    Settings,
    SettingsFlags,
    TemporaryState,
)

_SECOND_NS = 1_000_000_000
_U32 = 0xFFFF_FFFF
RESET = constant("IPOS_TEMP_RESET")
CLOSED = int(TemporaryState.CLOSED)
_LOCATED = int(Options.LOCATED)
_IN_DOUBT = constant("IPOS_IN_DOUBT")
_OPEN = int(TemporaryState.OPEN)
_ATTACHED = int(EndpointState.ATTACHED)
NO_SERVER = int(ServerState.NONE)
_HTTP1 = (  # and a first byte is in order
    HeadState.VALUE, HeadState.FIELD, HeadState.END, HeadState.METHOD, HeadState.TARGET_FIRST,
    HeadState.TARGET, HeadState.VERSION, HeadState.LINE_CR, HeadState.NAME,
)  # fmt: skip
_GONE = (int(ServerState.DOWN), NO_SERVER)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each row may wait, in nanoseconds."""

    header_ns: int = 5 * _SECOND_NS
    offer_ns: int = 30 * _SECOND_NS
    waiting_ns: int = 60 * _SECOND_NS
    first_byte_ns: int = 60 * _SECOND_NS
    unattached_ns: int = 10 * _SECOND_NS
    silent_ns: int = 60 * _SECOND_NS
    owner_down_ns: int = 60 * _SECOND_NS
    idle_ns: int = 3600 * _SECOND_NS
    again_ns: int = 5 * _SECOND_NS
    """No table but `holding` is walked anew before this."""
    draining_ns: int = 5 * _SECOND_NS
    """In place of silent_ns while the server drains: it waits for its last connection."""

    def in_force(self, settings: Settings) -> "Limits":
        """With what the running settings say."""
        drains = SettingsFlags.DRAINS in settings.flags
        return replace(
            self,
            header_ns=settings.header_timeout_ms * 1_000_000,
            idle_ns=settings.idle_s * _SECOND_NS,
            waiting_ns=settings.waiting_s * _SECOND_NS,
            first_byte_ns=settings.silent_s * _SECOND_NS,
            silent_ns=min(self.silent_ns, self.draining_ns) if drains else self.silent_ns,
        )

    @property
    def owned_ns(self) -> int:
        """Younger rows of `local` and `connect` are kept, whatever they say."""
        return min(self.unattached_ns, self.silent_ns)

    @property
    def forwarded_ns(self) -> int:
        """Likewise of `forward`; for `holding` it is header_ns."""
        return min(self.owner_down_ns, self.silent_ns, self.idle_ns)


class Handshake(NamedTuple):
    iss: int
    irs: int
    options: int = 0
    ts_recent: int = 0
    ts_sent: int = 0


class Held(NamedTuple):
    """Of `struct ipos_holding`. hs, chunks: as they are in the map."""

    hs: bytes
    held: int
    acknowledged: int
    head_state: int
    complete: int
    service: int
    client_mac: bytes
    created_ns: int
    last_seen_ns: int
    chunks: bytes
    moving: int
    client_end: int
    answer: int
    iss: int
    irs: int
    client_ip: bytes = bytes(4)
    live: int = 0


class Owned(NamedTuple):
    """Of `struct ipos_endpoint`. endpoint_ip, endpoint_port: in network order."""

    rcv_nxt: int
    snd_nxt: int
    client_fin: int
    last_seen_ns: int
    state: int
    flags: int
    client_fin_seen: int
    first: int
    hs: bytes
    endpoint_ip: bytes
    cookie: int
    endpoint_port: bytes
    box: int = 0


class Forwarded(NamedTuple):
    """Of `struct ipos_forward`."""

    server: int
    acknowledged: int
    ending: int
    client_end: int
    client_ack: int
    last_seen_ns: int
    iss: int
    irs: int


class Left(NamedTuple):
    """Of `struct ipos_temporary`."""

    hs: bytes
    state: int
    created_ns: int
    last_seen_ns: int
    client_end: int


class Ends(NamedTuple):
    """Of `struct ipos_tuple`, all in network order. Addresses have 4 bytes or 16."""

    client_ip: bytes
    service_ip: bytes
    client_port: bytes
    service_port: bytes


class Known(NamedTuple):
    """Of `struct ipos_server`."""

    back_ip: bytes
    mac: bytes
    state: int


HANDSHAKE = Columns("ipos_handshake", Handshake._fields, Handshake._make)
HELD = Columns("ipos_holding", Held._fields, Held._make)
OWNED = Columns("ipos_endpoint", Owned._fields, Owned._make)
FORWARDED = Columns("ipos_forward", Forwarded._fields, Forwarded._make)
LEFT = Columns("ipos_temporary", Left._fields, Left._make)
KEY_SIZE, KEY6_SIZE = layout("ipos_tuple").size, layout("ipos_tuple6").size


class _OfEitherFamily:
    """A key says by its length of which family it is."""

    def __init__(self) -> None:
        self._four = Columns("ipos_tuple", Ends._fields, Ends._make)
        self._six = Columns("ipos_tuple6", Ends._fields, Ends._make)

    def read(self, key: bytes) -> Ends:
        return (self._four if len(key) == KEY_SIZE else self._six).read(key)


ENDS = _OfEitherFamily()
_NUMBERS_END = layout("ipos_handshake").field("mss").offset
KNOWN = Columns("ipos_server", Known._fields, Known._make)
HELD_SINCE = Since("ipos_holding", "created_ns")
OWNED_SINCE = Since("ipos_endpoint", "last_seen_ns")
FORWARDED_SINCE = Since("ipos_forward", "last_seen_ns")
LEFT_SINCE = SinceIn("ipos_temporary", "created_ns", "state", _OPEN)


class Fate(Enum):
    KEEP = auto()
    ANSWER = auto()  # the client is told in words, and the row stays until it has closed
    RESET = auto()  # the client is told, and the row leaves nothing behind
    EXPIRE = auto()  # the client was told, and has had its time: late segments are reset
    LATE = auto()  # the data plane is to say so when the connection's earlier answers are over
    RELEASE = auto()  # somebody has the request: only its pieces come back
    LOOK = auto()  # other tables know more: see `offered`
    FORGET = auto()
    ASK = auto()  # the kernel, or the owner
    END = auto()


def held(row: Held, now_ns: int, limits: Limits) -> Fate:
    """A held request by itself. Its time begins with its first byte, or with our answer.

    An idle connection that waits for its next request has as long as any without packets.
    """
    if is_idle(row):
        return Fate.RESET if now_ns - row.created_ns > limits.idle_ns else Fate.KEEP
    if row.answer or not row.complete:
        if now_ns - row.created_ns <= limits.header_ns:
            return Fate.KEEP
        if row.answer:
            return Fate.EXPIRE
        if row.moving:
            return Fate.LATE  # its connection has a socket, whose application must hear of the end
        return Fate.ANSWER if row.head_state in _HTTP1 else Fate.RESET
    patience_ns = limits.waiting_ns if row.moving else _offer_ns(limits)
    return Fate.LOOK if now_ns - row.created_ns > patience_ns else Fate.KEEP


def is_idle(row: Held) -> bool:
    """Whether an application has had the connection, and no request is open now."""
    return bool(row.live) and not row.complete and not any(row.chunks)


def late_name(row: Held) -> str:
    """The counter of a row whose time is over, and whose client gets a reset or a response."""
    if is_idle(row):
        return "SILENT_CLOSED"
    return "UNTAKEN" if row.complete else "HEAD_TIMEOUT"


def opened(row: Left, now_ns: int, limits: Limits) -> Fate:
    """A row of `temporary`: of a client that has shaken hands and has sent nothing since.

    Keepalives do not prolong this time, because they come from the client's kernel.
    """
    silent = row.state == _OPEN and now_ns - row.created_ns > limits.first_byte_ns
    return Fate.RESET if silent else Fate.KEEP


def waiting(owner: Owned | None) -> Fate:
    """A complete later request that is old: the data plane ends its connection, if it has one."""
    return Fate.RELEASE if owner is None else Fate.LATE


def offered(forward: Forwarded | None, local: Owned | None) -> Fate:
    """A complete request whose row is old: its fate depends on what happened to it so far.

    It does not matter what the client sends, or how often the request is offered: a server that has
    not taken it by now never will, and other clients need its pieces of the hold pool.
    """
    taken = (forward is not None and forward.acknowledged) or (
        local is not None and local.state == _ATTACHED
    )
    return Fate.RELEASE if taken else Fate.RESET


def _silent_ns(row: Owned | Forwarded, now_ns: int) -> float:
    """Since its last packet. A row in doubt is as old as can be, however young the machine is."""
    return now_ns - row.last_seen_ns if row.last_seen_ns != _IN_DOUBT else math.inf


def owned(row: Owned, now_ns: int, limits: Limits) -> Fate:
    """An endpoint of ours. ASK: END it when the kernel has no socket for it."""
    silent_ns = _silent_ns(row, now_ns)
    if row.state != _ATTACHED:
        return Fate.FORGET if silent_ns > limits.unattached_ns else Fate.KEEP
    return Fate.ASK if silent_ns > limits.silent_ns else Fate.KEEP


def forwarded(row: Forwarded, owner: int, now_ns: int, limits: Limits) -> Fate:
    """A connection given away. owner: its state; ASK: END it when the owner denies it."""
    silent_ns = _silent_ns(row, now_ns)
    if owner in _GONE and silent_ns > limits.owner_down_ns:
        return Fate.END
    idle_ns = min(limits.silent_ns, limits.idle_ns) if row.ending else limits.idle_ns
    if not row.acknowledged:
        idle_ns = max(idle_ns, _offer_ns(limits))
    return Fate.ASK if silent_ns > idle_ns else Fate.KEEP


def answered(row: Held, answer: bytes, now_ns: int) -> Held:
    """The row with our answer in its first piece; all that is in order is acknowledged by it."""
    return row._replace(
        acknowledged=row.held,
        complete=1,
        created_ns=now_ns,
        client_end=client_end(row),
        answer=len(answer),
    )


def is_unattached(row: Owned) -> bool:
    return row.state != _ATTACHED


def is_located(row: Owned) -> bool:
    """Whether several servers may have a row of Forward for it."""
    return bool(HANDSHAKE.read(row.hs).options & _LOCATED)


def has_ended(row: Left, iss: int) -> bool:
    """Whether a row of `temporary` says that the connection with this iss is over.

    One that was reset because nobody answered for it has no iss: 0.
    """
    told = HANDSHAKE.read(row.hs).iss
    return (row.state in (CLOSED, RESET) and told == iss) or (row.state == RESET and not told)


def is_first(row: Held) -> bool:
    """Whether a connection waits for its first request to be decided or taken: nobody has it."""
    return not (row.moving or row.live or row.answer)


def is_accepted(row: Forwarded) -> bool:
    return bool(row.acknowledged)


def is_unaccepted(row: Forwarded) -> bool:
    return not row.acknowledged


def client_end(row: Held | Owned | Forwarded | Left) -> int:
    """The sequence number after the client's last byte; its FIN counts."""
    match row:
        case Held(answer=answer) if answer:
            return row.client_end
        case Held():
            return HANDSHAKE.read(row.hs).irs + 1 + row.held & _U32
        case Owned():
            return row.client_fin if row.client_fin_seen else row.rcv_nxt
        case Forwarded():
            return row.client_end
        case Left():
            return HANDSHAKE.read(row.hs).irs + 1 & _U32


def ended(row: Held | Owned | Forwarded | Left, state: int, now_ns: int) -> bytes:
    """The row of `temporary` that makes the old cookie open nothing. state: CLOSED or RESET."""
    match row:
        case Forwarded():
            hs = HANDSHAKE.write(Handshake(row.iss, row.irs))
        case Held():  # hs has the numbers of a later request, the cookie was made of the first's
            numbers = HANDSHAKE.write(Handshake(row.iss, row.irs))[:_NUMBERS_END]
            hs = numbers + row.hs[_NUMBERS_END:]
        case Owned() | Left():
            hs = row.hs
    return LEFT.write(Left(hs, state, now_ns, now_ns, client_end(row)))


def pieces(chunks: bytes) -> list[bytes]:
    """The indexes in `hold_pool` of a row's pieces, as values of `hold_free`."""
    words = memoryview(chunks).cast("I")
    return [(word - 1).to_bytes(4, sys.byteorder) for word in words if word]


def _offer_ns(limits: Limits) -> int:
    """From a head's first byte until a server must have taken it."""
    return limits.header_ns + limits.offer_ns
