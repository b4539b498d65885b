# SPDX-License-Identifier: Apache-2.0
"""Service addresses whose servers die, leave and come back: who answers for them, and for whom."""

import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from scapy.layers.l2 import ARP, Ether

from ipos.lab import faults
from tests.control.test_servers_die import asking
from tests.farm.wire import packet_socket
from tests.support.farm import SERVERS, Farm, read_answer, request, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]
TAKEN_S = 1.5
BACK_S = 5.0
DUEL_S = 0.5
"""How long the data plane of a server that comes back may answer before its agent knows better."""
QUESTION_S = 0.02
PATIENCE_S = 0.2
"""What a client waits for a handshake or an answer, before it begins another attempt."""


def addresses(farm: Farm, by: str) -> dict[str, dict[str, Any]]:
    """`ipos address list` of a server, by the servers whose addresses they are."""
    rows = json.loads(farm.run(by, "ipos", "address", "list", "-o", "json"))
    return {row["server"]: row for row in rows}


def holders(farm: Farm, address: str) -> list[str]:
    return [server for server in SERVERS if farm.holds(server, address)]


@dataclass(slots=True)
class Answers:
    """Which MAC addresses answered each question about one address."""

    macs: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    asked: int = 0

    @property
    def duels(self) -> list[set[str]]:
        return [found for found in self.macs.values() if len(found) > 1]


@contextmanager
def neighbour(farm: Farm, address: str) -> Iterator[Answers]:
    """A machine on front that asks who has an address, fifty times a second, by broadcast.

    Each question is from another address, so that an answer names its question.
    """
    told, enough = Answers(), threading.Event()
    router = farm.lab.nodes["router1"].interface("front")
    with packet_socket(farm, "router1", "front") as wire:
        wire.settimeout(QUESTION_S)

        def ask() -> None:
            while not enough.is_set():
                nth = told.asked % 100
                told.asked += 1
                question = Ether(src=router.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
                    op=1, hwsrc=router.mac, psrc=f"203.0.113.{100 + nth}", pdst=address
                )
                wire.send(bytes(question))
                until = time.monotonic() + QUESTION_S
                while time.monotonic() < until:
                    take(nth)

        def take(nth: int) -> None:
            try:
                raw = wire.recv(2048)
            except TimeoutError:
                return
            packet = Ether(raw) if raw[12:14] == b"\x08\x06" else None
            if packet is None or packet[ARP].op != 2 or packet[ARP].psrc != address:
                return
            age = (nth - int(packet[ARP].pdst.split(".")[3]) + 100) % 100
            told.macs[told.asked - 1 - age].add(packet[ARP].hwsrc)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield told
        finally:
            enough.set()
            thread.join()


def first_success(farm: Farm, server: str, since: float) -> float:
    """How long after `since` a new client of a server's address has its answer."""
    while True:
        client = farm.unconnected()
        client.settimeout(PATIENCE_S)
        try:
            with farm.connect(server=server, client=client) as connection:
                connection.sendall(request())
                read_answer(connection)
            return time.monotonic() - since
        except (OSError, AssertionError):
            assert time.monotonic() - since < 30, "nobody took the address over"


@pytest.mark.parametrize(
    "dead", ["s1", *(pytest.param(one, marks=pytest.mark.slow) for one in ("s2", "s3"))]
)
def test_the_address_of_a_server_without_power_is_taken_over_and_given_back(
    farm: Farm, dead: str
) -> None:
    address, *others = farm.address(dead), *(one for one in SERVERS if one != dead)
    kept = {one: kept_alive_at(farm, one, others) for one in others}
    before = farm.all_counters()
    with neighbour(farm, address) as answers:
        faults.cut_power(farm.lab, dead)
        cut = time.monotonic()
        try:
            took = first_success(farm, dead, cut)
            held = wait_until("its row", lambda: at_another(farm, address, dead))
            wait_until(
                "the others show it",
                lambda: addresses(farm, others[0])[dead]["why"] == f"{dead} is down",
            )
            shown = addresses(farm, others[0])[dead]
            assert shown["holder"] in others
            assert shown["holder"] in held
            for first, connections in kept.items():
                for connection in connections:
                    connection.sendall(request(close=False))
                    assert read_answer(connection).served_by in others, f"{first} forwards it"
            wait_until("3 s", lambda: time.monotonic() > cut + 3)
            with asking(farm, dead) as told:
                wait_until("requests", lambda: len(told) > 20, 20)
            assert not [asked for asked in told if asked.error is not None]
        finally:
            faults.restore_power(farm.lab, dead)
        back = time.monotonic()
        wait_until("it is back", lambda: holders(farm, address) == [dead], 20)
        returned = time.monotonic() - back
        with asking(farm, dead) as told:
            wait_until("requests", lambda: len(told) > 20, 20)
        assert not [asked for asked in told if asked.error is not None]
    for connections in kept.values():
        for connection in connections:
            connection.close()
    print(f"{dead}: taken over after {took:.2f} s, back after {returned:.2f} s, "
          f"{answers.asked} questions, two answers to {len(answers.duels)}")  # fmt: skip
    assert took < TAKEN_S
    assert returned < BACK_S
    # Its kernel had not gone: until its agent runs, it answers as if it had never been away.
    assert len(answers.duels) * QUESTION_S < DUEL_S, "two servers answered for one address"
    wait_until("all is well", farm.ready, 30)
    assert farm.all_counters() != before


def kept_alive_at(farm: Farm, first: str, owners: list[str]) -> list[socket.socket]:
    """Connections by one first server that these servers own."""
    found: list[socket.socket] = []
    while len(found) < 5:
        connection = farm.connect(server=first)
        connection.sendall(request(close=False))
        if read_answer(connection).served_by in owners:
            found.append(connection)
        else:
            connection.close()
    return found


def test_a_server_in_maintenance_hands_its_address_over_and_takes_it_back(farm: Farm) -> None:
    address = farm.address("s1")
    try:
        with neighbour(farm, address) as answers, asking(farm) as told:
            wait_until("requests", lambda: len(told) > 20, 20)
            farm.run("s2", "ipos", "server", "set", "s1", "maint")
            (holder,) = wait_until("it moves", lambda: at_another(farm, address, "s1"))
            shown = addresses(farm, "s3")["s1"]
            assert (shown["holder"], shown["why"]) == (holder, "s1 is in maintenance")
            now = len(told)
            wait_until("requests", lambda: len(told) > now + 100, 20)
            farm.run("s2", "ipos", "server", "set", "s1", "ready")
            wait_until("it is back", lambda: holders(farm, address) == ["s1"], 20)
            now = len(told)
            wait_until("requests", lambda: len(told) > now + 100, 20)
        assert not [asked for asked in told if asked.error is not None]
        assert not answers.duels
    finally:
        farm.run("s1", "ipos", "server", "set", "s1", "ready")
    wait_until("all is well", farm.ready, 30)


def at_another(farm: Farm, address: str, than: str) -> list[str]:
    return [server for server in holders(farm, address) if server != than]


def test_halves_of_a_cut_lan_do_not_both_answer(farm: Farm) -> None:
    """s1 is alone on back and hears nobody; on front all of them meet."""
    with (
        neighbour(farm, farm.address("s1")) as first,
        neighbour(farm, farm.address("s2")) as second,
    ):
        faults.set_link(farm.lab, "s1", "back", up=False)
        try:
            wait_until("they have asked each other", lambda: asked_in_vain(farm), 20)
            for server in SERVERS:
                assert holders(farm, farm.address(server)) == [server]
        finally:
            faults.set_link(farm.lab, "s1", "back", up=True)
        wait_until("all is well", farm.ready, 30)
    assert first.macs
    assert second.macs
    assert not first.duels
    assert not second.duels


def asked_in_vain(farm: Farm) -> bool:
    """Both halves want what the other has, and have seen that a neighbour answers for it."""
    s1, s2, s3 = (answered_elsewhere(farm, server) for server in SERVERS)
    return s1 >= 4 and max(s2, s3) >= 2


def answered_elsewhere(farm: Farm, server: str) -> float:
    api = str(farm.lab.place(server).run_dir / "api.sock")
    text = farm.run(server, "curl", "-s", "--unix-socket", api, "http://ipos/metrics")
    name = 'ipos_address_changes_total{change="answered_elsewhere"} '
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def test_a_server_whose_agent_is_dead_keeps_its_address(farm: Farm) -> None:
    faults.kill_agent(farm.lab, "s1")
    try:
        with neighbour(farm, farm.address("s1")) as answers, asking(farm) as told:
            wait_until("stale", lambda: is_stale(farm), 10)
            now = time.monotonic()
            wait_until("2 s", lambda: time.monotonic() > now + 2)
            assert holders(farm, farm.address("s1")) == ["s1"]
        assert not [asked for asked in told if asked.error is not None]
        mac = farm.lab.nodes["s1"].interface("front").mac
        assert {one for found in answers.macs.values() for one in found} == {mac}
    finally:
        farm.lab.start_agent("s1")
    wait_until("all is well", farm.ready, 30)


def is_stale(farm: Farm) -> bool:
    row = farm.tables["s2"].servers.get(1)
    return row is not None and bool(row.stale)
