# SPDX-License-Identifier: Apache-2.0
"""docs/tables.md: the rows of `ipos.tables` and the maps of maps.h."""

import inspect

from ipos.tables import TABLES, Row
from scripts.docs.header import Map, maps
from scripts.docs.markdown import code, page, remarks, section, summary, table

_INTRODUCTION = """
Figure 12's tables as `ipos table NAME` prints them, and the maps of the data plane that they are
read from.

```sh
ipos table forward
ipos table server -o json
```
"""


def document() -> str:
    return page(
        "Tables",
        _INTRODUCTION,
        (
            *(_rows(kind, names) for kind, names in _kinds().items()),
            section(
                "Maps",
                "Every map is pinned by its name below `maps/` of the pin directory. Entries are "
                "the defaults; `[farm.limits]` sets those of connection tables. "
                "`bpf/abi/ipos.h` has the structs.",
                table(("Map", "Kind", "Entries", "Writer", "Full"), map(_map, maps())),
            ),
        ),
    )


def _kinds() -> dict[type[Row], list[str]]:
    kinds: dict[type[Row], list[str]] = {}
    for name, kind in TABLES.items():
        kinds.setdefault(kind, []).append(name)
    return kinds


def _rows(kind: type[Row], names: list[str]) -> str:
    said: dict[str, str] = {}
    types: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, Row):
            said |= remarks(base)
            types |= inspect.get_annotations(base)
    rows = (
        (code(name), "key" if name in kind.KEY else "", _type(types[name]), said.get(name, ""))
        for name in kind.columns()
    )
    return section(
        ", ".join(names), summary(kind), table(("Column", "Key", "Type", "Meaning"), rows)
    )


def _type(annotation: str) -> str:
    return annotation.replace(" | None", " or none")


def _map(one: Map) -> tuple[str, ...]:
    writer, _, full = one.remark.removeprefix("Writer: ").partition(". ")
    return code(one.name), one.kind, f"{one.entries:,}", writer.rstrip("."), full
