# SPDX-License-Identifier: Apache-2.0
"""Rows of a map to the bytes of their struct, and back."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Generic, TypeVar

from ipos.abi.layout import Field, Layout, layout

T = TypeVar("T")


class Codec(Generic[T]):
    """A class of `ipos.abi.rows` and its struct: values to the map's bytes and back.

    What only fills space is written as zero. ValueError for a value that does not fit or bytes of
    another length. A number that its enum does not have stays a number.
    """

    def __init__(self, row: type[T], shape: Layout | None = None) -> None:
        """`shape`: of a struct that differs from the row's own in an array's length."""
        self.row = row
        self.shape = shape or layout(row.STRUCT)  # type: ignore[attr-defined]
        self._counted: Mapping[str, str] = getattr(row, "COUNTED", {})
        names = [field.name for field in dataclasses.fields(row)]  # type: ignore[arg-type]
        self._fields = [self.shape.field(name) for name in names]
        hints = typing.get_type_hints(row)
        self._readers: dict[str, Callable[[Any], Any]] = {}
        self._writers: dict[str, Callable[[Any], Any]] = {}
        for name in names:
            self._readers[name], self._writers[name] = _converters(hints[name])
        self._unused = bytes(self.shape.size)
        self._none: T | None = None

    def encode(self, row: T) -> bytes:
        values = {name: write(getattr(row, name)) for name, write in self._writers.items()}
        for name, counter in self._counted.items():
            room, used = self.shape.field(name).count or 0, len(values[name])
            if used > room:
                raise ValueError(
                    f"struct {self.shape.name}: {name} has room for {room}, not {used}"
                )
            values[counter] = used
        return self.shape.pack(values)

    def decode(self, raw: bytes) -> T:
        if raw == self._unused:  # most of an array; an agent reads all of it when it starts
            if self._none is None:
                self._none = self._row(self._used(raw))
            return self._none
        return self._row(self._used(raw) if self._counted else self.shape.unpack(raw))

    def _row(self, values: Mapping[str, Any]) -> T:
        return self.row(**{name: read(values[name]) for name, read in self._readers.items()})

    def _used(self, raw: bytes) -> dict[str, Any]:
        """As `unpack`, but of an array only what is in use is looked at."""
        if len(raw) != self.shape.size:
            raise ValueError(f"struct {self.shape.name} is {self.shape.size} bytes, not {len(raw)}")
        values = {}
        for field in self._fields:
            end = field.offset + field.size
            if field.name in self._counted:
                count = _value(self.shape.field(self._counted[field.name]), raw)
                end = min(end, field.offset + count * field.element.size)
            values[field.name] = field.unpack(raw[field.offset : end])
        return values


def _value(field: Field, raw: bytes) -> Any:
    return field.unpack(raw[field.offset : field.offset + field.size])


def _same(value: Any) -> Any:
    return value


def _converters(hint: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """How a field of this type is read from what the layout gives, and written back."""
    if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(typing.get_args(hint)[0]):
        read, write = _converters(typing.get_args(hint)[0])
        return lambda values: tuple(map(read, values)), lambda rows: [write(row) for row in rows]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        codec: Codec[Any] = Codec(hint)
        return (
            lambda value: codec.decode(codec.shape.pack(value)),
            lambda row: codec.shape.unpack(codec.encode(row)),
        )
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        known = {member.value: member for member in hint}
        return lambda value: known.get(value, value), int
    if isinstance(hint, type) and issubclass(hint, (IPv4Address, IPv6Address, bool, IntFlag)):
        return hint, int
    return _same, _same
