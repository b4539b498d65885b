# SPDX-License-Identifier: Apache-2.0
"""Rows of a map to the bytes of their struct, and back."""

import dataclasses
import typing
from collections.abc import Callable
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address
from typing import Any, Generic, TypeVar

from ipos.inic.layout import Layout, layout
from ipos.inic.rows import Candidate, Policy, Pool, Session

T = TypeVar("T")


class Codec(Generic[T]):
    """A row class and its struct: values to the map's bytes and back.

    Fields of the struct that the class leaves out are written as zero. ValueError for a value
    that does not fit or bytes of another length.
    """

    def __init__(self, row: type[T], shape: Layout) -> None:
        self.row = row
        self.shape = shape
        hints = typing.get_type_hints(row)
        self._readers: dict[str, Callable[[Any], Any]] = {}
        self._writers: dict[str, Callable[[Any], Any]] = {}
        for field in dataclasses.fields(row):  # type: ignore[arg-type]
            shape.field(field.name)
            self._readers[field.name], self._writers[field.name] = _converters(hints[field.name])

    def encode(self, row: T) -> bytes:
        return self.shape.pack(
            {name: write(getattr(row, name)) for name, write in self._writers.items()}
        )

    def decode(self, raw: bytes) -> T:
        values = self.shape.unpack(raw)
        return self.row(**{name: read(values[name]) for name, read in self._readers.items()})


class PoolCodec(Codec[Pool]):
    """`count` is how many of the struct's candidates are in use; the others are not looked at."""

    def __init__(self) -> None:
        super().__init__(Pool, layout("ipos_pool"))
        self._unused = bytes(self.shape.size)
        self._candidate = Codec(Candidate, layout("ipos_candidate"))
        self._head = [self.shape.field(name) for name in ("policy", "count", "turn", "firsts")]
        self._at = self.shape.field("candidates").offset

    def encode(self, row: Pool) -> bytes:
        count = len(row.candidates)
        head = {"policy": row.policy, "count": count, "turn": row.turn, "firsts": row.firsts}
        candidates = b"".join(map(self._candidate.encode, row.candidates))
        whole = self.shape.pack(head)[: self._at] + candidates
        if len(whole) > self.shape.size:
            raise ValueError(f"a pool has no room for {count} candidates")
        return whole.ljust(self.shape.size, b"\0")

    def decode(self, raw: bytes) -> Pool:
        if raw == self._unused:  # most of the array; an agent reads all of it when it starts
            return Pool(Policy(0), (), firsts=0)
        policy, count, turn, firsts = (
            field.unpack(raw[field.offset : field.offset + field.size]) for field in self._head
        )
        size = self._candidate.shape.size
        rows = raw[self._at : self._at + count * size]
        candidates = (
            self._candidate.decode(rows[at : at + size]) for at in range(0, len(rows), size)
        )
        return Pool(Policy(policy), tuple(candidates), turn, firsts)


class SessionCodec(Codec[Session]):
    """The lengths of `name` and `line` stand beside them."""

    def __init__(self) -> None:
        super().__init__(Session, layout("ipos_session"))

    def encode(self, row: Session) -> bytes:
        values = {name: write(getattr(row, name)) for name, write in self._writers.items()}
        for name in ("name", "line"):
            room = self.shape.field(name).size
            if len(values[name]) > room:
                raise ValueError(f"a session's {name} has {len(values[name])} bytes, not {room}")
            values[f"{name}_len"] = len(values[name])
            values[name] = values[name].ljust(room, b"\0")
        return self.shape.pack(values)

    def decode(self, raw: bytes) -> Session:
        values = self.shape.unpack(raw)
        for name in ("name", "line"):
            values[name] = values[name][: values[f"{name}_len"]]
        return Session(**{name: read(values[name]) for name, read in self._readers.items()})


def _same(value: Any) -> Any:
    return value


def _converters(hint: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """How a field of this type is read from what the layout gives, and written back."""
    if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(typing.get_args(hint)[0]):
        read, write = _converters(typing.get_args(hint)[0])
        return lambda values: tuple(map(read, values)), lambda rows: [write(row) for row in rows]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        codec: Codec[Any] = Codec(hint, layout(f"ipos_{hint.__name__.lower()}"))
        return (
            lambda value: codec.decode(codec.shape.pack(value)),
            lambda row: codec.shape.unpack(codec.encode(row)),
        )
    if isinstance(hint, type) and issubclass(hint, (IPv4Address, bool, IntEnum, IntFlag)):
        return hint, int
    return _same, _same
