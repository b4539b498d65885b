# SPDX-License-Identifier: Apache-2.0
"""Who tells a client that its connection is over tells the owner, too."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from scapy.layers.inet import IP, UDP

from ipos.agent.heartbeat.message import PORT
from ipos.lab import faults
from tests.control.test_addresses_move import kept_alive_at
from tests.control.test_servers_die import asking, is_reset
from tests.farm.wire import Capture, capturing
from tests.support.farm import Farm, read_answer, request, wait_until

pytestmark = pytest.mark.farm

FIRST = 1
OWNERS = ("s2", "s3")


def owned(farm: Farm, server: str) -> int:
    """Endpoints that came by s1."""
    return sum(row.first == FIRST for _, row in farm.tables[server].connect.items())


def sockets(farm: Farm, server: str) -> int:
    """Of those endpoints, as the kernel counts them."""
    said = farm.run(server, "ss", "-Htn", "state", "established", "src", farm.address("s1"))
    return len(said.splitlines())


def ended(farm: Farm) -> int:
    return sum(farm.counters(server).get("ghosts_ended", 0) for server in OWNERS)


@contextmanager
def waiting(farm: Farm) -> Iterator[dict[str, list[socket.socket]]]:
    """Clients of s1 that wait for a response of s2 or s3, by who has their connections."""
    found: dict[str, list[socket.socket]] = {"s1": [], "s2": [], "s3": []}
    with ExitStack() as stack:
        while any(len(found[owner]) < 5 for owner in OWNERS):
            connection = stack.enter_context(farm.connect())
            connection.sendall(request(close=False))
            served = read_answer(connection).served_by
            connection.sendall(request("/slow/60", close=False))
            found[served].append(connection)
        yield found


def all_are_gone(farm: Farm) -> bool:
    return not any(owned(farm, owner) or sockets(farm, owner) for owner in OWNERS)


def answered(capture: Capture) -> set[str]:
    """To whom an agent has said what it knows."""
    datagrams = [IP(frame[14:]) for frame in list(capture.frames) if frame[12:14] == b"\x08\x00"]
    return {
        one.dst
        for one in datagrams
        if one.haslayer(UDP) and one[UDP].sport == PORT and bytes(one[UDP].payload)[:1] == b"A"
    }


def test_after_the_back_lan_was_away_for_two_seconds(farm: Farm) -> None:
    before = ended(farm)
    with waiting(farm) as clients, farm.connect(server="s2") as bystander:
        bystander.sendall(request(close=False))
        theirs = read_answer(bystander).served_by
        faults.set_link(farm.lab, "s1", "back", up=False)
        cut = time.monotonic()
        try:
            for owner in OWNERS:
                assert all(is_reset(client, cut + 10) for client in clients[owner])
            assert any(sockets(farm, owner) for owner in OWNERS), "nobody could tell them yet"
        finally:
            faults.set_link(farm.lab, "s1", "back", up=True)
        wait_until("their owners know", lambda: all_are_gone(farm), 10)
        assert ended(farm) - before == sum(len(clients[owner]) for owner in OWNERS)
        if theirs in OWNERS:  # its first server and its owner have heard each other all the time
            bystander.sendall(request(close=False))
            assert read_answer(bystander).served_by == theirs
    wait_until("every server is ready", farm.ready, 30)


def test_a_first_server_that_is_detached_takes_no_connection_of_the_others_with_it(
    farm: Farm,
) -> None:
    """Its address is handed over before it lets go, so new ones do not fail either."""
    before = ended(farm)
    kept = kept_alive_at(farm, "s1", list(OWNERS))
    faults.kill_agent(farm.lab, "s1")
    try:
        with asking(farm, "s1") as told:
            wait_until("requests", lambda: len(told) > 20, 20)
            said = farm.run("s1", "ipos", "detach")
            assert said == ""
            now = len(told)
            wait_until("requests", lambda: len(told) > now + 50, 20)
            for connection in kept:
                connection.sendall(request(close=False))
                assert read_answer(connection).served_by in OWNERS
        assert not [asked for asked in told if asked.error is not None]
        assert ended(farm) == before
    finally:
        farm.lab.start_agent("s1")
        del farm.tables  # the maps of s1 are new ones
        for connection in kept:
            connection.close()
    wait_until("every server is ready", farm.ready, 30)
    wait_until("the router sends to s1 again", lambda: sends_to(farm, "s1"), 30)


def sends_to(farm: Farm, server: str) -> bool:
    """Whether clients' packets for its address go there, which routers believe after a while."""
    known = farm.run("router1", "ip", "neigh", "show", farm.address(server))
    return farm.lab.nodes[server].interface("front").mac in known


def test_when_an_agent_begins_anew_all_are_asked_about_and_none_is_ended(farm: Farm) -> None:
    before = ended(farm)
    with waiting(farm) as clients:
        faults.kill_agent(farm.lab, "s1")
        with capturing(farm, "s1", "back") as capture:
            farm.lab.start_agent("s1")
            wait_until("s1 has answered both", lambda: len(answered(capture)) == len(OWNERS), 20)
        wait_until("s1 is back", farm.ready, 30)
        for owner in OWNERS:
            assert owned(farm, owner) >= len(clients[owner])
        assert ended(farm) == before
