# SPDX-License-Identifier: Apache-2.0
"""A connection table in which old rows are found and removed."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from ipos.abi.columns import Columns, Since
from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.errors import MapError
from ipos.kernel.libbpf.map_store import Map

R = TypeVar("R", bound=tuple[Any, ...])
Old = list[tuple[bytes, R]]


class RowTable(Generic[R]):
    """Keys are bytes, rows are what `columns` reads; `since` tells a row's age."""

    def __init__(
        self,
        table: Map,
        columns: Columns[R],
        since: Since,
        taken: Callable[[bytes], None] | None = None,
    ) -> None:
        """taken: is told the key of each row that was taken away for good."""
        self._table = table
        self._columns = columns
        self._since = since
        self._taken = taken
        self._position: bytes | None = None
        self._due_ns = 0

    def get(self, key: bytes) -> R | None:
        raw = self._table.get(key)
        return None if raw is None else self._columns.read(raw)

    def take(self, key: bytes, still: Callable[[R], bool]) -> R | None:
        """Remove the row if `still` is true of it; None when it is kept, or gone already."""
        raw = self._table.take(key)
        if raw is None:
            return None
        row = self._columns.read(raw)
        if not still(row) and self._put_back(key, raw):
            return None
        if self._taken is not None:
            self._taken(key)
        return row

    def take_by(self, key: bytes, remove: Callable[[R], bool]) -> R | None:
        """Remove the row by `remove`, as it was read; None when it is kept, or gone."""
        row = self.get(key)
        if row is None or not remove(row):
            return None
        if self._taken is not None:
            self._taken(key)
        return row

    def walk(self, before_ns: int) -> Iterator[Old[R]]:
        """The rows of the whole table that are older than this, in batches."""
        return self.find(lambda values: self._since.before(values, before_ns))

    def find(self, which: Callable[[bytes], list[int]]) -> Iterator[Old[R]]:
        """The rows of the whole table, in batches, that are at these places of their batch."""
        position: bytes | None = None
        while True:
            keys, values, position = self._table.block(position)
            yield self._rows(keys, values, which(values))
            if position is None:
                return

    def stroll(self, before_ns: int, now_ns: int, again_ns: int) -> Old[R]:
        """The old rows of the next batch only. A new walk begins at most once in `again_ns`."""
        if self._position is None:
            if now_ns < self._due_ns:
                return []
            self._due_ns = now_ns + again_ns
        keys, values, self._position = self._table.block(self._position)
        return self._rows(keys, values, self._since.before(values, before_ns))

    def _rows(self, keys: bytes, values: bytes, places: list[int]) -> Old[R]:
        key, value = self._table.key_size, self._table.value_size
        return [
            (
                keys[place * key : (place + 1) * key],
                self._columns.read(values[place * value : (place + 1) * value]),
            )
            for place in places
        ]

    def _put_back(self, key: bytes, raw: bytes) -> bool:
        """Put a row back; False when another row has come in its place: then it is lost."""
        try:
            return self._table.update(key, raw, syscall.NOEXIST)
        except MapError:
            return False
