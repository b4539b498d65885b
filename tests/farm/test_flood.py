# SPDX-License-Identifier: Apache-2.0
"""Segments from nowhere: they take no memory, open nothing, and harm nobody."""

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.farm.support import ANY, ELSEWHERE, Farm, grown, wait_until
from tests.farm.usertcp import seed

pytestmark = pytest.mark.farm

_FLOOD = Path(__file__).parent / "clients" / "flood.py"
_ALL = ("forward", "local", "connect", "holding", "temporary")


def _command(farm: Farm, kind: str, count: int, server: str = "s1") -> list[str]:
    arguments = [kind, farm.address(server), str(ANY), str(count), str(seed())]
    return [sys.executable, str(_FLOOD), *arguments]


def _tables(farm: Farm, names: Iterable[str] = _ALL) -> dict[str, dict[str, int]]:
    return {server: farm.rows(server, names) for server in farm.tables}


def test_a_syn_flood_leaves_every_table_as_it_was(farm: Farm) -> None:
    count = 200_000
    tables, counters = _tables(farm), farm.counters("s1")
    farm.run("client1", *_command(farm, "syn", count))
    wait_until(
        "every SYN answered", lambda: farm.counters("s1")["syn_ack"] >= counters["syn_ack"] + count
    )
    assert _tables(farm) == tables
    changed = grown(counters, farm.counters("s1"))
    assert changed.pop("syn_ack") == count
    assert not [name for name in changed if name.startswith("drop_")], changed


def test_requests_succeed_beside_a_syn_flood(farm: Farm) -> None:
    flood = farm.lab.popen("client1", _command(farm, "syn", 200_000))
    requests = 0
    try:
        while flood.poll() is None:
            assert farm.get(port=(ANY, ELSEWHERE)[requests % 2]).status == 200
            requests += 1
    finally:
        flood.kill()
        flood.wait()
    assert flood.returncode == 0
    assert requests >= 20


@pytest.mark.parametrize("kind", ["ack", "data", "bare"])
def test_random_acknowledgements_prove_nothing(farm: Farm, kind: str) -> None:
    """With 22 bits of proof at least, 10^5 guesses of one seed hit nothing."""
    count = 100_000
    tables, before = _tables(farm), farm.counters("s1")
    farm.run("client1", *_command(farm, kind, count))
    wait_until(
        "every segment dropped",
        lambda: farm.counters("s1")["drop_no_cookie"] >= before["drop_no_cookie"] + count,
    )
    changed = grown(before, farm.counters("s1"))
    assert changed.pop("drop_no_cookie") == count
    assert "cookie_accepted" not in changed
    assert "rst_sent" not in changed
    assert _tables(farm) == tables
