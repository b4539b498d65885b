# SPDX-License-Identifier: Apache-2.0
"""Segments from nowhere: they take no memory, open nothing, and harm nobody."""

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from ipos.abi.layout import constant
from tests.support.farm import ANY, ELSEWHERE, Farm, grown, wait_until
from tests.support.usertcp import seed

pytestmark = pytest.mark.farm

_FLOOD = Path(__file__).parent / "clients" / "flood.py"
_ARRIVE = 0.98
"""A queue of the lab may lose some where other programs need the CPU, and nobody judges those."""
_ALL = ("forward", "local", "connect", "holding", "temporary")


def _command(farm: Farm, kind: str, count: int, server: str = "s1") -> list[str]:
    arguments = [kind, farm.address(server), str(ANY), str(count), str(seed())]
    return [sys.executable, str(_FLOOD), *arguments]


_UNKNOWN = ("drop_no_cookie", "locate_asked", "drop_locating", "drop_locate_source",
            "drop_locate_limit")  # fmt: skip


def _unknown(farm: Farm, before: Mapping[str, int], server: str = "s1") -> int:
    """Segments of connections that nobody knows, whatever became of them."""
    changed = grown(before, farm.counters(server))
    return sum(changed.get(name, 0) for name in _UNKNOWN)


def _tables(farm: Farm, names: Iterable[str] = _ALL) -> dict[str, dict[str, int]]:
    return {server: farm.rows(server, names) for server in farm.tables}


def test_a_syn_flood_leaves_every_table_as_it_was(farm: Farm) -> None:
    count = 200_000
    tables, counters = _tables(farm), farm.counters("s1")
    farm.run("client1", *_command(farm, "syn", count))
    wait_until(
        "the SYNs are answered",
        lambda: grown(counters, farm.counters("s1")).get("syn_ack", 0) >= count * _ARRIVE,
    )
    assert _tables(farm) == tables
    changed = grown(counters, farm.counters("s1"))
    assert changed.pop("syn_ack") <= count
    # Of other servers: a state that our agent is slow to read, a question for an address of theirs.
    beside = {"drop_state_unknown", "drop_arp_elsewhere"}
    assert not [name for name in changed.keys() - beside if name.startswith("drop_")], changed


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
    wait_until("the segments are judged", lambda: _unknown(farm, before) >= count * _ARRIVE)
    changed = grown(before, farm.counters("s1"))
    assert _unknown(farm, before) <= count
    assert "cookie_accepted" not in changed
    assert "rst_sent" not in changed
    assert _tables(farm) == tables


def test_one_source_that_guesses_is_not_looked_at(farm: Farm) -> None:
    """256 guesses a second are judged, whatever comes; others are served meanwhile.

    All others are asked about some of them, as of any stranger, and what is over the limits is
    dropped unseen.
    """
    count, began = 100_000, time.monotonic()
    before = farm.counters("s1")
    farm.run("client1", *_command(farm, "guess", count))

    def judged() -> tuple[int, int]:
        spared = grown(before, farm.counters("s1")).get("drop_guessing", 0)
        return _unknown(farm, before), spared

    wait_until("the segments are dropped", lambda: sum(judged()) >= count * _ARRIVE)
    looked_at, spared = judged()
    assert looked_at + spared <= count
    asked = constant("IPOS_LOCATES_SOURCE") + constant("IPOS_GUESSES")
    assert looked_at <= asked * (time.monotonic() - began + 1)
    assert spared > count / 2
    assert "cookie_accepted" not in grown(before, farm.counters("s1"))
    assert farm.get().status == 200


@pytest.mark.parametrize("count", [300_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_flood_of_strangers_asks_the_others_no_more_than_it_may(farm: Farm, count: int) -> None:
    """Sources are random, so it is the limit of the whole server that holds."""
    settings = farm.tables["s1"].settings.get(0)
    assert settings is not None
    before, began = farm.all_counters(), time.monotonic()
    flood = farm.lab.popen("client1", _command(farm, "ack", count))
    served = 0
    try:
        while flood.poll() is None:
            assert farm.get(port=(ANY, ELSEWHERE)[served % 2]).status == 200
            served += 1
    finally:
        flood.kill()
        flood.wait()
    wait_until("the segments are judged", lambda: _unknown(farm, before["s1"]) >= count * _ARRIVE)
    seconds = time.monotonic() - began
    changed = grown(before["s1"], farm.counters("s1"))
    asked = changed["locate_asked"]
    print(f"{asked} questions in {seconds:.1f} s beside {served} requests, {changed}")
    # A reset, for who comes a third time a second later, counts as a question.
    assert asked + changed.get("rst_sent", 0) <= settings.locates * (seconds + 1)
    assert changed["drop_locate_limit"] > 0
    for server in ("s2", "s3"):
        heard = grown(before[server], farm.counters(server))
        assert heard["drop_frame_locate"] <= asked
        assert "located" not in heard
