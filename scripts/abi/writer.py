# SPDX-License-Identifier: Apache-2.0
"""The modules of src/ipos/abi that are made from the headers, as text."""

import re
import subprocess
import sys
import textwrap
from pprint import pformat

from scripts.abi.reader import Headers, Member, Struct

_SPDX = "# SPDX-License-Identifier: Apache-2.0\n"
_MADE = "Written by `make abi` from bpf/abi."
_MEMBER = '''Member = tuple[str, int, str, int | None]
"""Name, offset, code of the module struct or tag of a struct, length of an array."""
'''
_FLAGS = ("_flags", "_options", "_valid")
_QUOTES = '"""'
_DEFAULTS = {(tag, "protocol"): "PROTOCOL_TCP" for tag in ("ipos_tuple", "ipos_tuple6")}
"""What is not zero where nothing is said: all connections are TCP's."""
_SIZES = {"__u8": 1, "__u16": 2, "__u32": 4, "__u64": 8}

_ROWS_HEAD = f'''{_SPDX}"""The enums and structs of the data plane as Python values.

{_MADE}

An address is an `IPv4Address` or `IPv6Address`, a port a plain number, an enum's member has its
name. Members that only fill space (`zero...`, `pad...`) are left out, and so are those that only
count what is used of an array: the array here is that long. `ipos.abi.codec` makes bytes of these
and reads them. A class that ends in 6 is of IPv6, where a row of the class without it is of IPv4.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

NOWHERE = IPv4Address(0)
NOWHERE6 = IPv6Address(0)
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
'''


def header_data(headers: Headers) -> str:
    """Constants, sizes, offsets and texts: what `ipos.abi.layout` hands out."""
    structs = {
        struct.tag: (
            struct.size,
            struct.align,
            tuple((one.name, one.offset, one.code, one.count) for one in struct.members),
        )
        for struct in headers.structs.values()
    }
    maps = {
        name: (_shape(key), _shape(value), "PERCPU" in kind)
        for name, (kind, key, value) in headers.maps.items()
    }
    reasons = {
        number: headers.remarks[name] for name, number in headers.enums["ipos_reason"].items()
    }
    parts = [
        f"{_SPDX}{_QUOTES}Numbers and places of the data plane's headers.\n\n{_MADE}\n{_QUOTES}\n",
        _assigned("CONSTANTS", "dict[str, int]", headers.constants),
        _assigned("ENUMS", "dict[str, dict[str, int]]", headers.enums),
        _MEMBER,
        _assigned("STRUCTS", "dict[str, tuple[int, int, tuple[Member, ...]]]", structs),
        '"""Size, alignment and members, by tag."""\n',
        _assigned("MAPS", "dict[str, tuple[str | int, str | int, bool]]", maps),
        '"""Key and value: the tag of a struct or the bytes of an integer; one for each CPU?"""\n',
        _assigned("COUNTERS", "list[tuple[int, str, str]]", headers.counters),
        _assigned("AMBIGUITIES", "list[tuple[int, str, str]]", headers.ambiguities),
        _assigned("REASONS", "dict[int, str]", reasons),
    ]
    return _formatted("\n".join(parts))


def rows(headers: Headers) -> str:
    """Enums and dataclasses."""
    parts = [_ROWS_HEAD]
    limits = ("RAMP_FULL", "SLOTS", "SLOTS_BLOCK", "SLOTS_BLOCKS")
    parts.append("".join(f"{name} = {headers.constants['IPOS_' + name]}\n" for name in limits))
    parts += [_enum(tag, members) for tag, members in headers.enums.items()]
    parts += [_dataclass(struct) for struct in headers.structs.values()]
    return _formatted("\n\n".join(parts))


def class_name(tag: str) -> str:
    return "".join(word.capitalize() for word in tag.removeprefix("ipos_").split("_"))


def _shape(type_name: str) -> str | int:
    return _SIZES.get(type_name) or type_name.removeprefix("struct ")


def _assigned(name: str, hint: str, value: object) -> str:
    return f"{name}: {hint} = {pformat(value, width=98, sort_dicts=False, compact=True)}\n"


def _enum(tag: str, members: dict[str, int]) -> str:
    prefix = _common_prefix(list(members))
    numbers = set(members.values()) - {0}
    flags = tag.endswith(_FLAGS) or (max(numbers) > 2 and all(n & (n - 1) == 0 for n in numbers))
    kind = "IntFlag" if flags else "IntEnum"
    lines = [f"class {class_name(tag)}({kind}):", f'    """`enum {tag}`."""', ""]
    lines += [f"    {name.removeprefix(prefix)} = {number}" for name, number in members.items()]
    return "\n".join(lines)


def _common_prefix(names: list[str]) -> str:
    """Whole words that all begin with, and each goes on after."""
    split = [name.split("_") for name in names]
    count = 0
    while all(len(words) > count + 1 for words in split) and len({w[count] for w in split}) == 1:
        count += 1
    while any(words[count][0].isdigit() for words in split):
        count -= 1
    return "".join(f"{word}_" for word in split[0][:count])


def _dataclass(struct: Struct) -> str:
    told = f": {struct.remark}" if struct.remark and '"' not in struct.remark else ""
    lines = [
        "@dataclass(frozen=True, slots=True)",
        f"class {class_name(struct.tag)}:",
        *_docstring(f"`struct {struct.tag}`{told}".removesuffix(".") + "."),
        "",
        f'    STRUCT: ClassVar[str] = "{struct.tag}"',
    ]
    counted = {member.name: member.counted for member in struct.members if member.counted}
    if counted:
        lines.append(f"    COUNTED: ClassVar[dict[str, str]] = {counted!r}")
    for member in struct.members:
        if re.match(r"(zero|pad)", member.name) or member.name in counted.values():
            continue
        hint, default = _hint(member)
        default = _DEFAULTS.get((struct.tag, member.name), default)
        lines.append(f"    {member.name}: {hint} = {default}")
    return "\n".join(lines)


def _docstring(text: str) -> list[str]:
    """In lines of no more than 100 columns."""
    lines = textwrap.wrap(f'"""{text}"""', width=96)
    if len(lines) > 1:
        lines = [*textwrap.wrap(f'"""{text}', width=96), '"""']
    return [f"    {line}" for line in lines]


def _hint(member: Member) -> tuple[str, str]:
    """The type of a member's value, and the one that is all zeros."""
    if member.count is not None:
        used = 0 if member.counted else member.count
        if member.code == "B":
            return "bytes", f"bytes({used})" if used else 'b""'
        inner, one = "int", "0"
        if member.code.startswith("ipos_"):
            inner = class_name(member.code)
            one = f"{inner}()"
        return f"tuple[{inner}, ...]", f"({one},) * {used}" if used else "()"
    if member.code.startswith("ipos_"):
        name = class_name(member.code)
        return name, f"{name}()"
    if member.enum:
        name = class_name(member.enum)
        return name, f"{name}(0)"
    if member.is_bool:
        return "bool", "False"
    if member.code == ">W":
        return "IPv6Address", "NOWHERE6"
    if member.code == ">I" and re.search(r"(^|_)(ip|address)$", member.name):
        return "IPv4Address", "NOWHERE"
    return "int", "0"


def _formatted(text: str) -> str:
    """As `ruff format` leaves it, so that one check holds for written and generated code."""
    ran = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", "made.py", "-"],
        input=text, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return ran.stdout
