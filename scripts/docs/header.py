# SPDX-License-Identifier: Apache-2.0
"""Remarks of the data plane's C headers, which `ipos.inic.layout` reads for their numbers only."""

import re
from dataclasses import dataclass

from ipos.inic.layout import HEADER, constant

_MAPS = HEADER.with_name("maps.h")
_ENUMERATOR = re.compile(r"(\w+)\s*(?:=\s*\d+)?,?\s*/\*\s*(.*?)\s*\*/", re.DOTALL)
_PIECE = re.compile(
    r"^/\*\s(?P<remark>.*?)\*/"
    r"|^IPOS_(?P<macro>MAP|MAP_FLAGS|QUEUE|RING)\((?P<arguments>[^;]*)\);",
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
    body = re.search(rf"^enum {tag} \{{(.*?)^\}};", HEADER.read_text(), re.DOTALL | re.MULTILINE)
    if body is None:
        raise LookupError(f"{HEADER.name} has no enum {tag} of several lines")
    return {name: " ".join(text.split()) for name, text in _ENUMERATOR.findall(body[1])}


def maps() -> list[Map]:
    """Every map that has a remark above it, in the header's order."""
    found, remark = [], ""
    for piece in _PIECE.finditer(_MAPS.read_text()):
        if piece["remark"]:
            remark = " ".join(piece["remark"].split())
            remark = remark if remark.startswith("Writer: ") else ""
            continue
        arguments = [each.strip() for each in piece["arguments"].split(",")]
        kind, entries = {
            "QUEUE": ("queue", arguments[-1]),
            "RING": ("ring buffer", arguments[-1]),
        }.get(piece["macro"], (arguments[1].lower().replace("_", " "), arguments[4:5] or ""))
        number = entries[0] if isinstance(entries, list) else entries
        if remark:
            size = int(number) if number.isdigit() else constant(number)
            found.append(Map(arguments[0], kind, size, remark))
    return found
