# SPDX-License-Identifier: Apache-2.0
"""The control plane may die: killed, stopped, reloaded and replaced, and no request fails."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from ipos.abi.rows import ServerState
from ipos.files import write_whole
from ipos.kernel import data_plane
from ipos.kernel.maps import Tables
from ipos.kernel.pins import directory_name
from ipos.lab import faults
from tests.control.busy import load
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]

STAMPS = {"xdp": "TOLD_AGAIN_NS 50000000ULL", "ingress": "PAUSE_NS 5000000ULL"}
"""In the sources of these programs: a definition to change by one."""


@pytest.fixture(scope="module")
def other_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data plane with two numbers changed by one: the same ABI, other programs."""
    ours = Path(__file__).parents[2] / "bpf"
    sources = tmp_path_factory.mktemp("sources") / "bpf"
    shutil.copytree(ours, sources)
    for file in sources.glob("*/*.h"):
        text = file.read_text()
        for stamp in STAMPS.values():
            text = text.replace(stamp, stamp.replace("0ULL", "1ULL"))
        file.write_text(text)
    include = f"/usr/include/{os.uname().machine}-linux-gnu"
    for name in STAMPS:
        flags = ["-O2", "-g", "-Wno-unused-function", "-target", "bpf", "-mcpu=v3"]
        (source,) = sources.glob(f"*/{name}.bpf.c")
        places = [f"-I{include}", f"-I{sources}", "-c", str(source)]
        subprocess.run(["clang", *flags, *places, "-o", f"{sources}/{name}.bpf.o"], check=True)
        subprocess.run(["llvm-strip", "-g", f"{sources}/{name}.bpf.o"], check=True)
    return sources


def pins(farm: Farm, server: str) -> Path:
    return farm.lab.place(server).pin_dir / directory_name(farm.lab.name, server)


def upgrade(farm: Farm, objects: Path) -> None:
    for server in SERVERS:
        replaced = data_plane.upgrade(objects, pins(farm, server)).replaced
        assert set(replaced) == {f"ipos_{name}" for name in STAMPS}


@contextmanager
def files_kept(farm: Farm) -> Iterator[dict[str, str]]:
    """Server -> its configuration, which is what it was in the end."""
    files = {server: farm.lab.place(server).config_file for server in SERVERS}
    before = {server: file.read_text() for server, file in files.items()}
    try:
        yield before
    finally:
        for server, file in files.items():
            file.write_text(before[server])
            farm.run(server, "ipos", "reload")


def change_weights(farm: Farm, before: dict[str, str], turn: int) -> None:
    """Other weights in every file; running agents take them by SIGHUP, others when they start."""
    weights = {f"s{n} = 1": f"s{n} = {1 + (turn + n) % 3}" for n in (1, 2, 3)}
    for server, text in before.items():
        for old, new in weights.items():
            text = text.replace(old, new, 1)
        assert text != before[server]
        place = farm.lab.place(server)
        write_whole(place.config_file, text.encode())
        with suppress(ProcessLookupError):
            os.kill(int((place.run_dir / "agent.lock").read_text()), signal.SIGHUP)


@contextmanager
def weights_change(farm: Farm, before: dict[str, str]) -> Iterator[list[int]]:
    """Once a second, as long as the block lasts; how often is what the list's length says."""
    turns: list[int] = []
    enough = Event()

    def change() -> None:
        while not enough.wait(1):
            change_weights(farm, before, len(turns))
            turns.append(len(turns))

    thread = Thread(target=change)
    thread.start()
    try:
        yield turns
    finally:
        enough.set()
        thread.join()
    assert turns, "weights were changed"
    last = {n: 1 + (turns[-1] + n) % 3 for n in (1, 2, 3)}
    wait_until(
        "the last weights are taken",
        lambda: all(weights(tables) == last for tables in farm.tables.values()),
        10,
    )


def weights(tables: Tables) -> dict[int, int]:
    """Server -> its weight in the pool of the route."""
    found = [{c.server: c.weight for c in p.candidates} for _, p in tables.pools.items()]
    return next((one for one in found if set(one.values()) != {1} and len(one) == 3), {})


def kill_each_agent(farm: Farm) -> None:
    for server in SERVERS:
        faults.kill_agent(farm.lab, server)
        farm.lab.start_agent(server)


def disturb(
    farm: Farm, reloads: int, kills: int, objects: Path | None = None, upgrades: int = 0
) -> None:
    """So many of each, spread over the reloads, while the weights change once a second."""
    kinds = [other for other in (objects, data_plane.objects_directory()) if other is not None]
    with files_kept(farm) as before, weights_change(farm, before) as changes:
        for turn in range(reloads):
            for server in SERVERS:
                farm.run(server, "ipos", "reload")
            for _ in range(due(kills, turn, reloads)):
                kill_each_agent(farm)
            for _ in range(due(upgrades, turn, reloads)):
                upgrade(farm, kinds[0])
                kinds.reverse()
            time.sleep(0.5)
    print(f"{len(changes)} changes of weights")
    if upgrades % 2:
        upgrade(farm, data_plane.objects_directory())


def due(times: int, turn: int, turns: int) -> int:
    """How many of so many `times` fall into one of the turns."""
    return times * (turn + 1) // turns - times * turn // turns


def test_reloads_and_killed_agents_fail_no_request(farm: Farm) -> None:
    with load(farm) as said:
        disturb(farm, reloads=2, kills=1)
    assert said.errors == []
    assert said.requests > 100


@pytest.mark.slow
def test_20_reloads_15_kills_and_3_upgrades_fail_no_request_of_10000(
    farm: Farm, other_objects: Path
) -> None:
    with load(farm) as said:
        disturb(farm, 20, 5, other_objects, upgrades=3)
    print(f"{said.requests} requests")
    assert said.errors == []
    assert said.requests >= 10_000


def seen(farm: Farm, by: str, server: str) -> tuple[ServerState, bool]:
    row = farm.tables[by].servers.get(int(server[1:]))
    assert row is not None
    return row.state, row.stale


def is_stale(farm: Farm, by: str, server: str) -> bool:
    return seen(farm, by, server) == (ServerState.READY, True)


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_a_stopped_agent_fails_no_request_and_is_not_dead(farm: Farm, seconds: int) -> None:
    pid = int((farm.lab.place("s2").run_dir / "agent.lock").read_text())
    before = farm.counters("s2")["adopted"]
    others = [server for server in SERVERS if server != "s2"]
    with load(farm) as said:
        os.kill(pid, signal.SIGSTOP)
        try:
            # What it sent before may be heard late: the other agents are short of CPU too.
            fresh = time.monotonic()

            def stale_for_a_second() -> bool:
                nonlocal fresh
                if not all(is_stale(farm, by, "s2") for by in others):
                    fresh = time.monotonic()
                return time.monotonic() - fresh > 1

            wait_until("stale", stale_for_a_second)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                states = {seen(farm, by, "s2") for by in others}
                assert states == {(ServerState.READY, True)}
                time.sleep(0.02)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert said.errors == []
    assert farm.counters("s2")["adopted"] > before, "it serves while its agent is stopped"
    assert farm.counters("s2")["probe_answered"] > 0
