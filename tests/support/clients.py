# SPDX-License-Identifier: Apache-2.0
"""Random clients. A session is one client port and what it sends, knowing what came back.

Most packets are what some client would send, so that they reach the states behind the handshake;
the rest are damaged: flags, numbers, options, lengths, checksums, single bits.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from ipos.handshake.segment import Flag, Segment, checksum
from spec.requests.h2 import PREFACE
from tests.support.golden import packets

CLIENT = IPv4Address(packets.CLIENT)
SERVICE = IPv4Address(packets.SERVICE)
_U32 = 0xFFFF_FFFF
_ETHERNET = bytes.fromhex((packets.FRONT + packets.ROUTER).replace(":", "")) + b"\x08\x00"

EDGES = (-2, -1, 0, 1, 2, 1023, 1024, 1025, 14_598, 14_599, 14_600, 14_601)


@dataclass(slots=True)
class Session:
    """What a client knows. `told` is our last SYN-ACK to it."""

    rng: random.Random
    port: int
    isn: int
    options: bytes
    head: bytes
    told: tuple[int, int] | None = None  # our ISN and TSval
    sent: int = 0
    stamp: int = 1000
    endless: bool = False  # its head is too long, and most of what it sends is the next of it
    answered: int = 0  # bytes of an answer of our own, FIN included

    @classmethod
    def begin(cls, rng: random.Random, port: int) -> Session:
        endless = rng.random() < 0.1
        head = b"GET /".ljust(16_000, b"x") if endless else random_head(rng)
        return cls(rng, port, rng.getrandbits(32), random_options(rng), head,
                   stamp=rng.getrandbits(32), endless=endless)  # fmt: skip

    def next_packet(self) -> bytes:
        """An IPv4 packet."""
        rng = self.rng
        roll = rng.random()
        if self.endless and self.told is not None and not self.answered and roll > 0.05:
            roll = 0.5
        if self.told is None or roll < 0.06:
            segment = self._syn()
        elif roll < 0.62:
            segment = self._data()
        elif roll < 0.72:
            segment = self._segment(Flag.ACK)
        elif roll < 0.78:
            segment = replace(self._segment(Flag.ACK), seq=self.isn + rng.choice((0, 1)) & _U32,
                              data=rng.choice((b"", b"\0")))  # fmt: skip
        elif roll < 0.84:
            segment = self._segment(Flag.FIN | Flag.ACK)
        elif roll < 0.88:
            segment = self._segment(rng.choice((Flag.RST, Flag.RST | Flag.ACK)))
        else:
            segment = self._odd()
        packet = segment.packet()
        return damage(rng, packet) if rng.random() < 0.06 else packet

    def heard(self, seq: int, ts_value: int) -> None:
        """Our SYN-ACK."""
        self.told = (seq, ts_value)
        self.answered = 0

    @property
    def stamped(self) -> bool:
        return b"\x08\x0a" in self.options

    def _segment(self, flags: Flag, seq: int | None = None, data: bytes = b"") -> Segment:
        assert self.told is not None
        iss, value = self.told
        self.stamp = self.stamp + 1 & _U32
        options = b""
        if self.stamped:
            options = struct.pack("!BBBBII", 1, 1, 8, 10, self.stamp, value)
        return Segment(
            source=CLIENT, source_port=self.port, destination=SERVICE,
            destination_port=packets.WEB,
            seq=(self.isn + 1 + self.sent if seq is None else seq) & _U32,
            ack=iss + 1 + self._heard() & _U32 if Flag.ACK in flags else 0,
            flags=flags, window=self.rng.getrandbits(16), options=options, data=data,
        )  # fmt: skip

    def _heard(self) -> int:
        """How much of an answer of our own it acknowledges: all, some, nothing, too much."""
        if not self.answered or self.rng.random() < 0.3:
            return 0
        return self.answered + self.rng.choice((0, 0, 0, -1, -30, 1))

    def _syn(self) -> Segment:
        rng = self.rng
        if self.told is not None and rng.random() < 0.3:
            self.isn, self.sent = rng.getrandbits(32), 0
            self.options = random_options(rng)
        flags = Flag.SYN
        if rng.random() < 0.2:
            flags |= rng.choice((Flag.ECE | Flag.CWR, Flag.ECE, Flag.PSH, Flag.URG,
                                 Flag.ECE | Flag.CWR | Flag.AE))  # fmt: skip
        return Segment(
            source=CLIENT, source_port=self.port, destination=SERVICE,
            destination_port=packets.WEB, seq=self.isn, flags=flags, window=64_000,
            options=self.options, data=rng.randbytes(rng.choice((0, 0, 0, 9))),
        )  # fmt: skip

    def _data(self) -> Segment:
        """The next bytes of the head, or some of it again, or ahead."""
        rng = self.rng
        size = rng.choice((1, 2, 19, 100, 524, 536, 1220, 1420, 1432, 1448, 1460, 2000))
        offset = self.sent
        if self.endless and not self.answered:
            size = 2000
        elif rng.random() < 0.3:
            offset = max(0, offset + rng.randint(-1500, 1500))
        if rng.random() < 0.03:
            offset = rng.choice(EDGES)
        data = self.head[max(offset, 0) : max(offset, 0) + size] or b"z"
        if offset == self.sent and rng.random() < 0.9:
            self.sent += len(data)
        flags = Flag.ACK | rng.choice((Flag(0), Flag.PSH))
        if rng.random() < 0.04:
            flags |= Flag.FIN
        return self._segment(flags, self.isn + 1 + offset, data)

    def _odd(self) -> Segment:
        rng = self.rng
        segment = self._segment(Flag(rng.getrandbits(9)))
        kind = rng.randrange(6)
        if kind == 0:
            segment = replace(segment, ack=rng.getrandbits(32))
        elif kind == 1:
            segment = replace(segment, seq=self.isn + 1 + rng.choice(EDGES) & _U32)
        elif kind == 2:
            segment = replace(segment, flags=Flag.ACK, seq=rng.getrandbits(32))
        elif kind == 3:
            segment = replace(segment, flags=Flag.ACK, ack=segment.ack ^ 1 << rng.randrange(32))
        elif kind == 4:
            segment = replace(segment, data=rng.randbytes(rng.randrange(40)))
        return segment


def random_options(rng: random.Random) -> bytes:
    """A SYN's options: a client's, or anything."""
    if rng.random() < 0.1:
        return rng.randbytes(4 * rng.randrange(11))
    parts = []
    if rng.random() < 0.9:
        mss = rng.choice((0, 1, 535, 536, 537, 1219, 1220, 1300, 1400, 1432, 1459, 1460, 9000,
                          65_535, rng.randrange(65_536)))  # fmt: skip
        parts.append(struct.pack("!BBH", 2, 4, mss))
    if rng.random() < 0.7:
        parts.append(b"\x04\x02")
    if rng.random() < 0.6:
        parts.append(struct.pack("!BBII", 8, 10, rng.getrandbits(32), 0))
    if rng.random() < 0.7:
        parts.append(struct.pack("!BBB", 3, 3, rng.choice((0, 7, 10, 14, 15, 255))))
    if rng.random() < 0.1:
        parts.append(bytes((rng.choice((5, 30, 34, 253)), 4)) + rng.randbytes(2))
    rng.shuffle(parts)
    raw = b"".join(part + b"\x01" * rng.choice((0, 0, 0, 1)) for part in parts)[:40]
    return raw + rng.choice((b"\0", b"\1")) * (-len(raw) % 4)


def random_head(rng: random.Random) -> bytes:
    """16,000 bytes of a connection: a head of some grammar and what may follow.

    Little that the reader of requests refuses: `tests.support.heads` has those.
    """
    size = rng.choice((20, 100, 600, 1500, 3000, 9000, 14_590, 14_598, 14_600, 14_602, 16_000))
    kind = rng.randrange(10)
    if kind < 5:
        ending = rng.choice((b" HTTP/1.0\r\n\r\n", b" HTTP/1.1\r\nHost: a\r\n\r\n"))
        lead = rng.choice((b"", b"", b"\r\n", b"\r\n\r\n"))
        head = lead + b"GET /" + b"x" * max(0, size - 5 - len(lead) - len(ending)) + ending
    elif kind == 5:
        ciphers = size // 2 * 2
        body = b"\3\3" + rng.randbytes(32) + b"\0" + ciphers.to_bytes(2, "big")
        body += rng.randbytes(ciphers) + b"\1\0"
        head = records(rng, b"\1" + len(body).to_bytes(3, "big") + body)
    elif kind == 8:
        head = PREFACE + b"".join(random_frame(rng) for _ in range(rng.randrange(5)))
        head = head[: rng.choice((len(head), len(head), 20, 30))] + rng.randbytes(5)
    elif kind == 9:
        head = PREFACE + b"".join(random_frame(rng) for _ in range(30))
    elif kind == 6:
        head = b"P" + bytes(rng.choice(b"ab: /") for _ in range(min(size, 3000)))
    else:
        head = rng.randbytes(20)
    return head.ljust(16_000, b"b")


def records(rng: random.Random, message: bytes) -> bytes:
    """A handshake message in TLS records; a little of it may be wrong."""
    cut = []
    while message:
        size = rng.choice((1, 3, 5, 100, 1400, 16_384))
        piece, message = message[:size], message[size:]
        cut.append(b"\x16\x03\x01" + struct.pack("!H", len(piece)) + piece)
    if rng.random() < 0.2:
        wrong = rng.choice((b"\x15\x03\x03\0\2", b"\x16\x03\x03\0\0", b"\x16\x03\x03\x40\1"))
        cut.insert(rng.randrange(len(cut) + 1), wrong)
    return b"".join(cut)


def random_frame(rng: random.Random) -> bytes:
    """A frame of HTTP/2, seldom one that ends a header block."""
    kind = rng.choice((0, 1, 1, 4, 4, 4, 8, 8, 8, 9, 9, 200))
    flags = rng.choice((0, 0, 0, 1, 4, 0x2D))
    length = rng.choice((0, 0, 4, 5, 6, 30, 700, 1391, 3000))
    told = length if rng.random() < 0.97 else rng.choice((length + 1, 16_384, 16_385, 1 << 23))
    return told.to_bytes(3, "big") + bytes((kind, flags, 0, 0, 0, 1)) + rng.randbytes(length)


def damage(rng: random.Random, packet: bytes) -> bytes:
    """One thing wrong; half of the time the checksums are made right again."""
    raw = bytearray(packet)
    kind = rng.randrange(5)
    if kind == 0:
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        raw = raw[: rng.randrange(20, len(raw) + 1)]
    elif kind == 2:
        struct.pack_into("!H", raw, 2, rng.choice((0, 20, 39, 40, len(raw) - 1, len(raw) + 1,
                                                   0xFFFF)))  # fmt: skip
    elif kind == 3:
        raw[32] = rng.getrandbits(8)
    else:
        struct.pack_into("!H", raw, 6, rng.choice((0x2000, 0x2005, 0x0001, 0x8000)))
    return sound(bytes(raw)) if rng.random() < 0.5 else bytes(raw)


def sound(packet: bytes) -> bytes:
    """With right checksums, as far as there are headers."""
    raw = bytearray(packet)
    header = (raw[0] & 15) * 4
    if len(raw) < header or header < 20:
        return packet
    raw[10:12] = b"\0\0"
    raw[10:12] = checksum(bytes(raw[:header])).to_bytes(2, "big")
    total = int.from_bytes(raw[2:4], "big")
    if header + 20 <= total <= len(raw) and raw[9] == 6:
        raw[header + 16 : header + 18] = b"\0\0"
        pseudo = bytes(raw[12:20]) + struct.pack("!BBH", 0, 6, total - header)
        told = checksum(pseudo + bytes(raw[header:total]))
        raw[header + 16 : header + 18] = told.to_bytes(2, "big")
    return bytes(raw)


def frame(packet: bytes) -> bytes:
    """As it comes in on front."""
    return (_ETHERNET + packet).ljust(60, b"\0")
