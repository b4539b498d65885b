# SPDX-License-Identifier: Apache-2.0
"""Clients that never finish their heads take what is theirs, for as long as the header timeout."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.pins import directory_name
from ipos.lab import Lab, Settings
from ipos.lab.nftables import load
from tests.farm.sweeper import free_pieces
from tests.support.farm import ANY, CLIENT, CONFIG, Farm, grown, wait_until

pytestmark = pytest.mark.farm

_SLOW = Path(__file__).parent / "clients" / "slow_heads.py"
FIRST_PORT, LAST_PORT = 1024, 51_999
"""The slow ones'; the normal client has those above."""
BEYOND_POOL_MAX = 512
_RULES = f"""\
table ip slow {{
    chain before {{
        type filter hook prerouting priority raw
        ip saddr 203.0.113.0/24 tcp sport {ANY} tcp dport {FIRST_PORT}-{LAST_PORT} drop
    }}
}}
"""


@contextmanager
def _farm(header_s: int) -> Iterator[Farm]:
    """One whose header timeout is that long."""
    common = f"[farm]\nheader_timeout_ms = {header_s * 1000}\n\n{CONFIG}"
    with Lab(Settings(name=f"slow{os.getpid()}", config=common)) as lab:
        load(lab.place("client1"), _RULES)
        farm = Farm(lab)
        ports = f"net.ipv4.ip_local_port_range={LAST_PORT + 1} 65535"
        farm.run("client1", "sysctl", "-qw", ports)
        farm.wait_idle()
        yield farm


@contextmanager
def _slow_clients(farm: Farm, count: int) -> "Iterator[subprocess.Popen[str]]":
    """They have begun their heads."""
    arguments = [CLIENT, farm.address("s1"), str(ANY), str(FIRST_PORT), str(count)]
    clients = farm.lab.popen(
        "client1", [sys.executable, str(_SLOW), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert clients.stdout is not None
        assert clients.stdout.readline() == "held\n"
        yield clients
    finally:
        clients.kill()
        clients.communicate()


def _told(clients: "subprocess.Popen[str]") -> tuple[int, int]:
    """Responses and resets they have had; then they are gone."""
    said, _ = clients.communicate("\n", timeout=30)
    responses, resets = said.split()
    return int(responses), int(resets)


def _p99_ms(farm: Farm, requests: int, rounds: int) -> float:
    """Of a normal client, a connection for each request; the median of some rounds, for one that
    the machine disturbs says nothing.
    """
    found = []
    for _ in range(rounds):
        took = []
        for _ in range(requests):
            started = time.monotonic()
            assert farm.get().status == 200
            took.append(time.monotonic() - started)
        found.append(sorted(took)[requests * 99 // 100] * 1000)
    return median(found)


def _bytes_for_a_row(farm: Farm) -> float:
    """Of the kernel's memory, beside the hold pool: the maps are allocated whole."""
    place = farm.lab.place("s1")
    directory = place.pin_dir / directory_name(farm.lab.name, "s1") / "maps"
    total = 0
    for name in ("holding", "hold_free"):
        with Map.open(directory / name) as table:
            lines = Path(f"/proc/self/fdinfo/{table.fd}").read_text().splitlines()
            fields = dict(line.split(":", 1) for line in lines)
            total += int(fields["memlock"])
            entries = int(fields["max_entries"])
    return total / entries


def _run(
    farm: Farm, count: int, header_s: int, requests: int = 300, rounds: int = 5
) -> tuple[float, float]:
    """p99 of a normal client in milliseconds, before and beside so many slow ones."""
    pieces, before = free_pieces(farm, "s1"), farm.counters("s1")
    alone = _p99_ms(farm, requests, rounds)
    with _slow_clients(farm, count) as clients:
        wait_until("all are held", lambda: farm.rows("s1")["holding"] == count, 5)
        beside = _p99_ms(farm, requests, rounds)
        assert farm.rows("s1")["holding"] == count
        wait_until(
            "all were told and are forgotten",
            lambda: farm.rows("s1")["holding"] == 0,
            2 * header_s + 30,
        )
        responses, resets = _told(clients)
    assert (responses, resets) == (count, 0)
    wait_until(
        "all are counted",
        lambda: grown(before, farm.counters("s1")).get("answer_expired", 0) == count,
    )
    changed = grown(before, farm.counters("s1"))
    assert changed["head_timeout"] == count
    assert "drop_hold_full" not in changed
    assert free_pieces(farm, "s1") == pieces
    return alone, beside


def test_slow_clients_are_told_in_time_and_hinder_nobody() -> None:
    with _farm(header_s=6) as farm:
        assert _bytes_for_a_row(farm) <= BEYOND_POOL_MAX
        _run(farm, 2_000, 6, requests=50, rounds=1)  # within the time that slow ones are given


@pytest.mark.slow
def test_as_many_slow_clients_as_a_network_may_have() -> None:
    """Nearly a fifth of the pool; a normal client of the same network still has its place."""
    with _farm(header_s=40) as farm:
        alone, beside = _run(farm, 11_000, 40)
    print(f"p99 of a normal client: alone {alone:.2f} ms, beside 11,000 slow ones {beside:.2f} ms")
    assert beside <= 2 * alone
