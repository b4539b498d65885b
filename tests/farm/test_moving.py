# SPDX-License-Identifier: Apache-2.0
"""Connections that are decided at every request: each answer comes from the server of its route."""

import hashlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from ipos.lab import faults, pattern
from tests.farm.alternation import ENDLESS, REFUSED, UNFINISHED, asked, chunked, in_turn, posted
from tests.farm.test_heads import send_with_fin
from tests.support.farm import SERVERS, Answer, Farm, read_answer, wait_until
from tests.support.hosts import by_host
from tests.support.shared import farm_with

pytestmark = pytest.mark.farm

CLIENT = Path(__file__).parent / "clients" / "alternate.py"

CONFIG = """\
[farm]
header_timeout_ms = 2000

[[service]]
name = "web"
port = 80
decide = "request"
""" + by_host(SERVERS)


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


@pytest.fixture
def farm(_module_farm: Farm) -> Iterator[Farm]:
    _module_farm.wait_idle()
    yield _module_farm
    faults.set_loss(_module_farm.lab, 0)


@pytest.mark.parametrize("before", [(), ("s1",), ("s2",)])
@pytest.mark.parametrize("server", ["s1", "s2"])
def test_request_and_fin_in_one_segment(farm: Farm, server: str, before: tuple[str, ...]) -> None:
    """The first one, one that stays and one that moves."""
    with farm.connect() as connection:
        for other in before:
            connection.sendall(asked(other))
            assert read_answer(connection).served_by == other
        send_with_fin(connection, asked(server))
        assert read_answer(connection).served_by == server


def _moved(farm: Farm) -> int:
    return sum(counts["moved"] for counts in farm.all_counters().values())


def _resets(farm: Farm) -> int:
    return sum(counts["rst_sent"] for counts in farm.all_counters().values())


def test_every_answer_is_from_the_server_of_its_route(farm: Farm) -> None:
    moved, resets = _moved(farm), _resets(farm)
    with ThreadPoolExecutor(6) as clients:
        took = [clients.submit(in_turn, farm, 200, offset) for offset in range(6)]
        assert all(one.result() for one in took)
    assert _moved(farm) - moved >= 6 * 199
    assert _resets(farm) == resets


def loads(farm: Farm) -> list[dict[int, int]]:
    """What every server says of every server's connections, by index."""
    return [
        {index: row.tcp_connections for index, row in tables.servers.items() if row.state}
        for tables in farm.tables.values()
    ]


def balances(farm: Farm) -> dict[str, dict[int, int]]:
    """Of every server what it gave to others, less what has ended of that; where that is any."""
    told = {
        server: {index: row.sent - row.closed for index, row in tables.traffic.items()}
        for server, tables in farm.tables.items()
    }
    return {
        server: {index: left for index, left in found.items() if left}
        for server, found in told.items()
    }


def test_a_connection_that_has_moved_is_counted_once(farm: Farm) -> None:
    """A phantom for each move, and a server with a limit would refuse everybody in the end."""
    nobody = {1: 0, 2: 0, 3: 0}
    wait_until("no server has any", lambda: loads(farm) == [nobody] * 3)
    before = balances(farm)
    with farm.connect() as connection:
        for nth in range(31):
            connection.sendall(asked(SERVERS[nth % 3]))
            assert read_answer(connection).served_by == SERVERS[nth % 3]
        wait_until("s1 has it", lambda: loads(farm) == [{1: 1, 2: 0, 3: 0}] * 3)
    wait_until("it has ended", lambda: loads(farm) == [nobody] * 3)
    farm.wait_idle()
    assert balances(farm) == before, "and nobody's data plane thinks otherwise"


def test_requests_for_the_same_server_stay(farm: Farm) -> None:
    moved = _moved(farm)
    with farm.connect() as connection:
        for _ in range(50):
            connection.sendall(asked("s2"))
            assert read_answer(connection).served_by == "s2"
    assert _moved(farm) == moved


def test_applications_left_behind_close(farm: Farm) -> None:
    in_turn(farm, 30)
    for server in SERVERS:
        wait_until(f"no socket of {server} is left", partial(_without_sockets, farm, server))


def _without_sockets(farm: Farm, server: str) -> bool:
    return "10.99.0" not in farm.run(server, "ss", "-Htn", "sport = :80")


def _echo(connection: socket.socket, server: str, body: bytes) -> None:
    connection.sendall(posted(server, body))
    answer = read_answer(connection)
    assert answer.served_by == server
    told = json.loads(answer.body)
    assert told == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@pytest.mark.parametrize("size", [1, 1300, 14_000, 15_000, 500_000])
def test_bodies_are_stepped_over(farm: Farm, size: int) -> None:
    body = b"".join(pattern.chunks(size))
    with farm.connect() as connection:
        for number in range(9):
            _echo(connection, SERVERS[number % 3], body)


def test_chunked_bodies_are_stepped_over(farm: Farm) -> None:
    with farm.connect() as connection:
        for number in range(9):
            pieces = [b"p" * (number * 500 + 1), b"q", b"r" * 20_000]
            connection.sendall(chunked(SERVERS[number % 3], pieces))
            answer = read_answer(connection)
            assert (answer.status, answer.served_by) == (200, SERVERS[number % 3])
            assert json.loads(answer.body)["length"] == sum(map(len, pieces))


def _fetch(connection: socket.socket, server: str, size: int) -> Answer:
    connection.sendall(asked(server, f"/bytes/{size}"))
    answer = read_answer(connection)
    assert (answer.served_by, len(answer.body)) == (server, size)
    return answer


def test_downloads_are_whole(farm: Farm) -> None:
    with farm.connect() as connection:
        bodies = {_fetch(connection, SERVERS[n % 3], 3_000_000).body for n in range(9)}
    assert len(bodies) == 1


@pytest.mark.parametrize("padding", [0, 1500, 6000])
def test_a_head_in_pieces(farm: Farm, padding: int) -> None:
    with farm.connect() as connection:
        for number in range(6):
            head = asked(SERVERS[number % 3], "/", "X-Padding: " + "x" * padding)
            for cut in (head[:10], head[10:-10], head[-10:]):
                connection.sendall(cut)
                time.sleep(0.01)  # a segment of its own
            assert read_answer(connection).served_by == SERVERS[number % 3]


def test_pipelined_requests_are_answered_in_order(farm: Farm) -> None:
    order = ["s2", "s3", "s3", "s1", "s2", "s2"]
    with farm.connect() as connection:
        connection.settimeout(30)
        connection.sendall(b"".join(asked(server) for server in order))
        assert [_one(connection) for _ in order] == order


def test_a_pipelined_request_waits_for_the_answer_before(farm: Farm) -> None:
    with farm.connect() as connection:
        connection.settimeout(30)
        connection.sendall(asked("s2", "/slow/1") + asked("s3"))
        assert [_one(connection) for _ in range(2)] == ["s2", "s3"]


def test_a_pause_in_an_answer_is_not_its_end(farm: Farm) -> None:
    with farm.connect() as connection:
        connection.settimeout(30)
        connection.sendall(asked("s2", "/halves/1.5") + asked("s3"))
        answers = b""
        while b"X-Served-By: s3\r\n" not in answers:
            answers += connection.recv(1 << 16)
        assert b"\r\n1\r\ns\r\n2\r\n2\n\r\n0\r\n\r\nHTTP/1.1 200 " in answers


def test_a_declined_upgrade_is_an_ordinary_request(farm: Farm) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket")
    with farm.connect() as connection:
        for number in range(6):
            server = SERVERS[number % 3]
            connection.sendall(asked(server, "/", *upgrade))
            assert read_answer(connection).served_by == server


def test_what_follows_an_upgrade_waits_for_its_answer(farm: Farm) -> None:
    with farm.connect() as connection:
        connection.settimeout(30)
        upgrade = asked("s2", "/slow/0.5", "Connection: Upgrade", "Upgrade: websocket")
        connection.sendall(upgrade + asked("s3"))
        assert [_one(connection) for _ in range(2)] == ["s2", "s3"]


def test_an_answer_to_head_has_no_body(farm: Farm) -> None:
    with farm.connect() as connection:
        for number in range(6):
            server = SERVERS[number % 3]
            connection.sendall(asked(server, "/bytes/5000").replace(b"GET", b"HEAD", 1))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(4096)
            assert f"X-Served-By: {server}".encode() in head


@pytest.mark.parametrize("server", SERVERS)
def test_a_body_that_breaks_off_ends_the_connection(farm: Farm, server: str) -> None:
    head = asked(server, "/echo", "Transfer-Encoding: chunked").replace(b"GET", b"POST", 1)
    with farm.connect() as connection:
        connection.settimeout(10)
        connection.sendall(head + b"5\r\nright\r\n")
        time.sleep(0.05)  # a segment of its own
        connection.sendall(b"no chunk\r\n" + asked("s1"))
        with pytest.raises(ConnectionResetError):
            assert connection.recv(4096)
    farm.wait_idle()


def _ended(connection: socket.socket) -> Answer:
    """The last answer; behind it the connection ends, and not by a reset."""
    answer = read_answer(connection)
    assert answer.headers["connection"] == "close"
    assert connection.recv(1) == b""
    return answer


def _kept(farm: Farm) -> list[bool]:
    return ["10.99.0" in farm.run(server, "ss", "-Htn", "sport = :80") for server in SERVERS]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (REFUSED, 400, b"white space between a header's name and the colon"),
        (REFUSED + asked("s2") * 20, 400, b"white space"),
        (ENDLESS, 431, b"14,600"),
        (UNFINISHED, 408, b"in time"),
    ],
    ids=["refused", "with more behind it", "endless", "unfinished"],
)
def test_a_refused_head_later_is_answered(
    farm: Farm, server: str, sent: bytes, status: int, reason: bytes
) -> None:
    """By the iNIC of the connection's server, whose application sees an orderly end."""
    resets, answered = _resets(farm), farm.counters(server)["answered"]
    with farm.connect() as connection:
        for _ in range(2):
            connection.sendall(asked(server))
            assert read_answer(connection).served_by == server
        connection.sendall(sent)
        answer = _ended(connection)
        assert answer.status == status
        assert reason in answer.body
        wait_until("no application has it any more", lambda: not any(_kept(farm)))
    farm.wait_idle()
    assert _resets(farm) == resets
    assert farm.counters(server)["answered"] == answered + 1


def test_a_refused_head_waits_for_the_answers_before(farm: Farm) -> None:
    with farm.connect() as connection:
        connection.sendall(asked("s2", "/slow/0.3") + asked("s3", "/slow/0.3") + REFUSED)
        assert [_one(connection) for _ in range(2)] == ["s2", "s3"]
        assert _ended(connection).status == 400


def test_a_refused_head_after_the_client_has_closed_its_side(farm: Farm) -> None:
    with farm.connect() as connection:
        connection.sendall(asked("s2"))
        assert read_answer(connection).served_by == "s2"
        connection.sendall(REFUSED)
        connection.shutdown(socket.SHUT_WR)
        assert _ended(connection).status == 400
    farm.wait_idle()


def test_refused_heads_with_loss(farm: Farm) -> None:
    """Few enough that an answer comes within the header timeout: after that it is forgotten."""
    resets = _resets(farm)
    faults.set_loss(farm.lab, 5, [("client1", "front")])
    for number in range(12):
        with farm.connect() as connection:
            connection.settimeout(30)
            connection.sendall(asked(SERVERS[number % 3]))
            assert read_answer(connection).served_by == SERVERS[number % 3]
            connection.sendall(REFUSED)
            assert _ended(connection).status == 400
    assert _resets(farm) == resets


def _one(connection: socket.socket) -> str:
    """Who gave the next answer, of which not a byte more is read."""
    data = b""
    while b"\r\n\r\n" not in data:
        byte = connection.recv(1)
        assert byte, data
        data += byte
    fields = dict(line.split(": ", 1) for line in data.decode().split("\r\n")[1:-2])
    fields = {name.lower(): value for name, value in fields.items()}
    left = int(fields["content-length"])
    while left:
        left -= len(connection.recv(left))
    return fields["x-served-by"]


@pytest.mark.parametrize(
    ("percent", "links"),
    [(5, [("client1", "front")]), (2, [(server, "back") for server in SERVERS])],
    ids=["the client's link", "the farm's own LAN"],
)
def test_with_loss(farm: Farm, percent: float, links: list[tuple[str, str]]) -> None:
    resets = _resets(farm)
    faults.set_loss(farm.lab, percent, links)
    with farm.connect() as connection:
        connection.settimeout(60)
        for number in range(60):
            connection.sendall(asked(SERVERS[number % 3]))
            assert read_answer(connection).served_by == SERVERS[number % 3]
    assert _resets(farm) == resets


@pytest.mark.slow
def test_100000_requests_that_alternate(farm: Farm) -> None:
    """Several clients at once: every answer from the right server, no reset, nothing left."""
    moved, resets = _moved(farm), _resets(farm)
    orders = (["s2", "s3"], ["s3", "s2", "s1"], ["s1", "s2"], ["s1", "s3", "s2", "s3"])

    def one(number: int, order: list[str]) -> str:
        address = farm.address(SERVERS[number % 3])
        return farm.run(
            "client1", sys.executable, str(CLIENT), address, "25000", *order, timeout_s=600
        )

    with ThreadPoolExecutor(len(orders)) as clients:
        ran = [clients.submit(one, *which) for which in enumerate(orders)]
        assert all(each.result() for each in ran)
    assert _moved(farm) - moved >= 99_000
    assert _resets(farm) == resets
    farm.wait_idle()
