# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel has a socket for a connection, as sock_diag(7) tells it.

One question for one four-tuple, answered from the kernel's hash: it costs microseconds however
many sockets there are. A FIN_WAIT2 or TIME_WAIT remainder without a file counts as a socket, and so
does a handshake not yet finished; a listener, which the same lookup falls back to, does not.
"""

import socket
import struct
from contextlib import suppress

from ipos.agent import sockdiag
from ipos.agent.network import NetworkError
from ipos.closing import Closing

_TCP_LISTEN = 10
_QUESTION = struct.Struct("=BBBxI2s2s4s12x4s12xIQ")
_ANY_COOKIE = 0xFFFF_FFFF_FFFF_FFFF


class Sockets(Closing):
    """The TCP sockets of the network namespace it is made in."""

    def __init__(self) -> None:
        try:
            self._netlink = sockdiag.channel()
        except OSError as error:
            raise NetworkError(f"cannot ask for sockets: {error.strerror}") from None
        self._sequence = 0

    def exists(self, local: tuple[bytes, bytes], remote: tuple[bytes, bytes]) -> bool:
        """Of the (address, port) pairs, in network order. OSError when the kernel cannot say."""
        self._sequence = (self._sequence + 1) & 0xFFFF_FFFF
        question = _QUESTION.pack(
            socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFF_FFFF,
            local[1], remote[1], local[0], remote[0], 0, _ANY_COOKIE,
        )  # fmt: skip
        self._netlink.send(
            sockdiag.message(sockdiag.BY_FAMILY, sockdiag.REQUEST, question, self._sequence)
        )
        while True:
            answer = self._netlink.recv(1 << 12)
            _, kind, _, sequence, _ = sockdiag.HEADER.unpack_from(answer)
            if sequence == self._sequence:
                break
        if kind != sockdiag.ERROR:
            return answer[sockdiag.HEADER.size + 1] != _TCP_LISTEN
        with suppress(FileNotFoundError):
            sockdiag.check(answer)
        return False

    def close(self) -> None:
        self._netlink.close()
