# SPDX-License-Identifier: Apache-2.0
"""A server whose CPU is taken by something else gets next to nothing, until it has it back."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ipos.lab import faults
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]
REQUESTS = 100


@contextmanager
def hog(farm: Farm, server: str) -> Iterator[None]:
    """As many busy loops as there are CPUs, in the server's cgroup."""
    loop = ["sh", "-c", "while :; do :; done"]
    running = [farm.lab.popen(server, loop) for _ in range(os.cpu_count() or 1)]
    try:
        for node in SERVERS:
            faults.share_cpu(farm.lab, node)
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def share(farm: Farm, server: str) -> float:
    """Of so many requests, one after the other."""
    served = [farm.get().served_by for _ in range(REQUESTS)]
    return served.count(server) / REQUESTS


def cpu(farm: Farm, server: str) -> int:
    row = farm.tables["s1"].servers.get(int(server[1:]))
    assert row is not None
    return row.cpu_permille


def test_a_busy_server_gets_less_than_a_tenth_until_it_is_idle_again(farm: Farm) -> None:
    """Where other programs take CPU from all servers, it takes a while until one stands out."""
    shares: list[float] = []

    def less_than_a_tenth() -> bool:
        shares.append(share(farm, "s2"))
        return shares[-1] < 0.1

    def stands_out() -> bool:
        """Beside other programs it does not get the whole of a CPU."""
        return cpu(farm, "s2") > 2 * max(cpu(farm, "s1"), cpu(farm, "s3"))

    with hog(farm, "s2"):
        wait_until("s2 is busy", stands_out, 30)
        wait_until("s2 is left alone", less_than_a_tenth, 30)
    ended = time.monotonic()
    wait_until("s2 is chosen again", lambda: share(farm, "s2") > 0.15, 30)
    took = time.monotonic() - ended
    print(f"busy: {shares} of requests; back after {took:.1f} s")
