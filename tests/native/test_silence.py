# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 that has asked for nothing: held in silence until its request comes, or the agent."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from ipos.abi.layout import layout
from ipos.agent.expiry.notices import MARK_LATE
from spec.requests.h2 import PREFACE
from tests.native.native_farm import Client, Farm
from tests.support.golden import packets
from tests.support.golden.machine import connection_key

FLIGHT = PREFACE + bytes.fromhex("000000040000000000")
BLOCK = bytes.fromhex("8286") + b"\x04\x05/path" + b"\x01\x04farm"
HEADERS = struct.pack(">I", len(BLOCK))[1:] + b"\x01\x05\0\0\0\1" + BLOCK
CLOSED = 4
MS = 1_000_000
BOTH = pytest.mark.parametrize("owner", [1, 2])


@pytest.fixture
def farm(owner: int) -> Iterator[Farm]:
    made = Farm((owner,))
    yield made
    made.close()


def comes_back(farm: Farm) -> list[object]:
    """The agent, to the connection it was told of."""
    return list(farm.agent(packets.notice(CLOSED), MARK_LATE))


def taken(farm: Farm, owner: int, client: Client) -> bytes:
    """What the owner's application has read, which nobody else may have accepted."""
    accepted = {index: host.accepted for index, host in farm.hosts.items() if host.accepted}
    assert accepted in ({}, {owner: 1})
    return bytes(farm.hosts[owner].read.get(client.key, b""))


def count(farm: Farm) -> int:
    return farm.hosts[1].machine.counters().get("SILENCE_ENDED", 0)


@BOTH
def test_who_pauses_is_let_in_by_the_agent(farm: Farm, owner: int) -> None:
    client = Client(farm)
    assert not client.send("PA", 0, FLIGHT), "it is held in silence"
    assert farm.silent == [layout("ipos_tuple").pack(connection_key())]
    farm.wait(10 * MS)
    comes_back(farm)
    assert taken(farm, owner, client) == FLIGHT
    assert count(farm) == 1
    comes_back(farm)
    assert taken(farm, owner, client) == FLIGHT, "a second time changes nothing"
    assert count(farm) == 1


@BOTH
def test_whose_request_came_meanwhile_is_nothing_to_the_agent(farm: Farm, owner: int) -> None:
    client = Client(farm)
    client.send("PA", 0, FLIGHT)
    client.send("PA", len(FLIGHT), HEADERS)
    assert taken(farm, owner, client) == FLIGHT + HEADERS
    farm.wait(10 * MS)
    comes_back(farm)
    assert taken(farm, owner, client) == FLIGHT + HEADERS
    assert count(farm) == 0


@BOTH
@pytest.mark.parametrize("behind", [FLIGHT[:-1], FLIGHT + HEADERS[:5], FLIGHT + HEADERS[:-1]])
def test_who_is_in_the_middle_of_a_frame_is_waited_for(
    farm: Farm, owner: int, behind: bytes
) -> None:
    client = Client(farm)
    client.send("PA", 0, behind[: len(FLIGHT)])
    if len(behind) > len(FLIGHT):
        client.send("PA", len(FLIGHT), behind[len(FLIGHT) :])
    farm.wait(10 * MS)
    comes_back(farm)
    assert taken(farm, owner, client) == b""
    client.send("PA", len(behind), (FLIGHT + HEADERS)[len(behind) :])
    assert taken(farm, owner, client) == FLIGHT + HEADERS
    assert count(farm) == 0


@BOTH
def test_an_agent_that_comes_too_soon_comes_in_vain(farm: Farm, owner: int) -> None:
    client = Client(farm)
    client.send("PA", 0, FLIGHT)
    farm.wait(4 * MS)
    comes_back(farm)
    assert taken(farm, owner, client) == b""
    client.send("PA", 0, FLIGHT)  # as it would without an agent
    assert taken(farm, owner, client) == FLIGHT
    assert count(farm) == 0


@BOTH
def test_a_frame_more_begins_the_pause_again(farm: Farm, owner: int) -> None:
    update = bytes.fromhex("00000408000000000000010000")
    client = Client(farm)
    client.send("PA", 0, FLIGHT)
    farm.wait(3 * MS)
    client.send("PA", len(FLIGHT), update)
    assert len(farm.silent) == 2
    farm.wait(4 * MS)
    comes_back(farm)
    assert taken(farm, owner, client) == b""
    farm.wait(6 * MS)
    comes_back(farm)
    assert taken(farm, owner, client) == FLIGHT + update
