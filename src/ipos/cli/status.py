# SPDX-License-Identifier: Apache-2.0
"""`ipos status`: shows this server, the farm as it sees it, and how full its tables are."""

import json
import textwrap
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # the agent makes the document, so the command rarely needs any of this
    from ipos.agent.view.table_views import View

app = typer.Typer(add_completion=False, rich_markup_mode=None)

WIDTH = 80
_NAMES_WIDTH = 36


class Form(StrEnum):
    """How the page is printed: in 80 columns, with every column, or for programs."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"


@app.command()
def status(
    output: Annotated[
        Form, typer.Option("-o", "--output", help="Form of the output; wide: every column.")
    ] = Form.TEXT,
) -> None:
    """Print the farm as this server sees it. Works with the agent dead, and says so.

    The first line is the verdict; then each fault in one sentence, then the tables.
    """
    from ipos.cli.fallback import ask_or_read

    document: dict[str, Any] = ask_or_read("/v1/status", _read)
    if output is Form.JSON:
        print(json.dumps(document))
        return
    for line in _head(document):
        print(line)
    print()
    _print_tables(document, _WIDE if output is Form.WIDE else _NARROW)


def _read(view: "View") -> dict[str, Any]:
    from ipos.agent.view.report import status

    return status(view, "not running")


def verdict(document: dict[str, Any]) -> str:
    """The page in one line: how many servers serve, how much is wrong, whether the agent lives."""
    servers = document["servers"]
    ready = sum(row["state"] == "ready" for row in servers)
    faults = sum(1 for _ in faults_of(document))
    well = "all well" if not faults else "1 fault" if faults == 1 else f"{faults} faults"
    return (
        f"{well}: {ready} of {len(servers)} servers ready, seen by {document['server']} of farm "
        f"{document['farm']}, agent {document['agent']}"
    )


def faults_of(document: dict[str, Any]) -> Iterator[str]:
    """What is wrong, in sentences."""
    if document["agent"] != "running":
        yield "no agent runs here: the data plane serves with what it last knew; start the agent"
    if document["programs"] != "current":
        yield "the loaded programs are not of this version; `ipos upgrade` replaces them"
    yield from document["troubles"]
    yield from document["undone"]


def _head(document: dict[str, Any]) -> Iterator[str]:
    yield verdict(document)
    for said in faults_of(document):
        lines = textwrap.wrap(said, WIDTH - 7, break_long_words=False, break_on_hyphens=False)
        yield "FAULT  " + "\n       ".join(lines)


def _print_tables(document: dict[str, Any], columns: dict[str, Any]) -> None:
    from ipos.cli.text_table import print_rows

    for title, make in columns.items():
        rows = [make(row, document) for row in document[title]]
        if rows:
            print_rows(list(rows[0]), [list(row.values()) for row in rows])
            print()
    names = document["connections"]
    print("  ".join(f"{name.replace('_', ' ')} {count}" for name, count in names.items()))


def _server(row: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    from ipos.cli.text_table import amount, seconds

    return {
        "server": row["server"],
        "state": _state(row),
        "weight": row["weight"],
        "conns": row["tcp_connections"],
        "cpu": f"{row['cpu_utilisation']:.0%}",
        "free": amount(row["available_memory"]),
        "address": row["address"],
        "heard": seconds(row["age"]),
    }


def _state(row: dict[str, Any]) -> str:
    """A server whose agent is silent while its data plane answers is stale."""
    said = str(row["state"])
    return said if not row["stale"] else "stale" if said == "ready" else f"{said}, stale"


def _service(row: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    names = {each["address"]: each["server"] or each["address"] for each in document["servers"]}
    return {
        "service": row["service"],
        "port": row["port"],
        "policy": row["policy"],
        "servers": some_of([names.get(each, each) for each in row["servers"]]),
    }


def _address(row: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    from ipos.cli.text_table import seconds

    return {
        "address": row["address"],
        "server": row["server"],
        "holder": row["holder"],
        "since": None if row["since"] is None else seconds(row["since"]),
        "why": row["why"],
    }


def some_of(names: Iterable[str]) -> str:
    """A list that stays short."""
    left = list(names)
    shown: list[str] = []
    while left and len(", ".join([*shown, left[0]])) <= _NAMES_WIDTH:
        shown.append(left.pop(0))
    more = [f"{len(left)} more"] if left else []
    return ", ".join([*shown, *more]) or "nobody"


def _whole(row: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", " "): value for name, value in row.items() if name != "fault"}


_NARROW = {"servers": _server, "services": _service, "addresses": _address}
_WIDE = dict.fromkeys(_NARROW, _whole)
