# SPDX-License-Identifier: Apache-2.0
"""How many connections a server says it has: its rows, whatever its counters say."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.abi.layout import constant, counter, layout
from ipos.agent.host.socket_count import AGAIN_NS, Connections
from ipos.kernel.libbpf import MapType, syscall
from ipos.kernel.libbpf.map_store import BLOCK, FIRST_BLOCK, Map
from ipos.kernel.pins import BPFFS, ensure_bpffs

pytestmark = pytest.mark.farm
ROW = layout("ipos_endpoint")
ADOPTING, ATTACHED = constant("IPOS_EP_ADOPTING"), constant("IPOS_EP_ATTACHED")
LIMIT = 131072


class Plane:
    """The three maps of a data plane that nothing else uses."""

    def __init__(self, directory: Path) -> None:
        self.local, self.connect = (
            Map(syscall.map_create(MapType.HASH, 16, ROW.size, LIMIT, name))
            for name in ("local", "connect")
        )
        self.counters = Map(
            syscall.map_create(MapType.PERCPU_ARRAY, 4, 8, constant("IPOS_COUNTERS_MAX"), "counts")
        )
        for name in ("local", "connect", "counters"):
            syscall.pin(getattr(self, name).fd, directory / name)

    def attach(self, table: Map, first: int, count: int, state: int = ATTACHED) -> None:
        row = ROW.pack({"state": state})
        for at in range(first, first + count, 1000):
            numbers = range(at, min(at + 1000, first + count))
            table.update_all({number.to_bytes(16, "big"): row for number in numbers})

    def happens(self, name: str, times: int) -> None:
        key = counter(name).to_bytes(4, sys.byteorder)
        values = self.counters.get_per_cpu(key)
        assert values is not None
        told = int.from_bytes(values[0], sys.byteorder) + times
        self.counters.update_per_cpu(key, [told.to_bytes(8, sys.byteorder), *values[1:]])


@pytest.fixture
def plane(request: pytest.FixtureRequest) -> Iterator[tuple[Plane, Connections]]:
    ensure_bpffs(BPFFS)
    directory = BPFFS / f"ipos-connections-{request.node.name[:40]}-{id(request):x}"
    directory.mkdir()
    made = Plane(directory)
    try:
        with Connections(directory) as connections:
            yield made, connections
    finally:
        for name in ("local", "connect", "counters"):
            getattr(made, name).close()
            (directory / name).unlink()
        directory.rmdir()


def count(connections: Connections, now_ns: int) -> int:
    """Pieces of one counting."""
    return len(list(connections.steps(now_ns)))


def test_rows_are_counted_and_not_events(plane: tuple[Plane, Connections]) -> None:
    made, connections = plane
    made.happens("ADOPTED", 5_000)  # of which 4,900 ended without a counter of theirs
    made.attach(made.local, 0, 70)
    made.attach(made.connect, 100, 30)
    made.attach(made.connect, 200, 9, ADOPTING)
    count(connections, 1)
    assert connections.now() == 100
    made.happens("ADOPTED", 7)
    made.happens("CLOSED", 2)
    made.happens("MOVED", 3)
    made.happens("ENDED_UNSEEN", 1)
    assert connections.now() == 101, "between two countings by the events"
    count(connections, AGAIN_NS)
    assert connections.now() == 101, "not due yet"
    count(connections, 1 + AGAIN_NS)
    assert connections.now() == 100, "and no event is remembered longer"
    made.happens("CLOSED", 200)
    assert connections.now() == 0


def test_a_hundred_thousand_rows_in_pieces(plane: tuple[Plane, Connections]) -> None:
    made, connections = plane
    made.attach(made.local, 0, 60_000)
    made.attach(made.connect, 0, 40_000)
    begun = time.thread_time()
    pieces = count(connections, 1)
    took = time.thread_time() - begun
    assert connections.now() == 100_000
    assert pieces >= (100_000 - 2 * FIRST_BLOCK) // BLOCK, "others have their turn in between"
    print(f"counted in {1000 * took:.0f} ms of CPU time")
