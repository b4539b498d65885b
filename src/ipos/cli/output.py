# SPDX-License-Identifier: Apache-2.0
"""`-o text|json`, which is the same on every command that prints data."""

import json
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
