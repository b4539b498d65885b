# SPDX-License-Identifier: Apache-2.0
"""Ends TIME_WAIT sockets that the data plane meant to end and could not.

The iNIC keeps the closing state of its connections itself, and sends a reset after the packet that
takes a socket into TIME_WAIT. When the application uses the socket at that moment, TCP handles both
later, from a queue, and the reset no longer finds the full socket; the rest would block its
four-tuple for a minute. Only sockets whose end the iNIC remembers are ended.
"""

import errno
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from ipos.agent.host.load import read
from ipos.agent.network import sockdiag
from ipos.agent.network.interfaces import NetworkError

INTERVAL_NS = 1_000_000_000

_TIME_WAIT = 6
_QUESTION = struct.Struct("=BBBxI")
_SOCKET_ID = struct.Struct("=2s2s16s16sIQ")
"""inet_diag_sockid: ports and addresses, ours first, in network order. IPv4 has 4 bytes of 16."""
_ID_AT = sockdiag.HEADER.size + 4
_SOCKSTAT = Path("/proc/thread-self/net/sockstat")

Key = Callable[[bytes, bytes, bytes, bytes], bool]
"""Whether the iNIC remembers the end of: client address, service address, client port, service
port, in network order."""


class TimeWait:
    """The sweep, at most once a second, and only while the namespace has such sockets."""

    def __init__(self, remembered: Key, family: int = socket.AF_INET) -> None:
        try:
            self._netlink = sockdiag.channel()
        except OSError as error:
            raise NetworkError(f"cannot ask for sockets: {error.strerror}") from None
        self._remembered = remembered
        self._family = family
        self._length = 4 if family == socket.AF_INET else 16
        self._next_ns = 0
        self._possible = True

    def sweep(self, now_ns: int) -> int:
        """How many were ended. OSError when the kernel cannot say."""
        if not self._possible or now_ns < self._next_ns:
            return 0
        self._next_ns = now_ns + INTERVAL_NS
        if not any_there():
            return 0
        return sum(self._destroy(one) for one in self._dump() if self._is_ours(one))

    def _is_ours(self, one: bytes) -> bool:
        our_port, client_port, ours, client, _, _ = _SOCKET_ID.unpack(one)
        of = slice(self._length)
        return self._remembered(client[of], ours[of], client_port, our_port)

    def _dump(self) -> list[bytes]:
        question = _QUESTION.pack(self._family, socket.IPPROTO_TCP, 0, 1 << _TIME_WAIT)
        flags = sockdiag.REQUEST | sockdiag.DUMP
        body = question + bytes(_SOCKET_ID.size)
        self._netlink.send(sockdiag.message(sockdiag.BY_FAMILY, flags, body))
        found: list[bytes] = []
        while True:
            answer = self._netlink.recv(1 << 16)
            at = 0
            while at < len(answer):
                size, kind, _, _, _ = sockdiag.HEADER.unpack_from(answer, at)
                if kind == sockdiag.DONE:
                    return found
                if kind == sockdiag.ERROR:
                    sockdiag.check(answer, at)
                found.append(answer[at + _ID_AT : at + _ID_AT + _SOCKET_ID.size])
                at += (size + 3) & ~3

    def _destroy(self, one: bytes) -> bool:
        question = _QUESTION.pack(self._family, socket.IPPROTO_TCP, 0, 1 << _TIME_WAIT)
        flags = sockdiag.REQUEST | sockdiag.ACK
        self._netlink.send(sockdiag.message(sockdiag.DESTROY, flags, question + one))
        answer = self._netlink.recv(1 << 12)
        try:
            sockdiag.check(answer)
        except FileNotFoundError:  # ended by itself
            return False
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            self._possible = False  # a kernel without INET_DIAG_DESTROY
            return False
        return True

    def close(self) -> None:
        self._netlink.close()


def any_there() -> bool:
    """Whether this network namespace has a TIME_WAIT socket. A glance, not a walk."""
    for line in read(_SOCKSTAT).splitlines():
        words = line.split()
        if words[0] == b"TCP:":
            return words[words.index(b"tw") + 1] != b"0"
    return False
