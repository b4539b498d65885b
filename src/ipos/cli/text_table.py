# SPDX-License-Identifier: Apache-2.0
"""Prints rows for people: aligned columns on stdout, numbers to the right."""

import re
from collections.abc import Sequence
from typing import Any


def shown(value: Any) -> str:
    """A cell: lists by commas, an absent value as a dash.

    What a process calls itself, or a client asks for, may be meant for the reader's terminal.
    """
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


_AMOUNT = re.compile(r"[\d.]+(%| (B|[KMGT]iB|s|min|h|d))")


def _is_amount(value: Any) -> bool:
    """A number, or one with its unit."""
    return isinstance(value, int | float) or bool(_AMOUNT.fullmatch(str(value)))


def amount(number: float) -> str:
    """A number of bytes with its unit, in powers of 1,024 and three digits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} TiB" if number < 1000 else f"{number:.0f} TiB"


def seconds(number: float) -> str:
    """A time in its largest unit, so that it stays short."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if number >= 2 * size:
            return f"{number // size:.0f} {unit}"
    return f"{number:.0f} s" if number >= 10 else f"{number:.2g} s"


def print_rows(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a header and rows; the header alone when there are none."""
    cells = [[shown(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in cells), 0) for at, name in enumerate(header)]
    right = [bool(rows) and all(_is_amount(row[at]) for row in rows) for at in range(len(header))]
    for line in (list(header), *cells):
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        print("  ".join(padded).rstrip())
