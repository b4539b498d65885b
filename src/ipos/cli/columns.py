# SPDX-License-Identifier: Apache-2.0
"""Rows for people: aligned columns on stdout, numbers to the right."""

from collections.abc import Sequence
from typing import Any


def shown(value: Any) -> str:
    """A cell: lists by commas, an absent value as a dash."""
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def print_rows(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a header and rows; the header alone when there are none."""
    cells = [[shown(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in cells), 0) for at, name in enumerate(header)]
    right = [
        bool(rows) and all(isinstance(row[at], int | float) for row in rows)
        for at in range(len(header))
    ]
    for line in (list(header), *cells):
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        print("  ".join(padded).rstrip())
