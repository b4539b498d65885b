# SPDX-License-Identifier: Apache-2.0
"""`ipos drain`: a server loses its connections, and none of their clients notices."""

import json
import select
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Any

import pytest

from ipos.agent.expiry.expiry_rules import Limits
from tests.farm.test_sweeping import end_unseen
from tests.support.farm import SERVERS, Farm, grown, read_answer, request, wait_until
from tests.support.shared import farm_with

pytestmark = pytest.mark.farm

CONFIG = """\
[[service]]
name = "web"
port = 80
decide = "request"
slow_start_ms = 0

[[service]]
name = "greeting"
port = 25
select = "connection"

[[service]]
name = "once"
port = 8002

[[service]]
name = "alone"
port = 8001

[[pool]]
name = "only-s1"
servers = { s1 = 1 }

[[route]]
service = "alone"
pool = "only-s1"
"""
IDLE, GREETED, ONCE = 30, 25, 8002


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


@pytest.fixture
def farm(_module_farm: Farm) -> Iterator[Farm]:
    _module_farm.wait_idle()
    yield _module_farm
    for server in SERVERS:
        _module_farm.run("s1", "ipos", "server", "set", server, "ready")


def drain(farm: Farm, server: str, *options: str, timeout_s: float = 60) -> list[dict[str, Any]]:
    """The reports until it is empty, asked of another server."""
    other = SERVERS[SERVERS.index(server) - 1]
    command = ("ipos", "drain", server, "--force", "--wait", "-o", "json", *options)
    told = farm.run(other, *command, timeout_s=timeout_s)
    return [json.loads(line) for line in told.splitlines()]


def ready(farm: Farm, server: str) -> None:
    farm.run("s1", "ipos", "server", "set", server, "ready")
    wait_until(f"{server} is ready everywhere", farm.ready)


def ask(connection: socket.socket, path: str = "/") -> str:
    """Who answers a request."""
    connection.sendall(request(path, close=False))
    return read_answer(connection).served_by


@contextmanager
def kept_alive(farm: Farm, count: int, port: int = 80) -> Iterator[list[socket.socket]]:
    """Connections that were answered once, to each server in turn."""
    with ExitStack() as open_:
        made = [open_.enter_context(farm.connect(port, SERVERS[nth % 3])) for nth in range(count)]
        assert {ask(one) for one in made} <= set(SERVERS)
        yield made


def resets(farm: Farm) -> int:
    return sum(
        counts["rst_sent"] + counts["drain_reset"] for counts in farm.all_counters().values()
    )


def sockets(farm: Farm, server: str) -> int:
    return farm.run(server, "ss", "-Htn", "state", "established", "sport = :80").count("\n")


@pytest.mark.parametrize("server", SERVERS)
def test_idle_connections_leave_at_once_and_go_on_elsewhere(farm: Farm, server: str) -> None:
    before = resets(farm)
    with kept_alive(farm, IDLE) as connections:
        had = sockets(farm, server)
        assert had, "the test needs some there"
        last = drain(farm, server)[-1]
        assert (last["handed_back"], last["moved"], last["reset"], last["left"]) == (had, 0, 0, {})
        assert not select.select(connections, [], [], 0)[0], "no client hears of it"
        wait_until("their application has closed", lambda: sockets(farm, server) == 0)
        for _ in range(2):
            served = Counter(map(ask, connections))
            assert server not in served
            assert len(served) == 2
    assert resets(farm) == before


def test_a_busy_connection_is_answered_first(farm: Farm) -> None:
    with ExitStack() as open_:
        connection = open_.enter_context(farm.connect())
        server = ask(connection)
        connection.sendall(request("/slow/3", close=False))
        others = [one for one in SERVERS if one != server]
        wait_until("its application has it", lambda: _busy(farm, server))
        reports = drain(farm, server)
        assert any(report["left"] == {"busy": 1} for report in reports)
        assert reports[-1]["handed_back"] == 1
        assert read_answer(connection).served_by == server
        assert ask(connection) in others


def _busy(farm: Farm, server: str) -> bool:
    tables = farm.tables[server]
    rows = [*tables.local.items(), *tables.connect.items()]
    return any(row.asked != row.answered for _, row in rows)


def test_clients_in_mid_conversation_notice_nothing(farm: Farm) -> None:
    """Each server drains in turn while clients ask, and is not asked any more when it is empty."""
    stop, before = Event(), resets(farm)
    with ThreadPoolExecutor(12) as clients:
        told = [clients.submit(_keeps_asking, farm, SERVERS[nth % 3], stop) for nth in range(12)]
        drained: list[tuple[str, float, float]] = []
        try:
            for server in SERVERS:
                drain(farm, server)
                emptied = time.time()
                time.sleep(1)  # in which it must not be asked, however it goes on
                drained.append((server, emptied, time.time()))
                ready(farm, server)
        finally:
            stop.set()
        asked = [one for client in told for one in client.result()]
    assert len(asked) > 100
    for server, since, until in drained:
        late = [sent for sent, by in asked if by == server and since < sent < until]
        assert not late, f"{server} was still asked"
    assert resets(farm) == before


def _keeps_asking(farm: Farm, first: str, stop: Event) -> list[tuple[float, str]]:
    """When each request was sent, and who answered it."""
    asked = []
    with farm.connect(server=first) as connection:
        while not stop.is_set():
            sent = time.time()
            asked.append((sent, ask(connection)))
    return asked


@pytest.mark.parametrize("server", SERVERS)
def test_what_is_decided_once_moves_with_its_next_request(farm: Farm, server: str) -> None:
    before = resets(farm)
    with kept_alive(farm, IDLE, ONCE) as connections:
        had = farm.run(server, "ss", "-Htn", "state", "established", "sport = :8002").count("\n")
        assert had, "the test needs some there"
        farm.run(server, "ipos", "drain", server, "--force")
        wait_until("it has looked", lambda: _report(farm, server)["left"] == {"unread": had})
        assert server not in {ask(connection) for connection in connections}
        wait_until("it is empty", lambda: _report(farm, server)["empty"])
        assert _report(farm, server)["moved"] == had
        assert server not in {ask(connection) for connection in connections}
    assert resets(farm) == before


def _report(farm: Farm, server: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        farm.run(server, "ipos", "drain", server, "--force", "-o", "json")
    )
    return told


def test_a_client_that_closes_an_idle_connection_is_answered(farm: Farm) -> None:
    with kept_alive(farm, 9) as connections:
        for server in SERVERS[:2]:
            drain(farm, server)
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
        for connection in connections:
            assert connection.recv(1) == b"", "the end of the stream, and no reset"
    for server in SERVERS[:2]:
        farm.run("s1", "ipos", "server", "set", server, "ready")
    farm.wait_idle()


def test_what_is_no_http_stays_until_the_deadline(farm: Farm) -> None:
    with ExitStack() as open_:
        greeted: dict[str, socket.socket] = {}
        while "s2" not in greeted:
            connection = open_.enter_context(farm.connect(GREETED))
            greeted[connection.recv(100).split()[1].decode()] = connection
        begun = time.monotonic()
        reports = drain(farm, "s2", "--deadline", "2s")
        assert reports[-1]["reset"] == 1
        assert any(report["left"] == {"opaque": 1} for report in reports)
        assert time.monotonic() - begun > 1.5
        with pytest.raises(ConnectionResetError):
            greeted["s2"].recv(1)


def test_a_server_that_comes_back_gets_its_part(farm: Farm) -> None:
    """Long-lived connections stay where they are, until they are told to be chosen anew."""
    before = resets(farm)
    farm.run("s1", "ipos", "drain", "s3", "--force")
    with kept_alive(farm, 60) as connections:
        ready(farm, "s3")
        assert "s3" not in {ask(one) for one in connections}
        wait_until("all know who has how many", lambda: _loads(farm) == 60)
        told = json.loads(farm.run("s2", "ipos", "rebalance", "-o", "json"))
        given = sum(one["gives"] for one in told.values())
        assert given >= 20
        assert given == sum(max(0, one["connections"] - 20) for one in told.values())
        assert told["s3"] == {"connections": 0, "gives": 0}
        wait_until("they wait for a request", lambda: _waiting(farm) == given)
        for _ in range(2):
            served = Counter(map(ask, connections))
        assert served["s3"] >= 10
    assert resets(farm) == before


def _loads(farm: Farm) -> int:
    rows = json.loads(farm.run("s2", "ipos", "server", "list", "-o", "json"))
    return sum(row["tcp_connections"] for row in rows)


def _waiting(farm: Farm) -> int:
    return sum(farm.rows(server)["holding"] for server in SERVERS)


def test_sockets_that_have_ended_unseen_are_not_waited_for(farm: Farm) -> None:
    """Their rows stay for a minute otherwise, like those of clients that are idle."""
    with farm.connect(ONCE, "s1") as connection:
        owner = ask(connection)
        before = farm.counters(owner)
        end_unseen(farm, owner, "local" if owner == "s1" else "connect")
        drain(farm, owner, timeout_s=Limits().silent_ns / 2e9)
    assert grown(before, farm.counters(owner))["ended_unseen"] == 1


def test_an_order_is_undone(farm: Farm) -> None:
    with kept_alive(farm, 9) as connections:
        drain(farm, "s3")
        ready(farm, "s3")
        refused = farm.lab.run("s1", ["ipos", "drain", "s9"], capture_output=True, text=True)
        assert (refused.returncode, "no server is called s9" in refused.stderr) == (1, True)
        assert {ask(connection) for connection in connections} <= set(SERVERS)
        with kept_alive(farm, 12):
            assert sockets(farm, "s3") > 0


def test_the_last_server_is_not_drained_unless_forced(farm: Farm) -> None:
    command = ["ipos", "drain", "s1"]
    refused = farm.lab.run("s2", command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "s1 is the last server that can serve pool only-s1 of service alone" in refused.stderr
    wait_until("all are ready, because nothing was ordered", farm.ready)
    farm.run("s2", *command, "--force")
    set_ = farm.lab.run("s2", ["ipos", "server", "set", "s1", "drain"], stderr=subprocess.PIPE)
    assert set_.returncode == 1
