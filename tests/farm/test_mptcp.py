# SPDX-License-Identifier: Apache-2.0
"""Applications that ask for MPTCP, as Go's do: served, or named where they have it already."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from sys import executable
from typing import Final

import pytest

from ipos.lab import Lab, Settings
from tests.support.farm import Farm, wait_until

pytestmark = pytest.mark.farm

PORT: Final = 8090
CONFIG: Final = f"""\
[[service]]
name = "go"
port = {PORT}
"""
CLIENTS: Final = Path(__file__).parent / "clients"
ENABLED: Final = "net.mptcp.enabled"


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"mp{os.getpid()}", servers=2, app="none", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture
def program(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of an application."""
    if request.param == "python":
        return [executable, str(CLIENTS / "mptcp.py"), str(PORT)]
    made = tmp_path / "mptcp"
    command = ["go", "build", "-o", str(made), str(CLIENTS / "go" / "mptcp.go")]
    caches = {"GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
    subprocess.run(command, check=True, env={**os.environ, **caches})
    return [str(made), str(PORT)]


@contextmanager
def running(farm: Farm, server: str, program: list[str]) -> Iterator[None]:
    process = farm.lab.popen(server, ["env", f"IPOS_SERVER={server}", *program])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def enabled(farm: Farm, server: str) -> str:
    return farm.run(server, "sysctl", "-n", ENABLED).strip()


def health(farm: Farm, server: str) -> set[str]:
    """What the farm says of the listener of our service on a server."""
    rows = json.loads(farm.run("s1", "ipos", "table", "listening", "-o", "json"))
    own = farm.address(server)
    return {one["health"] for one in rows if one["server_ip"] == own and one["tcp_port"] == PORT}


def serves(farm: Farm, first: str, server: str) -> bool:
    with suppress(ConnectionRefusedError):  # while no server has said that it serves
        return farm.get("/", PORT, first).served_by == server
    return False


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
def test_one_that_has_it_already_is_no_candidate_and_named(farm: Farm, program: list[str]) -> None:
    """It is served again when it is started once more."""
    farm.run("s2", "sysctl", "-qw", f"{ENABLED}=1")
    try:
        with running(farm, "s2", program), running(farm, "s1", program):
            wait_until("it is named", lambda: health(farm, "s2") == {"mptcp"})
            wait_until("s1 serves", partial(serves, farm, "s1", "s1"))
            assert {farm.get("/", PORT, first).served_by for first in ("s1", "s2") * 5} == {"s1"}
            assert "MPTCP" in farm.run("s2", "ipos", "status")
    finally:
        farm.run("s2", "sysctl", "-qw", f"{ENABLED}=0")
    with running(farm, "s2", program):
        wait_until("it serves again", lambda: health(farm, "s2") == {"up"})


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
