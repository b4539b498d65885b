# SPDX-License-Identifier: Apache-2.0
"""`ipos server`: shows the farm's servers, and changes their states and weights."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipos.cli import completions
from ipos.cli.output import Output, OutputOption
from ipos.errors import IposError

if TYPE_CHECKING:  # the agent makes the rows, so the command rarely needs any of this
    from ipos.agent.view.table_views import View

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List servers, or say what is wanted of one.",
)


WEIGHT_MAX = 0xFFFF


class Wanted(StrEnum):
    """What can be wanted of a server."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@app.command("list")
def list_servers(output: OutputOption = Output.TEXT) -> None:
    """Print the servers as this one sees them: the servers of `ipos status`."""
    import json

    from ipos.cli.fallback import ask_or_read
    from ipos.cli.text_table import print_rows

    rows = ask_or_read("/v1/servers", _read)
    if output is Output.JSON:
        print(json.dumps(rows))
    else:
        header = [name.replace("_", " ") for name in (rows[0] if rows else ["server"])]
        print_rows(header, [list(row.values()) for row in rows])


def _read(view: "View") -> list[dict[str, Any]]:
    from ipos.agent.view.table_views import server_list

    return server_list(view)


@app.command("set")
def set_server(
    name: Annotated[
        str,
        typer.Argument(autocompletion=completions.servers, help="The server's name, such as s2."),
    ],
    state: Annotated[
        Wanted | None, typer.Argument(help="ready, drain (nothing new) or maint.")
    ] = None,
    weight: Annotated[
        str,
        typer.Option(
            metavar="W",
            help="Its weight in every pool that has it, 1 to 65535, or default: as configured.",
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Drain it even if no other server can serve the same.")
    ] = False,
) -> None:
    """Order a state or a weight for a server; all servers know and remember the order.

    Returns when this server has seen it done. `ipos drain` also waits, and tells how far it is.
    """
    from urllib.parse import quote

    from ipos.cli.client import Unanswered, ask

    if state is None and not weight:
        raise typer.BadParameter("say what is wanted of it: a state, or --weight")
    path = f"/v1/servers/{quote(name, safe='')}"
    wanted = _weight(weight) if weight else None
    try:
        if state is not None:
            ask("PUT", f"{path}/state", {"state": str(state), "force": force})
        if weight:
            ask("PUT", f"{path}/weight", {"weight": wanted})
    except Unanswered as silence:
        raise IposError(f"{silence} to pass the order on: start it") from None


def _weight(text: str) -> int | None:
    if text == "default":
        return None
    if text == "0":
        raise typer.BadParameter("a weight of 0 would be for nothing new: say drain")
    if not text.isdecimal() or int(text) > WEIGHT_MAX:
        raise typer.BadParameter(f"{text} is no weight: 1 to {WEIGHT_MAX}, or default")
    return int(text)
