# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel has a socket for a connection, as sock_diag(7) tells it.

One question for one four-tuple, answered from the kernel's hash: it costs microseconds however
many sockets there are. A FIN_WAIT2 or TIME_WAIT remainder without a file counts as a socket, and so
does a handshake not yet finished; a listener, which the same lookup falls back to, does not.
"""

import os
import socket
import struct
from types import TracebackType
from typing import Self

from ipos.agent.network import NetworkError

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ENOENT = 2
_TCP_LISTEN = 10
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBxI2s2s4s12x4s12xIQ")
_ANY_COOKIE = 0xFFFF_FFFF_FFFF_FFFF


class Sockets:
    """The TCP sockets of the network namespace it is made in."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            self._netlink = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
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
        size = _HEADER.size + len(question)
        header = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._sequence, 0)
        self._netlink.send(header + question)
        while True:
            answer = self._netlink.recv(1 << 12)
            _, kind, _, sequence, _ = _HEADER.unpack_from(answer)
            if sequence == self._sequence:
                break
        if kind != _NLMSG_ERROR:
            return answer[_HEADER.size + 1] != _TCP_LISTEN
        number = -int(struct.unpack_from("=i", answer, _HEADER.size)[0])
        if number != _ENOENT:
            raise OSError(number, os.strerror(number))
        return False

    def close(self) -> None:
        self._netlink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
