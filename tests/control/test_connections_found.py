# SPDX-License-Identifier: Apache-2.0
"""Connections whose first server dies, and comes back: who owns them still has them."""

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP

from ipos.lab import Lab, Settings, faults
from tests.control.busy_clients import Client, Clients, clients, told
from tests.control.conftest import CONFIG, WHOLE
from tests.control.test_addresses_move import (
    BACK_S,
    DUEL_S,
    QUESTION_S,
    at_another,
    first_success,
    holders,
    neighbour,
)
from tests.control.test_servers_die import asking
from tests.farm.wire import capturing
from tests.support.farm import SERVERS, Farm, grown, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]


@pytest.fixture(scope="module")
def one_lan() -> Iterator[Farm]:
    settings = Settings(name=f"found{os.getpid()}", config=CONFIG, topology="one-lan")
    with Lab(settings) as lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready, 30)
        yield farm


_RESETS = (
    "rst_sent", "locate_nobody", "owner_lost", "drop_owner_down", "ghosts_ended", "forgotten",
    "located", "locate_asked", "locate_answered", "drop_frame_locate",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Absence:
    """A way to be away from both LANs, and back."""

    begin: Callable[[Farm, str], None]
    end: Callable[[Farm, str], None]


def plug(farm: Farm, server: str, *, in_: bool) -> None:
    """All cables of a server; front comes first, so that clients' packets are there before back."""
    for interface in farm.lab.nodes[server].interfaces:
        faults.set_link(farm.lab, server, interface.name, up=in_)


POWER = Absence(
    lambda farm, server: faults.cut_power(farm.lab, server),
    lambda farm, server: faults.restore_power(farm.lab, server),
)
CABLES = Absence(
    lambda farm, server: plug(farm, server, in_=False),
    lambda farm, server: plug(farm, server, in_=True),
)


def cut(
    farm: Farm,
    dead: str,
    away_s: float,
    how: Absence = POWER,
    drained: str | None = None,
    idle: int = 20,
) -> None:
    """A server is away while clients of four kinds go on, and comes back; another may be drained
    before. idle: connections at each server that do not ask meanwhile.
    """
    others = [one for one in SERVERS if one != dead]
    with clients(farm, keep_alive=6, idle=idle, downloads=1) as load, ExitStack() as until:
        wait_until("they are busy", lambda: all(one.asked > 20 for one in asking_on(load)), 30)
        if drained is not None:
            until.enter_context(empty(farm, load, drained))
        before = farm.all_counters()
        kept = load.of(*others)
        by_the_dead = [one for one in kept if one.first == dead]
        # Of the few others, all may belong to the dead server by chance.
        assert "idle" in {one.kind for one in by_the_dead}
        answers = until.enter_context(neighbour(farm, farm.address(dead)))
        how.begin(farm, dead)
        began = time.monotonic()
        try:
            took = first_success(farm, dead, began)
            (holder,) = wait_until("its row", lambda: at_another(farm, farm.address(dead), dead))
            load.ask_the_idle()
            asked = {id(one): one.asked for one in asking_on(load)}
            wait_until("its time is over", lambda: time.monotonic() > began + away_s, away_s + 20)
            with asking(farm, dead) as new:
                wait_until("new ones are served", lambda: len(new) > 20, 20)
            assert not [one for one in new if one.error is not None]
        finally:
            how.end(farm, dead)
        back = time.monotonic()
        wait_until("it is back", lambda: holders(farm, farm.address(dead)) == [dead], 20)
        returned = time.monotonic() - back
        wait_until("it has been back for a while", lambda: time.monotonic() > back + 3)
        load.ask_the_idle()
    failed = [(one.kind, one.first, one.owner, one.error) for one in kept if one.error]
    grew = {one: grown(before[one], farm.counters(one)) for one in SERVERS}
    print(
        f"{dead} away for {away_s:.0f} s: its address is served after {took:.2f} s and back after "
        f"{returned:.2f} s, two answers to {len(answers.duels)} of {answers.asked} questions; "
        f"longest waits of those that the others own: {told(kept)}; by {dead}: "
        f"{told(by_the_dead)}; located {sum(one.get('located', 0) for one in grew.values())}"
    )
    resets = {one: {name: n for name, n in grew[one].items() if name in _RESETS} for one in SERVERS}
    assert not failed, resets
    assert all(one.asked > asked[id(one)] for one in asking_on(load) if one in kept)
    assert not grew[dead].get("owner_lost", 0) + grew[dead].get("drop_owner_down", 0), resets
    elsewhere = [one for one in by_the_dead if one.owner != holder]
    assert grew[holder].get("located", 0) >= len(elsewhere), (
        "the others came to their owner directly"
    )
    assert not any(one.get("ghosts_ended", 0) for name, one in grew.items() if name != dead)
    assert returned < BACK_S
    assert len(answers.duels) * QUESTION_S < DUEL_S, "two servers answered for one address"
    wait_until("all is well", farm.ready, 30)


@contextmanager
def empty(farm: Farm, load: Clients, server: str) -> Iterator[None]:
    """A server is drained in this time, and has no connection left when it begins."""
    by = next(one for one in SERVERS if one != server)
    try:
        with load.moving():
            farm.run(by, "ipos", "drain", server)
            wait_until("it has begun", lambda: _left(farm, by, server) is not None)
            # What is decided once moves with its next request, or with one after that.
            wait_until("all have moved", lambda: _moved(farm, by, server, load), 30)
            farm.run(by, "ipos", "drain", server, "--wait")
        assert not load.of(server)
        yield
    finally:
        farm.run(by, "ipos", "server", "set", server, "ready")


def _moved(farm: Farm, by: str, server: str, load: Clients) -> bool:
    load.ask_the_idle()
    return not _left(farm, by, server)


def _left(farm: Farm, by: str, server: str) -> object:
    """What is left there, by reason; None before it has looked."""
    return json.loads(farm.run(by, "ipos", "drain", server, "-o", "json"))["left"]


def asking_on(load: Clients) -> list[Client]:
    return [one for one in load.found if one.kind == "keep-alive"]


@pytest.mark.parametrize(
    "dead", ["s1", *(pytest.param(one, marks=pytest.mark.slow) for one in ("s2", "s3"))]
)
def test_a_first_server_without_power_takes_none_of_the_others_connections(
    farm: Farm, dead: str
) -> None:
    cut(farm, dead, 3)


@pytest.mark.slow
@pytest.mark.parametrize("dead", SERVERS)
def test_the_same_beside_2000_idle_ones(farm: Farm, dead: str) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most[1], most[1]))
    try:
        cut(farm, dead, 15, idle=667)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


@pytest.mark.slow
@pytest.mark.parametrize("away_s", [30, 300])
def test_the_same_for_longer(farm: Farm, away_s: float) -> None:
    cut(farm, "s2", away_s)


@pytest.mark.slow
@pytest.mark.parametrize(("dead", "drained"), [("s1", "s2"), ("s2", "s3"), ("s3", "s1")])
def test_the_same_while_another_server_is_drained(farm: Farm, dead: str, drained: str) -> None:
    cut(farm, dead, 3, drained=drained)


@pytest.mark.parametrize(
    "away_s", [3, pytest.param(10, marks=pytest.mark.slow)], ids=["3 s", "10 s"]
)
def test_a_server_without_its_cables_takes_nobody_for_dead(farm: Farm, away_s: float) -> None:
    """Its agent runs all the time and hears nobody."""
    cut(farm, "s2", away_s, CABLES)


@pytest.mark.slow
@pytest.mark.parametrize("dead", SERVERS)
def test_the_same_where_clients_and_servers_share_one_lan(one_lan: Farm, dead: str) -> None:
    """A question is a broadcast there, too."""
    cut(one_lan, dead, 3)


def test_the_same_where_its_kernel_must_ask_for_the_others_again(one_lan: Farm) -> None:
    """States are datagrams to each other server there. A kernel that asks by ARP before its cable
    is back asks again a second later: until then the server hears the others and is not heard.
    """
    cut(one_lan, "s2", 3, CABLES)


@pytest.mark.slow
def test_a_server_that_was_away_says_nothing_to_the_clients_of_before(farm: Farm) -> None:
    """It holds a head that did not end in time. Others had its address: that client is theirs."""
    address = farm.address("s2")
    with farm.connect(WHOLE, "s2") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        port = connection.getsockname()[1]
        wait_until("it is held", lambda: held(farm, "s2", port))
        before = farm.counters("s2")
        faults.cut_power(farm.lab, "s2")
        began = time.monotonic()
        try:
            first_success(farm, "s2", began)
            wait_until("its time is over", lambda: time.monotonic() > began + 7, 20)
        finally:
            with capturing(farm, "client1", "front") as seen:
                faults.restore_power(farm.lab, "s2")
                wait_until("it is back", lambda: holders(farm, address) == ["s2"], 20)
                wait_until("nothing is held", lambda: not held(farm, "s2", port))
        told = [IP(frame[14:]) for frame in list(seen.frames) if frame[12:14] == b"\x08\x00"]
        assert not [one for one in told if one.haslayer(TCP) and one[TCP].dport == port]
        grew = grown(before, farm.counters("s2"))
        assert "head_timeout" not in grew
        assert grew["forgotten"] > 0
    wait_until("all is well", farm.ready, 30)


def held(farm: Farm, server: str, port: int) -> bool:
    return any(key.client_port == port for key, _ in farm.tables[server].holding.items())
