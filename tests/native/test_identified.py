# SPDX-License-Identifier: Apache-2.0
"""The first response of an identified session: its row, what all are told, and then its cookie."""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address
from typing import Any

import pytest

from ipos.abi.layout import constant
from native.values import Tc
from spec.requests import identified
from tests.native.test_line import SERVICE, Wire
from tests.support.golden import packets
from tests.support.golden.machine import NOW_NS, WALL_NS, connection_key, network

DAY_KEY, LIFE_S = b"the key of a day", 100
DAY = WALL_NS // (constant("IPOS_SESSION_DAY_S") * 10**9)
TELL, AFTER = constant("IPOS_MARK_TELL"), constant("IPOS_MARK_AFTER")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
IDENTITY = bytes.fromhex("1f0c9a44d2e8b370")


class Response(Wire):
    """The same wire, with a session that has an identifier."""

    def __init__(self, **endpoint: Any) -> None:
        super().__init__(ANSWER, packets.ISS + 1)
        kind = {"kind": constant("IPOS_SESSION_IDENTIFY"), "lifetime_s": LIFE_S}
        self._change("sessions", SERVICE, kind)
        self._change("services", SERVICE, {"port": packets.WEB})
        if endpoint:
            self.machine.table("local")[connection_key()] = {**self.row(), **endpoint}

    def _change(self, table: str, index: int, fields: dict[str, Any]) -> None:
        rows = self.machine.table(table)
        rows[index] = {**rows[index], **fields}

    @property
    def rows(self) -> dict[bytes, dict[str, Any]]:
        found = self.machine.table("cookies").items()
        return {key["hash"].to_bytes(8, sys.byteorder): dict(row) for key, row in found}

    def frame(self) -> bytes:
        return packets.answer("A", seq=self.first, ack=packets.IRS + 1, window=500,
                              options=packets.echo(), data=self.sends)  # fmt: skip

    def leaves(self) -> list[tuple[str, bytes]]:
        """The response leaves the kernel: what goes out, and by which interface, in order."""
        node, front = self.machine.node, self.machine.ifindex("front")
        outcome = node.egress(self.frame(), front)
        assert outcome.verdict == Tc.REDIRECT
        queue = [(copy.frame, copy.mark) for copy in outcome.sent]
        found: list[tuple[str, bytes]] = []
        for frame, mark in queue:
            told = node.ingress(frame, front, mark)
            for sent in told.sent:
                if sent.ifindex == self.machine.ifindex("back"):
                    found.append(("back", sent.frame))
        assert [mark for _, mark in queue] == [TELL, AFTER]
        again = node.egress(self.frame(), front)
        for copy in again.sent:
            line = node.egress(copy.frame, copy.ifindex, copy.mark)
            found.append(("front", line.frame))
        found.append(("front", again.frame))
        return found


def _text(frames: list[tuple[str, bytes]]) -> bytes:
    return b"".join(frame[14 + 20 + 32 :] for way, frame in frames if way == "front")


def test_all_are_told_before_the_response_leaves() -> None:
    wire = Response()
    frames = wire.leaves()
    ((identity, row),) = wire.rows.items()
    assert (row["server_ip"], row["turn"]) == (network(packets.SERVICE), 1)
    assert row["expires_ns"] == NOW_NS + LIFE_S * 10**9
    assert [way for way, _ in frames] == ["back", "front", "front"]
    told = frames[0][1]
    assert told[:6] == b"\xff" * 6
    assert told[14 + 12] == constant("IPOS_LEARNED")
    assert struct.unpack_from("!4sH", told, 14 + 6) == (
        IPv4Address(packets.SERVICE).packed, 1,
    )  # fmt: skip
    assert told[30:38] == identity
    value = identified.encode(identity, DAY, DAY_KEY).encode()
    assert b"Set-Cookie: IPOS=" + value + b"; Path=/; HttpOnly\r\n" in _text(frames)


def test_two_clients_have_different_identifiers() -> None:
    found: set[bytes] = set()
    for number in range(20):
        wire = Response(hs={"iss": packets.ISS, "irs": number})
        wire.leaves()
        found |= wire.rows.keys()
    assert len(found) == 20


def test_a_client_that_comes_back_keeps_its_identifier() -> None:
    """Its value is of another day; the row is what it was."""
    wire = Response(identity=int.from_bytes(IDENTITY, sys.byteorder))
    key = {"hash": int.from_bytes(IDENTITY, sys.byteorder), "service_port": packets.WEB}
    row = {"server_ip": network(packets.SERVICE), "turn": 4, "expires_ns": NOW_NS + 9}
    wire.machine.table("cookies")[key] = row
    frames = wire.leaves()
    assert wire.rows[IDENTITY]["expires_ns"] == NOW_NS + 9
    assert struct.unpack_from("!H", frames[0][1], 14 + 10) == (4,)
    assert IDENTITY.hex().encode() in _text(frames)


@pytest.mark.parametrize("server", [packets.S2, "0.0.0.0"])
def test_nobody_is_told_of_a_session_that_has_left_meanwhile(server: str) -> None:
    wire = Response(identity=int.from_bytes(IDENTITY, sys.byteorder))
    key = {"hash": int.from_bytes(IDENTITY, sys.byteorder), "service_port": packets.WEB}
    row = {"server_ip": network(server), "turn": 4, "expires_ns": NOW_NS + 9}
    wire.machine.table("cookies")[key] = row
    assert [way for way, _ in wire.leaves()] == ["front", "front"]


def test_without_a_row_the_client_gets_no_cookie() -> None:
    wire = Response()
    for slot in range(constant("IPOS_SESSION_DAYS")):
        wire.machine.table("session_keys")[slot] = {"valid": 0}
    outcome = wire.machine.node.egress(wire.frame(), wire.machine.ifindex("front"))
    assert outcome.verdict == Tc.OK
    assert outcome.frame == wire.frame()
    assert wire.rows == {}
    assert wire.machine.counters()["SESSION_UNTOLD"] == 1
