# SPDX-License-Identifier: Apache-2.0
"""Finds the line of a table or key in a TOML text, because tomllib keeps no positions and a message
needs one.

Only where statements begin is found: table headers and keys. The text is known to be valid TOML
by then, so what may stand between (strings, comments, arrays over many lines) is skipped, not
checked. A key inside an inline table has the line it stands on.
"""

import re
from collections.abc import Iterator

Path = tuple[str | int, ...]

_KEY = r"(?:[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*')"
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_TABLES = re.compile(rf"\[\[\s*({_DOTTED})\s*\]\]")
_TABLE = re.compile(rf"\[\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"({_DOTTED})\s*=")
_SKIPPED = re.compile(
    "|".join(
        (
            r'"""(?:[^\\]|\\.)*?"{3,5}',
            r"'''.*?'{3,5}",
            r'"(?:[^"\\\n]|\\.)*"',
            r"'[^'\n]*'",
            r"#[^\n]*",
        )
    ),
    re.DOTALL,
)


def lines(text: str) -> dict[Path, int]:
    """The line, from 1, on which each table and key of a valid TOML text begins."""
    found: dict[Path, int] = {(): 1}
    counts: dict[Path, int] = {}
    table: Path = ()
    for line, kind, names in _statements(text):
        if kind == "tables":
            path = _resolve(names, counts, last=False)
            counts[path] = counts.get(path, -1) + 1
            table = (*path, counts[path])
            found.setdefault(path, line)
            found[table] = line
        elif kind == "table":
            table = _resolve(names, counts, last=True)
            found[table] = line
        else:
            path = (*table, *names)
            for length in range(len(table) + 1, len(path) + 1):
                found.setdefault(path[:length], line)
    return found


def line_of(found: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest thing around it that has one."""
    for length in range(len(path), 0, -1):
        if path[:length] in found:
            return found[path[:length]]
    return 1


def _resolve(names: tuple[str, ...], counts: dict[Path, int], *, last: bool) -> Path:
    """A header's names as a path; a name of an array of tables means its latest element."""
    path: Path = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if path in counts and (last or position < len(names) - 1):
            path = (*path, counts[path])
    return path


def _statements(text: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, "table" | "tables" | "key", names) in order; inline tables' keys with full names."""
    position, line = 0, 1
    prefixes: list[tuple[str, ...]] = []  # of the inline tables we are in; () for an array
    last_key: tuple[str, ...] = ()
    fresh = True  # whether a statement or an inline key may begin here
    while position < len(text):
        if fresh:
            found = None if prefixes else _TABLES.match(text, position)
            kind = "tables"
            if found is None and not prefixes:
                found, kind = _TABLE.match(text, position), "table"
            if found is None and (not prefixes or prefixes[-1]):
                found, kind = _ASSIGNMENT.match(text, position), "key"
            if found is not None:
                names = _names(found[1])
                if kind == "key":
                    names = last_key = (*(prefixes[-1] if prefixes else ()), *names)
                yield line, kind, names
                position, fresh = found.end(), False
                continue
        skipped = _SKIPPED.match(text, position)
        if skipped is not None:
            line += skipped[0].count("\n")
            position = skipped.end()
            continue
        character = text[position]
        if character == "{":
            prefixes.append(last_key)
            fresh = True
        elif character == "[":
            prefixes.append(())
        elif character in "}]":
            if prefixes:
                prefixes.pop()
            fresh = False
        elif character == ",":
            fresh = True
        elif character == "\n":
            line += 1
            fresh = fresh or not prefixes
        elif not character.isspace():
            fresh = False
        position += 1


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(name.strip("\"'") for name in re.findall(_KEY, dotted))
