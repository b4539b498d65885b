# SPDX-License-Identifier: Apache-2.0
"""`ipos table NAME`: the tables of the iNIC on this server, from its pinned maps."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption

app = typer.Typer(add_completion=False)


class Name(StrEnum):
    """The tables there are."""

    FORWARD = "forward"
    LOCAL = "local"
    FORWARD_CONNECT = "forward-connect"
    TEMPORARY = "temporary"
    SERVER = "server"
    LISTENING = "listening"
    URL = "url"
    COOKIE = "cookie"


@app.command()
def table(
    name: Annotated[Name, typer.Argument(help="Which table.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Print a table of the iNIC on this server. Works with the agent dead."""
    from ipos.agent.observer import boottime_ns
    from ipos.agent.places import snapshot_file
    from ipos.agent.snapshot import read
    from ipos.agent.views import View
    from ipos.cli.columns import print_rows
    from ipos.inic.maps import Tables
    from ipos.inic.pins import find_pin_directory
    from ipos.tables import TABLES

    view = View(Tables(find_pin_directory() / "maps"), read(snapshot_file()), boottime_ns())
    found = [row.as_json() for row in view.table(name)]
    if output is Output.JSON:
        print(json.dumps(found))
    else:
        print_rows(TABLES[name].columns(), [list(row.values()) for row in found])
