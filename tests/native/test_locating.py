# SPDX-License-Identifier: Apache-2.0
"""A first server dies, and another one has its address: the connection is where it was, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ipos.handshake.segment import Flag
from tests.native.native_farm import Client, Farm
from tests.support.golden import packets
from tests.support.golden.machine import Config, configure, connection_key

OWNER, HOLDER = 3, 2
MS = 1_000_000
BODY = bytes(range(256)) * 20


@pytest.fixture(params=[4, 6])
def farm(request: pytest.FixtureRequest) -> Iterator[Farm]:
    """Requests go to s3; whoever gets what s1 knew asks for it.  For either family of addresses."""
    made = Farm((OWNER,), family=int(request.param))
    for host in made.hosts.values():
        configure(host.machine, locating(host.config))
    yield made
    made.close()


def locating(config: Config, asks: bool = False) -> Config:
    return replace(config, locates=100, all_answer=True, asks=asks)


def dies(farm: Farm, candidates: tuple[int, ...] = (OWNER,), asks: bool = False) -> None:
    """s2 has the address of s1 now; its own requests go to these."""
    farm.dead, farm.holder = {1}, HOLDER
    host = farm.hosts[HOLDER]
    configure(host.machine, locating(replace(host.config, candidates=candidates), asks=asks))


def test_what_the_client_sends_on_comes_to_its_owner(farm: Farm) -> None:
    client = Client(farm)
    client.send("PA", 0, packets.HEAD)
    dies(farm)
    for at in range(0, len(BODY), 512):
        client.send("A", len(packets.HEAD) + at, BODY[at : at + 512])
    owner = farm.hosts[OWNER]
    assert bytes(owner.read[client.key]) == packets.HEAD + BODY
    assert owner.accepted == 1
    assert farm.hosts[HOLDER].machine.counters()["LOCATE_ASKED"] == 1
    assert farm.hosts[HOLDER].machine.table("forward")[connection_key()]["server"] == OWNER
    client.send("RA", len(packets.HEAD) + len(BODY))
    assert len(farm.hosts[HOLDER].machine.table("forward")) == 0, "the new first server is told"
    assert len(owner.machine.table("connect")) == 0


@pytest.mark.parametrize("lost", [1, 2])
def test_a_question_or_its_answer_is_lost(farm: Farm, lost: int) -> None:
    client = Client(farm)
    client.send("PA", 0, packets.HEAD)
    dies(farm)
    first = len(farm.frames)
    farm.wire = lambda number, frame: () if number == first + lost else (0,)
    client.send("A", len(packets.HEAD), b"x")
    for _ in range(2):
        farm.wait(60 * MS)
        client.send("A", len(packets.HEAD), b"x")
    assert bytes(farm.hosts[OWNER].read[client.key]) == packets.HEAD + b"x"
    assert farm.hosts[HOLDER].machine.counters()["LOCATED"] == 1


def test_nobody_has_it_and_the_client_is_reset(farm: Farm) -> None:
    client = Client(farm)
    client.send("PA", 0, packets.HEAD)
    dies(farm)
    farm.dead.add(OWNER)
    told = []
    for _ in range(4):
        told += client.send("A", len(packets.HEAD))
        farm.wait(400 * MS)
    assert [(one.flags, one.seq) for one in told] == [(Flag.RST, client.iss + 1)]
    (again,) = client.send("A", len(packets.HEAD))
    assert again.flags == Flag.RST


@pytest.mark.parametrize("asks", [True, False])
def test_a_request_that_has_an_owner_is_offered_to_no_other(farm: Farm, asks: bool) -> None:
    """Its client never heard that it was taken, and sends it again to who has the address now.

    Without the question it would be served twice.
    """
    client = Client(farm)
    client.send("PA", 0, packets.HEAD)
    dies(farm, candidates=(HOLDER,), asks=asks)
    for _ in range(2):
        farm.wait(200 * MS)
        client.send("PA", 0, packets.HEAD)
    accepted = {index: host.accepted for index, host in farm.hosts.items() if host.accepted}
    assert accepted == ({OWNER: 1} if asks else {OWNER: 1, HOLDER: 1})


def test_a_request_that_nobody_has_is_opened_by_its_cookie(farm: Farm) -> None:
    client = Client(farm)
    dies(farm, candidates=(OWNER,), asks=True)
    client.send("PA", 0, packets.HEAD)
    assert not any(host.accepted for host in farm.hosts.values()), "it is asked about first"
    farm.wait(200 * MS)
    client.send("PA", 0, packets.HEAD)
    assert bytes(farm.hosts[OWNER].read[client.key]) == packets.HEAD


# ---- an address that several servers have: all of them live -------------------------------------


def shared(farm: Farm) -> None:
    for host in farm.hosts.values():
        configure(host.machine, locating(host.config, asks=True))


def test_a_request_comes_elsewhere_than_its_handshake_and_the_rest_back_again(farm: Farm) -> None:
    """It has one owner, and the server of the handshake finds it."""
    shared(farm)
    client = Client(farm)
    assert len(farm.hosts[1].machine.table("temporary")) == 1
    farm.holder = HOLDER
    client.send("PA", 0, packets.HEAD)
    assert len(farm.hosts[1].machine.table("temporary")) == 0, "its cookie opens nothing there"
    farm.wait(200 * MS)
    client.send("PA", 0, packets.HEAD)
    farm.holder = 1
    farm.wait(200 * MS)
    client.send("PA", 0, packets.HEAD)
    client.send("A", len(packets.HEAD), b"more")
    accepted = {index: host.accepted for index, host in farm.hosts.items() if host.accepted}
    assert accepted == {OWNER: 1}
    assert bytes(farm.hosts[OWNER].read[client.key]) == packets.HEAD + b"more"


def test_a_head_in_two_pieces_is_opened_where_its_first_comes_again(farm: Farm) -> None:
    shared(farm)
    client = Client(farm)
    client.send("A", 0, packets.HEAD[:20])
    farm.holder = HOLDER
    for _ in range(3):
        client.send("A", 20, packets.HEAD[20:])
        farm.wait(100 * MS)
        client.send("A", 0, packets.HEAD[:20])
        farm.wait(100 * MS)
    client.send("A", 20, packets.HEAD[20:])
    assert sum(host.accepted for host in farm.hosts.values()) == 1
    assert bytes(farm.hosts[OWNER].read[client.key]) == packets.HEAD
