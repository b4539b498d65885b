# SPDX-License-Identifier: Apache-2.0
"""A dataclass as a table of fields: it encodes, decodes, checks, and says where an error is.

A field says where it lies in its own annotation, and nothing says it a second time::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Header:
        source_ip: Annotated[IPv4Address, At(0, 4)]
        source_port: Annotated[int, At(4, 2)]

A `Layout` reads these annotations, once, and refuses a table with a gap or an overlap: bytes that
no field owns are listed as ``zero`` or as ``computed`` (checksums and tags, which are functions of
the rest and no part of the value). Fields without an `At` are not its business.

``struct`` format strings were the alternative: they say neither names nor offsets, and an error
has to say both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Generic, TypeVar, get_type_hints

from ipos.wire.cursor import Cursor
from ipos.wire.errors import WireError

T = TypeVar("T")
Address = IPv4Address | IPv6Address
"""A client's or a service's: 4 bytes, or 16 in a layout that `Layout.of_six` has made."""


_MORE = 12
"""Bytes that an address of IPv6 has more."""


@dataclass(frozen=True, slots=True)
class At:
    """The place of a field: first byte and size in bytes; of a number, also the range allowed in
    it."""

    offset: int
    size: int
    least: int = 0
    most: int | None = None  # default: all that the size can hold

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table; ``kind`` is ``int`` or an enumeration, ``IPv4Address``, ``Address``, or
    ``bytes``."""

    name: str
    at: At
    kind: Any

    @property
    def called(self) -> str:
        return "IPv4Address or IPv6Address" if self.kind == Address else str(self.kind.__name__)

    def to_bytes(self, value: Any) -> bytes:
        if isinstance(value, IPv4Address | IPv6Address):
            return value.packed
        if isinstance(value, bytes):
            return value
        return int(value).to_bytes(self.at.size, "big")

    def from_bytes(self, raw: bytes) -> Any:
        """The value; ``ValueError`` for a number that its enumeration does not have."""
        if self.kind == Address:
            return IPv4Address(raw) if self.at.size == 4 else IPv6Address(raw)
        if issubclass(self.kind, int):
            return self.kind(int.from_bytes(raw, "big"))
        return self.kind(raw)

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, ``None`` if nothing is."""
        if not isinstance(value, self.kind):
            return f"must be {self.called}, not {value!r}"
        if isinstance(value, bytes) and len(value) != self.at.size:
            return f"must be {self.at.size} bytes, not {len(value)}"
        if isinstance(value, int):
            least = self.at.least
            most = (1 << 8 * self.at.size) - 1 if self.at.most is None else self.at.most
            if not least <= value <= most:
                allowed = f"{least} to {most}" if least < most else f"{least}"
                return f"must be {allowed}, not {int(value)}"
        return None


class Layout(Generic[T]):
    """The bytes of one dataclass: ``rows`` are all of them in order, ``fields`` the value's own."""

    def __init__(
        self,
        value_type: type[T],
        size: int,
        *,
        zero: tuple[At, ...] = (),
        computed: Mapping[str, At] | None = None,
    ) -> None:
        self.value_type = value_type
        self.size = size
        self.fields = tuple(_annotated_rows(value_type))
        self._zero = tuple(Row("zero", at, bytes) for at in zero)
        self._computed = {name: Row(name, at, bytes) for name, at in (computed or {}).items()}
        rows = (*self.fields, *self._zero, *self._computed.values())
        self.rows = tuple(sorted(rows, key=lambda row: row.at.offset))
        self._require_every_byte_once()

    def of_six(self) -> Layout[T]:
        """The same with 16 bytes for each ``Address``: what follows it moves by 12."""
        wide = Layout.__new__(Layout)
        grown = sorted(row.at.offset for row in self.fields if row.kind == Address)

        def moved(row: Row) -> Row:
            more = _MORE * sum(offset < row.at.offset for offset in grown)
            size = row.at.size + _MORE * (row.kind == Address)
            return replace(row, at=replace(row.at, offset=row.at.offset + more, size=size))

        wide.value_type, wide.size = self.value_type, self.size + _MORE * len(grown)
        wide.fields = tuple(map(moved, self.fields))
        wide._zero = tuple(map(moved, self._zero))
        wide._computed = {name: moved(row) for name, row in self._computed.items()}
        wide.rows = tuple(map(moved, self.rows))
        wide._require_every_byte_once()
        return wide

    def place(self, name: str) -> At:
        """Where the field of this name lies."""
        return next(row.at for row in self.rows if row.name == name)

    def check(self, value: T) -> None:
        """For ``__post_init__``: ``ValueError`` unless every field fits its place."""
        for row in self.fields:
            problem = row.problem(getattr(value, row.name))
            if problem:
                raise ValueError(f"{self.value_type.__name__}.{row.name} {problem}")

    def encode(self, value: T, **computed: bytes) -> bytes:
        """All ``size`` bytes; computed fields are zero unless given."""
        raw = bytearray(self.size)
        for row in self.fields:
            raw[row.at.offset : row.at.end] = row.to_bytes(getattr(value, row.name))
        for name, content in computed.items():
            at = self._computed[name].at
            raw[at.offset : at.end] = content
        return bytes(raw)

    def take(self, cursor: Cursor) -> bytes:
        """All ``size`` bytes; ``WireError`` names the first field that is not all there."""
        return b"".join(cursor.take(row.name, row.at.size) for row in self.rows)

    def decode(self, raw: bytes, base: int, **others: Any) -> T:
        """The value of bytes that began at ``base``; ``others`` are its fields without a place."""
        values: dict[str, Any] = {}
        for row in self.fields:
            content = raw[row.at.offset : row.at.end]
            try:
                value = row.from_bytes(content)
                problem = row.problem(value)
            except ValueError:
                problem = f"0x{content.hex()} is no {row.called}"
            if problem:
                raise WireError(row.name, base + row.at.offset, problem)
            values[row.name] = value
        for row in self._zero:
            if any(raw[row.at.offset : row.at.end]):
                raise WireError(row.name, base + row.at.offset, "must be zero")
        return self.value_type(**values, **others)

    def _require_every_byte_once(self) -> None:
        end = 0
        for row in self.rows:
            if row.at.offset != end:
                raise TypeError(
                    f"{self.value_type.__name__}.{row.name} is at byte {row.at.offset}, "
                    f"and the field before it ends at {end}"
                )
            end = row.at.end
        if end != self.size:
            raise TypeError(f"{self.value_type.__name__} has {end} bytes, not {self.size}")


def _annotated_rows(value_type: type[Any]) -> list[Row]:
    hints = get_type_hints(value_type, include_extras=True)
    return [
        Row(name, at, hint.__origin__)
        for name, hint in hints.items()
        for at in getattr(hint, "__metadata__", ())
        if isinstance(at, At)
    ]
