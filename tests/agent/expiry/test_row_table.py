# SPDX-License-Identifier: Apache-2.0
"""Rows taken out of real maps, put back when they have changed, and walked a few at a time."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ipos.abi.columns import Columns, Since
from ipos.abi.layout import counter, layout
from ipos.agent.expiry.ended_counts import Ledger
from ipos.agent.expiry.row_table import RowTable
from ipos.kernel.libbpf import MapType, syscall
from ipos.kernel.libbpf.map_store import BLOCK, Map

pytestmark = pytest.mark.farm


class Seen(NamedTuple):
    """Of `struct ipos_forward`."""

    server: int
    last_seen_ns: int


FORWARD = layout("ipos_forward")
KEY = bytes(range(16))


def row(server: int, last_seen_ns: int = 0) -> bytes:
    return FORWARD.pack({"server": server, "iss": 7, "last_seen_ns": last_seen_ns})


@pytest.fixture
def raw() -> Iterator[Map]:
    with Map(syscall.map_create(MapType.HASH, 16, FORWARD.size, 3 * BLOCK, "rows")) as made:
        yield made


@pytest.fixture
def table(raw: Map) -> RowTable[Seen]:
    columns = Columns("ipos_forward", Seen._fields, Seen._make)
    return RowTable(raw, columns, Since("ipos_forward", "last_seen_ns"))


def test_a_row_that_is_still_so_is_taken(raw: Map, table: RowTable[Seen]) -> None:
    raw.update(KEY, row(3, 5))
    assert table.take(KEY, lambda seen: seen.server == 3) == Seen(3, 5)
    assert raw.count() == 0
    assert table.take(KEY, lambda seen: True) is None
    assert table.get(KEY) is None


def test_a_row_that_has_changed_stays_whole(raw: Map, table: RowTable[Seen]) -> None:
    raw.update(KEY, row(3, 5))
    assert table.take(KEY, lambda seen: seen.server == 4) is None
    assert raw.get(KEY) == row(3, 5)
    assert table.get(KEY) == Seen(3, 5)


def test_a_row_never_replaces_one_that_came_meanwhile(raw: Map, table: RowTable[Seen]) -> None:
    raw.update(KEY, row(3, 5))

    def replaced(seen: Seen) -> bool:
        raw.update(KEY, row(9, 9))
        return False

    # It is the caller's to act on: nobody else has it any more.
    assert table.take(KEY, replaced) == Seen(3, 5)
    assert raw.get(KEY) == row(9, 9)


def fill(raw: Map, count: int) -> None:
    for number in range(count):
        raw.update(number.to_bytes(16, "big"), row(number % 1000, number))


def test_a_walk_finds_every_old_row_once(raw: Map, table: RowTable[Seen]) -> None:
    fill(raw, 2 * BLOCK)
    batches = list(table.walk(BLOCK))
    assert len(batches) > 1
    found = [(key, seen) for batch in batches for key, seen in batch]
    assert sorted(int.from_bytes(key, "big") for key, _ in found) == list(range(BLOCK))
    assert all(seen.last_seen_ns == int.from_bytes(key, "big") for key, seen in found)


def test_a_stroll_does_so_in_several_passes_and_then_rests(raw: Map, table: RowTable[Seen]) -> None:
    fill(raw, 2 * BLOCK)
    found: list[int] = []
    passes = 0
    while batch := table.stroll(1 << 60, now_ns=100, again_ns=50):
        assert len(batch) < 1.5 * BLOCK
        found += [seen.last_seen_ns for _, seen in batch]
        passes += 1
    assert sorted(found) == list(range(2 * BLOCK))
    assert passes > 1
    assert table.stroll(1 << 60, now_ns=149, again_ns=50) == []
    assert table.stroll(1 << 60, now_ns=150, again_ns=50) != []


def test_the_ledger_adds_and_leaves_the_rest() -> None:
    with (
        Map(syscall.map_create(MapType.ARRAY, 4, 16, 8, "traffic")) as traffic,
        Map(syscall.map_create(MapType.PERCPU_ARRAY, 4, 8, 128, "counters")) as counters,
    ):
        traffic.update(struct.pack("=I", 2), struct.pack("=qq", 10, 4))
        number = struct.pack("=I", counter("HEAD_TIMEOUT"))
        cpus = len(counters.get_per_cpu(number) or [])
        counters.update_per_cpu(number, [struct.pack("=Q", 5)] * cpus)
        ledger = Ledger(traffic, counters)
        for _ in range(3):
            ledger.closed(2)
            ledger.count("HEAD_TIMEOUT")
        ledger.book()
        ledger.book()
        assert traffic.get(struct.pack("=I", 2)) == struct.pack("=qq", 10, 7)
        values = [int.from_bytes(one, "little") for one in counters.get_per_cpu(number) or []]
        assert values == [8, *[5] * (cpus - 1)]
