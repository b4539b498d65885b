# SPDX-License-Identifier: Apache-2.0
"""Clients that use a port again at once: after a connection that has moved, ended or been given up.

What is left of the old connection, in the servers' tables, in their kernels and in their connection
tracking, must neither swallow an answer nor refuse the new one.
"""

import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipos.lab import Lab, Settings
from tests.farm.alternation import ENDLESS, REFUSED, asked, posted
from tests.farm.test_moving import CONFIG
from tests.support.farm import SERVERS, Farm, grown, read_answer

pytestmark = pytest.mark.farm

TCP_REPAIR = 19
"""Closing a socket in this mode sends nothing: its client has lost its power."""

ORDERS = (("s1", "s2"), ("s2", "s3"), ("s1", "s2", "s1"), ("s3", "s1"), ("s2", "s1", "s3"))
KINDS = ("idle", "download", "sent", "half a head", "upload")
UPLOAD = 100_000


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    # Of its own: nobody else's connections are to be in TIME_WAIT at its ports.
    with Lab(Settings(name=f"pa{os.getpid()}", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture
def farm(_module_farm: Farm) -> Farm:
    _module_farm.wait_idle()
    return _module_farm


def _connect(farm: Farm, port: int, server: str = "s1") -> socket.socket:
    client = farm.unconnected()
    client.settimeout(30)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind(("0.0.0.0", port))
    return farm.connect(server=server, client=client)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def _vanish(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    connection.close()


def _answered(
    farm: Farm, port: int, server: str, sent: bytes, end: Callable[[socket.socket], None] = _reset
) -> int:
    """The status of the answer to a connection's first request."""
    connection = _connect(farm, port, server)
    try:
        connection.sendall(sent)
        return read_answer(connection).status
    finally:
        end(connection)


@pytest.mark.parametrize("count", [20, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("sent", "status"), [(ENDLESS, 431), (REFUSED, 400)], ids=["431", "400"])
@pytest.mark.parametrize("end", [_reset, _vanish], ids=["reset", "vanished"])
def test_a_refusal_on_the_port_of_a_connection_that_has_moved(
    farm: Farm, count: int, sent: bytes, status: int, end: Callable[[socket.socket], None]
) -> None:
    """In a row, as they were lost before: 40 of 1,500."""
    got: Counter[int] = Counter()
    for number in range(count):
        port, order = 20_000 + number, ORDERS[number % len(ORDERS)]
        connection = _connect(farm, port)
        for server in order:
            connection.sendall(asked(server))
            assert read_answer(connection).served_by == server
        end(connection)
        got[_answered(farm, port, "s1", sent)] += 1
    assert got == {status: count}


def _gives_up(farm: Farm, port: int, rng: random.Random) -> str:
    """A connection whose client vanishes. Returns the server that it had addressed."""
    first, *order = rng.choices(SERVERS, k=rng.randint(2, 4))
    connection = _connect(farm, port, first)
    for server in order:
        connection.sendall(asked(server))
        assert read_answer(connection).served_by == server
    kind, last = rng.choice(KINDS), rng.choice(SERVERS)
    if kind == "download":
        connection.sendall(asked(last, "/bytes/10000000"))
        connection.recv(100_000)
    elif kind == "sent":
        connection.sendall(asked(last, "/bytes/100000"))
    elif kind == "half a head":
        connection.sendall(asked(last)[:20])
    elif kind == "upload":
        connection.sendall(posted(last, bytes(10 * UPLOAD))[: UPLOAD + 100])
    _vanish(connection)
    return first


@pytest.mark.parametrize("count", [100, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_vanished_client_is_served_on_its_ports(farm: Farm, count: int) -> None:
    """Twice: what it got the first time it gives up in the same way."""

    def one(number: int) -> list[int]:
        rng = random.Random(number)
        port = 30_000 + number
        first = _gives_up(farm, port, rng)
        return [
            _answered(farm, port, first, asked(rng.choice(SERVERS)), end)
            for end in (_vanish, _reset)
        ]

    with ThreadPoolExecutor(8) as clients:
        got = Counter(status for each in clients.map(one, range(count)) for status in each)
    assert got == {200: 2 * count}


def test_pieces_behind_one_that_goes_again_are_not_lost(farm: Farm) -> None:
    """A request of several pieces comes back to a server whose old socket must end first.

    Where another CPU has no time for so long, pieces are dropped, and come again: not each time.
    """
    whole = False
    for rounds in range(300):
        before = farm.all_counters()
        with farm.connect() as connection:
            for server in ("s2", "s1"):
                connection.sendall(asked(server))
                assert read_answer(connection).served_by == server
            connection.sendall(posted("s2", bytes(UPLOAD)))
            assert read_answer(connection).served_by == "s2"
        changed = {server: grown(before[server], farm.counters(server)) for server in SERVERS}
        if "time_wait_ended" in changed["s2"]:
            whole |= not any("drop_out_of_order" in each for each in changed.values())
        if rounds >= 30 and whole:
            break
    assert whole, "the old socket was still there at least once, and nothing was dropped then"
