# SPDX-License-Identifier: Apache-2.0
"""The table `ip ipos` of nftables, which keeps connection tracking away from the services.

    set addresses, set ports    the service addresses of the farm, and the ports of services of TCP
    chain in    at prerouting, before connection tracking    packets to both of these: notrack
    chain out   at output, likewise                          packets from both of these: notrack

It is spoken to as nft(8) does, by messages of nfnetlink (linux/netfilter/nf_tables.h), in the
network namespace of the calling thread. Numbers in them are big-endian. Written by hand as
`rtnetlink` is, and because a host whose rules were made by iptables may not have nft(8).
"""

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from ipos.agent.network import sockdiag
from ipos.closing import Closing

TABLE = "ipos"
LEGACY = Path("/proc/thread-self/net/ip_tables_names")
"""The tables of iptables as it was before nftables."""
_ABSENT = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)
"""What a kernel without nftables says."""
_NETFILTER = 12
_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES = 270, 1, 7
_SNDBUFFORCE = 32
_SUBSYSTEM = 10
_BEGIN, _END = 16, 17
_NEW_TABLE, _DELETE_TABLE = 0, 2
_NEW_CHAIN, _GET_CHAIN, _DELETE_CHAIN = 3, 4, 5
_NEW_RULE, _NEW_SET, _NEW_ELEMENTS = 6, 9, 12
_STRUCTURE = (_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _DELETE_CHAIN)
_CREATE, _APPEND = 0x400, 0x800
_ANY, _INET, _IP = 0, 1, 2
_GENERAL = struct.Struct("!BBH")
"""nfgenmsg: family, version, resource."""
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_ELEMENT = 1
"""NFTA_LIST_ELEM, of every list."""
_PREROUTING, _OUTPUT, _RAW = 0, 3, -300
_TYPE_ADDRESS, _TYPE_PORT = 7, 13
"""Of nft(8): how it prints the elements of a set."""
_REGISTER, _L4PROTO, _NETWORK, _TRANSPORT = 1, 16, 1, 2
_ELEMENTS_AT_ONCE = 1000
"""An attribute has at most 64 KiB."""


@dataclass(frozen=True, slots=True)
class Seen:
    """translates: some chain translates IPv4 addresses. ours: our table is there."""

    translates: bool
    ours: bool


class ChainNews(Closing):
    """Hears when a table or a chain comes or goes in the network namespace it was made in."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        with suppress(OSError):  # a kernel without nftables has no news
            self._socket = _channel(socket.SOCK_NONBLOCK)
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)

    def any(self) -> bool:
        """Whether anything has been said since the last call."""
        found = False
        while self._socket is not None:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:  # more than there was room for
                return True
            found = found or any(kind & 0xFF in _STRUCTURE for kind, _ in _messages(data))
        return found

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def look() -> Seen:
    """OSError where the kernel does not say."""
    translates = _legacy_translates()
    ours = False
    try:
        for family, table, kind in _chains():
            translates |= family in (_IP, _INET) and kind == "nat"
            ours |= (family, table) == (_IP, TABLE)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
    return Seen(translates, ours)


def write(addresses: Collection[IPv4Address], ports: Collection[int]) -> None:
    """Have the table, with these and no others, whatever was there; all of it or nothing."""
    table = _text(1, TABLE)
    to = (_match("addresses", _NETWORK, 16, 4), _match("ports", _TRANSPORT, 2, 2))
    of = (_match("addresses", _NETWORK, 12, 4), _match("ports", _TRANSPORT, 0, 2))
    _carry_out([
        (_NEW_TABLE, _CREATE, table),
        (_DELETE_TABLE, 0, table),
        (_NEW_TABLE, _CREATE, table),
        *_set(1, "addresses", _TYPE_ADDRESS, [one.packed for one in sorted(addresses)]),
        *_set(2, "ports", _TYPE_PORT, [struct.pack("!H", one) for one in sorted(ports)]),
        _chain("in", _PREROUTING),
        _chain("out", _OUTPUT),
        _rule("in", to),
        _rule("out", of),
    ])  # fmt: skip


def remove() -> None:
    """What is not there is no fault."""
    with suppress(FileNotFoundError):
        _carry_out([(_DELETE_TABLE, 0, _text(1, TABLE))])


# ---- what is in a message -----------------------------------------------------------------------


_Message = tuple[int, int, bytes]
"""Its kind, flags and attributes."""


def _chain(name: str, hook: int) -> _Message:
    place = _number(1, hook) + _number(2, _RAW)
    body = _text(1, TABLE) + _text(3, name) + _nest(4, place) + _text(7, "filter")
    return _NEW_CHAIN, _CREATE, body


def _set(number: int, name: str, kind: int, elements: Sequence[bytes]) -> Iterator[_Message]:
    size = len(elements[0]) if elements else 4
    yield _NEW_SET, _CREATE, b"".join((
        _text(1, TABLE), _text(2, name), _number(3, 0), _number(4, kind), _number(5, size),
        _number(10, number),
    ))  # fmt: skip
    for start in range(0, len(elements), _ELEMENTS_AT_ONCE):
        listed = b"".join(
            _nest(_ELEMENT, _nest(1, _attribute(1, each)))
            for each in elements[start : start + _ELEMENTS_AT_ONCE]
        )
        yield _NEW_ELEMENTS, _CREATE, _text(1, TABLE) + _text(2, name) + _nest(3, listed)


def _rule(chain: str, matches: Sequence[bytes]) -> _Message:
    protocol = _expression("meta", _number(1, _REGISTER) + _number(2, _L4PROTO))
    tcp = _nest(3, _attribute(1, bytes((socket.IPPROTO_TCP,))))
    is_tcp = _expression("cmp", _number(1, _REGISTER) + _number(2, 0) + tcp)
    said = protocol + is_tcp + b"".join(matches) + _expression("notrack", b"")
    body = _text(1, TABLE) + _text(2, chain) + _nest(4, said)
    return _NEW_RULE, _CREATE | _APPEND, body


def _match(name: str, base: int, offset: int, size: int) -> bytes:
    """Whether these bytes of a header are in the set."""
    where = _number(1, _REGISTER) + _number(2, base) + _number(3, offset) + _number(4, size)
    lookup = _text(1, name) + _number(2, _REGISTER)
    return _expression("payload", where) + _expression("lookup", lookup)


def _expression(name: str, data: bytes) -> bytes:
    return _nest(_ELEMENT, _text(1, name) + (_nest(2, data) if data else b""))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nest(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!i", value))


# ---- the conversation ---------------------------------------------------------------------------


def _channel(flags: int = 0) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags
    return socket.socket(socket.AF_NETLINK, kind, _NETFILTER)


def _carry_out(messages: Sequence[_Message]) -> None:
    """All of them at once, as one transaction. OSError says what the kernel has against it."""
    batch = _GENERAL.pack(_ANY, 0, _SUBSYSTEM)
    sent = [sockdiag.message(_BEGIN, sockdiag.REQUEST, batch)]
    for kind, flags, attributes in messages:
        body = _GENERAL.pack(_IP, 0, 0) + attributes
        flags |= sockdiag.REQUEST | sockdiag.ACK
        sent.append(sockdiag.message(_SUBSYSTEM << 8 | kind, flags, body))
    sent.append(sockdiag.message(_END, sockdiag.REQUEST, batch))
    batched = b"".join(sent)
    with _channel() as channel:
        channel.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, 2 * len(batched))
        channel.send(batched)
        left = len(messages)
        while left > 0:
            for kind, body in _messages(channel.recv(1 << 16)):
                if kind == sockdiag.ERROR:
                    _check(body)
                    left -= 1


def _chains() -> Iterator[tuple[int, str, str]]:
    """Of every chain: family, table and type, "" for one that is on no hook."""
    with _channel() as channel:
        flags = sockdiag.REQUEST | sockdiag.DUMP
        body = _GENERAL.pack(_ANY, 0, 0)
        channel.send(sockdiag.message(_SUBSYSTEM << 8 | _GET_CHAIN, flags, body))
        while True:
            for kind, answer in _messages(channel.recv(1 << 16)):
                if kind == sockdiag.DONE:
                    return
                if kind == sockdiag.ERROR:
                    _check(answer)
                    return
                family, _, _ = _GENERAL.unpack_from(answer)
                said = dict(_attributes(answer[_GENERAL.size :]))
                yield family, _spoken(said.get(1, b"")), _spoken(said.get(7, b""))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the body of each."""
    position = 0
    while position + sockdiag.HEADER.size <= len(data):
        size, kind, _, _, _ = sockdiag.HEADER.unpack_from(data, position)
        yield kind, data[position + sockdiag.HEADER.size : position + size]
        position += max((size + 3) & ~3, sockdiag.HEADER.size)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, position)
        yield kind & _TYPE_MASK, data[position + 4 : position + size]
        position += max((size + 3) & ~3, 4)


def _spoken(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _check(body: bytes) -> None:
    (number,) = struct.unpack_from("=i", body)
    if number:
        raise OSError(-number, os.strerror(-number))


def _legacy_translates() -> bool:
    try:
        return "nat" in LEGACY.read_text().split()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES):
            raise
        return False
