# SPDX-License-Identifier: Apache-2.0
"""`ipos address`: the service addresses of the farm."""

from typing import TYPE_CHECKING, Any

import typer

from ipos.cli.output import Output, OutputOption

if TYPE_CHECKING:  # the agent makes the rows, so the command rarely needs any of this
    from ipos.agent.view.table_views import View

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List the service addresses and who holds them.",
)


@app.callback()
def _group() -> None:
    """List the service addresses and who holds them."""


@app.command("list")
def list_addresses(output: OutputOption = Output.TEXT) -> None:
    """Print each service address: its own server, its holder, since how many seconds, and why."""
    import json

    from ipos.cli.fallback import ask_or_read
    from ipos.cli.text_table import print_rows

    rows = ask_or_read("/v1/addresses", _read)
    if output is Output.JSON:
        print(json.dumps(rows))
    else:
        print_rows(list(rows[0] if rows else ["address"]), [list(row.values()) for row in rows])


def _read(view: "View") -> list[dict[str, Any]]:
    from ipos.agent.view.report import address_list

    return address_list(view)
