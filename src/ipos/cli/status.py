# SPDX-License-Identifier: Apache-2.0
"""`ipos status`: this server, the farm as it sees it, and how full its tables are."""

import json
from typing import Any

import typer

from ipos.cli.output import Output, OutputOption

app = typer.Typer(add_completion=False)


@app.command()
def status(output: OutputOption = Output.TEXT) -> None:
    """Print the farm as this server sees it. Works with the agent dead, and says so."""
    from ipos.agent.places import agent_pid
    from ipos.agent.views import open_view, server_list, service_list

    view = open_view()
    snapshot = view.snapshot
    document: dict[str, Any] = {
        "farm": snapshot.farm,
        "server": snapshot.me,
        "agent": "running" if agent_pid() else "not running",
        "servers": server_list(view),
        "services": service_list(view),
        "connections": {
            "local": view.tables.local.count(),
            "forward_connect": view.tables.connect.count(),
            "forward": view.tables.forward.count(),
            "temporary": view.tables.temporary.count(),
            "held": view.tables.holding.count(),
        },
        "datagrams": snapshot.datagrams,
    }
    if output is Output.JSON:
        print(json.dumps(document))
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    from ipos.cli.columns import print_rows

    print(f"{document['server']} of farm {document['farm']}, agent {document['agent']}\n")
    for title in ("servers", "services"):
        rows = document[title]
        if rows:
            header = [name.replace("_", " ") for name in rows[0]]
            print_rows(header, [list(row.values()) for row in rows])
            print()
    names = document["connections"]
    print("  ".join(f"{name.replace('_', ' ')} {count}" for name, count in names.items()))
