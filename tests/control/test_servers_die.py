# SPDX-License-Identifier: Apache-2.0
"""An application that dies, a server without power, a LAN cut in two: who still serves what."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event, Thread

import pytest

from ipos.abi import rows
from ipos.abi.rows import ServerState
from ipos.lab import faults
from tests.control.conftest import WHOLE, candidates
from tests.support.farm import SERVERS, Farm, read_answer, request, wait_until
from tests.support.usertcp import UserTcp

pytestmark = [pytest.mark.farm, pytest.mark.alone]
AT_ONCE_S = 2.0
"""A refusal that takes longer was waited for; a busy machine adds to it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it began and how long it took; `error` is None when it was answered."""

    at: float
    took: float
    error: Exception | None


@contextmanager
def asking(farm: Farm, server: str = "s1") -> Iterator[list[Asked]]:
    """A client that asks one request after the other while the block lasts."""
    told: list[Asked] = []
    enough = Event()

    def ask() -> None:
        while not enough.is_set():
            at = time.monotonic()
            error: Exception | None = None
            try:
                farm.get(server=server)
            except (OSError, AssertionError) as fault:  # refused, or ended within its answer
                error = fault
            told.append(Asked(at, time.monotonic() - at, error))

    thread = Thread(target=ask)
    thread.start()
    try:
        yield told
    finally:
        enough.set()
        thread.join()


def test_a_killed_application_gets_nothing_once_its_row_says_so(farm: Farm) -> None:
    try:
        with asking(farm) as told:
            wait_until("requests", lambda: len(told) > 50)
            faults.kill_applications(farm.lab, "s2")
            wait_until("all know", lambda: {*map(candidates, farm.tables.values())} == {2})
            before = farm.counters("s2")
            known = time.monotonic()
            wait_until("requests", lambda: told[-1].at > known + 1)
        after = farm.counters("s2")
        for name in ("adopted", "refused", "decapsulated"):
            assert after[name] == before[name], f"{name}: nothing goes to s2"
        late = [asked for asked in told if asked.error is not None and asked.took > AT_ONCE_S]
        assert not late, "what failed in that instant was refused at once"
        assert not [asked for asked in told if asked.at > known and asked.error is not None]
    finally:
        farm.lab.start_applications("s2")


def kept_alive(farm: Farm, by: set[str], each: int) -> dict[str, list[socket.socket]]:
    """Connections to s1 that stay open, so many for each server that serves them."""
    found: dict[str, list[socket.socket]] = {server: [] for server in by}
    while any(len(some) < each for some in found.values()):
        connection = farm.connect()
        connection.sendall(request(close=False))
        served = read_answer(connection).served_by
        if served in found and len(found[served]) < each:
            found[served].append(connection)
        else:
            connection.close()
    return found


def test_a_power_cut_breaks_nothing_of_the_others(farm: Farm) -> None:
    open_ = kept_alive(farm, {"s1", "s3"}, 5)
    faults.cut_power(farm.lab, "s2")
    cut = time.monotonic()
    try:
        for address in ("s1", "s3"):
            with asking(farm, address) as told:
                wait_until("two seconds", lambda: bool(told) and told[-1].at > cut + 2, 30)
            failed = [asked for asked in told if asked.at > cut + 1 and asked.error is not None]
            assert not failed, f"new requests to {address}, a second after"
        for server, connections in open_.items():
            for connection in connections:
                connection.sendall(request(close=False))
                assert read_answer(connection).served_by == server
                connection.close()
    finally:
        faults.restore_power(farm.lab, "s2")
    wait_until("s2 is back", farm.ready, 30)


def test_who_waits_for_a_server_that_dies_is_reset_at_once(farm: Farm) -> None:
    """Such a client has nothing to send again: without a reset it would wait for ever."""
    waiting = []
    for _ in range(20):
        connection = farm.connect()
        connection.sendall(request("/slow/60", close=False))
        waiting.append(connection)
    wait_until("all are taken", lambda: all(row.acknowledged for row in forwarded(farm)))
    owners = {row.server for row in forwarded(farm)}
    assert 2 in owners
    lost = sum(row.server == 2 for row in forwarded(farm))
    cut = time.monotonic()
    faults.cut_power(farm.lab, "s2")
    try:
        ended = [connection for connection in waiting if is_reset(connection, cut + 3)]
        assert len(ended) == lost, f"{lost} were with s2, and nobody else was disturbed"
        assert farm.counters("s1")["owner_lost"] >= lost
    finally:
        faults.restore_power(farm.lab, "s2")
        for connection in waiting:
            connection.close()
    wait_until("s2 is back", farm.ready, 30)


def forwarded(farm: Farm) -> list[rows.Forward]:
    return [row for _, row in farm.tables["s1"].forward.items()]


def is_reset(connection: socket.socket, until: float) -> bool:
    connection.settimeout(max(0.01, until - time.monotonic()))
    try:
        connection.recv(1)
    except ConnectionResetError:
        return True
    except TimeoutError:
        pass
    return False


def test_requests_offered_to_a_server_that_dies_are_answered_elsewhere(farm: Farm) -> None:
    before = farm.counters("s1")["chosen_again"]
    faults.cut_power(farm.lab, "s2")
    begun = time.monotonic()
    try:
        connections = [farm.connect() for _ in range(40)]
        for connection in connections:
            connection.sendall(request())
        for connection in connections:
            connection.settimeout(10)
            assert read_answer(connection).served_by in ("s1", "s3")
            connection.close()
        took = time.monotonic() - begun
        assert farm.counters("s1")["chosen_again"] > before
        print(f"answered elsewhere within {took:.1f} s of the cut")
    finally:
        faults.restore_power(farm.lab, "s2")
    wait_until("s2 is back", farm.ready, 30)


def test_clients_with_nothing_to_send_again_are_answered_elsewhere_too(farm: Farm) -> None:
    """The agent rouses those whose requests were offered to the server that died."""
    head = request("/", f"X-Long: {'a' * 600}")
    faults.cut_power(farm.lab, "s2")
    with ExitStack() as stack:
        stack.callback(faults.restore_power, farm.lab, "s2")
        clients = [stack.enter_context(UserTcp(farm, WHOLE)) for _ in range(12)]
        for client in clients:
            client.connect()
            client.send_at(0, head[:100])  # so short that it is acknowledged at once
            assert client.pump() is not None
            client.send_at(100, head[100:])
        assert any(row.server == 2 and not row.acknowledged for row in forwarded(farm))
        assert {client.read_answer().served_by for client in clients} <= {"s1", "s3"}
    wait_until("s2 is back", farm.ready, 30)


def states(farm: Farm, by: str) -> dict[str, ServerState]:
    found = dict(farm.tables[by].servers.items())
    return {server: found[int(server[1:])].state for server in SERVERS}


def test_halves_of_a_cut_lan_serve_and_agree_when_it_heals(farm: Farm) -> None:
    """s1 alone on one side, s2 and s3 on the other; each side is given an order of its own."""
    ready, down = ServerState.READY, ServerState.DOWN
    drained = ServerState.DRAIN
    alone = {"s1": ready, "s2": down, "s3": down}
    faults.set_link(farm.lab, "s1", "back", up=False)
    try:
        wait_until("s1 is alone", lambda: states(farm, "s1") == alone)
        there = {"s1": down, "s2": ready, "s3": ready}
        wait_until("s1 is down", lambda: all(states(farm, by) == there for by in ("s2", "s3")))
        assert {farm.get(server="s1").served_by for _ in range(20)} == {"s1"}
        # Connections that stay: one after the other would all go to the less loaded one.
        there_too: set[str] = set()
        with ExitStack() as kept:

            def both() -> bool:
                connection = kept.enter_context(farm.connect(server="s2"))
                connection.sendall(request(close=False))
                there_too.add(read_answer(connection).served_by)
                return there_too >= {"s2", "s3"}

            wait_until("s2 and s3 have answered", both, 20)
        assert there_too == {"s2", "s3"}
        farm.run("s2", "ipos", "server", "set", "s3", "drain")
    finally:
        faults.set_link(farm.lab, "s1", "back", up=True)
    healed = time.monotonic()
    agreed = {"s1": ready, "s2": ready, "s3": drained}
    try:
        wait_until("all agree", lambda: all(states(farm, by) == agreed for by in SERVERS), 20)
        print(f"they agreed {time.monotonic() - healed:.1f} s after the LAN was whole")
        assert "s3" not in {farm.get(server="s1").served_by for _ in range(20)}
    finally:
        farm.run("s1", "ipos", "server", "set", "s3", "ready")
