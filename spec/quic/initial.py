# SPDX-License-Identifier: Apache-2.0
"""A client's Initial packets: their keys, their frames, and the ClientHello out of many. Pure.

RFC 9001, 5.2 and 5.4; RFC 9369 for version 2; RFC 9000, 17.2 and 19 for headers and frames.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import StrEnum

from spec.quic import aes

VERSION_1, VERSION_2 = 0x00000001, 0x6B3343CF
HELLO_MAX = 4096
"""Bytes of a ClientHello that are collected."""
PACKETS_MAX = 4
"""Packets of one datagram that are looked at."""
TAG_LENGTH = 16
_SALTS = {
    VERSION_1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    VERSION_2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}
_PREFIXES = {VERSION_1: b"quic", VERSION_2: b"quicv2"}
_TYPES = {VERSION_1: ("initial", "0-rtt", "handshake", "retry"),
          VERSION_2: ("retry", "initial", "0-rtt", "handshake")}  # fmt: skip
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0, 1, 2, 3, 6


class Malformed(Exception):
    """What no such packet has."""


class Said(StrEnum):
    """What a datagram was for the ClientHello of its flow."""

    UNREADABLE = "unreadable"
    PART = "part"
    WHOLE = "whole"
    TOO_LONG = "too long"


@dataclass(frozen=True, slots=True)
class Keys:
    """What protects the Initial packets of one side."""

    key: bytes
    iv: bytes
    hp: bytes


@dataclass(frozen=True, slots=True)
class Initial:
    """An Initial packet's header. Offsets are from the first byte of the datagram."""

    version: int
    destination: bytes
    token: bytes
    first_at: int
    number_at: int
    end: int


def expand_label(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label without context (RFC 8446, 7.1), of at most 32 bytes."""
    full = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    return hmac.digest(secret, info + b"\1", hashlib.sha256)[:length]


def client_keys(version: int, destination: bytes) -> Keys:
    secret = hmac.digest(_SALTS[version], destination, hashlib.sha256)
    return _keys(version, expand_label(secret, b"client in", 32))


def _keys(version: int, secret: bytes) -> Keys:
    prefix = _PREFIXES[version]
    return Keys(
        expand_label(secret, prefix + b" key", 16),
        expand_label(secret, prefix + b" iv", 12),
        expand_label(secret, prefix + b" hp", 16),
    )


def number(data: bytes, at: int, end: int | None = None) -> tuple[int, int]:
    """A variable-length integer (RFC 9000, 16) and the offset behind it."""
    end = len(data) if end is None else end
    if at >= end:
        raise Malformed
    size = 1 << (data[at] >> 6)
    if at + size > end:
        raise Malformed
    value = int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, at + size


def kind(data: bytes) -> str:
    """Of the datagram's first packet: initial, 0-rtt, handshake, retry, short or unknown."""
    if not data:
        return "unknown"
    if not data[0] & 0x80:
        return "short"
    version = int.from_bytes(data[1:5], "big")
    if len(data) < 7 or not data[0] & 0x40 or version not in _TYPES:
        return "unknown"
    return _TYPES[version][data[0] >> 4 & 3]


def header(data: bytes, at: int = 0) -> Initial:
    """The Initial packet that begins there; Malformed if none does."""
    if kind(data[at:]) != "initial":
        raise Malformed
    version, first_at = int.from_bytes(data[at + 1 : at + 5], "big"), at
    at, ids = at + 5, []
    for _ in range(2):
        if at >= len(data) or data[at] > 20 or at + 1 + data[at] > len(data):
            raise Malformed
        ids.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + len(ids[-1])
    length, at = number(data, at)
    token = data[at : at + length]
    if len(token) < length:
        raise Malformed
    length, at = number(data, at + length)
    if at + length > len(data):
        raise Malformed
    return Initial(version, ids[0], token, first_at, at, at + length)


def frames(data: bytes, packet: Initial) -> bytes:
    """What is under the packet's protection. Its tag is not looked at."""
    keys = client_keys(packet.version, packet.destination)
    at = packet.number_at
    if at + 4 + TAG_LENGTH > packet.end:
        raise Malformed
    mask = aes.encrypt(aes.expand(keys.hp), data[at + 4 : at + 20])
    size = ((data[packet.first_at] ^ mask[0]) & 3) + 1
    plain = bytes(a ^ b for a, b in zip(data[at : at + size], mask[1:], strict=False))
    if at + size >= packet.end - TAG_LENGTH:
        raise Malformed
    nonce = bytes(a ^ b for a, b in zip(keys.iv, plain.rjust(12, b"\0"), strict=True))
    body = data[at + size : packet.end - TAG_LENGTH]
    key_stream = aes.stream(keys.key, nonce, len(body))
    return bytes(a ^ b for a, b in zip(body, key_stream, strict=True))


@dataclass(slots=True)
class Flight:
    """The ClientHello of one flow, as far as its pieces have come."""

    pieces: dict[int, int] = field(default_factory=dict)
    """The bytes that are here, by their place."""

    @property
    def hello(self) -> bytes:
        """From the first byte on, up to the first that is missing."""
        found = bytearray()
        while len(found) in self.pieces:
            found.append(self.pieces[len(found)])
        return bytes(found)

    def datagram(self, data: bytes) -> Said:
        """The next datagram's UDP payload."""
        said, at = Said.UNREADABLE, 0
        for _ in range(PACKETS_MAX):
            try:
                packet = header(data, at)
                body = frames(data, packet)
            except Malformed:
                return said
            try:
                one = self._frames(body)
            except Malformed:
                return said
            if one is not Said.PART:
                return said if one is Said.UNREADABLE else one
            said, at = Said.PART, packet.end
        return said

    def _frames(self, body: bytes) -> Said:
        at, crypto = 0, False
        while at < len(body):
            type_, at = body[at], at + 1
            if type_ in (_PADDING, _PING):
                continue
            if type_ == _CRYPTO:
                start, at = number(body, at)
                length, at = number(body, at)
                if at + length > len(body):
                    raise Malformed
                if start + length > HELLO_MAX:
                    return Said.TOO_LONG
                crypto |= length > 0
                self.pieces.update(enumerate(body[at : at + length], start))
                at += length
                said = self._state() if length else Said.PART
                if said is not Said.PART:
                    return said
            elif type_ in (_ACK, _ACK_ECN):
                _, at = number(body, at)
                _, at = number(body, at)
                ranges, at = number(body, at)
                if ranges > 2048:
                    raise Malformed
                for _ in range(1 + 2 * ranges + (3 if type_ == _ACK_ECN else 0)):
                    _, at = number(body, at)
            else:
                raise Malformed
        return Said.PART if crypto else Said.UNREADABLE

    def _state(self) -> Said:
        hello = self.hello
        if len(hello) < 4:
            return Said.PART
        if hello[0] != 1:
            return Said.UNREADABLE
        whole = 4 + int.from_bytes(hello[1:4], "big")
        if whole > HELLO_MAX:
            return Said.TOO_LONG
        return Said.WHOLE if len(hello) >= whole else Said.PART


def server_number(identifier: bytes, at: int, size: int) -> int | None:
    """The server's number in a connection ID; None if that is too short to have one."""
    if len(identifier) < at + size:
        return None
    return int.from_bytes(identifier[at : at + size], "big")
