# SPDX-License-Identifier: Apache-2.0
"""Maps from their pins alone: round trips, walks, per-CPU values, queues, ring buffers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.kernel import data_plane
from ipos.kernel.libbpf import Map, MapError, MapType, PinError, RingBuffer, possible_cpus, syscall
from tests.support.plane import pin_place, plane_objects, run_xdp

pytestmark = pytest.mark.farm


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pin_place() as directory:
        data_plane.load(plane_objects(tmp_path_factory.mktemp("plane")), directory)
        yield directory


@pytest.fixture
def flows(place: Path) -> Iterator[Map]:
    with data_plane.open_map(place, "flows") as flows:
        flows.clear()
        yield flows


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "little")


def test_round_trip(flows: Map) -> None:
    assert flows.get(number(5)) is None
    assert flows.update(number(5), number(50, 8))
    assert flows.get(number(5)) == number(50, 8)
    assert not flows.update(number(5), number(51, 8), syscall.NOEXIST)
    assert not flows.update(number(6), number(60, 8), syscall.EXIST)
    assert flows.take(number(5)) == number(50, 8)
    assert flows.take(number(5)) is None
    assert not flows.delete(number(5))


def test_several_values_are_stored_at_once(flows: Map) -> None:
    rows = {number(i): number(i * i, 8) for i in range(64)}
    flows.update_all(rows)
    assert dict(flows.items()) == rows
    flows.update_all({})
    with pytest.raises(MapError, match="keys of 4 bytes, not 2"):
        flows.update_all({b"xx": bytes(8)})
    with pytest.raises(MapError, match="cannot write map flows"):
        flows.update_all({number(64): bytes(8)})


def test_the_first_values_of_an_array_are_read_at_once() -> None:
    with Map(syscall.map_create(MapType.ARRAY, 4, 8, 4, "array")) as array:
        array.update_all({number(i): number(7 * i, 8) for i in (3, 1)})
        assert array.first(2) == number(0, 8) + number(7, 8)
        assert array.first(9) == b"".join(number(i, 8) for i in (0, 7, 0, 21))
        with pytest.raises(MapError, match="cannot write map array"):
            array.update_all({number(4): bytes(8)})
        assert array.first(1) == bytes(8)


def test_walk_answers_every_pair_once(flows: Map) -> None:
    pairs = {number(i): number(i * i, 8) for i in range(64)}
    for key, value in pairs.items():
        flows.update(key, value)
    walked = list(flows.items())
    assert len(walked) == 64
    assert dict(walked) == pairs
    assert flows.count() == 64
    flows.clear()
    assert list(flows.items()) == []


def test_large_map_is_walked_in_several_batches(tmp_path: Path) -> None:
    fd = syscall.map_create(MapType.HASH, 4, 4, 5000, "large")
    with Map(fd) as large:
        for i in range(5000):
            large.update(number(i), number(i))
        assert sorted(large.keys()) == sorted(number(i) for i in range(5000))


def test_trie_is_walked(place: Path) -> None:
    with data_plane.open_map(place, "deny") as deny:
        keys = {number(8) + bytes([10, 0, 0, 0]), number(24) + bytes([192, 0, 2, 0])}
        for key in keys:
            deny.update(key, b"\1")
        assert set(deny.keys()) == keys
        assert deny.get(number(32) + bytes([192, 0, 2, 77])) == b"\1"
        deny.clear()


def test_full_map_says_so(flows: Map) -> None:
    for i in range(64):
        flows.update(number(i), bytes(8))
    with pytest.raises(MapError, match=r"map flows is full \(64 entries\)"):
        flows.update(number(64), bytes(8))


def test_wrong_sizes_are_refused_before_the_kernel_reads_past_them(flows: Map) -> None:
    with pytest.raises(MapError, match="keys of 4 bytes, not 2"):
        flows.get(b"xx")
    with pytest.raises(MapError, match="values of 8 bytes, not 3"):
        flows.update(number(1), b"xxx")


def test_per_cpu_values(place: Path) -> None:
    with data_plane.open_map(place, "counts") as counts:
        values = [number(i + 1) for i in range(possible_cpus())]
        counts.update_per_cpu(number(2), values)
        assert counts.get_per_cpu(number(2)) == values
        assert counts.totals([number(2), number(1)]) == [sum(range(1, possible_cpus() + 1)), 0]
        counts.update_per_cpu(number(1), values)
        asked = [number(2), number(1)]
        assert counts.totals(asked) == 2 * [sum(range(1, possible_cpus() + 1))], "asked again"
        assert counts.totals(asked[:1]) == [sum(range(1, possible_cpus() + 1))]
        assert dict(counts.items_per_cpu())[number(2)] == values
        with pytest.raises(MapError, match="a value per CPU"):
            counts.get(number(2))
    with (
        data_plane.open_map(place, "flows") as flows,
        pytest.raises(MapError, match="map flows has one value"),
    ):
        flows.get_per_cpu(number(1))


def test_queue(place: Path) -> None:
    with data_plane.open_map(place, "hold_free") as free:
        while free.pop() is not None:
            pass
        free.push(number(3))
        free.push(number(4))
        assert [free.pop(), free.pop(), free.pop()] == [number(3), number(4), None]


def test_many_are_pushed_in_their_order_and_never_half_a_one(place: Path) -> None:
    with data_plane.open_map(place, "hold_free") as free:
        while free.pop() is not None:
            pass
        free.push_all(number(3) + number(4))
        assert [free.pop(), free.pop(), free.pop()] == [number(3), number(4), None]
        with pytest.raises(MapError, match=r"values of 4 bytes; 7 bytes are no whole number"):
            free.push_all(bytes(7))
        with pytest.raises(MapError, match="map hold_free is full"):
            free.push_all(bytes(4 * (free.max_entries + 1)))
        while free.pop() is not None:
            pass


def test_ring_buffer_delivers_records(place: Path) -> None:
    records: list[bytes] = []
    with (
        data_plane.open_map(place, "events") as events,
        RingBuffer(events.fd, records.append) as ring,
    ):
        ring.consume()
        records.clear()
        run_xdp(place, bytes(100))
        assert ring.poll(1000) == 1
        assert records == [number(100, 8)]
        assert ring.poll(0) == 0


def test_ring_buffer_hands_on_the_receivers_fault(place: Path) -> None:
    def receive(record: bytes) -> None:
        raise ValueError("not this one")

    with data_plane.open_map(place, "events") as events, RingBuffer(events.fd, receive) as ring:
        run_xdp(place)
        with pytest.raises(ValueError, match="not this one"):
            ring.poll(1000)


def test_map_that_is_not_pinned_is_a_sentence(place: Path) -> None:
    with pytest.raises(PinError, match="no map is pinned at"):
        data_plane.open_map(place, "nothing")


def test_run_answers_verdict_and_bytes(place: Path) -> None:
    ran = run_xdp(place, bytes(range(64)))
    assert ran.retval == 2
    assert ran.data == bytes(range(64))
