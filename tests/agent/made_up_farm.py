# SPDX-License-Identifier: Apache-2.0
"""A farm of values: configuration, states and members for tests of the agent's pure parts."""

import errno
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.agent.heartbeat import message
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import Listening, State
from ipos.config import schema
from ipos.config.schema import Config, Farm, Server, Service
from ipos.kernel.libbpf.errors import MapError
from ipos.kernel.maps import Tables

KEY = bytes(range(16))
MS = 1_000_000
NOW_NS = 100_000 * MS
WALL_MS = 1_700_000_000_000


def back(number: int) -> IPv4Address:
    return IPv4Address("10.77.0.0") + number


def front(number: int) -> IPv4Address:
    return IPv4Address("203.0.113.0") + number


def config(*services: Service, **parts: Any) -> Config:
    """s1's configuration of a farm of three."""
    return Config(
        farm=Farm(
            name="shop",
            secret_file=Path("farm.key"),
            members=[back(n) for n in (1, 2, 3)],
            limits=schema.Limits(),
        ),
        server=Server(name="s1", front="front", back="back", addresses=[front(1)]),
        service=list(services) or [Service(name="web", port=80)],
        **parts,
    )


def server_rows(found: Mapping[int, bytes]) -> dict[int, rows.Server]:
    """Rows of Server state as they are read."""
    codec = Codec(rows.Server)
    return {index: codec.decode(row) for index, row in found.items()}


def state(number: int, **changes: Any) -> State:
    """What server `number` says of itself; everything listens and is well."""
    said = State(
        farm="shop",
        server=f"s{number}",
        boot=WALL_MS - 1000,
        sequence=1,
        sent_ms=WALL_MS,
        state=1,
        back_ip=int(back(number)),
        mac=bytes((2, 0, 0, 0)) + number.to_bytes(2),
        addresses=[int(front(number))],
        tcp_connections=10 * number,
        cpu_permille=min(100 * number, 1000),
        memory_available=number << 30,
        bandwidth_available=1_000_000_000,
        services=["web"],
        listening=[Listening(0, 80, 4711, "nginx")],
    )
    return msgspec.structs.replace(said, **changes)


def datagram(number: int, **changes: Any) -> bytes:
    return message.encode(state(number, **changes), KEY)


def members(**options: Any) -> Members:
    """s1's view of the farm, before it has heard anybody."""
    made = Members("shop", KEY, back(1), **options)
    made.expect([back(n) for n in (1, 2, 3)])
    return made


class Memory:
    """Maps without a kernel, that count what is written to them."""

    def __init__(self) -> None:
        self.writes = 0
        self._stores: dict[str, Store] = {}

    def tables(self) -> Tables:
        return Tables(Path("maps"), self._open)

    def _open(self, path: Path) -> "Store":
        return self.store(path.name)

    def store(self, name: str) -> "Store":
        return self._stores.setdefault(name, Store(self))


class Store:
    """One map of a `Memory`."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.most = 1 << 30
        """Rows that there is room for."""
        self._pairs: dict[bytes, bytes] = {}
        self.per_cpu: dict[bytes, list[bytes]] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._pairs.get(key)

    def update(self, key: bytes, value: bytes) -> bool:
        if key not in self._pairs and len(self._pairs) >= self.most:
            raise MapError(f"map is full ({self.most} entries)", errno.ENOSPC)
        self._memory.writes += 1
        self._pairs[key] = value
        return True

    def delete(self, key: bytes) -> bool:
        self._memory.writes += 1
        return self._pairs.pop(key, None) is not None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self._pairs.items()))

    def count(self) -> int:
        return len(self._pairs)

    def update_per_cpu(self, key: bytes, values: Iterable[bytes]) -> None:
        self.per_cpu[key] = list(values)

    def get_per_cpu(self, key: bytes) -> list[bytes] | None:
        return self.per_cpu.get(key)

    def totals(self, keys: Iterable[bytes]) -> list[int]:
        return [0 for _ in keys]

    def update_all(self, rows: Mapping[bytes, bytes]) -> None:
        for key, value in rows.items():
            self.update(key, value)

    def items_per_cpu(self) -> Iterator[tuple[bytes, list[bytes]]]:
        return iter(())
