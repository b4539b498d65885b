# SPDX-License-Identifier: Apache-2.0
"""Rows of connections written into a loaded data plane from outside, counted as its own are.

The data plane asks no table of connections whose count in the map `roles` is 0 (`lib/roles.h`), so
who writes such a row without a program, as a test or a benchmark does, counts it too. Nobody else
may run meanwhile: a count is read and written here in two steps.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ipos.abi.layout import constant, layout
from ipos.kernel.libbpf import Map

_MIX: Final = 0x9E3779B97F4A7C15
BITS: Final = 16
SLOTS: Final = constant("IPOS_ROLES")
ROLES: Final[Mapping[str, int]] = {
    "forward": constant("IPOS_ROLE_FORWARD"),
    "local": constant("IPOS_ROLE_LOCAL"),
    "connect": constant("IPOS_ROLE_CONNECT"),
    "holding": constant("IPOS_ROLE_HOLDING"),
}
"""What the rows of a map are counted as."""


def mix(key: bytes) -> int:
    """A number of 64 bits for a `struct ipos_tuple`, or `ipos_tuple6`, of 40 bytes."""
    if len(key) == layout("ipos_tuple6").size:
        return _mix6(key)
    client, service = (int.from_bytes(key[at : at + 4], sys.byteorder) for at in (0, 4))
    ports = [int.from_bytes(key[at : at + 2], sys.byteorder) for at in (8, 10)]
    return ((client << 32 | ports[0] << 16 | ports[1]) ^ service) * _MIX % 2**64


def _mix6(key: bytes) -> int:
    client, near, service, host = (
        int.from_bytes(key[at : at + 8], sys.byteorder) for at in (0, 8, 16, 24)
    )
    ports = [int.from_bytes(key[at : at + 2], sys.byteorder) for at in (32, 34)]
    mixed = client * _MIX % 2**64 ^ near
    mixed = (mixed ^ mixed >> 32) * _MIX % 2**64 ^ host ^ service >> 32
    mixed = mixed ^ mixed >> 32 ^ (ports[0] << 16 | ports[1]) << 24
    return mixed * _MIX % 2**64


def slot(key: bytes) -> int:
    """Where the connection of this tuple is counted."""
    return (mix(key) >> 46) % SLOTS


def count(word: int, name: str) -> int:
    """How many rows of the map's role a word of `roles` says there are."""
    return word >> ROLES[name] * BITS & (1 << BITS) - 1


def add(roles: Map, name: str, keys: Iterable[bytes], sign: int = 1) -> None:
    """Count rows of this map that were made, or with sign -1 that have gone."""
    for where, rows in Counter(map(slot, keys)).items():
        place = where.to_bytes(4, sys.byteorder)
        word = int.from_bytes(roles.get(place) or bytes(8), sys.byteorder)
        word += sign * rows << ROLES[name] * BITS
        roles.update(place, word.to_bytes(8, sys.byteorder))


class CountedMap:
    """One of the maps above as bytes, whose rows are counted when they come and go."""

    def __init__(self, rows: Map, roles: Map, name: str) -> None:
        self._rows, self._roles, self._name = rows, roles, name

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def get_per_cpu(self, key: bytes) -> list[bytes] | None:
        return self._rows.get_per_cpu(key)

    def update(self, key: bytes, value: bytes, /) -> bool:
        is_new = self._rows.get(key) is None
        done = self._rows.update(key, value)
        if is_new and done:
            add(self._roles, self._name, [key])
        return done

    def delete(self, key: bytes) -> bool:
        gone = self._rows.delete(key)
        if gone:
            add(self._roles, self._name, [key], -1)
        return gone

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self._rows.items()

    def count(self) -> int:
        return self._rows.count()
