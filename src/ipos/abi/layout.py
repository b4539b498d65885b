# SPDX-License-Identifier: Apache-2.0
"""The data plane's headers as values: constants, enums, struct layouts, counters.

The headers define everything that the data plane shares with other programs, and Python does not
define it again: `make abi` writes `header_data` and `rows` from them, and a test compares the
offsets with those that a C compiler prints. Names here are those of the headers, `IPOS_...` and
`ipos_...`.
"""

import functools
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from ipos.abi import header_data

_HOST = "<" if sys.byteorder == "little" else ">"


@dataclass(frozen=True, slots=True)
class Counter:
    """One element of the map `counters`: its number never changes its meaning."""

    number: int
    name: str
    text: str

    @property
    def is_drop(self) -> bool:
        return self.name.startswith("DROP_")


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a struct. `count` is None for a scalar, else the array's length.

    A scalar integer is a Python int; an array of `__u8` is bytes; any other array is a tuple;
    a nested struct is a dict.
    """

    name: str
    offset: int
    size: int
    element: "Integer | Wide | Layout"
    count: int | None

    def pack(self, value: Any) -> bytes:
        if self.count is None:
            return self.element.pack(value)
        if self.is_bytes:
            raw = bytes(value)
        else:
            raw = b"".join(self.element.pack(item) for item in value)
        if len(raw) > self.size:
            raise ValueError(f"{self.name} takes {self.size} bytes, not {len(raw)}")
        return raw.ljust(self.size, b"\0")

    def unpack(self, raw: bytes) -> Any:
        if self.count is None:
            return self.element.unpack(raw)
        if self.is_bytes:
            return raw
        step = self.element.size
        return tuple(self.element.unpack(raw[at : at + step]) for at in range(0, len(raw), step))

    def code(self) -> str | None:
        """Its struct format when the whole struct's can have it: host order, or bytes."""
        if self.count is None and isinstance(self.element, Integer):
            return self.element.code if self.element.order == _HOST else None
        return None

    @property
    def is_bytes(self) -> bool:
        return isinstance(self.element, Integer) and self.element.code == "B"


@dataclass(frozen=True, slots=True)
class Integer:
    """A fixed-width integer in host or network order."""

    code: str
    order: str

    @property
    def size(self) -> int:
        return struct.calcsize(self.order + self.code)

    def pack(self, value: int) -> bytes:
        return struct.pack(self.order + self.code, value)

    def unpack(self, raw: bytes) -> int:
        value: int = struct.unpack(self.order + self.code, raw)[0]
        return value


@dataclass(frozen=True, slots=True)
class Wide:
    """An IPv6 address: 16 wire bytes, a number as `IPv4Address` and `IPv6Address` take it."""

    code = "W"
    size = 16

    def pack(self, value: int) -> bytes:
        return value.to_bytes(self.size, "big")

    def unpack(self, raw: bytes) -> int:
        return int.from_bytes(raw, "big")


@dataclass(frozen=True, slots=True)
class Layout:
    """A struct of the header. `pack` takes its fields by name; the ones not given are zero."""

    name: str
    size: int
    align: int
    fields: tuple[Field, ...]
    _whole: struct.Struct = dataclass_field(init=False, repr=False, compare=False)
    _names: tuple[str, ...] = dataclass_field(init=False, repr=False, compare=False)
    _apart: tuple[Field, ...] = dataclass_field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # One call for the whole struct is several times faster than one for each field, and the
        # agent packs and unpacks rows for as long as it lives.
        plain = [field.code() for field in self.fields]
        codes = [code or f"{field.size}s" for code, field in zip(plain, self.fields, strict=True)]
        end, text = 0, _HOST
        for field, code in zip(self.fields, codes, strict=True):
            text += "x" * (field.offset - end) + code
            end = field.offset + field.size
        text += "x" * (self.size - end)
        object.__setattr__(self, "_whole", struct.Struct(text))
        object.__setattr__(self, "_names", tuple(field.name for field in self.fields))
        apart = tuple(f for f, code in zip(self.fields, plain, strict=True) if code is None)
        object.__setattr__(self, "_apart", apart)

    def pack(self, values: Mapping[str, Any]) -> bytes:
        given = {**dict.fromkeys(self._names, 0), **values}
        if len(given) != len(self._names):
            unknown = values.keys() - set(self._names)
            raise ValueError(f"struct {self.name} has no field {', '.join(sorted(unknown))}")
        for field in self._apart:
            found = values.get(field.name)
            given[field.name] = b"" if found is None else field.pack(found)
        try:
            return self._whole.pack(*given.values())
        except struct.error as error:
            raise ValueError(f"struct {self.name} cannot hold {dict(values)}: {error}") from None

    def unpack(self, raw: bytes) -> dict[str, Any]:
        if len(raw) != self.size:
            raise ValueError(f"struct {self.name} is {self.size} bytes, not {len(raw)}")
        values = dict(zip(self._names, self._whole.unpack(raw), strict=True))
        for field in self._apart:
            values[field.name] = field.unpack(values[field.name])
        return values

    def field(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"struct {self.name} has no field {name}")


@dataclass(frozen=True, slots=True)
class Header:
    """Everything that the headers say."""

    constants: Mapping[str, int]
    enums: Mapping[str, Mapping[str, int]]
    structs: Mapping[str, Layout]
    counters: tuple[Counter, ...]
    ambiguities: tuple[Counter, ...]


@functools.cache
def header() -> Header:
    """All of it, made when it is first asked for."""
    structs: dict[str, Layout] = {}
    for tag, (size, align, members) in header_data.STRUCTS.items():
        structs[tag] = Layout(tag, size, align, tuple(_field(one, structs) for one in members))
    return Header(
        header_data.CONSTANTS,
        header_data.ENUMS,
        structs,
        tuple(Counter(*row) for row in header_data.COUNTERS),
        tuple(Counter(*row) for row in header_data.AMBIGUITIES),
    )


def _field(member: header_data.Member, structs: Mapping[str, Layout]) -> Field:
    name, offset, code, count = member
    element: Integer | Wide | Layout
    if code in structs:
        element = structs[code]
    elif code == ">W":
        element = Wide()
    else:
        element = Integer(code[-1], ">" if code[0] == ">" else _HOST)
    return Field(name, offset, element.size * (1 if count is None else count), element, count)


def constant(name: str) -> int:
    """A `#define` or an enumerator of the headers; KeyError when there is none."""
    return header_data.CONSTANTS[name]


def counter(name: str) -> int:
    """A counter's number by its name in IPOS_COUNTERS, `DROP_DENIED` for instance."""
    for entry in header().counters:
        if entry.name == name:
            return entry.number
    raise KeyError(name)


def layout(name: str) -> Layout:
    """A struct of the header by its tag, `ipos_server` for instance."""
    return header().structs[name]
