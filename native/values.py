# SPDX-License-Identifier: Apache-2.0
"""What a node of the native library takes and gives: sockets, frames, verdicts."""

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

Address = IPv4Address | IPv6Address
NOWHERE: Final = IPv4Address(0)
"""Of a listener on any address, of either family."""


class Xdp(IntEnum):
    """`enum xdp_action`."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


class Tc(IntEnum):
    """Verdicts of a tc program."""

    UNSPEC = -1
    OK = 0
    SHOT = 2
    STOLEN = 4
    REDIRECT = 7


class SocketState(IntEnum):
    """States of a TCP socket as the lookups tell them; Linux's numbering."""

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


@dataclass(frozen=True, slots=True)
class Socket:
    """A TCP socket of a node's kernel. A listener on any address has `service` 0.0.0.0."""

    state: SocketState
    service: Address
    service_port: int
    client: Address = NOWHERE
    client_port: int = 0
    rcv_nxt: int = 0
    queued: int = 0
    backlog: int = 128
    copied_seq: int = 0
    snd_nxt: int = 0
    write_seq: int = 0
    snd_una: int | None = None  # as snd_nxt
    max_window: int = 65_535
    ts_recent: int = 0
    waiting: int = 0  # bytes that a process which has the socket keeps waiting
    gaps: bool = False  # there are bytes behind some that are missing
    shutdown: int = 0
    sent: int = 0  # segments with data
    spoke: int = 0  # when it sent the last of them, in ticks
    heard: int = 0  # and when the last data came
    netns: int = -1  # the id of the network namespace that it is in; -1: the node's own


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame that left the node; `inward`: into its own kernel, at that interface's ingress.

    peer: into the other end of that interface. neighbour: to the next hop of its destination.
    """

    ifindex: int
    inward: bool
    frame: bytes
    mark: int = 0
    peer: bool = False
    neighbour: bool = False


@dataclass(frozen=True, slots=True)
class Attributes:
    """`struct bpf_tcp_req_attrs`: what the kernel makes an established socket with."""

    rcv_tsval: int
    rcv_tsecr: int
    mss: int
    rcv_wscale: int
    snd_wscale: int
    ecn_ok: bool
    wscale_ok: bool
    sack_ok: bool
    tstamp_ok: bool
    usec_ts_ok: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    """The packet went to this listener: with attributes as a socket, without as a SYN."""

    listener: Socket
    attributes: Attributes | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did with a frame.

    `frame` is the packet after it and `metadata` the bytes of XDP metadata before it. A frame that
    the verdict redirects is the last of `sent`. `captured`, `decided`, `silent` and `awaiting` are
    records of the rings.
    """

    verdict: int
    frame: bytes
    sent: tuple[Sent, ...]
    assigned: tuple[Assignment, ...]
    metadata: int = 0
    mark: int = 0
    captured: tuple[bytes, ...] = ()
    decided: tuple[bytes, ...] = ()
    silent: tuple[bytes, ...] = ()
    awaiting: tuple[bytes, ...] = ()
