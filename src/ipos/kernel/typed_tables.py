# SPDX-License-Identifier: Apache-2.0
"""A map of the kernel as a table of typed keys and values."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from ipos.abi import rows
from ipos.abi.layout import layout

K = TypeVar("K")
V = TypeVar("V")


class Store(Protocol):
    """A map as bytes: `ipos.kernel.libbpf.map_store.Map`, or a stand-in of a test."""

    def get(self, key: bytes) -> bytes | None: ...
    def get_per_cpu(self, key: bytes) -> list[bytes] | None: ...
    def update_per_cpu(self, key: bytes, values: Iterable[bytes], /) -> None: ...
    def totals(self, keys: Sequence[bytes], /) -> list[int]: ...
    def update(self, key: bytes, value: bytes, /) -> bool: ...
    def update_all(self, rows: Mapping[bytes, bytes], /) -> None: ...
    def delete(self, key: bytes) -> bool: ...
    def items(self) -> Iterator[tuple[bytes, bytes]]: ...
    def items_per_cpu(self) -> Iterator[tuple[bytes, list[bytes]]]: ...
    def count(self) -> int: ...


class Coding(Protocol[K]):
    """Values of one type to bytes of one length, and back."""

    def encode(self, row: K, /) -> bytes: ...
    def decode(self, raw: bytes, /) -> K: ...


class Index:
    """The key of an array, and any other plain integer."""

    def __init__(self, size: int = 4) -> None:
        self.size = size

    def encode(self, row: int) -> bytes:
        return row.to_bytes(self.size, sys.byteorder)

    def decode(self, raw: bytes) -> int:
        return int.from_bytes(raw, sys.byteorder)


class Raw:
    """A value that is made and read elsewhere."""

    def encode(self, row: bytes) -> bytes:
        return row

    def decode(self, raw: bytes) -> bytes:
        return raw


class Mac:
    """The key of `members`: a MAC address and two bytes of zero."""

    def encode(self, row: bytes) -> bytes:
        return row.ljust(8, b"\0")

    def decode(self, raw: bytes) -> bytes:
        return raw[:6]


class Member:
    """The value of `members`: a server's index in two bytes, and two of zero."""

    def encode(self, row: int) -> bytes:
        return row.to_bytes(2, sys.byteorder) + b"\0\0"

    def decode(self, raw: bytes) -> int:
        return int.from_bytes(raw[:2], sys.byteorder)


class Table(Generic[K, V]):
    """A map of typed keys and values. MapError when the kernel refuses."""

    def __init__(self, store: Store, key: Coding[K], value: Coding[V]) -> None:
        self._store = store
        self._key = key
        self._value = value

    def get(self, key: K) -> V | None:
        raw = self._store.get(self._key.encode(key))
        return None if raw is None else self._value.decode(raw)

    def put(self, key: K, value: V) -> None:
        self._store.update(self._key.encode(key), self._value.encode(value))

    def put_all(self, rows: Mapping[K, V]) -> None:
        """In one call."""
        keys, values = map(self._key.encode, rows), map(self._value.encode, rows.values())
        self._store.update_all(dict(zip(keys, values, strict=True)))

    def delete(self, key: K) -> bool:
        """False when there was no such row."""
        return self._store.delete(self._key.encode(key))

    def items(self) -> Iterator[tuple[K, V]]:
        for key, value in self._store.items():
            yield self._key.decode(key), self._value.decode(value)

    def count(self) -> int:
        return self._store.count()


_HOST = layout("ipos_host_key")
_SHORT_HOST = layout("ipos_short_host_key")


class Hosts:
    """The host patterns of the URL map. Short names have a map of their own."""

    def __init__(self, long: Table[rows.HostKey, int], short: Table[rows.HostKey, int]) -> None:
        self._long = long
        self._short = short

    def _table(self, key: rows.HostKey) -> Table[rows.HostKey, int]:
        room = _SHORT_HOST.field("name").size
        return self._short if len(key.name.rstrip(b"\0")) <= room else self._long

    def put(self, key: rows.HostKey, pattern: int) -> None:
        self._table(key).put(key, pattern)

    def delete(self, key: rows.HostKey) -> bool:
        """False when there was no such row."""
        return self._table(key).delete(key)

    def items(self) -> Iterator[tuple[rows.HostKey, int]]:
        """Names without the zeros behind them."""
        for table in (self._short, self._long):
            for key, pattern in table.items():
                yield replace(key, name=key.name.rstrip(b"\0")), pattern

    def count(self) -> int:
        return self._short.count() + self._long.count()


class PerCpuTable(Generic[V]):
    """An array with a value for each CPU."""

    def __init__(self, store: Store, value: Coding[V]) -> None:
        self._store = store
        self._key = Index()
        self._value = value

    def get(self, index: int) -> list[V]:
        """The value of every CPU."""
        raw = self._store.get_per_cpu(self._key.encode(index)) or []
        return [self._value.decode(one) for one in raw]

    def totals(self, indices: Iterable[int]) -> list[int]:
        """The sums over the CPUs of a map whose values are numbers of 8 bytes."""
        return self._store.totals([self._key.encode(index) for index in indices])

    def items(self) -> Iterator[tuple[int, list[V]]]:
        for key, values in self._store.items_per_cpu():
            yield self._key.decode(key), [self._value.decode(one) for one in values]
