# SPDX-License-Identifier: Apache-2.0
"""Applications that ask for MPTCP, as Go's do: served, by their SYNs where they have it already."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from sys import executable
from typing import Final

import pytest

from ipos.lab import Lab, Settings
from tests.support.farm import Farm, grown, read_answer, request, wait_until

pytestmark = pytest.mark.farm

PORT, READ = 8090, 8091
IPPROTO_MPTCP: Final = 262
CONFIG: Final = f"""\
[[service]]
name = "go"
port = {PORT}

[[service]]
name = "read"
port = {READ}
decide = "request"
"""
CLIENTS: Final = Path(__file__).parent / "clients"
ENABLED: Final = "net.mptcp.enabled"


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"mp{os.getpid()}", servers=2, app="none", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture
def program(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of an application, without its port."""
    if request.param == "python":
        return [executable, str(CLIENTS / "mptcp.py")]
    made = tmp_path / "mptcp"
    command = ["go", "build", "-o", str(made), str(CLIENTS / "go" / "mptcp.go")]
    caches = {"GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
    subprocess.run(command, check=True, env={**os.environ, **caches})
    return [str(made)]


@contextmanager
def running(farm: Farm, server: str, program: list[str], port: int = PORT) -> Iterator[None]:
    process = farm.lab.popen(server, ["env", f"IPOS_SERVER={server}", *program, str(port)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def allowed(farm: Farm, node: str) -> Iterator[None]:
    """MPTCP for new sockets."""
    farm.run(node, "sysctl", "-qw", f"{ENABLED}=1")
    try:
        yield
    finally:
        farm.run(node, "sysctl", "-qw", f"{ENABLED}=0")


def enabled(farm: Farm, server: str) -> str:
    return farm.run(server, "sysctl", "-n", ENABLED).strip()


def health(farm: Farm, server: str, port: int = PORT) -> set[str]:
    """What the farm says of the listener of a service on a server."""
    rows = json.loads(farm.run("s1", "ipos", "table", "listening", "-o", "json"))
    own = farm.address(server)
    return {one["health"] for one in rows if one["server_ip"] == own and one["tcp_port"] == port}


def serves(farm: Farm, first: str, server: str, port: int = PORT) -> bool:
    with suppress(ConnectionRefusedError):  # while no server has said that it serves
        return farm.get("/", port, first).served_by == server
    return False


def by_mptcp(farm: Farm, first: str) -> str:
    """The server that answers a client which asks for MPTCP, too."""
    with farm.inside("client1"):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    client.settimeout(10)
    with farm.connect(PORT, first, client) as connection:
        connection.sendall(request())
        return read_answer(connection).served_by


PROGRAMS: Final = [
    "python",
    pytest.param(
        "go",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(
                shutil.which("go") is None, reason="Go is not there: apt-get install golang-go"
            ),
        ],
    ),
]


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
def test_one_that_starts_after_the_agent_gets_tcp_and_serves(
    farm: Farm, program: list[str]
) -> None:
    assert enabled(farm, "s2") == "0"
    with running(farm, "s2", program):
        wait_until("it listens", lambda: health(farm, "s2") == {"up"})
        for first in ("s1", "s2"):
            wait_until("it serves", partial(serves, farm, first, "s2"))


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
def test_one_that_has_it_already_is_served_by_its_syns(farm: Farm, program: list[str]) -> None:
    """Connections that are migrated and those that are not; and adopted again after a restart."""
    with allowed(farm, "s2"), allowed(farm, "client1"), running(farm, "s2", program):
        wait_until("it is named", lambda: health(farm, "s2") == {"syn"})
        before = farm.counters("s1")
        for first in ("s1", "s2"):
            wait_until("it serves", partial(serves, farm, first, "s2"))
            assert by_mptcp(farm, first) == "s2"
        assert grown(before, farm.counters("s1"))["syn_forwarded"] >= 2
        assert "served here by SYN forwarding" in farm.run("s2", "ipos", "status")
        url = f"http://{farm.address('s1')}:{PORT}/"
        told = json.loads(farm.run("s1", "ipos", "explain", url, "-o", "json"))
        assert told["select"] == "connection"
        assert "listens with MPTCP on s2" in " ".join(told["notes"])
        farm.run("s1", "sysctl", "-qw", f"{ENABLED}=0")
        with running(farm, "s1", program):
            wait_until("s1 serves, too", lambda: health(farm, "s1") == {"up"})
            for first in ("s1", "s2"):
                wait_until("s1 is chosen", partial(serves, farm, first, "s1"))
                wait_until("s2 is chosen", partial(serves, farm, first, "s2"))
    with running(farm, "s2", program):
        wait_until("it is adopted again", lambda: health(farm, "s2") == {"up"})
        wait_until("it serves", partial(serves, farm, "s1", "s2"))
        before = farm.counters("s1")
        assert serves(farm, "s1", "s2")
        assert "syn_forwarded" not in grown(before, farm.counters("s1"))


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
def test_where_the_request_is_needed_it_is_no_candidate_and_named(
    farm: Farm, program: list[str]
) -> None:
    """It is served again when it is started once more."""
    on_s1, on_s2 = running(farm, "s1", program, READ), running(farm, "s2", program, READ)
    with allowed(farm, "s2"), on_s2, on_s1:
        wait_until("it is named", lambda: health(farm, "s2", READ) == {"mptcp"})
        wait_until("s1 serves", partial(serves, farm, "s1", "s1", READ))
        answers = {farm.get("/", READ, first).served_by for first in ("s1", "s2") * 5}
        assert answers == {"s1"}
        assert "MPTCP" in farm.run("s2", "ipos", "status")
    with running(farm, "s2", program, READ):
        wait_until("it serves again", lambda: health(farm, "s2", READ) == {"up"})


def test_detach_gives_mptcp_back(farm: Farm) -> None:
    """And `mptcp = "leave"` leaves it."""
    file = farm.lab.place("s2").config_file
    text = file.read_text()
    file.write_text(text.replace("[server]", '[server]\nmptcp = "leave"', 1))
    farm.run("s2", "ipos", "reload")
    assert enabled(farm, "s2") == "1"
    file.write_text(text)
    farm.run("s2", "ipos", "reload")
    assert enabled(farm, "s2") == "0"
