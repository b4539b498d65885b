# SPDX-License-Identifier: Apache-2.0
"""The hold pool and who has it: one network cannot take it all, and every piece comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ipos.agent.expiry.network_shares import ALL
from ipos.handshake.segment import Flag
from tests.native.native_farm import Client, Farm, Host
from tests.support.golden import packets

PIECES = 400
SIZES = {"forward": 600, "local": 600, "connect": 600, "temporary": 2048, "holding": 600,
         "hold_pool": PIECES, "hold_free": PIECES, "deny": 4}  # fmt: skip
LONG = b"GET /" + b"a" * 1395
RESERVE = PIECES // 8


@pytest.fixture
def farm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    """Requests go to s2, and s1's pool is shared out."""
    monkeypatch.setattr("tests.native.native_farm.FARM_SIZES", SIZES)
    made = Farm((2,))
    made.hosts[1].config = replace(made.hosts[1].config, hold_pieces=PIECES)
    settings = made.hosts[1].machine.table("settings")
    settings[0] = {**settings[0], "hold_pieces": PIECES}
    yield made
    made.close()


def free(host: Host) -> int:
    return host.machine.node.store("hold_free").count()


def used(farm: Farm) -> int:
    """As the data plane counts: nobody here gives back but it."""
    count = farm.hosts[1].machine.table("hold_used")[ALL]
    assert isinstance(count, int)
    return count


def greedy(farm: Farm, clients: int) -> list[Client]:
    """Heads of two pieces each that do not end."""
    made = []
    for number in range(clients):
        client = Client(farm, 10_000 + number)
        client.send("A", 0, LONG)
        made.append(client)
    return made


def test_one_network_gets_its_share_and_another_is_served(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy(farm, 190)
    host = farm.hosts[1]
    counts = host.machine.counters()
    share = PIECES - free(host)
    assert counts["DROP_HOLD_SHARE"] == 190 - share // 2
    # A quarter of what is free, when it is free: a fifth of all that is not reserved.
    assert abs(share - (PIECES - RESERVE) // 5) <= 2
    assert used(farm) == share
    monkeypatch.setattr(packets, "CLIENT", "10.98.0.7")
    other = Client(farm, 7)
    other.send("PA", 0, packets.HEAD)
    assert farm.hosts[2].accepted == 1
    assert bytes(farm.hosts[2].read[other.key]) == packets.HEAD


def test_the_neighbours_of_one_address_have_its_share_too(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy(farm, 190)
    before = free(farm.hosts[1])
    monkeypatch.setattr(packets, "CLIENT", "10.99.0.200")
    greedy(farm, 1)
    assert free(farm.hosts[1]) == before


def test_many_greedy_networks_leave_the_reserve(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for network in range(60):
        monkeypatch.setattr(packets, "CLIENT", f"10.{network}.0.7")
        greedy(farm, 12)
    host = farm.hosts[1]
    assert host.machine.counters()["DROP_HOLD_FULL"] > 0
    assert RESERVE <= free(host) <= RESERVE + 2
    monkeypatch.setattr(packets, "CLIENT", "10.250.0.7")
    Client(farm, 7).send("PA", 0, packets.HEAD)
    assert farm.hosts[2].accepted == 1, "a request that goes on at once has of the reserve"


def test_every_piece_comes_back(farm: Farm) -> None:
    clients = greedy(farm, 30)
    assert used(farm) == 60
    for number, client in enumerate(clients):
        if number % 3 == 0:
            client.send("RA", len(LONG))
        elif number % 3 == 1:
            client.send("PA", len(LONG), b" HTTP/1.1\r\nHost: h\r\n\r\n")
        else:
            client.send("PA", len(LONG), b"\0\r\n\r\n")
    for client in clients[2::3]:
        told = farm.client(
            packets.ip("FA", seq=client.isn + 1 + len(LONG) + 5, ack=client.iss + 1 + 1,
                       port=client.port, options=packets.echo(echoed=client.echoed))
        )  # fmt: skip
        assert all(Flag.RST not in one.flags for one in told)
    held = [row for _, row in farm.hosts[1].machine.table("holding").items()]
    assert (
        used(farm)
        == PIECES - free(farm.hosts[1])
        == sum(sum(1 for chunk in row["chunks"] if chunk) for row in held)
    )
    assert farm.hosts[2].accepted == 10
