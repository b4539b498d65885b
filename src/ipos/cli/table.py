# SPDX-License-Identifier: Apache-2.0
"""`ipos table NAME`: shows the tables of the data plane on this server, from its pinned maps."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Name(StrEnum):
    """The tables there are."""

    FORWARD = "forward"
    LOCAL = "local"
    FORWARD_CONNECT = "forward-connect"
    TEMPORARY = "temporary"
    SERVER = "server"
    LISTENING = "listening"
    APPLICATION = "application"
    URL = "url"
    COOKIE = "cookie"
    FLOW = "flow"
    NUMBER = "number"


@app.command()
def table(
    name: Annotated[Name, typer.Argument(help="Which table.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Print a table of the iNIC on this server. Works with the agent dead."""
    from ipos.agent.view.table_views import open_view
    from ipos.cli.text_table import print_rows
    from ipos.tables import TABLES

    found = [row.as_json() for row in open_view().table(name)]
    if output is Output.JSON:
        print(json.dumps(found))
    else:
        print_rows(TABLES[name].columns(), [list(row.values()) for row in found])
