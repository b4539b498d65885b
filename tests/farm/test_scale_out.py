# SPDX-License-Identifier: Apache-2.0
"""A fourth server joins a farm with 3,000 long-lived connections, and gets its part of them."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from ipos.lab import Lab, Settings
from tests.farm.test_leaving import end
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]

CLIENT = Path(__file__).parent / "clients" / "kept.py"
ASKING, IDLE, PAUSE_S = 300, 2_700, "1.5"
EACH = (ASKING + IDLE) // 4
CONFIG = """\
[[service]]
name = "web"
port = 80
decide = "request"
policy = "{policy}"
slow_start_ms = 0
"""


@pytest.mark.parametrize("policy", ["least-connections", "least-loaded"])
def test_a_fourth_server_owns_a_quarter_when_told_to_rebalance(policy: str) -> None:
    settings = Settings(name=f"ft{os.getpid()}-q", servers=4, config=CONFIG.format(policy=policy))
    with Lab(settings) as lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready, 30)
        end(lab, "s4", signal.SIGINT)
        farm.run("s4", "ipos", "detach")
        farm.tables.pop("s4")
        with clients(farm) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            lab.start_agent("s4")
            del farm.tables  # the maps of s4 are new ones
            wait_until("s4 has joined", farm.ready, 30)
            said = rebalance(farm, running.stdin, running.stdout)
            spread = {server: owned(farm, server) for server in farm.tables}
            told, _ = running.communicate("end\n", timeout=200)
        print(f"{policy}: s4 owns {said} of {4 * EACH}, all own {spread}")
        assert '"failed": {}' in told
        assert abs(said - EACH) <= EACH // 10


@contextmanager
def clients(farm: Farm) -> Iterator[subprocess.Popen[str]]:
    addresses = [farm.address(server) for server in SERVERS]
    command = ["python3", str(CLIENT), str(ASKING), str(IDLE), PAUSE_S, *addresses]
    running = farm.lab.popen(
        "client1", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        up = running.stdout.readline()
        assert up.startswith("up {}"), up
        yield running
    finally:
        running.kill()
        running.wait()


def owned(farm: Farm, server: str) -> int:
    return sum(farm.rows(server, ("local", "connect")).values())


def rebalance(farm: Farm, into: IO[str], out: IO[str]) -> int:
    """How many connections s4 owns when all idle ones have asked again after it."""
    wait_until("all are owned", lambda: sum(owned(farm, one) for one in farm.tables) == 4 * EACH)
    wait_until("all know who has how many", lambda: known(farm) == 4 * EACH, 20)
    before = handed_back(farm)
    told = json.loads(farm.run("s1", "ipos", "rebalance", "-o", "json"))
    given = sum(one["gives"] for one in told.values())
    wait_until("they are given", lambda: handed_back(farm) - before >= given, 20)
    into.write("ask\n")
    into.flush()
    assert out.readline() == "asked\n"
    return owned(farm, "s4")


def known(farm: Farm) -> int:
    """All connections, as s1 knows them."""
    return sum(row.tcp_connections for _, row in farm.tables["s1"].servers.items() if row.state)


def handed_back(farm: Farm) -> int:
    return sum(counts["handed_back"] for counts in farm.all_counters().values())
