# SPDX-License-Identifier: Apache-2.0
"""Servers that leave the farm and come back: addresses and connections go on without them."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import Any

import pytest

from ipos.lab import Lab, Settings
from tests.support.farm import SERVERS, Farm, read_answer, request, wait_until

pytestmark = pytest.mark.farm

READY_PORT = 443  # which the lab's firewall lets through
CONFIG = f"""\
[server]
on_stop = "leave"
leave_timeout_s = 20
ready_port = {READY_PORT}

[[service]]
name = "web"
port = 80
decide = "request"

[[service]]
name = "once"
port = 8002
"""


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"ft{os.getpid()}-e", config=CONFIG)) as lab:
        yield Farm(lab)
        for server in SERVERS:
            end(lab, server, signal.SIGINT)


@pytest.fixture
def farm(_module_farm: Farm) -> Farm:
    wait_until("every server ready", _module_farm.ready)
    return _module_farm


def end(lab: Lab, server: str, number: int = signal.SIGTERM) -> None:
    """Tell the agent of a server to end, and wait until it has."""
    cgroup = lab.place(server).agent_cgroup
    processes = cgroup / "cgroup.procs"
    for pid in processes.read_text().split():
        os.kill(int(pid), number)
    wait_until(f"the agent of {server} has ended", lambda: not processes.read_text().split(), 40)


def ask(connection: socket.socket, path: str = "/") -> str:
    connection.sendall(request(path, close=False))
    return read_answer(connection).served_by


def report(farm: Farm, server: str, by: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(farm.run(by, "ipos", "drain", server, "-o", "json"))
    return told


def test_idle_connections_follow_their_address(farm: Farm) -> None:
    with ExitStack() as open_:
        made = [open_.enter_context(farm.connect(server="s1")) for _ in range(12)]
        assert {ask(one) for one in made} <= set(SERVERS)
        farm.run("s2", "ipos", "drain", "s1", "--wait")
        wait_until("another server has the address", lambda: not farm.holds("s1", address(farm)))
        wait_until("nothing waits at s1", lambda: farm.rows("s1")["holding"] == 0)
        mac = farm.lab.nodes["s1"].interface("front").mac
        known = ("ip", "neigh", "show", address(farm))  # routers believe a change after a while
        wait_until("the router knows", lambda: mac not in farm.run("router1", *known), 30)
        forwarded = farm.counters("s1")["forwarded"]
        for _ in range(2):
            assert "s1" not in {ask(one) for one in made[:6]}
        assert farm.counters("s1")["forwarded"] == forwarded, "nothing goes by s1"
        farm.run("s2", "ipos", "server", "set", "s1", "ready")
        wait_until("s1 has its address again", lambda: farm.holds("s1", address(farm)))
        assert {ask(one) for one in made} <= set(SERVERS)


def address(farm: Farm) -> str:
    return farm.address("s1")


@pytest.mark.parametrize(
    "anew", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["agent", "data plane, too"]
)
def test_a_rolling_restart_fails_no_request(farm: Farm, anew: bool) -> None:
    stop = Event()
    with ThreadPoolExecutor(9) as clients:
        told = [
            clients.submit(_keeps_asking, farm, SERVERS[nth % 3], (80, 8002)[nth % 2], stop)
            for nth in range(8)
        ]
        fresh = clients.submit(_asks_anew, farm, stop)
        try:
            for server in SERVERS:
                end(farm.lab, server)
                if anew:
                    farm.run(server, "ipos", "detach")
                farm.lab.start_agent(server)
                farm.__dict__.pop("tables", None)  # those of the server may be new ones
                wait_until("every server ready", farm.ready)
                assert not [one for one in (*told, fresh) if one.done()]
        finally:
            stop.set()
        assert min(one.result() for one in told) > 10
        assert fresh.result() > 10


def _keeps_asking(farm: Farm, first: str, port: int, stop: Event) -> int:
    asked = 0
    with farm.connect(port, first) as connection:
        while not stop.is_set():
            ask(connection)
            asked += 1
    return asked


def _asks_anew(farm: Farm, stop: Event) -> int:
    """A connection for each request, to each server in turn."""
    asked = 0
    while not stop.is_set():
        farm.get(server=SERVERS[asked % 3])
        asked += 1
    return asked


def probed(farm: Farm, server: str) -> tuple[int, Any]:
    """What the port on back answers, asked from another server."""
    with farm.inside("s2" if server != "s2" else "s3"):
        connection = socket.create_connection((back_address(farm, server), READY_PORT), 5)
    with connection:
        connection.sendall(b"GET /v1/ready HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def back_address(farm: Farm, server: str) -> str:
    listed = json.loads(farm.run(server, "ipos", "server", "list", "-o", "json"))
    return next(str(row["back_address"]) for row in listed if row["server"] == server)


def test_readiness(farm: Farm) -> None:
    file = farm.lab.place("s3").run_dir / "serving"
    wait_until("the file is there", file.exists)
    assert probed(farm, "s3") == (200, {"ready": True, "why": None})
    farm.run("s1", "ipos", "server", "set", "s3", "drain")
    wait_until("the file is gone", lambda: not file.exists())
    assert probed(farm, "s3") == (503, {"ready": False, "why": "it drains"})
    farm.run("s1", "ipos", "server", "set", "s3", "ready")
    wait_until("the file is there again", file.exists)
    assert probed(farm, "s3")[0] == 200
