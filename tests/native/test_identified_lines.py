# SPDX-License-Identifier: Apache-2.0
"""Responses that carry a new identifier, however they are cut, lost and sent again.

`sessions.insertion` says where the line stands, `spec.requests.identified` which value it has.
Whatever happens, one row is made, all are told once, and before the client has a byte of the line.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import pytest

from ipos.abi.layout import constant
from ipos.selection import sessions
from native.values import Tc
from spec.requests import identified
from tests.native.test_line import CONTINUE, HINTS, LINE_MARK, NAME, SERVICE, Wire, expected, run
from tests.support.golden import packets
from tests.support.golden.machine import WALL_NS, NativeMachine

DAY_KEY, LIFE_S = b"the key of a day", 100
DAY = identified.day_of(WALL_NS)
TELL, AFTER = constant("IPOS_MARK_TELL"), constant("IPOS_MARK_AFTER")
CHUNK, LINE_MAX = constant("IPOS_CHUNK"), constant("IPOS_SESSION_LINE_MAX")
FIELDS = b"Content-Length: 2\r\n\r\nok"
RESPONSES = {
    "1.1": b"HTTP/1.1 200 OK\r\n" + FIELDS,
    "1.0": b"HTTP/1.0 200 OK\r\n\r\nup to the end",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "no phrase": b"HTTP/1.1 404 \r\n" + FIELDS,
    "line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "100": CONTINUE + b"HTTP/1.1 200 OK\r\n" + FIELDS,
    "102 and 103": b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS + b"HTTP/1.1 500 No\r\n" + FIELDS,
}
NO_RESPONSES = {
    "TLS": b"\x16\x03\x03\x00\x7a\x02\n" + FIELDS,
    "HTTP/2": b"HTTP/2 200\r\n" + FIELDS,
    "a word": b"HTTP/1.1 OKAY\r\n" + FIELDS,
    "other": b"ICY 200 OK\r\n" + FIELDS,
    "only 100": CONTINUE,
    "no end": b"HTTP/1.1 200 OK",
}


class IdentifiedWire(Wire):
    """The same, with a session that has an identifier. `told`: frames to all, in order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.told: list[bytes] = []
        for name, fields in (
            ("sessions", {"kind": constant("IPOS_SESSION_IDENTIFY"), "lifetime_s": LIFE_S}),
            ("services", {"port": packets.WEB}),
        ):
            rows = self.machine.table(name)
            rows[SERVICE] = {**rows[SERVICE], **fields}
        for key in [key for key, _ in self.machine.table("cookies").items()]:
            del self.machine.table("cookies")[key]

    @property
    def identities(self) -> list[bytes]:
        """Of the rows there are."""
        found = self.machine.table("cookies").items()
        return [key["hash"].to_bytes(identified.SIZE, sys.byteorder) for key, _ in found]

    def value(self) -> bytes:
        (identity,) = self.identities
        return identified.encode(identity, DAY, DAY_KEY).encode()

    def send(self, start: int, end: int, *lost: bool) -> None:
        fate = itertools.chain(lost, itertools.repeat(False))
        frame = packets.answer("A", seq=self.first + start, ack=packets.IRS + 1, window=500,
                               options=packets.echo(), data=self.sends[start:end])  # fmt: skip
        self.nxt = max(self.nxt, end)
        self._leaves(frame, fate)

    def _leaves(self, frame: bytes, fate: Iterator[bool]) -> None:
        front = self.machine.ifindex("front")
        outcome = self.machine.node.egress(frame, front)
        if outcome.verdict == Tc.REDIRECT:
            self._turns(outcome.sent, fate)
            return
        for copy in outcome.sent:
            assert copy.mark == LINE_MARK
            before = self.machine.node.egress(copy.frame, copy.ifindex, copy.mark)
            assert before.verdict == Tc.OK
            if not next(fate):
                self._reaches(before.frame)
        if outcome.verdict == Tc.OK and not next(fate):
            self._reaches(outcome.frame)

    def _turns(self, copies: object, fate: Iterator[bool]) -> None:
        """The response and its copy go by front's ingress; the response may be lost there."""
        front, back = self.machine.ifindex("front"), self.machine.ifindex("back")
        assert [copy.mark for copy in copies] == [TELL, AFTER]  # type: ignore[attr-defined]
        for copy in copies:  # type: ignore[attr-defined]
            for sent in self.machine.node.ingress(copy.frame, front, copy.mark).sent:
                if sent.ifindex == back:
                    self.told.append(sent.frame)
                elif not next(fate):
                    assert (sent.ifindex, copy.mark) == (front, AFTER)
                    self._leaves(sent.frame, fate)

    def _reaches(self, frame: bytes) -> None:
        self._client_has(frame)
        begins = sessions.insertion(self.sends)
        if begins is not None and begins in self.got and self.inserted()["length"]:
            assert len(self.told) == 1, "all know it before the client does"


@pytest.fixture
def machine() -> Iterator[NativeMachine]:
    made = NativeMachine()
    yield made
    made.close()


def wire_of(machine: NativeMachine, sends: bytes) -> IdentifiedWire:
    return IdentifiedWire(sends, packets.ISS + 1, machine=machine)


def is_begun(wire: IdentifiedWire) -> None:
    assert wire.received() == expected(wire.sends, wire)
    ((key, row),) = wire.machine.table("cookies").items()
    assert (key["service_port"], row["turn"]) == (packets.WEB, 1)
    assert len(wire.told) == 1
    assert wire.told[0][30:38] == wire.identities[0]


def is_untouched(wire: IdentifiedWire) -> None:
    assert (wire.received(), wire.identities, wire.told) == (wire.sends, [], [])


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
def test_a_response_in_two_segments(machine: NativeMachine, response: bytes) -> None:
    """Cut at each byte; sent again whole, and cut where it was not."""
    for cut in range(1, len(response)):
        wire = wire_of(machine, response)
        wire.send(0, cut)
        wire.send(cut, len(response))
        if wire.length < len(wire.got) or not wire.identities:
            pytest.fail(f"cut at {cut}")
        is_begun(wire)
        wire.send(0, len(response))
        wire.send(cut // 2, len(response))
        is_begun(wire)


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
def test_a_response_that_is_lost_on_its_way(machine: NativeMachine, response: bytes) -> None:
    """On the detour, or behind it: the line's segment or the other one."""
    for lost in ((True,), (False, True), (False, False, True), (False, True, True)):
        wire = wire_of(machine, response)
        wire.send(0, len(response), *lost)
        for _ in range(2):
            wire.send(0, len(response))
            is_begun(wire)


def test_a_response_byte_by_byte(machine: NativeMachine) -> None:
    for response in RESPONSES.values():
        wire = wire_of(machine, response)
        for at in range(len(response)):
            wire.send(at, at + 1)
        is_begun(wire)


@pytest.mark.parametrize("sends", NO_RESPONSES.values(), ids=NO_RESPONSES)
def test_what_is_no_final_response_begins_no_session(machine: NativeMachine, sends: bytes) -> None:
    for cut in range(1, len(sends)):
        wire = wire_of(machine, sends)
        wire.send(0, cut)
        wire.send(cut, len(sends))
        is_untouched(wire)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_status_line_has_a_bound(machine: NativeMachine, beyond: int) -> None:
    """In one segment: beyond it there is no session, and the response leaves as it is."""
    length = CHUNK - LINE_MAX + beyond
    status = b"HTTP/1.1 200 ".ljust(length - 2, b"x") + b"\r\n"
    wire = wire_of(machine, status + FIELDS)
    wire.send(0, len(wire.sends))
    if beyond:
        is_untouched(wire)
    else:
        is_begun(wire)
    assert wire.machine.counters().get("SESSION_UNTOLD", 0) == beyond


def test_a_status_line_without_end(machine: NativeMachine) -> None:
    wire = wire_of(machine, b"HTTP/1.1 200 " + b"x" * 2 * CHUNK)
    wire.send(0, len(wire.sends))
    is_untouched(wire)
    assert wire.machine.counters()["SESSION_UNTOLD"] == 1


def test_the_next_response_of_a_connection_has_no_line(machine: NativeMachine) -> None:
    first = RESPONSES["1.1"]
    wire = wire_of(machine, first + RESPONSES["304"] + first)
    ends = [len(first), len(first + RESPONSES["304"]), len(wire.sends)]
    for start, end in itertools.pairwise([0, *ends]):
        wire.send(start, end)
    is_begun(wire)
    assert wire.received().count(NAME) == 1


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_the_client_has_one_identifier(seed: int) -> None:
    run(seed, IdentifiedWire)
