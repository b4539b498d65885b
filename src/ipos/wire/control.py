# SPDX-License-Identifier: Apache-2.0
"""The TCP control block of a type 1 frame: one endpoint, whole, in 140 bytes. Version 1.

The figure gives its size and no more; the fields are those a kernel needs to go on with a
connection where another left off (RFC 9293 names for sequence variables, RFC 7323 for timestamps
and window scale, RFC 6298 for the timers).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import STRICT, IntEnum, IntFlag
from typing import Annotated

from ipos.wire.fields import At, Layout

VERSION = 1

# RFC 7323, 2.3: a larger shift is taken as 14, so none travels.
MAX_WINDOW_SCALE = 14


class TcpState(IntEnum):
    """Linux numbering (include/net/tcp_states.h)."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    NEW_SYN_RECV = 12


class ControlFlags(IntFlag, boundary=STRICT):
    """What the handshake agreed on, and ours. A bit that version 1 does not have is an error."""

    NONE = 0
    SACK = 1
    TIMESTAMPS = 2
    WINDOW_SCALE = 4
    ECN = 8
    MICROSECOND_TIMESTAMPS = 16
    SESSION = 32  # of ours: the first response is to begin a session
    BEGUN = 64  # of ours: a response before has begun one
    LOCATED = 128  # of ours: all servers hear of its moves and its end


class Body(IntEnum):
    """How the request that moves says where it ends (RFC 9112 section 6)."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    OPAQUE = 3  # no HTTP any more: an upgrade, or CONNECT


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlBlock:
    """One endpoint. ``snd`` is the server's direction, ``rcv`` the client's.

    Sequence numbers are as they are on the wire, windows are in bytes with the scale applied.
    ``request_bytes`` is the length of the request that moves, of its head alone where its body
    says itself where it ends; 0 where the service decides once for each connection.
    """

    version: Annotated[int, At(0, 1, least=VERSION, most=VERSION)] = VERSION
    state: Annotated[TcpState, At(1, 1)]
    flags: Annotated[ControlFlags, At(2, 2)]
    iss: Annotated[int, At(4, 4)]
    irs: Annotated[int, At(8, 4)]
    snd_una: Annotated[int, At(12, 4)]
    snd_nxt: Annotated[int, At(16, 4)]
    snd_max: Annotated[int, At(20, 4)]
    snd_wl1: Annotated[int, At(24, 4)]
    snd_wl2: Annotated[int, At(28, 4)]
    snd_wnd: Annotated[int, At(32, 4)]
    rcv_nxt: Annotated[int, At(36, 4)]
    rcv_wnd: Annotated[int, At(40, 4)]
    rcv_adv: Annotated[int, At(44, 4)]
    peer_mss: Annotated[int, At(48, 2)]
    effective_mss: Annotated[int, At(50, 2)]
    snd_wscale: Annotated[int, At(52, 1, most=MAX_WINDOW_SCALE)]
    rcv_wscale: Annotated[int, At(53, 1, most=MAX_WINDOW_SCALE)]
    ts_recent: Annotated[int, At(56, 4)]
    ts_recent_age_ms: Annotated[int, At(60, 4)]
    ts_last_sent: Annotated[int, At(64, 4)]
    srtt_us: Annotated[int, At(68, 4)]  # with SESSION, this and the next are an identifier, or 0
    rttvar_us: Annotated[int, At(72, 4)]
    rto_us: Annotated[int, At(76, 4)]
    snd_cwnd_segments: Annotated[int, At(80, 4)]
    snd_ssthresh_segments: Annotated[int, At(84, 4)]
    send_queue_bytes: Annotated[int, At(88, 4)]  # that follow in frames of their own
    receive_queue_bytes: Annotated[int, At(92, 4)]  # likewise
    migration_number: Annotated[int, At(96, 8)]  # rising with every migration of the connection
    request_bytes: Annotated[int, At(104, 8)] = 0
    body: Annotated[Body, At(112, 1)] = Body.NONE
    sent_s: Annotated[int, At(116, 4)] = 0  # when, in seconds since 1970
    first: Annotated[int, At(120, 4)] = 0  # address of the first server of one that moves

    def __post_init__(self) -> None:
        CONTROL_BLOCK.check(self)


CONTROL_BLOCK = Layout(
    ControlBlock,
    140,
    zero=(At(54, 2), At(113, 3)),
    computed={"tag": At(124, 16)},
)
