# SPDX-License-Identifier: Apache-2.0
"""Every map's key and value by its name in `maps.h`, as rows of plain dicts.

`ipos.inic.maps` has the tables that people and the agent read, as typed rows with what they need;
here every field of every row can be read and written, which tests and the simulator want.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ipos.inic.layout import Layout, layout

Row = Any
"""A dict of the struct's fields, or an integer where the map holds a plain one."""


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


_TUPLE = layout("ipos_tuple")
_SHAPES: Mapping[str, Shape] = {
    "settings": Shape(4, layout("ipos_settings")),
    "servers": Shape(4, layout("ipos_server")),
    "services": Shape(4, layout("ipos_service")),
    "pools": Shape(4, layout("ipos_pool")),
    "url_bank": Shape(4, 4),
    "urls": Shape(4, layout("ipos_urls")),
    "patterns": Shape(4, layout("ipos_pattern")),
    "hosts": Shape(layout("ipos_host_key"), 4),
    "short_hosts": Shape(layout("ipos_short_host_key"), 4),
    "paths": Shape(layout("ipos_path_key"), layout("ipos_rule")),
    "sessions": Shape(4, layout("ipos_session")),
    "names": Shape(layout("ipos_name_key"), 4),
    "redirects": Shape(layout("ipos_redirect_key"), layout("ipos_redirect")),
    "cookie_keys": Shape(4, layout("ipos_epoch_key")),
    "session_keys": Shape(4, layout("ipos_epoch_key")),
    "cookies": Shape(layout("ipos_cookie_key"), layout("ipos_cookie")),
    "learning": Shape(_TUPLE, layout("ipos_learning")),
    "addresses": Shape(layout("ipos_address_key"), layout("ipos_address")),
    "slots": Shape(4, layout("ipos_slots")),
    "deny": Shape(layout("ipos_prefix"), 1),
    "members": Shape(8, 4),
    "forward": Shape(_TUPLE, layout("ipos_forward")),
    "local": Shape(_TUPLE, layout("ipos_endpoint")),
    "connect": Shape(_TUPLE, layout("ipos_endpoint")),
    "temporary": Shape(_TUPLE, layout("ipos_temporary")),
    "left_behind": Shape(_TUPLE, layout("ipos_left")),
    "holding": Shape(_TUPLE, layout("ipos_holding")),
    "inserting": Shape(_TUPLE, 8),
    "hold_pool": Shape(4, layout("ipos_chunk")),
    "traffic": Shape(4, layout("ipos_traffic")),
    "counters": Shape(4, 8, per_cpu=True),
}


def shape_of(name: str) -> Shape:
    """The shape of a map; KeyError for one that holds no rows (the queue, the ring, scratch)."""
    return _SHAPES[name]


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
