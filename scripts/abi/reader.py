# SPDX-License-Identifier: Apache-2.0
"""What the headers of the data plane say: constants, enums, structs, maps, counters.

It is a strict reader of the headers' own small style, not of C: `#define NAME integer`, enums and
structs of fixed-width integers, other structs, and arrays of either. Anything else between the
braces of a struct raises `HeaderError`, so a construct it does not know cannot be misread.

`__be16`, `__be32`, `__be64` and `ipos_ip6` are wire bytes, every other integer is in host order. A
struct with an `ipos_ip` is two: with four bytes there, and with sixteen, whose tag ends in 6. So is
a map that is declared by `IPOS_FAMILY_MAP`. The remark
behind a member says more of it: `enum ipos_x` is its type, one that begins with `1:` makes it a
yes or no, and "the first `n`" says that member n counts what is used of an array.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HEADERS = Path(__file__).resolve().parents[2] / "bpf"
WORKING_SPACE = ("scratch", "flow_work")
"""Maps whose values are no concern of anybody else's."""
CONCERNS = (
    "limits",
    "verdict",
    "wire",
    "config",
    "member",
    "heard",
    "request",
    "connection",
    "flow",
    "event",
    "measured",
)

_INTEGERS = {
    "__u8": "B", "__s8": "b", "__u16": "H", "__s16": "h",
    "__u32": "I", "__s32": "i", "__u64": "Q", "__s64": "q",
    "__be16": ">H", "__be32": ">I", "__be64": ">Q", "ipos_ip6": ">W",
}  # fmt: skip
_SIZES = {"B": 1, "H": 2, "I": 4, "Q": 8, "W": 16}
_ALIGNED_BY_4 = 4
"""How a `W` is aligned: 16 bytes of an address."""
_FAMILIES = {"": ">I", "6": ">W"}
"""What an `ipos_ip` is, by the end of the struct's tag."""

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DEFINE = re.compile(
    r"^#define[ \t]+(\w+)[ \t]+(0[xX][0-9a-fA-F]+|\d+)[uUlL]*[ \t]*$", re.MULTILINE
)
_ENUM = re.compile(r"^enum\s+(\w+)\s*\{(.*?)\};", re.DOTALL | re.MULTILINE)
_ENUMERATOR = re.compile(r"(\w+)\s*(?:=\s*\d+)?,?\s*/\*\s*(.*?)\s*\*/", re.DOTALL)
_STRUCT = re.compile(
    r"(?:^/\*(?P<above>(?:(?!\*/).)*?)\*/\n)?"
    r"^struct\s+(?P<tag>\w+)\s*\{(?P<body>.*?)\}\s*"
    r"(?:(?P<packed>__attribute__\(\(packed\)\))|(?P<aligned>IPOS_ALIGNED))?\s*;",
    re.DOTALL | re.MULTILINE,
)
_ROW = re.compile(r"\bX\(\s*(\d+)\s*,\s*(\w+)\s*,\s*\"([^\"]*)\"\s*\)")
_MEMBER = re.compile(r"(?P<type>struct\s+\w+|\w+)\s+(?P<names>[^;]+);(?P<rest>[^\n]*)")
_DECLARATOR = re.compile(r"^(\w+)\s*(?:\[(\w+)\])?$")
_MAP = re.compile(
    r"^IPOS_(FAMILY_)?MAP(?:_FLAGS)?\(\s*(\w+),\s*(\w+),\s*([\w ]+?),\s*([\w ]+?),",
    re.MULTILINE,
)


class HeaderError(ValueError):
    """A header says something this reader does not understand; where and what."""


@dataclass(frozen=True, slots=True)
class Member:
    """`code`: of an integer, as the module struct writes it, or the tag of a struct.

    `count` is None for a scalar; `enum` the tag of its type, where the remark names one;
    `counted` the member that says how much of an array is in use.
    """

    name: str
    offset: int
    size: int
    code: str
    count: int | None
    remark: str
    enum: str = ""
    counted: str = ""

    @property
    def is_bool(self) -> bool:
        return self.remark.startswith("1:")


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct and the remark above it or behind its brace."""

    tag: str
    size: int
    align: int
    members: tuple[Member, ...]
    remark: str


@dataclass(slots=True)
class Headers:
    """Everything of one or several headers, names as they spell them."""

    constants: dict[str, int] = field(default_factory=dict)
    enums: dict[str, dict[str, int]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    structs: dict[str, Struct] = field(default_factory=dict)
    maps: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    counters: list[tuple[int, str, str]] = field(default_factory=list)
    ambiguities: list[tuple[int, str, str]] = field(default_factory=list)


def read() -> Headers:
    """The headers of this checkout."""
    texts = [(HEADERS / "abi" / f"{name}.h").read_text() for name in CONCERNS]
    found = parse("\n".join(texts))
    for file in sorted(HEADERS.glob("*/*.h")):
        for family, name, kind, key, value in _MAP.findall(file.read_text()):
            if name in WORKING_SPACE:
                continue
            found.maps[name] = (kind, key, value)
            if family:
                found.maps[f"{name}6"] = (kind, _of_six(key, found), _of_six(value, found))
    return found


def _of_six(type_name: str, headers: Headers) -> str:
    return f"{type_name}6" if f"{type_name}6".split()[-1] in headers.structs else type_name


def parse(text: str) -> Headers:
    """Read headers of ours; HeaderError names the first thing that is not understood."""
    found = Headers()
    plain = _COMMENT.sub(" ", text)
    found.constants = {name: int(number, 0) for name, number in _DEFINE.findall(plain)}
    for tag, body in _ENUM.findall(text):
        if "#" in body:  # made of an X macro, read below
            continue
        found.enums[tag] = _enumerators(tag, _COMMENT.sub(" ", body))
        found.constants.update(found.enums[tag])
        for name, remark in _ENUMERATOR.findall(body):
            found.remarks[name] = " ".join(re.sub(r"\n\s*\*", "\n", remark).split())
    for match in _STRUCT.finditer(text):
        for family in _FAMILIES:
            made = _struct(match, found.constants, found.structs, family)
            if not family or made.members != found.structs[match["tag"]].members:
                found.structs[made.tag] = made
    found.ambiguities = _listed(plain, "AMBIGUITIES")
    if found.ambiguities:
        reasons = {f"IPOS_AMBIGUOUS_{name}": number for number, name, _ in found.ambiguities}
        found.enums["ipos_ambiguity"] = {"IPOS_AMBIGUOUS_NONE": 0} | reasons
        found.constants.update(found.enums["ipos_ambiguity"])
    found.counters = sorted([*_listed(plain, "COUNTERS"), *_ambiguous(found)])
    return found


def _ambiguous(found: Headers) -> Iterator[tuple[int, str, str]]:
    """A counter for each reason to refuse a head; one that is too long has its own already."""
    for number, name, text in found.ambiguities:
        if name != "TOO_LONG":
            first = found.constants["IPOS_COUNTERS_AMBIGUOUS"]
            yield first + number, f"AMBIGUOUS_{name}", f"answered by 400: {text}"


def _listed(plain: str, which: str) -> list[tuple[int, str, str]]:
    """The rows of an X macro: IPOS_COUNTERS, IPOS_AMBIGUITIES."""
    body = re.search(rf"^#define IPOS_{which}\(X\)((?:.*\\\n)*.*)$", plain, re.MULTILINE)
    rows = _ROW.findall(body[1].replace("\\\n", " ")) if body else []
    return [(int(number), name, text) for number, name, text in rows]


def _enumerators(tag: str, body: str) -> dict[str, int]:
    values: dict[str, int] = {}
    following = 0
    for item in filter(None, (part.strip() for part in body.split(","))):
        name, _, number = (part.strip() for part in item.partition("="))
        try:
            following = int(number, 0) if number else following
        except ValueError:
            raise HeaderError(f"enum {tag}: {item!r} is no plain integer") from None
        values[name] = following
        following += 1
    return values


def _struct(
    match: re.Match[str], constants: Mapping[str, int], known: Mapping[str, Struct], family: str
) -> Struct:
    tag, body = match["tag"], match["body"]
    opening = re.match(r"[ \t]*/\*(.*?)\*/", body, re.DOTALL)
    # Comments of more lines belong to the member they begin at: join them before splitting.
    joined = _COMMENT.sub(lambda found: " ".join(found[0].replace("\n *", "\n").split()), body)
    if opening is not None:
        joined = _COMMENT.sub("", joined, count=1)
    members: list[Member] = []
    offset, align, end = 0, 1, 0
    for found in _MEMBER.finditer(joined):
        if _COMMENT.sub("", joined[end : found.start()]).strip():
            raise HeaderError(f"struct {tag}: cannot read {joined[end : found.start()].strip()!r}")
        code, one, step = _element(tag, found["type"], known, family)
        remark = re.search(r"/\*\s*(.*?)\s*\*/", found["rest"])
        for declarator in found["names"].split(","):
            name = _DECLARATOR.match(declarator.strip())
            if name is None:
                raise HeaderError(f"struct {tag}: cannot read {declarator.strip()!r}")
            count = _count(tag, name[2], constants)
            step = 1 if match["packed"] else step
            offset = -(-offset // step) * step
            size = one * (1 if count is None else count)
            members.append(_member(name[1], offset, size, code, count, remark[1] if remark else ""))
            offset += size
            align = max(align, step)
        # What follows on the line is a comment, or the next member of a one-line struct.
        end = found.start("rest")
    if _COMMENT.sub("", joined[end:]).strip():
        raise HeaderError(f"struct {tag}: cannot read {joined[end:].strip()!r}")
    align = max(align, 8 if match["aligned"] and family else 1)
    remark_text = opening[1] if opening is not None else match["above"] or ""
    text = " ".join(re.sub(r"^\s*\*", " ", remark_text, flags=re.MULTILINE).split())
    return Struct(f"{tag}{family}", -(-offset // align) * align, align, tuple(members), text)


def _member(name: str, offset: int, size: int, code: str, count: int | None, remark: str) -> Member:
    enum = re.search(r"(?:^|: )enum (ipos_\w+)\b(?! says)", remark)
    counted = re.search(r"\bthe first `(\w+)`", remark)
    tag, counter = (found[1] if found else "" for found in (enum, counted))
    return Member(name, offset, size, code, count, remark, tag, counter)


def _element(
    tag: str, type_name: str, known: Mapping[str, Struct], family: str
) -> tuple[str, int, int]:
    """Its code, size and alignment."""
    if type_name in _INTEGERS or type_name == "ipos_ip":
        code = _INTEGERS.get(type_name) or _FAMILIES[family]
        size = _SIZES[code[-1].upper()]
        return code, size, min(size, _ALIGNED_BY_4) if code == ">W" else size
    if type_name == "struct bpf_spin_lock":  # the kernel's; it shows everybody a zero
        return "I", 4, 4
    if type_name.startswith("struct") and type_name.split()[1] in known:
        inner = known.get(f"{type_name.split()[1]}{family}") or known[type_name.split()[1]]
        return inner.tag, inner.size, inner.align
    raise HeaderError(f"struct {tag}: unknown type {type_name!r}")


def _count(tag: str, length: str | None, constants: Mapping[str, int]) -> int | None:
    if length is None:
        return None
    if length.isdigit():
        return int(length)
    if length in constants:
        return constants[length]
    raise HeaderError(f"struct {tag}: unknown array length {length!r}")
