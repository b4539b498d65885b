# SPDX-License-Identifier: Apache-2.0
"""TLS: where a ClientHello ends, and what it says (RFC 8446, RFC 6066, RFC 7301).

A ClientHello is as long as its handshake message says, over however many records: one with
post-quantum key shares takes two or three segments, and some clients cut it into records on
purpose. Of versions only the first byte is looked at, which is 3 from SSL 3.0 on.

What is no ClientHello (another record, version or message inside, a record of no bytes or of more
than 16,384) ends the head where it is seen, and it is refused, as is one that breaks its own
lengths: nothing behind a ClientHello is read, so a server that speaks no TLS must not get what only
begins like one.

The server name is the host_name of the one server_name extension, lower-cased and without a dot
at its end. A hello with an encrypted ClientHello inside has it too: it is the public name then,
or, as no one without the key can tell a real one from a greased one, the only one. What is
encrypted, or absent, is no name, and the connection takes the default route.
"""

from __future__ import annotations

from dataclasses import dataclass

HANDSHAKE = 0x16  # the type of a record
MAJOR = 3  # of every version
CLIENT_HELLO = 1  # the type of a handshake message
RECORD_MAX = 16_384  # bytes
SERVER_NAME = 0
ALPN = 16
NAME_MAX = 255  # bytes; as OpenSSL, and DNS, have it
OFFERS_MAX = 256  # bytes of the list of protocols, with their lengths: no more is noted


@dataclass(frozen=True, slots=True)
class Hello:
    """What a ClientHello says; empty where it does not.

    protocols: those it offers, in its order, up to the first that has no room in `OFFERS_MAX`.
    """

    server_name: bytes = b""
    protocols: tuple[bytes, ...] = ()


def hello_end(data: bytes, start: int = 0) -> int | None:
    """The offset after the ClientHello that starts there, or after what is none; else None."""
    return _scan(data, start)[1]


def message(data: bytes, start: int = 0) -> bytes:
    """As much of the ClientHello as is here, with the header of its message, out of its records."""
    return _scan(data, start)[0]


def _scan(data: bytes, start: int) -> tuple[bytes, int | None]:
    at, joined = start, b""
    while at < len(data):
        if data[at] != HANDSHAKE:
            return joined, at + 1
        if data[at + 1 : at + 2] not in (b"", bytes([MAJOR])):
            return joined, at + 2
        if len(data) < at + 5:
            break
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        at += 5
        if not 0 < length <= RECORD_MAX:
            return joined, at
        before, body = len(joined), data[at : at + length]
        joined += body
        if joined and joined[0] != CLIENT_HELLO:
            return b"", at + 1
        if len(joined) >= 4:
            whole = 4 + int.from_bytes(joined[1:4], "big")
            if len(joined) >= whole:
                return joined[:whole], at + whole - before
        at += length
    return joined, None


class _Malformed(Exception):
    """A length or a value that no ClientHello has."""


class _Bytes:
    """What is left of a structure."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        if count > len(self.data):
            raise _Malformed
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def vector(self, count: int, least: int = 0, most: int = 0xFFFF) -> _Bytes:
        """A vector behind its length of so many bytes."""
        length = self.number(count)
        if not least <= length <= most:
            raise _Malformed
        return _Bytes(self.take(length))

    def whole(self, count: int, least: int) -> _Bytes:
        """A vector that is all that is left."""
        found = self.vector(count, least)
        if self.data:
            raise _Malformed
        return found


def read(hello: bytes) -> Hello | None:
    """What a ClientHello message says; None if it is not whole or breaks its own lengths."""
    if len(hello) < 4 or len(hello) != 4 + int.from_bytes(hello[1:4], "big"):
        return None
    try:
        return _read(_Bytes(hello))
    except _Malformed:
        return None


def _read(rest: _Bytes) -> Hello:
    rest.take(4)  # the message's header
    if rest.number(1) != MAJOR:
        raise _Malformed
    rest.take(1 + 32)  # the rest of legacy_version, and random
    rest.vector(1, 0, 32)  # session id
    if len(rest.vector(2, 2).data) % 2:  # cipher suites
        raise _Malformed
    rest.vector(1, 1)  # compression methods
    if not rest.data:
        return Hello()
    extensions = rest.whole(2, 0)
    found: dict[int, _Bytes] = {}
    while extensions.data:
        kind = extensions.number(2)
        if kind in found:
            raise _Malformed
        body = extensions.vector(2)
        if kind in (SERVER_NAME, ALPN):
            found[kind] = body
    name = _name(found[SERVER_NAME]) if SERVER_NAME in found else b""
    return Hello(name, _protocols(found[ALPN]) if ALPN in found else ())


def _name(body: _Bytes) -> bytes:
    """One host name and nothing else, as OpenSSL has it."""
    names = body.whole(2, 1)
    if names.number(1) != 0:
        raise _Malformed
    name = names.whole(2, 1).data
    if len(name) > NAME_MAX or 0 in name:
        raise _Malformed
    return name.lower().removesuffix(b".")


def _protocols(body: _Bytes) -> tuple[bytes, ...]:
    names, offered = body.whole(2, 2), []
    while names.data:
        offered.append(names.vector(1, 1).data)
    length, noted = 0, 0
    for name in offered:
        length += 1 + len(name)
        noted += length <= OFFERS_MAX
    return tuple(offered[:noted])
