# SPDX-License-Identifier: Apache-2.0
"""The compiled libraries, one for each family of addresses, and the maps of a node as bytes."""

import ctypes
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from ipos.errors import IposError
from native.shapes import MapShape
from native.structures import SIGNATURES, RawMap

LIBRARIES: Final = {4: "libipos.so", 6: "libipos6.so"}
_E2BIG = 7


class NativeError(IposError):
    """The library is missing, or refuses what it was asked."""


@functools.cache
def library(family: int = 4) -> ctypes.CDLL:
    """A family's programs with their prototypes; a sentence when they were not compiled."""
    try:
        found = ctypes.CDLL(str(Path(__file__).with_name(LIBRARIES[family])))
    except OSError as error:
        raise NativeError(
            f"the native data plane cannot be opened ({error}): `make objects` compiles it"
        ) from None
    for name, (result, arguments) in SIGNATURES.items():
        if family == 6 and "quic" in name:
            continue  # of IPv4 alone
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


@functools.cache
def maps(family: int = 4) -> Mapping[str, MapShape]:
    """Every map of a family's programs by name."""
    found = {}
    for index in range(library(family).ipos_maps()):
        raw = RawMap()
        library(family).ipos_map_describe(index, ctypes.byref(raw))
        name = raw.name.decode()
        found[name] = MapShape(index, name, raw.type, raw.key_size, raw.value_size, raw.max_entries)
    return found


class Running(Protocol):
    """A node: what it is for the library, and which family's that is."""

    handle: int | None

    @property
    def library(self) -> ctypes.CDLL: ...


class Store:
    """One map of one node as bytes: what `ipos.kernel.maps` reads and writes."""

    def __init__(self, node: "Running", shape: MapShape) -> None:
        self._node = node
        self.shape = shape

    def get(self, key: bytes) -> bytes | None:
        value = ctypes.create_string_buffer(self.shape.value_size)
        missing = self._node.library.ipos_map_get(
            self._node.handle, self.shape.index, self._key(key), value
        )
        return None if missing else value.raw

    def get_per_cpu(self, key: bytes) -> list[bytes] | None:
        """A node has one CPU."""
        value = self.get(key)
        return None if value is None else [value]

    def totals(self, keys: Iterable[bytes]) -> list[int]:
        return [
            sum(int.from_bytes(value, sys.byteorder) for value in self.get_per_cpu(key) or [])
            for key in keys
        ]

    def update_per_cpu(self, key: bytes, values: Iterable[bytes]) -> None:
        self.update(key, next(iter(values)))

    def update_all(self, rows: Mapping[bytes, bytes]) -> None:
        for key, value in rows.items():
            self.update(key, value)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> bool:
        """False where the flags forbid it; NativeError when the map is full."""
        if len(value) != self.shape.value_size:
            raise NativeError(f"a value of {self.shape.name} has {self.shape.value_size} bytes")
        error = self._node.library.ipos_map_put(
            self._node.handle, self.shape.index, self._key(key), value, flags
        )
        if error == -_E2BIG:
            raise NativeError(f"{self.shape.name} is full or has no element {key.hex()}")
        return not error

    def delete(self, key: bytes) -> bool:
        return not self._node.library.ipos_map_remove(
            self._node.handle, self.shape.index, self._key(key)
        )

    def push(self, value: bytes) -> None:
        """Behind the last element of a queue."""
        self.update(b"", value)

    def pop(self) -> bytes | None:
        """The first element of a queue, None when it is empty."""
        value = ctypes.create_string_buffer(self.shape.value_size)
        empty = self._node.library.ipos_map_pop(self._node.handle, self.shape.index, value)
        return None if empty else value.raw

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self._keys():
            value = self.get(key)
            if value is not None:
                yield key, value

    def items_per_cpu(self) -> Iterator[tuple[bytes, list[bytes]]]:
        for key, value in self.items():
            yield key, [value]

    def count(self) -> int:
        """Rows of a hash, elements of a queue."""
        return int(self._node.library.ipos_map_count(self._node.handle, self.shape.index))

    def _keys(self) -> list[bytes]:
        found: list[bytes] = []
        following = ctypes.create_string_buffer(max(self.shape.key_size, 4))
        key: bytes | None = None
        while self._node.library.ipos_map_next(self._node.handle, self.shape.index, key, following):
            key = following.raw[: self.shape.key_size]
            found.append(key)
        return found

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.shape.key_size:
            raise NativeError(f"a key of {self.shape.name} has {self.shape.key_size} bytes")
        return key
