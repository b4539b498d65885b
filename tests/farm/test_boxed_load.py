# SPDX-License-Identifier: Apache-2.0
"""Applications in containers for minutes: restarts under load, and what a request costs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.statistics import estimate
from ipos.kernel import box_hooks
from ipos.kernel.libbpf import syscall
from ipos.kernel.pins import directory_name
from ipos.lab import Lab, Settings
from tests.farm.test_failures import Load
from tests.farm.test_load import wrk
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]

CONFIG = """\
[[service]]
name = "web"
port = 80
slow_start_ms = 0
"""
RESTARTS = 50
PAIRS, SECONDS = 9, 2


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"by{os.getpid()}", config=CONFIG, boxed=True)) as lab:
        yield Farm(lab)


def _candidates(farm: Farm) -> set[int]:
    """How many servers each server knows to choose from."""
    pools = [tables.pools.get(0) for tables in farm.tables.values()]
    return {len(pool.candidates) for pool in pools if pool}


def _pins(farm: Farm, server: str) -> Path:
    return farm.lab.place(server).pin_dir / directory_name(farm.lab.name, server)


def _programs(farm: Farm) -> set[int]:
    """The ids of all programs of the farm that the kernel has."""
    found = set()
    for server in SERVERS:
        for path in (_pins(farm, server) / "progs").iterdir():
            descriptor = syscall.open_pinned(path)
            found.add(syscall.program_info(descriptor).id)
            os.close(descriptor)
    return found


def test_containers_that_are_restarted_under_load(farm: Farm) -> None:
    """Only the requests that a container has in its hands fail; nothing of it stays behind."""
    wait_until("every container serves", lambda: _candidates(farm) == {3})
    programs = _programs(farm)
    with Load(farm) as load:
        for nth in range(RESTARTS):
            farm.lab.restart_box(SERVERS[nth % 3])
            wait_until("every container serves", lambda: _candidates(farm) == {3})
            load.more(50)
    print(dict(load.outcomes), f"the slowest took {load.slowest_s:.2f} s")
    assert load.outcomes["hang"] == 0, load.outcomes
    failed = load.outcomes["reset"] + load.outcomes["cut"] + load.outcomes["nobody"]
    assert failed <= 6 * RESTARTS, load.outcomes
    farm.wait_idle()
    for server in SERVERS:
        assert len(box_hooks.indices(_pins(farm, server))) == 1
    assert _programs(farm) == programs


def test_what_a_request_in_a_container_costs(farm: Farm) -> None:
    """Beside the same nginx outside of one: requests a second on new connections, in pairs."""
    ratios = []
    with Lab(Settings(name=f"bz{os.getpid()}", config=CONFIG)) as lab:
        plain = Farm(lab)
        for each in (farm, plain):
            wait_until("every server ready", each.ready)
            wait_until("every application listens", lambda each=each: _candidates(each) == {3})  # type: ignore[misc]
        for nth in range(PAIRS):
            order = (farm, plain) if nth % 2 else (plain, farm)
            took = {each: wrk(each, SECONDS, 16, "-H", "Connection: close") for each in order}
            assert not any(result.errors for result in took.values()), took
            ratios.append(took[farm].requests / took[plain].requests)
    print(f"in a container, of the requests a second outside: {estimate(ratios)}")
    assert sorted(ratios)[PAIRS // 2] > 0.7, ratios
