# SPDX-License-Identifier: Apache-2.0
"""`ipos rebalance`: has servers with too many connections give idle ones away."""

from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption
from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def rebalance(
    max_moves: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Give away at most N connections in all."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Take connections from servers that have more than their share, to be chosen anew.

    After a server has joined, long-lived connections stay where they are. Servers that have more
    than their weight asks for hand idle ones back, whose next requests the policy then decides.
    """
    import json

    from ipos.cli.client import Unanswered, ask
    from ipos.cli.text_table import print_rows

    try:
        found = ask("POST", "/v1/rebalance", {"most": max_moves})
    except Unanswered as silence:
        raise IposError(f"{silence} to pass the order on: start it") from None
    if output is Output.JSON:
        print(json.dumps(found))
        return
    rows = [[name, one["connections"], one["gives"]] for name, one in sorted(found.items())]
    print_rows(["server", "connections", "gives"], rows)
