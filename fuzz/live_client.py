# SPDX-License-Identifier: Apache-2.0
"""A client of a lab that keeps to no rule of TCP: its sockets, and what it does in a connection."""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fuzz import schedules
from ipos.handshake.segment import Flag
from tests.farm.clients.recording import requests_in
from tests.support.farm import SERVERS

_ROUNDS = 60
_HONEST_S = 20
_U32 = 0xFFFF_FFFF


class Frame(NamedTuple):
    """A segment that came from a server."""

    seq: int
    ack: int
    flags: int
    ts_value: int
    data: bytes


class Wire:
    """A client's port: packets out, and what comes in for it."""

    def __init__(self, lines: Lines, port: int, address: str) -> None:
        self.port = port
        self._lines = lines
        self._to = (address, 0)

    def send(self, packet: bytes) -> None:
        self._lines.out.sendto(packet, self._to)

    def frames(self, timeout_s: float) -> Iterator[Frame]:
        """All that is there; waits so long for the first."""
        until = time.monotonic() + timeout_s
        while True:
            left = max(0.0, until - time.monotonic())
            if not select.select([self._lines.back], [], [], left)[0]:
                return
            frame = parsed(self._lines.back.recv(1 << 17), self.port)
            if frame:
                until = 0
                yield frame


class Lines(NamedTuple):
    """The client's sockets for all connections."""

    out: socket.socket
    back: socket.socket


def parsed(frame: bytes, port: int) -> Frame | None:
    """The segment in it, if it is TCP to that port."""
    if frame[23] != socket.IPPROTO_TCP or frame[36:38] != port.to_bytes(2, "big"):
        return None
    total = struct.unpack_from("!H", frame, 16)[0] or len(frame) - 14
    seq, ack, offset_flags = struct.unpack_from("!IIH", frame, 38)
    start = 34 + (offset_flags >> 12) * 4
    options = frame[54:start]
    at = options.find(b"\x08\x0a")
    value = int.from_bytes(options[at + 2 : at + 6], "big") if at >= 0 else 0
    return Frame(seq, ack, offset_flags & 0x1FF, value, frame[start : 14 + total])


@dataclass(slots=True)
class Live:
    """A connection: the sender's side, and what has come from the server."""

    sender: schedules.Sender
    wire: Wire
    look: Callable[[], None]
    answers: bytes = b""
    over: bool = False

    def connects(self) -> bool:
        """The handshake."""
        sender = self.sender
        options = b"\x02\x04" + schedules.MSS.to_bytes(2, "big") + b"\x01\x03\x03\x07"
        if sender.timestamps:
            options += b"\x04\x02" + sender.options(now_ms())[2:]
        syn = sender.packet(Flag.SYN, -1, b"", now_ms(), options=options)
        for _ in range(10):
            self.wire.send(syn)
            for frame in self.wire.frames(0.5):
                if frame.flags & (Flag.SYN | Flag.ACK) == Flag.SYN | Flag.ACK:
                    sender.expected = frame.seq + 1 & _U32
                    sender.ts_recent = frame.ts_value
                    self.acknowledges()
                    return True
                break
        return False

    def acknowledges(self) -> None:
        self.wire.send(self.sender.packet(Flag.ACK, self.sender.acked, b"", now_ms()))

    def listens(self, timeout_s: float) -> None:
        """Takes what comes, and waits so long for it to begin."""
        self.look()
        for frame in self.wire.frames(timeout_s):
            if frame.flags & Flag.RST:
                self.over = True
                return
            if frame.flags & Flag.SYN:
                continue  # of a handshake that nobody goes on with
            acked = frame.ack - self.sender.isn - 1 & _U32
            if frame.flags & Flag.ACK and acked < 1 << 31:
                self.sender.acked = max(self.sender.acked, acked)
            self.sender.ts_recent = frame.ts_value or self.sender.ts_recent
            ahead = self.sender.expected - frame.seq & _U32
            if ahead <= len(frame.data):
                self.answers += frame.data[ahead:]
                self.sender.expected = frame.seq + len(frame.data) & _U32
                if frame.flags & Flag.FIN:
                    self.over = True
                    return

    def ends(self) -> None:
        """By a reset; and what comes then is answered by one, as a TCP without a socket does."""
        flags = Flag.RST | Flag.ACK
        self.wire.send(self.sender.packet(flags, self.sender.acked, b"", now_ms()))
        for frame in self.wire.frames(0.01):
            if not frame.flags & Flag.RST:
                at = frame.ack - self.sender.isn - 1 & _U32
                self.wire.send(self.sender.packet(Flag.RST, at, b"", now_ms()))


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def attack(rng: random.Random, live: Live) -> None:
    """Whatever comes of it is judged later."""
    texts = schedules.streams(rng, SERVERS)
    patience = rng.choice((0.0, 0.001, 0.003))
    quiet = rng.choice((0.0, 0.1, 0.5))
    for _ in range(_ROUNDS):
        before = live.sender.acked
        for packet in schedules.foul(rng, live.sender, texts, now_ms()):
            live.wire.send(packet)
        live.listens(patience)
        if live.over or live.sender.acked >= len(texts[0]):
            break
        if rng.random() >= quiet:
            live.acknowledges()
        if live.sender.acked == before and rng.random() < 0.3:
            for packet in schedules.fair(rng, live.sender, texts[0], now_ms()):
                live.wire.send(packet)
    live.listens(0.005)


def honest(rng: random.Random, live: Live) -> tuple[bytes, str]:
    """(its stream, what went wrong already)"""
    text = schedules.streams(rng, SERVERS)[0]
    wanted = len(requests_in(text))
    known, until, pause = 0, time.monotonic() + _HONEST_S, 0.003
    while (answered := answers_in(live.answers)) < wanted:
        if answered > known:
            known, until = answered, time.monotonic() + _HONEST_S
        if time.monotonic() > until:
            return text, f"{answered} of {wanted} were answered, and no more in {_HONEST_S} s"
        before = live.sender.acked
        for packet in schedules.fair(rng, live.sender, text, now_ms()):
            live.wire.send(packet)
        live.listens(pause)
        pause = 0.003 if live.sender.acked > before else min(0.1, 2 * pause)
        if live.over:
            return text, f"it ended after {answered} of {wanted} answers: {live.answers[-200:]!r}"
        live.acknowledges()
    return text, ""


def answers_in(data: bytes) -> int:
    """How many whole answers there are."""
    at = count = 0
    while (end := data.find(b"\r\n\r\n", at)) >= 0:
        size = re.search(rb"(?i)\r\ncontent-length: (\d+)", data[at:end])
        at = end + 4 + (int(size[1]) if size else 0)
        count += at <= len(data)
    return count
