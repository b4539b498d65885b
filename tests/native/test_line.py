# SPDX-License-Identifier: Apache-2.0
"""A line in an application's first response, under a TCP that sends again and a net that loses.

The model on the kernel's side knows nothing of the line: it sends its stream in segments of any
size, and again from wherever it likes. The model on the client's side puts bytes where their
numbers say, and refuses two different ones in one place. What it has at the end is the stream with
the line in it. What it acknowledges, the kernel's side must be able to believe: by every number
that reaches it, those bytes are really there.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Final

import pytest

from ipos.abi.layout import constant
from ipos.handshake.segment import parse_packet
from ipos.selection import sessions
from ipos.selection.sessions import VALUE_SIZE
from native.values import Socket, SocketState, Tc
from tests.support.golden import packets
from tests.support.golden.machine import (
    WALL_NS,
    Config,
    NativeMachine,
    configure,
    connection_key,
    network,
    words,
)

NAME: Final = b"Set-Cookie: IPOS="
VALUE_AT: Final = len(NAME)
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
SERVICE: Final = 1
_U32: Final = 0xFFFF_FFFF
LINE_MARK: Final = 0x69704F58  # IPOS_MARK_LINE
_KEY: Final = b"the key of a day"
_DAY: Final = WALL_NS // (constant("IPOS_SESSION_DAY_S") * 10**9)


def _line(attributes: bytes) -> bytes:
    return NAME + bytes(constant("IPOS_SESSION_VALUE_LEN")) + attributes + b"\r\n"


@dataclass
class Wire:
    """The server's data plane, with a TCP without a mind of its own on one side, a client on the
    other. Numbers are offsets in either's stream; the kernel's stream is `sends`.
    """

    sends: bytes
    first: int
    line: bytes = field(default_factory=lambda: _line(b"; Path=/; HttpOnly"))
    machine: NativeMachine = field(default_factory=NativeMachine)
    una: int = 0
    nxt: int = 0
    got: dict[int, int] = field(default_factory=dict)
    length: int = 0

    def __post_init__(self) -> None:
        configure(self.machine, Config())
        session = {
            "kind": constant("IPOS_SESSION_INSERT"),
            "line_len": len(self.line),
            "value_at": VALUE_AT,
            "line": self.line,
        }
        self.machine.table("sessions")[SERVICE] = session
        self.machine.table("session_keys")[_DAY % constant("IPOS_SESSION_DAYS")] = {
            "key": words(_KEY), "epoch": _DAY, "valid": 1,
        }  # fmt: skip
        self.machine.table("local")[connection_key()] = {
            "state": constant("IPOS_EP_ATTACHED"),
            "service": SERVICE,
            "first": 1,
            "giver": 1,
            "endpoint_ip": network(packets.SERVICE),
            "snd_nxt": self.first & _U32,
            "insert_next": self.first & _U32,
            "insert": constant("IPOS_INSERT_STATUS"),
            "rcv_nxt": packets.IRS + 1,
            "hs": {"iss": self.first - 1 & _U32, "irs": packets.IRS},
        }
        self._socket()

    def row(self) -> dict[str, Any]:
        return dict(self.machine.table("local")[connection_key()])

    def inserted(self) -> dict[str, int]:
        return dict(self.row()["line"])

    def value(self) -> bytes:
        nonce = sessions.nonce_of(self.first - 1 & _U32, packets.IRS)
        named = sessions.Value(_DAY, IPv4Address(packets.SERVICE))
        return sessions.encode(named, _KEY, nonce).encode()

    # ---- the kernel's side ------------------------------------------------------------------

    def send(self, start: int, end: int, *lost: bool) -> None:
        """Bytes start to end of the stream leave the kernel; each frame of it may be lost."""
        fate = itertools.chain(lost, itertools.repeat(False))
        frame = packets.answer("A", seq=self.first + start, ack=packets.IRS + 1, window=500,
                               options=packets.echo(), data=self.sends[start:end])  # fmt: skip
        self.nxt = max(self.nxt, end)
        outcome = self.machine.node.egress(frame, self.machine.ifindex("front"))
        for copy in outcome.sent:
            assert copy.mark == LINE_MARK
            before = self.machine.node.egress(copy.frame, copy.ifindex, copy.mark)
            assert before.verdict == Tc.OK
            if not next(fate):
                self._client_has(before.frame)
        if outcome.verdict == Tc.OK and not next(fate):
            self._client_has(outcome.frame)

    def _client_has(self, frame: bytes) -> None:
        seq = struct.unpack_from("!I", frame, 38)[0]
        at = (seq - self.first) & _U32
        ip_len = struct.unpack_from("!H", frame, 16)[0]
        assert ip_len == len(frame) - 14
        for offset, byte in enumerate(frame[14 + 20 + 32 :], at):
            assert self.got.setdefault(offset, byte) == byte, offset
        while self.length in self.got:
            self.length += 1

    # ---- the client's side ------------------------------------------------------------------

    def blocks(self) -> Iterator[tuple[int, int]]:
        """What the client has beyond what it has in order."""
        start = None
        for offset in sorted(self.got):
            if offset < self.length:
                continue
            if start is None:
                start = end = offset
            elif offset != end:
                yield start, end
                start = offset
            end = offset + 1
        if start is not None:
            yield start, end

    def acknowledge(self, rng: random.Random, lost: bool = False) -> None:
        """Says what it has; the kernel's side believes what of it reaches it."""
        blocks = list(self.blocks())
        rng.shuffle(blocks)
        options: list[tuple[str, Any]] = [("Timestamp", (1, 2))]
        no_operation: tuple[str, Any] = ("NOP", None)
        if blocks:
            edges = [self._client(edge) for block in blocks[:3] for edge in block]
            options = [*[no_operation] * rng.randrange(3), ("SAck", tuple(edges)), *options]
        packet = packets.ip("A", seq=packets.IRS + 1, ack=self._client(self.length),
                            options=options)  # fmt: skip
        outcome = self.machine.node.ingress(packets.from_router(packet), 12)
        assert outcome.verdict == Tc.OK
        if lost:
            return
        heard = parse_packet(outcome.frame[14:])
        ack = (heard.ack - self.first) & _U32
        assert ack <= self.nxt
        self._really_there(self.una, ack)
        self.una = max(self.una, ack)
        self._socket()
        for start, end in _sack(heard.options):
            a, b = (start - self.first) & _U32, (end - self.first) & _U32
            if a < b <= self.nxt:
                self._really_there(a, b)

    def _client(self, offset: int) -> int:
        return self.first + offset & _U32

    def _really_there(self, start: int, end: int) -> None:
        """Of the line, too, when the byte behind it is said to be there."""
        line = self.inserted()
        at, more = (line["at"] - self.first) & _U32, line["length"]
        for offset in range(start, end):
            moved = more if more and offset >= at else 0
            assert offset + moved in self.got
            if moved and offset == at:
                assert all(at + i in self.got for i in range(more))

    def _socket(self) -> None:
        self.machine.node.sockets = (
            Socket(
                SocketState.ESTABLISHED, IPv4Address(packets.SERVICE), packets.WEB,
                IPv4Address(packets.CLIENT), packets.PORT, packets.IRS + 1,
                snd_una=self.first + self.una & _U32, snd_nxt=self.first + self.nxt & _U32,
            ),
        )  # fmt: skip

    def received(self) -> bytes:
        return bytes(self.got[i] for i in range(len(self.got)))


def _sack(options: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        if options[at] == 5:
            for block in range(at + 2, at + options[at + 1], 8):
                yield struct.unpack_from("!II", options, block)
        at += options[at + 1]


def expected(whole: bytes, wire: Wire) -> bytes:
    """The line stands behind the final status line, with this connection's value."""
    at = sessions.insertion(whole)
    assert at is not None
    return whole[:at] + wire.line.replace(bytes(VALUE_SIZE), wire.value()) + whole[at:]


def _response(rng: random.Random) -> bytes:
    phrase = b"OK" * rng.choice((1, 1, 1, 60))
    return b"HTTP/1.1 200 " + phrase + b"\r\nA: b\r\n\r\n" + rng.randbytes(rng.randrange(3000))


def run(seed: int, kind: type[Wire] = Wire) -> None:
    """A wire of that kind, whose losses and repetitions the seed chooses."""
    rng = random.Random(seed)
    before = rng.choice((b"", b"", CONTINUE, CONTINUE + HINTS, HINTS * 3))
    response = _response(rng)
    attributes = rng.choice((b"", b"; Path=/; HttpOnly", b"; " + b"d" * 300))
    first = rng.choice((packets.ISS + 1, (1 << 32) - rng.randrange(1, 300)))
    wire = kind(before + response, first, _line(attributes))
    longest = rng.choice((7, 60, 700, 1400))
    for _ in range(100_000):
        end = len(wire.sends)
        if wire.una == end and wire.length == len(wire.got):
            break
        event = rng.randrange(6)
        lost = rng.random() < 0.3, rng.random() < 0.3
        if event < 3 and wire.nxt < end:
            wire.send(wire.nxt, min(end, wire.nxt + rng.randint(1, longest)), *lost)
        elif event == 3 and wire.una < wire.nxt:  # and perhaps what was not sent yet
            wire.send(wire.una, min(end, wire.una + rng.randint(1, 1400)), *lost)
        elif event == 4 and wire.una < wire.nxt:
            start = rng.randrange(wire.una, wire.nxt)
            wire.send(start, min(wire.nxt, start + rng.randint(1, 1400)), *lost)
        elif event == 5:
            wire.acknowledge(rng, rng.random() < 0.3)
    else:
        pytest.fail(f"seed {seed}: the stream stands still at {wire.una} of {len(wire.sends)}")
    assert wire.received() == expected(before + response, wire), seed
    wire.machine.close()


@pytest.mark.parametrize("seed", range(40))
def test_the_client_has_the_stream_with_the_line_in_it(seed: int) -> None:
    run(seed)


def test_numbers_stay_translated_however_far_the_connection_goes() -> None:
    """Beyond half the sequence space nothing can be compared with the place of the line."""
    wire = Wire(b"HTTP/1.1 200 OK\r\n\r\n", 1000)
    rng = random.Random(0)
    wire.send(0, len(wire.sends))
    wire.acknowledge(rng)
    wire.acknowledge(rng)
    assert wire.row()["insert"] == constant("IPOS_INSERT_DONE")
    more = wire.inserted()["length"]
    for far in (1, 1 << 30, 3 << 30, (1 << 32) - 1000):
        number = 1000 + len(wire.sends) + far & _U32
        frame = packets.answer("A", seq=number, ack=packets.IRS + 1, data=b"x")
        sent = wire.machine.node.egress(frame, 12).frame
        assert struct.unpack_from("!I", sent, 38)[0] == number + more & _U32
        packet = packets.ip("A", seq=packets.IRS + 1, ack=number + more & _U32)
        heard = parse_packet(wire.machine.node.ingress(packets.from_router(packet), 12).frame[14:])
        assert heard.ack == number


def test_a_forged_acknowledgement_is_no_proof() -> None:
    """Who says that the client has the line is our kernel; what it sends again stays right."""
    wire = Wire(b"HTTP/1.1 200 OK\r\n\r\n", 1000)
    wire.send(0, len(wire.sends), True, True)
    for ack in (1000 + 300, 1000 + 60_000, 1000 + (1 << 30)):
        forged = packets.ip("A", seq=packets.IRS + 1, ack=ack)
        wire.machine.node.ingress(packets.from_router(forged), 12)
    wire.send(0, len(wire.sends))
    assert wire.received() == expected(wire.sends, wire)


def test_a_line_that_is_configured_anew_is_not_mixed_with_the_old_one() -> None:
    """A segment that would have to hold the old one is dropped, counted."""
    wire = Wire(b"HTTP/1.1 200 OK\r\n\r\n", 1000)
    wire.send(0, len(wire.sends))
    row = dict(wire.machine.table("sessions")[SERVICE])
    row["line"] = wire.line.replace(b"HttpOnly", b"Httponly")
    wire.machine.table("sessions")[SERVICE] = row
    before = dict(wire.got)
    wire.send(0, len(wire.sends))
    assert wire.got == before
    assert wire.machine.counters()["DROP_LINE"] == 1


def test_without_a_key_for_today_nothing_changes() -> None:
    wire = Wire(b"HTTP/1.1 200 OK\r\n\r\n", 1000)
    wire.machine.table("session_keys")[_DAY % constant("IPOS_SESSION_DAYS")] = {"valid": 0}
    wire.send(0, len(wire.sends))
    assert wire.received() == wire.sends
    assert wire.inserted()["length"] == 0
    assert wire.machine.counters()["SESSION_UNTOLD"] == 1
