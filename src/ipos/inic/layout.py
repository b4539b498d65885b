# SPDX-License-Identifier: Apache-2.0
"""What `ipos.h` says, for Python: constants, enums, struct layouts, counters.

The header is the one truth for everything the data plane shares with anyone else. Python restates
none of it: this module reads the header itself (it ships in the package), and a test compares the
offsets found here with those a C compiler prints.

It is a strict reader of the header's own small style, not of C: `#define NAME integer`, enums and
structs of fixed-width integers, other structs and arrays of either. Anything else between the
braces of a struct raises `LayoutError`, so a construct it does not know cannot be misread.

Two conventions of the header are read too. A field (or a struct) whose comment says "network"
holds wire bytes and is packed big-endian; all else is in host order. `IPOS_COUNTERS` names every
counter with its number and text, `IPOS_AMBIGUITIES` every reason to refuse a request head.
"""

import functools
import re
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

HEADER = Path(__file__).parent / "bpf" / "ipos.h"

_INTEGERS = {
    "__u8": "B", "__s8": "b", "__u16": "H", "__s16": "h",
    "__u32": "I", "__s32": "i", "__u64": "Q", "__s64": "q",
}  # fmt: skip
_HOST = "<" if sys.byteorder == "little" else ">"


class LayoutError(ValueError):
    """The header says something this reader does not understand; where and what."""


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
    element: "Integer | Layout"
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
        return tuple(self.element.unpack(raw[at : at + step]) for at in range(0, self.size, step))

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

    @property
    def align(self) -> int:
        return self.size

    def pack(self, value: int) -> bytes:
        return struct.pack(self.order + self.code, value)

    def unpack(self, raw: bytes) -> int:
        value: int = struct.unpack(self.order + self.code, raw)[0]
        return value


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
    """Everything read from one header; names as the header spells them."""

    constants: Mapping[str, int]
    enums: Mapping[str, Mapping[str, int]]
    structs: Mapping[str, Layout]
    counters: tuple[Counter, ...]
    ambiguities: tuple[Counter, ...]


@functools.cache
def header() -> Header:
    """The header that ships with this package."""
    return parse(HEADER.read_text(encoding="utf-8"))


def constant(name: str) -> int:
    """A `#define` or an enumerator of the header; KeyError when there is none."""
    return header().constants[name]


def counter(name: str) -> int:
    """A counter's number by its name in IPOS_COUNTERS, `DROP_DENIED` for instance."""
    for entry in header().counters:
        if entry.name == name:
            return entry.number
    raise KeyError(name)


def layout(name: str) -> Layout:
    """A struct of the header by its tag, `ipos_server` for instance."""
    return header().structs[name]


_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DEFINE = re.compile(
    r"^#define[ \t]+(\w+)[ \t]+(0[xX][0-9a-fA-F]+|\d+)[uUlL]*[ \t]*$", re.MULTILINE
)
_ENUM = re.compile(r"^enum\s+(\w+)\s*\{(.*?)\};", re.DOTALL | re.MULTILINE)
_STRUCT = re.compile(
    r"^struct\s+(\w+)\s*\{(.*?)\}\s*(__attribute__\(\(packed\)\))?\s*;", re.DOTALL | re.MULTILINE
)
_ROW = re.compile(r"\bX\(\s*(\d+)\s*,\s*(\w+)\s*,\s*\"([^\"]*)\"\s*\)")
_MEMBER = re.compile(r"(?P<type>struct\s+\w+|\w+)\s+(?P<names>[^;]+);(?P<rest>[^\n]*)")
_DECLARATOR = re.compile(r"^(\w+)(?:\[(\w+)\])?$")


def parse(text: str) -> Header:
    """Read a header of ours; LayoutError names the first thing that is not understood."""
    plain = _COMMENT.sub(" ", text)
    constants = {name: int(number, 0) for name, number in _DEFINE.findall(plain)}
    enums = {}
    for tag, body in _ENUM.findall(plain):
        if "#" in body:  # made of an X macro, read below
            continue
        enums[tag] = _enumerators(tag, body)
        constants.update(enums[tag])
    structs: dict[str, Layout] = {}
    for match in _STRUCT.finditer(text):
        tag, body, packed = match.groups()
        structs[tag] = _struct(tag, body, packed is not None, constants, structs)
    ambiguities = _listed(plain, "AMBIGUITIES")
    counters = (*_listed(plain, "COUNTERS"), *_ambiguous(constants, ambiguities))
    in_order = tuple(sorted(counters, key=lambda counter: counter.number))
    return Header(constants, enums, structs, in_order, ambiguities)


def _ambiguous(constants: Mapping[str, int], ambiguities: tuple[Counter, ...]) -> Iterator[Counter]:
    """A counter for each reason to refuse a head; one that is too long has its own already."""
    for reason in ambiguities:
        if reason.name != "TOO_LONG":
            number = constants["IPOS_COUNTERS_AMBIGUOUS"] + reason.number
            yield Counter(number, f"AMBIGUOUS_{reason.name}", f"answered by 400: {reason.text}")


def _listed(plain: str, which: str) -> tuple[Counter, ...]:
    """The rows of an X macro: IPOS_COUNTERS, IPOS_AMBIGUITIES."""
    body = re.search(rf"^#define IPOS_{which}\(X\)((?:.*\\\n)*.*)$", plain, re.MULTILINE)
    if body is None:
        return ()
    return tuple(Counter(int(number), name, text) for number, name, text in _ROW.findall(body[1]))


def _enumerators(tag: str, body: str) -> dict[str, int]:
    values: dict[str, int] = {}
    following = 0
    for item in filter(None, (part.strip() for part in body.split(","))):
        name, _, number = (part.strip() for part in item.partition("="))
        try:
            following = int(number, 0) if number else following
        except ValueError:
            raise LayoutError(f"enum {tag}: {item!r} is no plain integer") from None
        values[name] = following
        following += 1
    return values


def _struct(
    tag: str, body: str, packed: bool, constants: Mapping[str, int], known: Mapping[str, Layout]
) -> Layout:
    opening = re.match(r"[ \t]*/\*(.*?)\*/", body, re.DOTALL)
    all_network = opening is not None and "network" in opening[1]
    # Comments of more lines belong to the member they begin at: join them before splitting.
    joined = _COMMENT.sub(lambda match: match[0].replace("\n", " "), body)
    if opening is not None:
        joined = joined.replace(opening[0].replace("\n", " "), "", 1)
    fields: list[Field] = []
    offset, align, end = 0, 1, 0
    for member in _MEMBER.finditer(joined):
        if _COMMENT.sub("", joined[end : member.start()]).strip():
            raise LayoutError(f"struct {tag}: cannot read {joined[end : member.start()].strip()!r}")
        network = all_network or re.search(r"\bnetwork\b", member["rest"]) is not None
        element = _element(tag, member["type"], network, known)
        for declarator in member["names"].split(","):
            found = _DECLARATOR.match(declarator.strip())
            if found is None:
                raise LayoutError(f"struct {tag}: cannot read {declarator.strip()!r}")
            count = _count(tag, found[2], constants)
            size = element.size * (1 if count is None else count)
            step = 1 if packed else element.align
            offset = -(-offset // step) * step
            fields.append(Field(found[1], offset, size, element, count))
            offset += size
            align = max(align, step)
        # What follows on the line is a comment, or the next member of a one-line struct.
        end = member.start("rest")
    if _COMMENT.sub("", joined[end:]).strip():
        raise LayoutError(f"struct {tag}: cannot read {joined[end:].strip()!r}")
    return Layout(tag, -(-offset // align) * align, align, tuple(fields))


def _element(
    tag: str, type_name: str, network: bool, known: Mapping[str, Layout]
) -> Integer | Layout:
    if type_name in _INTEGERS:
        return Integer(_INTEGERS[type_name], ">" if network else _HOST)
    if type_name.startswith("struct") and type_name.split()[1] in known:
        return known[type_name.split()[1]]
    raise LayoutError(f"struct {tag}: unknown type {type_name!r}")


def _count(tag: str, length: str | None, constants: Mapping[str, int]) -> int | None:
    if length is None:
        return None
    if length.isdigit():
        return int(length)
    if length in constants:
        return constants[length]
    raise LayoutError(f"struct {tag}: unknown array length {length!r}")
