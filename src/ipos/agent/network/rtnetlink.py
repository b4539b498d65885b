# SPDX-License-Identifier: Apache-2.0
"""Addresses and routes of this network namespace, by the few messages of rtnetlink(7) that are
needed.

Written by hand: importing a library for all of rtnetlink takes a fifth of the agent's start, and
several agents may start on one machine at once.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ipos.agent.network import sockdiag
from ipos.closing import Closing
from ipos.ip_family import Address

_NEW_LINK, _DELETE_LINK, _GET_LINK = 16, 17, 18
_GET_NAMESPACE_ID = 90
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_CREATE = 0x600
"""NLM_F_CREATE and NLM_F_EXCL: what is there already is EEXIST."""
_REPLACE = 0x500
"""NLM_F_CREATE and NLM_F_REPLACE."""
_LINK = struct.Struct("=BxHiII")
"""ifinfomsg: family, type, interface, flags, which flags are meant."""
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 3, 18, 1, 2, 1
_IFLA_LINK, _IFLA_LINK_NETNSID = 5, 37
_NETNSA_NSID, _NETNSA_FD = 1, 3
_RTMGRP_LINK = 1
_UP = 1
_ADDRESS = struct.Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, interface."""
_ROUTE = struct.Struct("=BBBBBBBBI")
"""rtmsg: family, prefix lengths of destination and source, TOS, table, protocol, scope, type."""
_ATTRIBUTE = struct.Struct("=HH")
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_PROTO = 1, 2, 8, 11
_RTA_DST, _RTA_OIF, _RTA_PREFSRC = 1, 4, 7
_NODAD = 2
"""IFA_F_NODAD: the address works at once. Whether another machine has it is asked by the agent."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_TABLE_LOCAL, _SCOPE_HOST, _TYPE_LOCAL = 255, 254, 2
MARK = 77
"""The protocol (IFA_PROTO, rtm_protocol) of what we add: nobody else's, so ours can be told."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Our end of a pair of interfaces whose other end is in another network namespace.

    index: of our end; peer: of the other one, there; namespace: the id that it has in ours.
    """

    index: int
    peer: int
    namespace: int


class LinkNews(Closing):
    """Hears when an interface of this network namespace comes, goes or changes."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_LINK))

    def any(self) -> bool:
        """Whether anything has been said since the last call."""
        found = False
        while True:
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError:  # more than there was room for
                return True
            found = True

    def close(self) -> None:
        self._socket.close()


class RtNetlink(Closing):
    """One conversation. OSError, with the kernel's number, when it refuses."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._sequence = 0

    def addresses(self, interface: int) -> list[tuple[IPv4Address, int]]:
        """An interface's IPv4 addresses with their prefix lengths."""
        found = self._addresses(socket.AF_INET)
        return [
            (ip, prefix)
            for index, ip, prefix, _ in found
            if index == interface and isinstance(ip, IPv4Address)
        ]

    def addresses6(self, interface: int) -> list[IPv6Address]:
        """An interface's IPv6 addresses."""
        found = self._addresses(socket.AF_INET6)
        return [
            ip for index, ip, _, _ in found if index == interface and isinstance(ip, IPv6Address)
        ]

    def marked_addresses(self) -> list[tuple[int, Address]]:
        """Those that an agent has added: interface and address."""
        return [
            (index, ip)
            for family in _FAMILIES
            for index, ip, _, is_marked in self._addresses(family)
            if is_marked
        ]

    def marked_routes(self) -> list[Address]:
        """The addresses that an agent has made local."""
        found: list[Address] = []
        for family in _FAMILIES:
            body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            for message in self._ask(_GET_ROUTE, sockdiag.DUMP, body):
                _, prefix, _, _, table, protocol, _, kind, _ = _ROUTE.unpack_from(message)
                raw = _attribute(message[_ROUTE.size :], _RTA_DST)
                ours = (table, protocol, kind) == (_TABLE_LOCAL, MARK, _TYPE_LOCAL)
                if ours and raw is not None and prefix == 8 * len(raw):
                    found.append(_address(raw))
        return found

    def _addresses(self, family: int) -> Iterator[tuple[int, Address, int, bool]]:
        """Interface, address, prefix length, and whether an agent has added it."""
        body = _ADDRESS.pack(family, 0, 0, 0, 0)
        for message in self._ask(_GET_ADDRESS, sockdiag.DUMP, body):
            _, prefix, _, _, index = _ADDRESS.unpack_from(message)
            attributes = message[_ADDRESS.size :]
            local = _attribute(attributes, _IFA_LOCAL)
            if local is None and family == socket.AF_INET6:
                local = _attribute(attributes, _IFA_ADDRESS)
            if local is not None:
                mark = _attribute(attributes, _IFA_PROTO)
                yield index, _address(local), prefix, mark == bytes((MARK,))

    def wires(self) -> list[Wire]:
        """Our ends of wires to other network namespaces that have an id in ours."""
        found = []
        for message in self._ask(_GET_LINK, sockdiag.DUMP, _LINK.pack(0, 0, 0, 0, 0)):
            _, _, index, _, _ = _LINK.unpack_from(message)
            attributes = message[_LINK.size :]
            peer = _attribute(attributes, _IFLA_LINK)
            namespace = _attribute(attributes, _IFLA_LINK_NETNSID)
            if peer is not None and namespace is not None:
                wire = Wire(index, *struct.unpack("=Ii", peer + namespace))
                found += [wire] if wire.peer and wire.namespace >= 0 else []
        return found

    def namespace_id(self, descriptor: int) -> int | None:
        """The id that a network namespace has in ours; None: none."""
        body = bytes(4) + _packed(_NETNSA_FD, struct.pack("=I", descriptor))
        found = None
        with suppress(OSError):
            for message in self._ask(_GET_NAMESPACE_ID, sockdiag.ACK, body):
                number = _attribute(message[4:], _NETNSA_NSID)
                if number is not None:
                    found = int(struct.unpack("=i", number)[0])
        return found if found is not None and found >= 0 else None

    def add_pair(self, name: str, peer: str) -> None:
        """Two virtual interfaces that are each other's wire; neither is up."""
        nobody = _LINK.pack(0, 0, 0, 0, 0)
        other = nobody + _packed(_IFLA_IFNAME, peer.encode() + b"\0")
        kind = _packed(_INFO_KIND, b"veth") + _packed(_INFO_DATA, _packed(_VETH_PEER, other))
        body = nobody + _packed(_IFLA_IFNAME, name.encode() + b"\0")
        self._do(_NEW_LINK, _CREATE, body + _packed(_IFLA_LINKINFO, kind))

    def set_up(self, interface: int, mac: bytes) -> None:
        """Up, with this MAC address."""
        body = _LINK.pack(0, 0, interface, _UP, _UP) + _packed(_IFLA_ADDRESS, mac)
        self._do(_NEW_LINK, 0, body)

    def delete_link(self, interface: int) -> None:
        self._do(_DELETE_LINK, 0, _LINK.pack(0, 0, interface, 0, 0))

    def add_address(self, interface: int, address: Address, scope: int = 0) -> None:
        """As /32 or /128. FileExistsError when it is there."""
        self._address(_NEW_ADDRESS, _CREATE, interface, address, scope)

    def delete_address(self, interface: int, address: Address) -> None:
        self._address(_DELETE_ADDRESS, 0, interface, address)

    def add_local(
        self, address: Address, source: IPv4Address | None = None, *, replace: bool = False
    ) -> None:
        """Take packets for an address that no interface has. FileExistsError when we do already.

        source: what programs that call it here have for their own address, where it is of IPv4.
        replace: a route of ours that may say another.
        """
        self._local(_NEW_ROUTE, _REPLACE if replace else _CREATE, address, MARK, source)

    def delete_local(self, address: Address) -> None:
        self._local(_DELETE_ROUTE, 0, address, 0)

    def change(self, kind: int, flags: int, body: bytes) -> None:
        """Any other change. OSError, with the kernel's number, when it refuses."""
        self._do(kind, flags, body)

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All that there is of a kind, each message without its header."""
        return list(self._ask(kind, sockdiag.DUMP, body))

    def close(self) -> None:
        self._socket.close()

    def _address(
        self, kind: int, flags: int, interface: int, address: Address, scope: int = 0
    ) -> None:
        length = address.max_prefixlen
        body = _ADDRESS.pack(_family(address), length, 0, scope, interface)
        mark = _packed(_IFA_PROTO, bytes((MARK,))) if kind == _NEW_ADDRESS else b""
        if kind == _NEW_ADDRESS and isinstance(address, IPv6Address):
            mark += _packed(_IFA_FLAGS, struct.pack("=I", _NODAD))
        self._do(kind, flags, body + _packed(_IFA_LOCAL, address.packed) + mark)

    def _local(
        self,
        kind: int,
        flags: int,
        address: Address,
        protocol: int,
        source: IPv4Address | None = None,
    ) -> None:
        six = isinstance(address, IPv6Address)
        source = None if six else source
        scope = 0 if six else _SCOPE_HOST  # IPv6 has no scopes of routes
        body = _ROUTE.pack(
            _family(address), address.max_prefixlen, 0, 0, _TABLE_LOCAL, protocol, scope,
            _TYPE_LOCAL, 0,
        )  # fmt: skip
        loopback = struct.pack("=I", socket.if_nametoindex("lo"))
        body += _packed(_RTA_DST, address.packed) + _packed(_RTA_OIF, loopback)
        self._do(kind, flags, body + (_packed(_RTA_PREFSRC, source.packed) if source else b""))

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


def _family(address: Address) -> int:
    return socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6


def _address(raw: bytes) -> Address:
    return IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)


def _packed(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attribute(attributes: bytes, wanted: int) -> bytes | None:
    position = 0
    while position + _ATTRIBUTE.size <= len(attributes):
        size, kind = _ATTRIBUTE.unpack_from(attributes, position)
        if kind == wanted:
            return attributes[position + _ATTRIBUTE.size : position + size]
        position += max((size + 3) & ~3, _ATTRIBUTE.size)
    return None
