# SPDX-License-Identifier: Apache-2.0
"""Clients of a farm that keep to no rule of TCP: what they send, made from a seed.

A connection has several streams. They have requests at the same places, for other servers or for
nobody, so a segment of one fits where a segment of another has been lost or thrown away.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from ipos.handshake.segment import Flag, Segment

_U32 = 0xFFFF_FFFF
_WINDOW = 65_535
MSS = 1_400
_OLD_MS = 10_000
SLOTS = 25


def host_of(server: str) -> bytes:
    return server.encode() + b".example"


def line(method: bytes, server: str, path: bytes) -> bytes:
    """The beginning of a request that this server serves."""
    return b"%b /%b HTTP/1.1\r\nHost: %b\r\n" % (method, path, host_of(server))


def request(rng: random.Random, server: str, path: bytes, decoy: bytes) -> bytes:
    """One that this server serves; a body holds nothing but another's."""
    kind = rng.randrange(6)
    if kind < 3:
        return line(b"GET", server, path) + b"\r\n"
    head = line(b"POST", server, path)
    size = rng.choice((1, 30, 90, 300, 2_500))
    body = (decoy * (size // len(decoy) + 1))[:size]
    if kind < 5:
        return head + b"Content-Length: %d\r\n\r\n" % size + body
    cut = rng.randrange(size)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (body[:cut], body[cut:]) if one)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def streams(rng: random.Random, servers: tuple[str, ...]) -> list[bytes]:
    """The first is one that may be served; the others have as long a request at each place."""
    texts = [b"", b"", b""]
    stays = rng.random()
    server = rng.choice(servers)
    for slot in range(SLOTS):
        if rng.random() > stays:
            server = rng.choice(servers)
        form = rng.getrandbits(32)
        for number in range(3):
            name = b"%d/%02d" % (number, slot)
            other = rng.choice(servers) if number else server
            decoy = b"GET /decoy HTTP/1.1\r\nHost: %b\r\n\r\n" % host_of(rng.choice(servers))
            one = request(random.Random(form), other, name, decoy)
            if number and rng.random() < 0.1:
                one = one.replace(b"Host: ", b"Hosx: ", 1)
            texts[number] += one
    return texts


@dataclass(slots=True)
class Sender:
    """The client's side of one connection: its numbers, and segments made by them."""

    client: IPv4Address
    server: IPv4Address
    ports: tuple[int, int]
    isn: int
    timestamps: bool
    acked: int = 0
    """Bytes of the stream that the server has acknowledged."""
    expected: int = 0
    """The next number of the server's."""
    ts_recent: int = 0

    def packet(self, flags: Flag, at: int, data: bytes, now_ms: int, **other: Any) -> bytes:
        """A packet with these bytes at their place in the stream; other: fields of Segment."""
        fields: dict[str, Any] = {
            "ack": self.expected if Flag.ACK in flags else 0,
            "options": self.options(now_ms),
            "window": _WINDOW,
        }
        return Segment(
            source=self.client, source_port=self.ports[0],
            destination=self.server, destination_port=self.ports[1],
            seq=self.isn + 1 + at & _U32, flags=flags, data=data, **{**fields, **other},
        ).packet()  # fmt: skip

    def options(self, now_ms: int) -> bytes:
        if not self.timestamps:
            return b""
        stamp = (now_ms & _U32).to_bytes(4, "big") + self.ts_recent.to_bytes(4, "big")
        return b"\x01\x01\x08\x0a" + stamp


def fair(rng: random.Random, sender: Sender, text: bytes, now_ms: int) -> list[bytes]:
    """What comes next of a stream, out of order, some of it twice and some not at all."""
    packets = []
    at = sender.acked
    for _ in range(rng.choice((1, 3, 8))):
        data = text[at : at + rng.choice((30, 300, MSS))]
        packet = sender.packet(Flag.PSH | Flag.ACK, at, data, now_ms)
        if data:
            packets += [packet] * rng.choice((0, 1, 1, 1, 1, 1, 1, 2))
        at += len(data)
    if rng.random() < 0.3:
        rng.shuffle(packets)
    return packets


def foul(rng: random.Random, sender: Sender, texts: list[bytes], now_ms: int) -> list[bytes]:
    """One segment or a few, near what is next, of any of the streams, some of them unsound."""
    return [
        packet
        for _ in range(rng.choice((1, 1, 2, 5)))
        for packet in _foul(rng, sender, texts, now_ms)
    ]


def _foul(rng: random.Random, sender: Sender, texts: list[bytes], now_ms: int) -> list[bytes]:
    near = rng.choice((0, 0, 0, 0, 0, -50, -300, 40, 200, rng.randrange(-500, 500)))
    at = max(0, sender.acked + near)
    size = rng.choice((1, 20, 80, 300, 900, MSS, rng.randrange(1, MSS)))
    data = rng.choice(texts)[at : at + size]
    flags = Flag.PSH | Flag.ACK
    other: dict[str, Any] = {}
    kind = rng.randrange(24)
    if kind == 1:
        other["ack"] = sender.expected + rng.choice((1, -100_000, 1 << 30)) & _U32
    elif kind == 2:
        flags = Flag.PSH
    elif kind == 3:
        other["options"] = sender.options(now_ms - _OLD_MS)
    elif kind == 4:
        flags |= Flag.FIN
        at += rng.choice((1, -1, 5_000, 1 << 30))
    elif kind == 5:
        flags |= Flag.RST
        at += rng.choice((1, -1, 5_000, 1 << 30))
    elif kind == 6:
        flags, data = Flag.SYN, b""
    elif kind == 9:
        data = b""
    packet = sender.packet(flags, at, data, now_ms, **other)
    if kind == 0:
        packet = _damaged(packet, 1 + rng.randrange(0xFFFE))
    elif kind in (7, 8, 9):
        packet = _urgent(packet, 1 + rng.randrange(len(data) or 500))
    return [packet] * rng.choice((1, 1, 1, 1, 2))


def _damaged(packet: bytes, by: int) -> bytes:
    """With a checksum of TCP's that is wrong."""
    check = int.from_bytes(packet[36:38], "big") ^ by
    return packet[:36] + check.to_bytes(2, "big") + packet[38:]


def _urgent(packet: bytes, pointer: int) -> bytes:
    """With the flag URG and a pointer, and a checksum that is right."""
    flags = int.from_bytes(packet[32:34], "big")
    check = ~int.from_bytes(packet[36:38], "big") & 0xFFFF
    total = check + Flag.URG + pointer
    check = ~(total % 0xFFFF) & 0xFFFF
    return (
        packet[:32]
        + (flags | Flag.URG).to_bytes(2, "big")
        + packet[34:36]
        + check.to_bytes(2, "big")
        + pointer.to_bytes(2, "big")
        + packet[40:]
    )
