# SPDX-License-Identifier: Apache-2.0
"""Requests through a farm of nodes: the application reads what the client wrote, once."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ipos.handshake.segment import Flag
from ipos.wire import Protocol, ethernet
from tests.native.native_farm import Client, Farm
from tests.support.golden import packets
from tests.support.golden.machine import connection_key

HERE, THERE = (1,), (2,)
LONG = b"GET /" + b"x" * 8_966 + b" HTTP/1.1\r\nHost: a.b\r\n\r\n"
SEGMENT = 1384  # bytes of a segment that fits into a frame of either family
BOTH = pytest.mark.parametrize("owner", [1, 2])


@pytest.fixture(params=[4, 6])
def family(request: pytest.FixtureRequest) -> int:
    """Of addresses: every test here runs for both."""
    return int(request.param)


@pytest.fixture
def farm(owner: int, family: int) -> Iterator[Farm]:
    made = Farm((owner,), family=family)
    yield made
    made.close()


def reads(farm: Farm, owner: int, client: Client, data: bytes) -> bool:
    """Whether the owner's application has read exactly this, and nobody else anything."""
    accepted = {index: host.accepted for index, host in farm.hosts.items() if host.accepted}
    assert accepted in ({}, {owner: 1}), "two accepts for one connection"
    return accepted == {owner: 1} and bytes(farm.hosts[owner].read[client.key]) == data


@BOTH
@pytest.mark.parametrize("cut", range(1, len(packets.HEAD)))
def test_a_head_cut_anywhere(farm: Farm, owner: int, cut: int) -> None:
    client = Client(farm)
    client.send("A", 0, packets.HEAD[:cut])
    client.send("PA", cut, packets.HEAD[cut:])
    assert reads(farm, owner, client, packets.HEAD)


@BOTH
def test_a_head_written_byte_by_byte(farm: Farm, owner: int) -> None:
    client = Client(farm)
    for at in range(len(packets.HEAD)):
        answers = client.send("PA", at, packets.HEAD[at : at + 1])
        if at + 1 < len(packets.HEAD):  # a slow writer waits for this
            assert [answer.ack for answer in answers] == [packets.IRS + 2 + at]
    assert reads(farm, owner, client, packets.HEAD)


@BOTH
@pytest.mark.parametrize("backwards", [False, True])
def test_nine_thousand_bytes_at_mss_536(farm: Farm, owner: int, backwards: bool) -> None:
    client = Client(farm, mss=536)
    pieces = range(0, len(LONG), 524)
    for at in reversed(pieces) if backwards else pieces:
        client.send("A", at, LONG[at : at + 524])
    assert reads(farm, owner, client, LONG)
    assert farm.hosts[1].machine.node.store("hold_free").count() == 64


def test_after_type_3_nothing_is_held(family: int) -> None:
    farm = Farm(THERE, family=family)
    client = Client(farm)
    client.send("PA", 0, packets.HEAD)
    tables = farm.hosts[1].machine
    assert len(tables.table("holding")) == 0
    assert tables.table("forward")[connection_key()]["acknowledged"] == 1
    farm.close()


@pytest.mark.parametrize("owner", [2])
def test_every_frame_between_servers_is_what_the_wire_says(farm: Farm, family: int) -> None:
    client = Client(farm)
    client.send("PA", 0, packets.HEAD)
    client.send("A", len(packets.HEAD), b"x" * 1300)
    protocol = Protocol.TCP6 if family == 6 else Protocol.TCP
    read = [ethernet.decode(frame, packets.FRAME_KEY).packet for frame in farm.frames]
    kinds = [packet.header.type.name for packet in read]
    assert kinds == ["CONNECTION", "PACKET", "ACKNOWLEDGEMENT", "PACKET"]
    assert {packet.header.protocol for packet in read} == {protocol}
    assert {int(packet.header.source_ip) for packet in read} == {client.key[0]}


def test_the_body_follows_to_the_owner(family: int) -> None:
    farm = Farm(THERE, family=family)
    client = Client(farm)
    client.send("PA", 0, packets.HEAD)
    body = bytes(range(256)) * 40
    for at in range(0, len(body), SEGMENT):
        client.send("A", len(packets.HEAD) + at, body[at : at + SEGMENT])
    assert reads(farm, 2, client, packets.HEAD + body)
    farm.close()


def test_a_server_without_a_listener_refuses_and_the_next_is_chosen(family: int) -> None:
    farm = Farm((2, 3), family=family)
    farm.hosts[2].machine.listen([])
    client = Client(farm)
    assert client.send("PA", 0, packets.HEAD) == []
    assert reads(farm, 3, client, packets.HEAD)
    farm.close()


def test_everybody_refuses_and_the_client_is_told(family: int) -> None:
    farm = Farm((1, 2, 3), family=family)
    for host in farm.hosts.values():
        host.machine.listen([])
    client = Client(farm)
    (answer,) = client.send("PA", 0, packets.HEAD)
    assert (answer.flags, answer.seq) == (Flag.FIN | Flag.PSH | Flag.ACK, client.iss + 1)
    assert answer.data.startswith(b"HTTP/1.1 503 ")
    again = client.send("PA", 0, packets.HEAD)
    assert [answer.data for answer in again] == [answer.data]
    farm.close()


def test_everybody_refuses_what_is_no_http_and_the_client_is_reset(family: int) -> None:
    farm = Farm((1, 2, 3), family=family)
    for host in farm.hosts.values():
        host.machine.listen([])
    client = Client(farm)
    (answer,) = client.send("PA", 0, packets.client_hello("www.example"))
    assert (answer.flags, answer.seq) == (Flag.RST, client.iss + 1)
    again = client.send("PA", 0, packets.client_hello("www.example"))
    assert [answer.flags for answer in again] == [Flag.RST]
    farm.close()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_any_frame_of_a_migration_may_be_lost(number: int, family: int) -> None:
    """Type 1, type 2 or type 3: the client sends again, and the request is read once."""
    farm = Farm(THERE, family=family)
    farm.wire = lambda n, frame: () if n == number else (0,)
    client = Client(farm)
    client.send("PA", 0, packets.HEAD)
    farm.wait(200_000_000)
    client.send("PA", 0, packets.HEAD)
    assert reads(farm, 2, client, packets.HEAD)
    assert farm.hosts[1].machine.table("forward")[connection_key()]["acknowledged"] == 1
    farm.close()


@pytest.mark.parametrize("copies", [((), (0,), (0,)), ((), (0,), (0, 0), (9,), (0, 30))])
@pytest.mark.parametrize("seed", range(20))
def test_frames_are_lost_doubled_and_late(
    seed: int, copies: list[tuple[int, ...]], family: int
) -> None:
    rng = random.Random(seed)
    farm = Farm((2, 3), family=family)
    farm.wire = lambda n, frame: rng.choice(copies)
    client = Client(farm)
    forward = farm.hosts[1].machine.table("forward")
    for _ in range(100):  # the client sends what it has not heard of, again and again
        for at in range(0, len(LONG), SEGMENT):
            client.send("A", at, LONG[at : at + SEGMENT])
        if reads(farm, 2, client, LONG) and forward[connection_key()]["acknowledged"]:
            break
        farm.wait(300_000_000)
    assert reads(farm, 2, client, LONG)
    assert farm.hosts[1].machine.node.store("hold_free").count() == 64
    farm.close()


@BOTH
def test_a_port_is_used_again_at_once(farm: Farm, owner: int) -> None:
    for number in range(30):
        isn = packets.IRS + number * 1_000_000
        client = Client(farm, isn=isn)
        client.send("PA", 0, packets.HEAD)
        assert bytes(farm.hosts[owner].read[client.key]) == packets.HEAD
        assert farm.hosts[owner].accepted == number + 1
        client.send("RA", len(packets.HEAD))
        for host in farm.hosts.values():
            for name in ("forward", "local", "connect", "holding"):
                assert len(host.machine.table(name)) == 0, (number, host.index, name)
        late = client.send("PA", 0, packets.HEAD)  # the request once more
        assert late == []
        assert farm.hosts[owner].accepted == number + 1
