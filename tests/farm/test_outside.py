# SPDX-License-Identifier: Apache-2.0
"""An application whose socket is not of the cgroup that the data plane sees: named, not served."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from sys import executable
from typing import Final

import pytest

from ipos.agent.host.paths import cgroup_root
from ipos.lab import Lab, Settings
from tests.support.farm import Farm, wait_until

pytestmark = pytest.mark.farm

PORT: Final = 8090
CONFIG: Final = f"""\
[[service]]
name = "web"
port = {PORT}
"""
PROGRAM: Final = [executable, str(Path(__file__).parent / "clients" / "mptcp.py"), str(PORT)]


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"ou{os.getpid()}", servers=2, app="none", config=CONFIG)) as lab:
        yield Farm(lab)


@contextmanager
def running(farm: Farm, server: str, group: Path | None = None) -> Iterator[None]:
    """group: the cgroup that it makes its socket in, if that is not the server's."""
    enter = ["sh", "-c", f'echo 0 >"{group}/cgroup.procs" && exec "$@"', "sh"] if group else []
    process = farm.lab.popen(server, [*enter, "env", f"IPOS_SERVER={server}", *PROGRAM])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def health(farm: Farm, server: str) -> set[str]:
    rows = json.loads(farm.run("s1", "ipos", "table", "listening", "-o", "json"))
    own = farm.address(server)
    return {one["health"] for one in rows if one["server_ip"] == own and one["tcp_port"] == PORT}


def served_by(farm: Farm, first: str) -> str:
    with suppress(ConnectionRefusedError):  # while no server has said that it serves
        return farm.get("/", PORT, first).served_by
    return ""


def test_what_is_outside_of_the_servers_cgroup_is_no_candidate(farm: Farm) -> None:
    with running(farm, "s1"), running(farm, "s2", cgroup_root()):
        wait_until("it is named", lambda: health(farm, "s2") == {"outside"})
        wait_until("s1 serves", lambda: health(farm, "s1") == {"up"})
        answers = {farm.get("/", PORT, first).served_by for first in ("s1", "s2") * 10}
        assert answers == {"s1"}, "by the address of s2, too"
        assert "outside of the cgroup IPOS_CGROUP" in farm.run("s2", "ipos", "status")
        done = farm.lab.run("s2", ["ipos", "doctor"], capture_output=True, text=True)
        assert "outside of the cgroup IPOS_CGROUP" in done.stdout + done.stderr
    with running(farm, "s2"):
        wait_until("it is served", lambda: health(farm, "s2") == {"up"})
        wait_until("by it", lambda: served_by(farm, "s1") == "s2")
