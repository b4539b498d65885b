# SPDX-License-Identifier: Apache-2.0
"""Asks sock_diag(7) whether the kernel has a socket for a connection.

One question is about one four-tuple and is answered from the kernel's hash, so it takes
microseconds, however many sockets there are. A FIN_WAIT2 or TIME_WAIT socket without a file counts
as a socket, and so does a handshake that is not finished; a listener, which the same lookup falls
back to, does not.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Protocol

from ipos.agent.network import sockdiag
from ipos.agent.network.interfaces import NetworkError
from ipos.agent.network.wired_namespaces import Seat
from ipos.closing import Closing

_TCP_LISTEN = 10
_QUESTION = struct.Struct("=BBBxI2s2s16s16sIQ")
"""An IPv4 address has the first 4 bytes of 16."""
_ANY_COOKIE = 0xFFFF_FFFF_FFFF_FFFF


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


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
            _family(local[0]), socket.IPPROTO_TCP, 0, 0xFFFF_FFFF,
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

    def destroy(self, local: tuple[bytes, bytes], remote: tuple[bytes, bytes], cookie: int) -> bool:
        """End the socket that has this cookie, by a reset; False when it is gone already.

        Its application is told ECONNRESET. OSError when the kernel cannot.
        """
        self._sequence = (self._sequence + 1) & 0xFFFF_FFFF
        question = _QUESTION.pack(
            _family(local[0]), socket.IPPROTO_TCP, 0, 0xFFFF_FFFF,
            local[1], remote[1], local[0], remote[0], 0, cookie,
        )  # fmt: skip
        flags = sockdiag.REQUEST | sockdiag.ACK
        self._netlink.send(sockdiag.message(sockdiag.DESTROY, flags, question, self._sequence))
        while True:
            answer = self._netlink.recv(1 << 12)
            if sockdiag.HEADER.unpack_from(answer)[3] == self._sequence:
                break
        try:
            sockdiag.check(answer)
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError as error:
            if error.errno not in (errno.ESTALE, errno.EOPNOTSUPP):
                raise
            return False  # another socket's four-tuple; or a kernel without INET_DIAG_DESTROY
        return True

    def close(self) -> None:
        self._netlink.close()


class Containers(Protocol):
    """`ipos.agent.host.boxes`. gone: our ends of wires to those that have gone."""

    gone: set[int]

    def seats(self) -> list[Seat]: ...


class NoContainers:
    """Where there are none."""

    def __init__(self) -> None:
        self.gone: set[int] = set()

    def seats(self) -> list[Seat]:
        return []


class BoxedSockets(Sockets):
    """The TCP sockets of this network namespace and of containers."""

    def __init__(self, containers: Containers | None) -> None:
        super().__init__()
        self._containers = containers or NoContainers()

    def exists(self, local: tuple[bytes, bytes], remote: tuple[bytes, bytes]) -> bool:
        return super().exists(local, remote) or any(
            inside.exists(local, remote) for inside in self._inside()
        )

    def destroy(self, local: tuple[bytes, bytes], remote: tuple[bytes, bytes], cookie: int) -> bool:
        return super().destroy(local, remote, cookie) or any(
            inside.destroy(local, remote, cookie) for inside in self._inside()
        )

    def _inside(self) -> Iterator[Sockets]:
        """Those of one container after the other."""
        for seat in self._containers.seats():
            with suppress(OSError, NetworkError):  # it has gone meanwhile
                with seat.entered():
                    inside = Sockets()
                with closing(inside):
                    yield inside
