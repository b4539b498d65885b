# SPDX-License-Identifier: Apache-2.0
"""The typed tables over a stand-in of a map: bytes are the header's, values come back equal."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.abi import layout, rows
from ipos.abi.codec import Codec
from ipos.kernel import maps

HANDSHAKE = rows.Handshake(1, 2, 1460, 10, rows.Options.SACK | rows.Options.WSCALE, 3, 4)
ROWS = {
    "settings": rows.Settings(
        1, rows.SettingsFlags.AUTHENTICATE, 2, 3, 0, 0, 7, 1, b"\2\0\0\0\0\1", b"\2\0\0\0\0\2",
        IPv4Address("203.0.113.1"), 12345, 67, (6, 7), (8, 9), header_timeout_ms=5000, idle_s=3600,
    ),
    "epoch_key": rows.EpochKey((1, 2), (0, 0), 9, rows.KeyValid.VALID),
    "server": rows.Server(
        IPv4Address("203.0.113.1"), IPv4Address("10.77.0.1"), b"\2\0\0\0\0\3",
        rows.ServerState.DRAIN, True, 1, 2, 3, 4, 5, 6, 7, -8, 9, 10,
    ),
    "traffic": rows.Traffic(5, 2),
    "address_key": rows.AddressKey(IPv4Address("203.0.113.1"), 80, rows.PROTOCOL_TCP),
    "address": rows.Address(3, 1),
    "service": rows.Service(
        6, rows.Select.CONNECTION, True, pool=2, port=80, application_ip=IPv4Address("127.0.0.1")
    ),
    "candidate": rows.Candidate(1, 8080, 3),
    "tuple": rows.Tuple(IPv4Address("10.99.0.1"), IPv4Address("203.0.113.1"), 40000, 80),
    "handshake": HANDSHAKE,
    "forward": rows.Forward(
        IPv4Address("203.0.113.2"), 80, 2, True, iss=1, packets=9, last_seen_ns=10
    ),
    "endpoint": rows.Endpoint(
        endpoint_ip=IPv4Address("203.0.113.2"), endpoint_port=80, first=1, cookie=77, hs=HANDSHAKE,
        state=rows.EndpointState.ATTACHED, migration=5, last_seen_ns=6,
    ),
    "temporary": rows.Temporary(HANDSHAKE, rows.TemporaryState.OPEN, created_ns=5),
    "holding": rows.Holding(HANDSHAKE, 100, 50, complete=True, created_ns=5),
    "prefix": rows.Prefix(24, IPv4Address("192.0.2.0")),
}  # fmt: skip


class Dictionary:
    """A map without a kernel."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, bytes] = {}
        self.per_cpu: dict[bytes, list[bytes]] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.pairs.get(key)

    def update_per_cpu(self, key: bytes, values: Iterable[bytes]) -> None:
        self.per_cpu[key] = list(values)

    def get_per_cpu(self, key: bytes) -> list[bytes] | None:
        return self.per_cpu.get(key)

    def totals(self, keys: Iterable[bytes]) -> list[int]:
        return [
            sum(int.from_bytes(value, "little") for value in self.get_per_cpu(key) or [])
            for key in keys
        ]

    def update_all(self, rows: Mapping[bytes, bytes]) -> None:
        for key, value in rows.items():
            self.update(key, value)

    def update(self, key: bytes, value: bytes) -> bool:
        self.pairs[key] = value
        return True

    def delete(self, key: bytes) -> bool:
        return self.pairs.pop(key, None) is not None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self.pairs.items()))

    def items_per_cpu(self) -> Iterator[tuple[bytes, list[bytes]]]:
        return iter(list(self.per_cpu.items()))

    def count(self) -> int:
        return len(self.pairs)


@pytest.fixture
def stores() -> dict[str, Dictionary]:
    return {}


@pytest.fixture
def tables(stores: dict[str, Dictionary]) -> maps.Tables:
    return maps.Tables(Path("maps"), lambda path: stores.setdefault(path.name, Dictionary()))


@pytest.mark.parametrize("name", ROWS)
def test_rows_survive_their_bytes(name: str) -> None:
    row = ROWS[name]
    codec = Codec(type(row), layout.layout(f"ipos_{name}"))
    assert codec.decode(codec.encode(row)) == row


@pytest.mark.parametrize("name", ["settings", "server", "service", "address_key", "prefix"])
def test_rows_that_the_agent_writes_leave_no_field_out(name: str) -> None:
    row = ROWS[name]
    named = {field.name for field in dataclasses.fields(row)}  # type: ignore[arg-type]
    named |= set(getattr(row, "COUNTED", {}).values())
    fields = {field.name for field in layout.layout(f"ipos_{name}").fields}
    assert {field for field in fields - named if not field.startswith("zero")} == set()


def test_a_pool_holds_as_many_candidates_as_it_says(
    tables: maps.Tables, stores: dict[str, Dictionary]
) -> None:
    two = (rows.Candidate(1, 80, 1), rows.Candidate(2, 80, 9))
    pool = rows.Pool(rows.Policy.RANDOM, candidates=two)
    tables.pools.put(3, pool)
    assert list(tables.pools.items()) == [(3, pool)]
    raw = stores["pools"].pairs[(3).to_bytes(4, "little")]
    assert layout.layout("ipos_pool").unpack(raw)["count"] == 2


def test_a_pool_with_too_many_candidates_is_refused(tables: maps.Tables) -> None:
    many = tuple(
        rows.Candidate(1, 80, 1) for _ in range(layout.constant("IPOS_CANDIDATES_MAX") + 1)
    )
    with pytest.raises(ValueError, match="candidates has room for 1024, not 1025"):
        tables.pools.put(0, rows.Pool(rows.Policy.RANDOM, candidates=many))


def test_keys_are_what_the_header_says(tables: maps.Tables, stores: dict[str, Dictionary]) -> None:
    tables.members.put(b"\2\0\0\0\0\7", 5)
    tables.addresses.put(
        rows.AddressKey(IPv4Address("203.0.113.1"), 80, rows.PROTOCOL_TCP), rows.Address(1, 2)
    )
    assert list(stores["members"].pairs) == [bytes.fromhex("0200000000070000")]
    assert list(stores["addresses"].pairs) == [bytes.fromhex("cb007101 0050 06 00")]
    assert list(tables.members.items()) == [(b"\2\0\0\0\0\7", 5)]
    tables.deny.put(rows.Prefix(24, IPv4Address("192.0.2.0")), 1)
    assert next(iter(stores["deny"].pairs))[4:] == bytes([192, 0, 2, 0])


def test_rows_can_be_read_and_removed(tables: maps.Tables) -> None:
    key = ROWS["tuple"]
    row = ROWS["forward"]
    assert isinstance(key, rows.Tuple)
    assert isinstance(row, rows.Forward)
    assert tables.forward.get(key) is None
    tables.forward.put(key, row)
    assert tables.forward.get(key) == row
    assert tables.forward.count() == 1
    assert tables.forward.delete(key)
    assert not tables.forward.delete(key)


def test_counters_are_summed_over_cpus_and_named(
    tables: maps.Tables, stores: dict[str, Dictionary]
) -> None:
    number = layout.counter("SYN_ACK")
    store = stores.setdefault("counters", Dictionary())
    store.per_cpu[number.to_bytes(4, "little")] = [(2).to_bytes(8, "little")] * 2
    sums = {counter.name: total for counter, total in tables.counters()}
    assert sums["SYN_ACK"] == 4
    assert sums["DROP_DENIED"] == 0
    assert len(sums) == len(layout.header().counters)
    assert tables.counter(number) == 4


def test_a_row_class_may_not_invent_a_field() -> None:
    @dataclasses.dataclass(frozen=True)
    class Stranger:
        colour: int

    with pytest.raises(KeyError, match="no field colour"):
        Codec(Stranger, layout.layout("ipos_server"))
