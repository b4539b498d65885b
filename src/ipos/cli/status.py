# SPDX-License-Identifier: Apache-2.0
"""`ipos status`: this server, the farm as it sees it, and how full its tables are."""

import json
from typing import TYPE_CHECKING, Any

import typer

from ipos.cli.output import Output, OutputOption

if TYPE_CHECKING:  # the agent makes the document, so the command rarely needs any of this
    from ipos.agent.views import View

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def status(output: OutputOption = Output.TEXT) -> None:
    """Print the farm as this server sees it. Works with the agent dead, and says so."""
    from ipos.cli.fallback import ask_or_read

    document: dict[str, Any] = ask_or_read("/v1/status", _read)
    if output is Output.JSON:
        print(json.dumps(document))
    else:
        _print(document)


def _read(view: "View") -> dict[str, Any]:
    from ipos.agent.report import status

    return status(view, "not running")


def _print(document: dict[str, Any]) -> None:
    from ipos.cli.columns import print_rows

    print(f"{document['server']} of farm {document['farm']}, agent {document['agent']}")
    if document["programs"] != "current":
        print("the loaded programs are not of this version; `ipos upgrade` replaces them")
    print()
    for title in ("servers", "services"):
        rows = document[title]
        if rows:
            header = [name.replace("_", " ") for name in rows[0]]
            print_rows(header, [list(row.values()) for row in rows])
            print()
    names = document["connections"]
    print("  ".join(f"{name.replace('_', ' ')} {count}" for name, count in names.items()))
