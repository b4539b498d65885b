# SPDX-License-Identifier: Apache-2.0
"""Resets and SYNs for connections that are ours, and what our kernel gets of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipos.abi.layout import constant
from native.values import SocketState
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER
from tests.support.golden.row import Row, Step, into_front, rx
from tests.support.golden.rows_close import GONE, local
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_request import SOCKET

OLD = 1 << 30
ROUND = 0x69704FA0


def _bare(flags: str, seq: int) -> bytes:
    """A segment of ours to our own kernel in the client's name, of a socket that has sent nothing.

    seq: of its first byte. Its acknowledgement stands in a reset, too, where nobody looks.
    """
    from scapy.layers.inet import IP, TCP

    made = IP(p.ip(flags, seq=seq, ack=0, window=0, options=[]))
    made.id = 0
    del made[IP].chksum
    del made[TCP].chksum
    return p.from_router(bytes(made), pad=False)


def _again(frame: bytes, verdict: str, *sent: Any) -> Step:
    return Step(hook="tc", where="front", frame=frame, verdict=verdict, sent=sent, mark=ROUND)


ROWS = [
    Row(about="the copy of a reset comes by, and a firewall has dropped the reset: FIN and reset",
        steps=[_again(p.client("R", seq=HEAD_END), "redirect", into_front(_bare("FA", HEAD_END)),
                      into_front(_bare("R", HEAD_END + 1)))],
        counts={}, before=GONE, sockets=[LISTENER, replace(SOCKET, rcv_nxt=HEAD_END)],
        native_only="an established socket needs a peer"),
    Row(about="the same, of a socket that has the client's FIN: a reset",
        steps=[_again(p.client("R", seq=HEAD_END), "redirect", into_front(_bare("R", HEAD_END)))],
        counts={}, before=GONE,
        sockets=[LISTENER, replace(SOCKET, state=SocketState.CLOSE_WAIT, rcv_nxt=HEAD_END)],
        native_only="an established socket needs a peer"),
    *(Row(about=f"the copy of a reset comes by, and {text}: no more of it",
          steps=[_again(p.client("R", seq=HEAD_END), "shot")],
          counts={}, before=GONE, sockets=[LISTENER, *sockets], native_only=why)
      for text, sockets, why in (
          ("the reset was taken", [], ""),
          ("a process has the socket and the reset waits", [replace(SOCKET, rcv_nxt=HEAD_END,
            waiting=1)], "an established socket needs a peer"),
          ("the socket is another connection's", [replace(SOCKET, rcv_nxt=HEAD_END + 1)],
           "an established socket needs a peer"))),
    Row(about="SYN for a live tuple of ours: our kernel answers an old segment as it would that",
        steps=[rx("front", p.syn(seq=HEAD_END + 99), "redirect",
                  into_front(_bare("A", HEAD_END - OLD)))],
        counts={}, before=local(),
        sockets=[LISTENER, replace(SOCKET, rcv_nxt=HEAD_END)],
        native_only="an established socket needs a peer"),
    Row(about="SYN for a live tuple whose SYN our kernel has seen: our kernel answers it",
        steps=[rx("front", p.syn(seq=HEAD_END + 99), "to kernel")], counts={},
        before=local(flags=constant("IPOS_EP_HANDSHAKE")), sockets=[LISTENER, SOCKET]),
    Row(about="SYN for an endpoint that has no socket yet: not for its listener",
        steps=[rx("front", p.syn(seq=HEAD_END + 99), "shot")], counts={"DROP_BAD_FLAGS": 1},
        before=local(state=constant("IPOS_EP_PENDING"))),
]  # fmt: skip
