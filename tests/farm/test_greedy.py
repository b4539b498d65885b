# SPDX-License-Identifier: Apache-2.0
"""Clients of one network that want all there is, and an honest client of another network."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings
from tests.farm.alternation import asked
from tests.farm.sweeper import charge_of, maps_of
from tests.farm.test_moving import CONFIG
from tests.support.farm import Farm, grown, read_answer, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]

_GREEDY = Path(__file__).parent / "clients" / "greedy.py"
SOURCE = "10.98.0.7"
"""In a /24 of its own, behind client1."""
CONNECTIONS = 4_600
TABLE = 16_384
WAITING_S = 20
_labs = count()
POOL = 65_536


@contextmanager
def _farm(limits: str) -> Iterator[Farm]:
    config = f"[farm]\nwaiting_timeout_s = {WAITING_S}\n{limits}\n"
    config += CONFIG.replace("[farm]\nheader_timeout_ms = 2000\n", "")
    with Lab(Settings(name=f"gr{os.getpid()}-{next(_labs)}", config=config)) as lab:
        farm = Farm(lab)
        farm.run("router1", "ip", "route", "add", "10.98.0.0/24", "via", "10.99.0.11")
        farm.run("client1", "sysctl", "-qw", "net.ipv4.ip_forward=0")
        farm.wait_idle()
        yield farm


@contextmanager
def _greedy(
    farm: Farm, kind: str, connections: int, seconds: int = 0
) -> "Iterator[subprocess.Popen[str]]":
    arguments = [kind, SOURCE, farm.address("s1"), "80", str(connections), str(seconds)]
    clients = farm.lab.popen(
        "client1", [sys.executable, str(_GREEDY), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield clients
    finally:
        clients.kill()
        clients.communicate()


def _line(clients: "subprocess.Popen[str]", timeout_s: float = 0) -> str:
    """What they say next, if they do."""
    assert clients.stdout is not None
    if not select.select([clients.stdout], [], [], timeout_s)[0]:
        return ""
    line = clients.stdout.readline()
    assert line, "the greedy clients have ended"
    return line


class Honest:
    """A client whose requests stay, move, and migrate at once. took: seconds of each."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.took: list[float] = []

    def ask(self) -> None:
        """Four requests on two connections; a failure of any raises."""
        for servers in (("s1", "s2", "s3"), ("s2",)):
            with self.farm.connect() as connection:
                for server in servers:
                    started = time.monotonic()
                    connection.sendall(asked(server))
                    answer = read_answer(connection)
                    self.took.append(time.monotonic() - started)
                    assert (answer.status, answer.served_by) == (200, server)

    def told(self) -> str:
        """For the page of measurements."""
        took = sorted(self.took)
        return (
            f"{len(took)} requests of the honest client, none failed; "
            f"median {took[len(took) // 2] * 1000:.1f} ms, "
            f"99th {took[len(took) * 99 // 100] * 1000:.1f} ms, longest {took[-1] * 1000:.0f} ms"
        )


@pytest.mark.parametrize("kind", ["fin", "deaf"])
def test_long_heads_of_one_network_take_nothing_from_another(kind: str) -> None:
    """Its heads wait, or would if anybody's FIN were believed."""
    with _farm("") as farm:
        before = farm.counters("s1")
        honest, most, maps = Honest(farm), 0, maps_of(farm, "s1")
        with _greedy(farm, kind, CONNECTIONS) as clients:
            while not _line(clients):
                honest.ask()
                most = max(most, charge_of(maps))
            until = time.monotonic() + 10
            while time.monotonic() < until:
                honest.ask()
                most = max(most, charge_of(maps))
            wait_until("the pool is free", lambda: charge_of(maps) == 0, 2 * WAITING_S)
            honest.ask()
        print(f"\n{kind}: {honest.told()}")
        print(f"most pieces taken: {most} of {POOL}; {grown(before, farm.counters('s1'))}")
        assert most < POOL / 4


def test_damaged_requests_with_a_cookie_take_no_row() -> None:
    limits = "".join(f"{name} = {TABLE}\n" for name in ("forward", "local", "connect"))
    with _farm(f"\n[farm.limits]\n{limits}") as farm:
        before = farm.counters("s1")
        honest, most, text = Honest(farm), 0, ""
        with _greedy(farm, "damaged", TABLE + 100, 5) as clients:
            while not _line(clients, 60):
                pass
            while not text:
                honest.ask()
                most = max(most, sum(farm.rows("s1", ("local", "holding")).values()))
                text = _line(clients)
        changed = grown(before, farm.counters("s1"))
        print(f"\n{int(text)} damaged segments: {honest.told()}")
        print(f"most rows at once: {most}; {changed}")
        assert changed["drop_bad_checksum"] == int(text)
        assert most <= 4, "the honest client's own"
