# SPDX-License-Identifier: Apache-2.0
"""`-o text|json`, and columns for people; the same on every command that prints data."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer


class Output(StrEnum):
    """How a command prints its data: for people, or for programs."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="Form of the output.")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def print_columns(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    """A header and lines, each column as wide as its widest cell."""
    cells = [[str(cell) for cell in line] for line in (header, *lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(map(str.ljust, line, widths)).rstrip())
