# SPDX-License-Identifier: Apache-2.0
"""Remarks of the data plane's C headers, which `ipos.abi.layout` reads for their numbers only."""

import ast
import re
from dataclasses import dataclass

from ipos.abi.layout import constant
from scripts.abi.reader import CONCERNS, HEADERS

_MAPS = HEADERS / "lib" / "maps.h"
_ENUMERATOR = re.compile(r"(\w+)\s*(?:=\s*\d+)?,?\s*/\*\s*(.*?)\s*\*/", re.DOTALL)
_PIECE = re.compile(
    r"^/\*\s(?P<remark>.*?)\*/"
    r"|^IPOS_(?P<family>FAMILY_)?(?P<macro>MAP|MAP_FLAGS|QUEUE|RING)\((?P<arguments>[^;]*)\);",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Map:
    """A map of the data plane. `remark`: its writer, and what a full one means."""

    name: str
    kind: str
    entries: int
    remark: str


def enumerators(tag: str) -> dict[str, str]:
    """The names of an enum and what the header says of each, where it says anything."""
    text = "".join((HEADERS / "abi" / f"{name}.h").read_text() for name in CONCERNS)
    body = re.search(rf"^enum {tag} \{{(.*?)^\}};", text, re.DOTALL | re.MULTILINE)
    if body is None:
        raise LookupError(f"no header has an enum {tag} of several lines")
    return {
        name: " ".join(re.sub(r"\n\s*\*", "\n", text).split())
        for name, text in _ENUMERATOR.findall(body[1])
    }


def maps() -> list[Map]:
    """Every map that has a remark above it, in the header's order."""
    found, remark = [], ""
    for piece in _PIECE.finditer(_MAPS.read_text()):
        if piece["remark"]:
            remark = " ".join(re.sub(r"^\s*\*", " ", piece["remark"], flags=re.MULTILINE).split())
            remark = remark if remark.startswith("Writer: ") else ""
            continue
        arguments = [each.strip() for each in piece["arguments"].split(",")]
        kind, entries = {
            "QUEUE": ("queue", arguments[-1]),
            "RING": ("ring buffer", arguments[-1]),
        }.get(piece["macro"], (arguments[1].lower().replace("_", " "), arguments[4:5] or ""))
        number = entries[0] if isinstance(entries, list) else entries
        if remark:
            names = [arguments[0], *([f"{arguments[0]}6"] if piece["family"] else [])]
            found += [Map(name, kind, entries_of(name, number), remark) for name in names]
    return found


def entries_of(name: str, written: str) -> int:
    """How many entries a map has, by a number, a constant of the header, or their sum or product.

    LookupError says of which map nothing can be told.
    """
    try:
        return _value(ast.parse(written.strip(), mode="eval").body)
    except (SyntaxError, KeyError, TypeError):
        raise LookupError(
            f"{_MAPS.name}: cannot tell how many entries {name} has from {written!r}; "
            f"write a number, a constant of bpf/abi, or their sum or product"
        ) from None


def _value(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return constant(name)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left) + _value(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _value(left) * _value(right)
    raise TypeError(ast.unparse(node))
