# SPDX-License-Identifier: Apache-2.0
"""Addresses and routes of this network namespace, by rtnetlink(7): the few messages needed.

By hand, for a library that knows all of rtnetlink takes a fifth of the agent's start to import, and
an agent that starts on a machine full of others has no time to spare.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

from ipos.agent import sockdiag
from ipos.closing import Closing

_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DELETE_ROUTE = 24, 25
_CREATE = 0x600
"""NLM_F_CREATE and NLM_F_EXCL: what is there already is EEXIST."""
_ADDRESS = struct.Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, interface."""
_ROUTE = struct.Struct("=BBBBBBBBI")
"""rtmsg: family, prefix lengths of destination and source, TOS, table, protocol, scope, type."""
_ATTRIBUTE = struct.Struct("=HH")
_IFA_LOCAL, _RTA_DST, _RTA_OIF = 2, 1, 4
_TABLE_LOCAL, _PROTOCOL_STATIC, _SCOPE_HOST, _TYPE_LOCAL = 255, 4, 254, 2


class RtNetlink(Closing):
    """One conversation. OSError, with the kernel's number, when it refuses."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._sequence = 0

    def addresses(self, interface: int) -> list[tuple[IPv4Address, int]]:
        """An interface's IPv4 addresses with their prefix lengths."""
        body = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
        found = []
        for message in self._ask(_GET_ADDRESS, sockdiag.DUMP, body):
            _, prefix, _, _, index = _ADDRESS.unpack_from(message)
            local = _attribute(message[_ADDRESS.size :], _IFA_LOCAL)
            if index == interface and local is not None:
                found.append((IPv4Address(local), prefix))
        return found

    def add_address(self, interface: int, address: IPv4Address) -> None:
        """As /32. FileExistsError when it is there."""
        self._address(_NEW_ADDRESS, _CREATE, interface, address)

    def delete_address(self, interface: int, address: IPv4Address) -> None:
        self._address(_DELETE_ADDRESS, 0, interface, address)

    def add_local(self, address: IPv4Address) -> None:
        """Take packets for an address that no interface has. FileExistsError when we do already."""
        self._local(_NEW_ROUTE, _CREATE, address, _PROTOCOL_STATIC)

    def delete_local(self, address: IPv4Address) -> None:
        self._local(_DELETE_ROUTE, 0, address, 0)

    def close(self) -> None:
        self._socket.close()

    def _address(self, kind: int, flags: int, interface: int, address: IPv4Address) -> None:
        body = _ADDRESS.pack(socket.AF_INET, 32, 0, 0, interface)
        self._do(kind, flags, body + _packed(_IFA_LOCAL, address.packed))

    def _local(self, kind: int, flags: int, address: IPv4Address, protocol: int) -> None:
        body = _ROUTE.pack(
            socket.AF_INET, 32, 0, 0, _TABLE_LOCAL, protocol, _SCOPE_HOST, _TYPE_LOCAL, 0
        )
        loopback = struct.pack("=I", socket.if_nametoindex("lo"))
        self._do(
            kind, flags, body + _packed(_RTA_DST, address.packed) + _packed(_RTA_OIF, loopback)
        )

    def _do(self, kind: int, flags: int, body: bytes) -> None:
        for _ in self._ask(kind, flags | sockdiag.ACK, body):
            pass

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        """The bodies of the messages that answer, up to the one that says that it was the last."""
        self._sequence += 1
        self._socket.send(sockdiag.message(kind, flags | sockdiag.REQUEST, body, self._sequence))
        while True:
            answer = self._socket.recv(1 << 16)
            position = 0
            while position < len(answer):
                size, kind, _, sequence, _ = sockdiag.HEADER.unpack_from(answer, position)
                if sequence == self._sequence:  # of none that was given up
                    if kind in (sockdiag.ERROR, sockdiag.DONE):
                        sockdiag.check(answer, position)
                        return
                    yield answer[position + sockdiag.HEADER.size : position + size]
                position += (size + 3) & ~3


def _packed(kind: int, value: bytes) -> bytes:
    """An attribute; those used here are whole words long."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _attribute(attributes: bytes, wanted: int) -> bytes | None:
    position = 0
    while position + _ATTRIBUTE.size <= len(attributes):
        size, kind = _ATTRIBUTE.unpack_from(attributes, position)
        if kind == wanted:
            return attributes[position + _ATTRIBUTE.size : position + size]
        position += max((size + 3) & ~3, _ATTRIBUTE.size)
    return None
