# SPDX-License-Identifier: Apache-2.0
"""Rows whose packets have stopped coming go, and nothing else does."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ipos.abi.layout import layout
from ipos.abi.rows import EndpointState, ServerState
from ipos.lab import Lab, Settings, faults
from ipos.wire import responses
from native.roles import CountedMap, slot
from tests.farm.sweeper import (
    free_pieces,
    maps_of,
    sweeper_of,
    traffic,
)
from tests.farm.wire import capturing
from tests.support.farm import (
    ANY,
    CONFIG,
    ELSEWHERE,
    HERE,
    THIRD,
    Counts,
    Farm,
    grown,
    read_answer,
    readable,
    request,
    wait_until,
)

pytestmark = pytest.mark.farm
_ALL = b"\xff" * 6

HEADER_S = 0.6


@pytest.fixture(scope="module")
def module_farm() -> Iterator[Farm]:
    common = f"[farm]\nheader_timeout_ms = {HEADER_S * 1000:.0f}\nidle_s = 1\n"
    common += f"first_byte_timeout_s = 1\n\n{CONFIG}"
    with Lab(Settings(name=f"rp{os.getpid()}", config=common)) as lab:
        yield Farm(lab)


@pytest.fixture
def farm(module_farm: Farm) -> Farm:
    module_farm.wait_idle()
    return module_farm


def roles_of(farm: Farm, server: str, key: bytes) -> int:
    """What the data plane believes that it has of a connection: 0 is nothing."""
    found = maps_of(farm, server)["roles"].get(slot(key).to_bytes(4, sys.byteorder))
    assert found is not None
    return int.from_bytes(found, sys.byteorder)


@pytest.mark.parametrize("port", [ANY, HERE, ELSEWHERE])
def test_a_client_that_never_finishes_its_head_is_told_in_time(farm: Farm, port: int) -> None:
    pieces, before = free_pieces(farm, "s1"), farm.counters("s1")
    rows = farm.all_rows()
    with farm.connect(port) as connection:
        started = time.monotonic()
        _write_slowly(connection, b"GET / HTTP/1.1\r\nX: " + b"y" * 400)
        passed = time.monotonic() - started
        _expect_timed_out(connection)
    assert HEADER_S - 0.05 <= passed < HEADER_S + 3, "and what a busy machine adds"
    _expect_given_up(farm, before, 1)
    wait_until("the rows are gone", lambda: farm.all_rows() == rows)
    assert free_pieces(farm, "s1") == pieces


def _write_slowly(connection: socket.socket, head: bytes) -> None:
    """Byte by byte, until something is heard."""
    for place in range(len(head)):
        connection.send(head[place : place + 1])
        if readable(connection, 0.02):
            break


def _expect_timed_out(connection: socket.socket) -> None:
    """A whole response, then the end."""
    connection.settimeout(5)
    answer = connection.makefile("rb").read()
    assert answer == responses.timed_out()


def test_a_client_that_connects_and_sends_nothing_is_closed(farm: Farm) -> None:
    before = farm.counters("s1")
    with farm.connect(ANY) as connection:
        connection.settimeout(10)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    wait_until(
        "it is counted", lambda: grown(before, farm.counters("s1")).get("silent_closed", 0) == 1
    )
    assert farm.get().status == 200


@pytest.mark.parametrize("port", [ANY, ELSEWHERE])
def test_what_is_not_http_is_reset_in_time(farm: Farm, port: int) -> None:
    pieces, before = free_pieces(farm, "s1"), farm.counters("s1")
    with farm.connect(port) as connection:
        connection.send(b"\x16\x03\x01\x02\x00\x01")
        connection.settimeout(5)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    _expect_given_up(farm, before, 1)
    assert free_pieces(farm, "s1") == pieces


def test_a_client_that_was_told_and_does_not_close_is_forgotten(farm: Farm) -> None:
    pieces, before = free_pieces(farm, "s1"), farm.counters("s1")
    with farm.connect(ANY) as connection:
        connection.send(b"GET / HT")
        _expect_timed_out(connection)
        wait_until(
            "it is forgotten",
            lambda: grown(before, farm.counters("s1")).get("answer_expired", 0) == 1,
        )
        assert farm.rows("s1")["holding"] == 0
        assert free_pieces(farm, "s1") == pieces
        connection.send(b"TP/1.1\r\n\r\n")
        wait_until("it is reset", lambda: connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def _expect_given_up(farm: Farm, before: Counts, times: int) -> None:
    """So many more than before; they are counted when a pass has ended."""

    def given_up() -> int:
        return grown(before, farm.counters("s1")).get("head_timeout", 0)

    wait_until("the heads given up are counted", lambda: given_up() >= times)
    assert given_up() == times


def test_many_slow_clients_give_all_their_pieces_back(farm: Farm) -> None:
    pieces, before = free_pieces(farm, "s1"), farm.counters("s1")
    connections = [farm.connect(ANY) for _ in range(200)]
    for number, connection in enumerate(connections):
        connection.send(b"GET /" + b"z" * (number * 40))
    wait_until("all are held", lambda: farm.rows("s1")["holding"] == 200)
    for connection in connections:
        _expect_timed_out(connection)
        connection.close()
    _expect_given_up(farm, before, 200)
    wait_until("nothing is held", lambda: farm.rows("s1")["holding"] == 0)
    assert free_pieces(farm, "s1") == pieces


def test_late_segments_of_a_given_up_head_are_reset_again(farm: Farm) -> None:
    with farm.connect(ANY) as connection:
        connection.send(b"\x16\x03\x01\x00\x08\x01")
        wait_until("it is held", lambda: farm.rows("s1")["holding"] == 1)
        # The client's kernel misses the reset, as if it were lost on the way.
        with _dropping(farm, "input", "tcp flags rst"):
            before = farm.counters("s1")
            wait_until("it is given up", lambda: grown(before, farm.counters("s1")))
            wait_until("nothing is held", lambda: farm.rows("s1")["holding"] == 0)
        connection.send(b"TP/1.1\r\n\r\n")
        connection.settimeout(5)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert farm.tables["s1"].forward.count() == 0


def test_an_offer_that_nobody_answers_is_withdrawn(farm: Farm) -> None:
    pieces = free_pieces(farm, "s1")
    load = traffic(farm, "s1", "s2")
    with farm.connect(ELSEWHERE) as connection, sweeper_of(farm, "s1") as first:
        faults.set_loss(farm.lab, 100, [("s2", "back")])
        try:
            connection.sendall(request())
            with _dropping(farm, "output", "tcp dport 8002"):
                assert farm.rows("s1", ("forward", "holding")) == {"forward": 1, "holding": 1}
                first.until("the rows are gone", lambda: not any(farm.rows("s1").values()))
                connection.settimeout(5)
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
        finally:
            faults.set_loss(farm.lab, 0)
    assert free_pieces(farm, "s1") == pieces
    assert traffic(farm, "s1", "s2") == load


@contextmanager
def _dropping(farm: Farm, hook: str, what: str) -> Iterator[None]:
    """The client's kernel loses these packets."""
    rules = f"table ip rp {{ chain lose {{ type filter hook {hook} priority 0; {what} drop; }}; }}"
    farm.run("client1", "nft", rules)
    try:
        yield
    finally:
        farm.run("client1", "nft", "delete table ip rp")


# ---- connections that live --------------------------------------------------------------------


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_idle_connections_live_on(farm: Farm, port: int) -> None:
    """The agents themselves ask each other after 1 s; the test's sweep has shorter limits yet."""
    with (
        farm.connect(port) as connection,
        sweeper_of(farm, "s1") as first,
        sweeper_of(farm, "s2") as owner,
    ):
        connection.sendall(request(close=False))
        served_by = read_answer(connection).served_by
        before = farm.all_rows()
        asked = 0
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            for one in (first, owner):
                one.sweep()
            asked += first.answers()
        assert farm.all_rows() == before
        assert asked > 0 or port == HERE
        connection.sendall(request())
        assert read_answer(connection).served_by == served_by


def test_a_half_closed_connection_lives_on_without_its_file(farm: Farm) -> None:
    """FIN_WAIT2 is a remainder of a socket, and still one."""
    with farm.connect(ELSEWHERE) as connection, sweeper_of(farm, "s2") as owner:
        connection.sendall(request())
        read_answer(connection)
        assert readable(connection, 5)
        assert connection.recv(1) == b""
        until = time.monotonic() + 1
        while time.monotonic() < until:
            owner.sweep()
            time.sleep(0.05)
        assert farm.rows("s2")["connect"] == 1
        assert farm.rows("s1")["forward"] == 1


# ---- sockets that ended unseen ------------------------------------------------------------------


def kill_sockets(farm: Farm, server: str, key: bytes) -> None:
    """End the server's socket of a row, by a reset to its client."""
    farm.run(server, "ss", "-K", "dport", "=", str(int.from_bytes(key[8:10], "big")))


def end_unseen(farm: Farm, server: str, table: str) -> None:
    """A server's socket ends while its row misses it: the row is taken away and put back."""
    of = maps_of(farm, server)[table]
    ((key, value),) = of.items()
    of.delete(key)
    kill_sockets(farm, server, key)
    of.update(key, value)


@pytest.mark.parametrize(
    ("port", "server", "table"), [(HERE, "s1", "local"), (ELSEWHERE, "s2", "connect")]
)
def test_a_socket_that_ended_unseen(farm: Farm, port: int, server: str, table: str) -> None:
    connection = farm.connect(port)
    connection.sendall(request(close=False))
    read_answer(connection)
    before, load = farm.counters(server), traffic(farm, "s1", server)
    ((key, _),) = maps_of(farm, server)[table].items()
    end_unseen(farm, server, table)
    connection.close()
    assert farm.rows("s1")["forward"] == (table == "connect")
    assert roles_of(farm, server, key)
    with sweeper_of(farm, server) as one, capturing(farm, server, "back") as capture:
        one.until("the row is gone", lambda: farm.rows(server)[table] == 0)
        wait_until("the first server knows", lambda: farm.rows("s1")["forward"] == 0)
    assert grown(before, farm.counters(server))["ended_unseen"] == 1
    assert traffic(farm, "s1", server) == load - 1
    told = [frame for frame in capture.ipos() if frame[:6] != _ALL]  # not the servers' numbers
    assert len(told) == (1 if table == "connect" else 0)
    wait_until("it is counted off", lambda: not roles_of(farm, server, key))


@pytest.mark.parametrize("table", ["local", "connect"])
def test_an_endpoint_that_became_no_socket(farm: Farm, table: str) -> None:
    tables = farm.tables["s2"]
    with farm.connect(ELSEWHERE) as connection:
        connection.sendall(request(close=False))
        read_answer(connection)
        ((key, row),) = maps_of(farm, "s2")["connect"].items()
    farm.wait_idle()
    state = layout("ipos_endpoint").field("state").offset
    pending = row[:state] + bytes([EndpointState.PENDING]) + row[state + 1 :]
    load = traffic(farm, "s2", "s2")
    maps = maps_of(farm, "s2")
    CountedMap(maps[table], maps["roles"], table).update(key, pending)
    assert roles_of(farm, "s2", key)
    with sweeper_of(farm, "s2") as one:
        one.until("the row is gone", lambda: getattr(tables, table).count() == 0)
    assert not roles_of(farm, "s2", key)
    assert traffic(farm, "s2", "s2") == load - (table == "local")


# ---- connections given away ---------------------------------------------------------------------


def test_an_owner_that_denies_a_connection_ends_it(farm: Farm) -> None:
    with farm.connect(ELSEWHERE) as connection, sweeper_of(farm, "s1") as first:
        connection.sendall(request(close=False))
        read_answer(connection)
        load = traffic(farm, "s1", "s2")
        of = maps_of(farm, "s2")["connect"]
        ((key, _),) = of.items()
        of.delete(key)
        first.until("the row is gone", lambda: not first.answers() and _gives_nothing(farm))
        assert traffic(farm, "s1", "s2") == load - 1
        kill_sockets(farm, "s2", key)


def _gives_nothing(farm: Farm) -> bool:
    return farm.rows("s1")["forward"] == 0


def test_the_rows_of_a_dead_owner_vanish(farm: Farm) -> None:
    with farm.connect(THIRD) as connection, farm.connect(ELSEWHERE) as other:
        for one in (connection, other):
            one.sendall(request(close=False))
            read_answer(one)
        pieces = free_pieces(farm, "s1")
        faults.cut_power(farm.lab, "s3")
        try:
            third = farm.tables["s1"].servers
            wait_until("s3 is down", lambda: third.get(3).state is ServerState.DOWN)  # type: ignore[union-attr]
            with sweeper_of(farm, "s1") as first:
                first.until("its row is gone", lambda: farm.rows("s1")["forward"] == 1)
            connection.settimeout(5)
            with pytest.raises(ConnectionResetError):  # without a word of its own
                connection.recv(1)
            other.sendall(request())
            assert read_answer(other).served_by == "s2"
        finally:
            faults.restore_power(farm.lab, "s3")
        ((key, _),) = maps_of(farm, "s3")["connect"].items()
        kill_sockets(farm, "s3", key)
        assert free_pieces(farm, "s1") == pieces
