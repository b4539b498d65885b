# SPDX-License-Identifier: Apache-2.0
"""Counts the sockets of a service's connections, by sock_diag(7)."""

import socket
import struct

from ipos.agent.network import sockdiag

_QUESTION = struct.Struct("=BBBxI2s2s16s16sIQ")
_OPEN_STATES = 0xFFF & ~(1 << 6 | 1 << 7 | 1 << 10)  # not TIME_WAIT, CLOSE, LISTEN
_ANY_COOKIE = 0xFFFF_FFFF_FFFF_FFFF
_NOTHING = bytes(16)
_PEER = 4 + 4 + 16
"""Where the peer's address is (linux/inet_diag.h, struct inet_diag_msg); IPv4 in IPv6: its end."""


def count(port: int) -> int:
    """Sockets of this network namespace whose own port it is. OSError when the kernel cannot.

    Those with a peer in 127.0.0.0/8 do not count: health checks are such.
    """
    with sockdiag.channel() as channel:
        return sum(_count(channel, family, port) for family in (socket.AF_INET, socket.AF_INET6))


def _count(channel: socket.socket, family: int, port: int) -> int:
    question = _QUESTION.pack(
        family, socket.IPPROTO_TCP, 0, _OPEN_STATES,
        port.to_bytes(2, "big"), bytes(2), _NOTHING, _NOTHING, 0, _ANY_COOKIE,
    )  # fmt: skip
    channel.send(sockdiag.message(sockdiag.BY_FAMILY, sockdiag.REQUEST | sockdiag.DUMP, question))
    found = 0
    while True:
        answer = channel.recv(1 << 16)
        position = 0
        while position < len(answer):
            size, kind, *_ = sockdiag.HEADER.unpack_from(answer, position)
            if kind == sockdiag.DONE:
                return found
            if kind == sockdiag.ERROR:
                sockdiag.check(answer, position)
            found += kind == sockdiag.BY_FAMILY and not _is_own(family, answer, position)
            position += (size + 3) & ~3


def _is_own(family: int, answer: bytes, position: int) -> bool:
    """Whether the peer of a socket is in 127.0.0.0/8."""
    at = position + sockdiag.HEADER.size + _PEER + (12 if family == socket.AF_INET6 else 0)
    return answer[at] == 127
