# SPDX-License-Identifier: Apache-2.0
"""What all rows have in common: columns that check themselves, a key, and JSON.

A column's annotation says all there is to say about it: its type, and for numbers the range, in
one of the aliases below. Units: memory in bytes, bandwidth in bits per second, times in seconds;
a point in time is Unix time, so that rows of different servers compare.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Flag, StrEnum
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers a column takes, both ends included."""

    least: float
    most: float


Address = IPv4Address | IPv6Address
Port = Annotated[int, Range(0, 0xFFFF)]
SequenceNumber = Annotated[int, Range(0, 0xFFFF_FFFF)]
Count = Annotated[int, Range(0, 0xFFFF_FFFF_FFFF_FFFF)]
Weight = Annotated[int, Range(0, 0xFFFF)]
ProcessId = Annotated[int, Range(1, 0x7FFF_FFFF)]
Fraction = Annotated[float, Range(0.0, 1.0)]
Seconds = Annotated[float, Range(0.0, float(1 << 53))]  # finite, as JSON is

Json = str | int | float | bool | list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table; ``ValueError`` names the column that holds what it cannot."""

    KEY: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        row: Any = type(self)  # not type[Self]: mypy takes such a class for unhashable
        for name, (types, allowed) in _columns(row).items():
            problem = _problem(getattr(self, name), types, allowed)
            if problem:
                raise ValueError(f"{type(self).__name__}.{name} {problem}")

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The names of all columns, in order."""
        return tuple(column.name for column in fields(cls))

    @property
    def key(self) -> tuple[Any, ...]:
        """The values of the key's columns: one row of a table has them."""
        return tuple(getattr(self, name) for name in self.KEY)

    def as_json(self) -> dict[str, Json]:
        """The columns in order: addresses as text, options as a list of names, times as numbers."""
        return {name: _json(getattr(self, name)) for name in self.columns()}


def _json(value: Any) -> Json:
    match value:
        case IPv4Address() | IPv6Address():
            return str(value)
        case Flag():
            return [str(member.name).lower() for member in value]
        case StrEnum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"no column holds a {type(value).__name__}")


def _problem(value: Any, types: tuple[type[Any], ...], allowed: Range | None) -> str | None:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        return f"must be {' or '.join(kind.__name__ for kind in types)}, not {value!r}"
    if value == "":
        return "must not be empty"
    if allowed and value is not None and not allowed.least <= value <= allowed.most:
        return f"must be {allowed.least} to {allowed.most}, not {value}"
    return None


@cache
def _columns(row: type[Any]) -> dict[str, tuple[tuple[type[Any], ...], Range | None]]:
    """Column name -> the types its annotation allows, and the range."""
    hints = get_type_hints(row, include_extras=True)
    return {name: _parse(hints[name]) for name in row.columns()}


def _parse(hint: Any) -> tuple[tuple[type[Any], ...], Range | None]:
    if get_origin(hint) in (Union, UnionType):
        parts = [_parse(part) for part in get_args(hint)]
        types = tuple(kind for kinds, _ in parts for kind in kinds)
        return types, next((allowed for _, allowed in parts if allowed), None)
    if get_origin(hint) is Annotated:
        kind, allowed = get_args(hint)
        # Typing's own rule (PEP 484): where a float is expected, an int will do.
        return ((float, int) if kind is float else (kind,)), allowed
    return (hint,), None
