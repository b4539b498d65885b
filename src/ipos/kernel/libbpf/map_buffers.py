# SPDX-License-Identifier: Apache-2.0
"""Calls on maps that are made very often, with buffers that are laid out once."""

import threading
from collections.abc import Mapping, Sequence

from ipos.kernel.libbpf.syscall import ANY, BATCH, ELEMENT, FLAGS, Command, address_of, call


class Element:
    """Lookups and updates of one map, with buffers and attributes that are made once.

    The agent does some hundred of them a second, and making a buffer costs more than the call.
    """

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self._key, self._value = bytearray(key_size), bytearray(value_size)
        places = address_of(self._key), address_of(self._value)
        self._attributes = bytearray(ELEMENT.pack(fd, *places, 0))
        self._where = address_of(self._attributes)
        self._lock = threading.Lock()

    def lookup(self, key: bytes) -> bytes:
        with self._lock:
            self._key[:] = key
            FLAGS.pack_into(self._attributes, ELEMENT.size - FLAGS.size, ANY)
            call(Command.MAP_LOOKUP, self._where, ELEMENT.size)
            return bytes(self._value)

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Also the push of a queue or stack, with an empty key."""
        with self._lock:
            self._key[:], self._value[:] = key, value
            FLAGS.pack_into(self._attributes, ELEMENT.size - FLAGS.size, flags)
            call(Command.MAP_UPDATE, self._where, ELEMENT.size)

    def push_all(self, values: bytes) -> None:
        """Push values that stand end to end, in their order; a new data plane has 65,536 of them.

        What differs from as many calls of `update` is what Python does between them.
        """
        size = len(self._value)
        with self._lock:
            FLAGS.pack_into(self._attributes, ELEMENT.size - FLAGS.size, ANY)
            for at in range(0, len(values), size):
                self._value[:] = values[at : at + size]
                call(Command.MAP_UPDATE, self._where, ELEMENT.size)


class Same:
    """Lookups of the same few keys again and again: only the calls are left to be done."""

    def __init__(self, fd: int, keys: Sequence[bytes], value_size: int) -> None:
        self._keys = [bytearray(key) for key in keys]
        self._values = bytearray(value_size * len(keys))
        start = address_of(self._values)
        self._attributes = [
            bytearray(ELEMENT.pack(fd, address_of(key), start + nth * value_size, ANY))
            for nth, key in enumerate(self._keys)
        ]
        self._where = [address_of(each) for each in self._attributes]
        self._lock = threading.Lock()

    def lookup(self) -> bytes:
        """The values, end to end."""
        with self._lock:
            for where in self._where:
                call(Command.MAP_LOOKUP, where, ELEMENT.size)
            return bytes(self._values)


class Block:
    """The first values of an array, and several updates, in one call: as `Element`, for many."""

    def __init__(self, fd: int, key_size: int, value_size: int, count: int) -> None:
        self._fd, self._key_size, self._value_size = fd, key_size, value_size
        self._position = bytearray(max(8, key_size))
        self._keys, self._values = bytearray(key_size * count), bytearray(value_size * count)
        self._attributes = bytearray(BATCH.size)
        self._where = address_of(self._attributes)
        self._places = address_of(self._position), address_of(self._keys), address_of(self._values)
        self._lock = threading.Lock()

    def lookup(self, count: int, flags: int = 0) -> bytes:
        with self._lock:
            BATCH.pack_into(self._attributes, 0, 0, *self._places, count, self._fd, flags, 0)
            call(Command.MAP_LOOKUP_BATCH, self._where, BATCH.size)
            return bytes(memoryview(self._values)[: count * self._value_size])

    def update(self, rows: Mapping[bytes, bytes]) -> None:
        with self._lock:
            count = len(rows)
            self._keys[: count * self._key_size] = b"".join(rows)
            self._values[: count * self._value_size] = b"".join(rows.values())
            BATCH.pack_into(self._attributes, 0, 0, *self._places, count, self._fd, 0, 0)
            call(Command.MAP_UPDATE_BATCH, self._where, BATCH.size)
