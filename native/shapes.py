# SPDX-License-Identifier: Apache-2.0
"""Every map's key and value by its name in `lib/maps.h`, as rows of plain dicts.

`ipos.kernel.maps` has the tables that people and the agent read, as typed rows with what they need.
Here every field of every row can be read and written, as tests and the simulator need it.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ipos.abi import header_data
from ipos.abi.layout import Layout, layout

Row = Any
"""A dict of the struct's fields, or an integer where the map holds a plain one."""


@dataclass(frozen=True, slots=True)
class MapShape:
    """A map as the programs declare it. Sizes in bytes, 0 for a queue's key."""

    index: int
    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int


class Bytes(Protocol):
    """A map as bytes: of the kernel or of a native node."""

    def get(self, key: bytes) -> bytes | None: ...
    def get_per_cpu(self, key: bytes) -> list[bytes] | None: ...
    def update(self, key: bytes, value: bytes, /) -> bool: ...
    def delete(self, key: bytes) -> bool: ...
    def items(self) -> Iterator[tuple[bytes, bytes]]: ...
    def count(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Shape:
    """`key` and `value`: a struct, or the size in bytes of a plain integer in host order."""

    key: Layout | int
    value: Layout | int
    per_cpu: bool = False


def shape_of(name: str) -> Shape:
    """The shape of a map; KeyError for one that holds no rows (the queue, the ring, scratch)."""
    key, value, per_cpu = header_data.MAPS[name]
    return Shape(_layout(key), _layout(value), per_cpu)


def _layout(shape: str | int) -> Layout | int:
    return layout(shape) if isinstance(shape, str) else shape


def pack(shape: Layout | int, row: Row) -> bytes:
    """A key or a value as the map's bytes."""
    if isinstance(shape, int):
        return bytes(row.to_bytes(shape, sys.byteorder))
    return shape.pack(row)


def unpack(shape: Layout | int, raw: bytes) -> Row:
    """The map's bytes as a key or a value."""
    return int.from_bytes(raw, sys.byteorder) if isinstance(shape, int) else shape.unpack(raw)


class Rows:
    """A map of keys and rows. Fields not given are zero."""

    def __init__(self, store: Bytes, shape: Shape) -> None:
        self.store = store
        self._shape = shape

    def get(self, key: Row) -> Row | None:
        """The row, None where there is none; the sum over all CPUs where each has its own."""
        raw = pack(self._shape.key, key)
        if self._shape.per_cpu:
            return sum(unpack(self._shape.value, one) for one in self.store.get_per_cpu(raw) or [])
        value = self.store.get(raw)
        return None if value is None else unpack(self._shape.value, value)

    def __getitem__(self, key: Row) -> Row:
        row = self.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def __setitem__(self, key: Row, row: Row) -> None:
        self.store.update(pack(self._shape.key, key), pack(self._shape.value, row))

    def __delitem__(self, key: Row) -> None:
        if not self.store.delete(pack(self._shape.key, key)):
            raise KeyError(key)

    def __contains__(self, key: Row) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        return self.store.count()

    def items(self) -> Iterator[tuple[Row, Row]]:
        for key, value in self.store.items():
            yield unpack(self._shape.key, key), unpack(self._shape.value, value)
