# SPDX-License-Identifier: Apache-2.0
"""`ipos server`: the farm's servers, and what is wanted of them."""

import time
from enum import StrEnum
from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption
from ipos.errors import IposError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List servers, or say what is wanted of one."
)

_WAIT_S = 3.0
_LOOK_S = 0.02


class Wanted(StrEnum):
    """What can be wanted of a server."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@app.command("list")
def list_servers(output: OutputOption = Output.TEXT) -> None:
    """Print the servers as this one sees them: the servers of `ipos status`."""
    import json

    from ipos.agent.views import open_view, server_list
    from ipos.cli.columns import print_rows

    rows = server_list(open_view())
    if output is Output.JSON:
        print(json.dumps(rows))
    else:
        header = [name.replace("_", " ") for name in (rows[0] if rows else ["server"])]
        print_rows(header, [list(row.values()) for row in rows])


@app.command("set")
def set_state(
    name: Annotated[str, typer.Argument(help="The server's name, such as s2.")],
    state: Annotated[Wanted, typer.Argument(help="ready, drain (nothing new) or maint.")],
) -> None:
    """Say what is wanted of a server; known to all of them, and remembered.

    Returns when this server has seen it done.
    """
    from ipos.agent import orders
    from ipos.agent.places import agent_pid, orders_file
    from ipos.agent.views import open_view, server_list
    from ipos.inic.rows import ServerState

    known = {row["server"] for row in server_list(open_view())}
    if name not in known:
        names = ", ".join(sorted(str(one) for one in known if one))
        raise IposError(f"no server is called {name}; there are {names}")
    if not agent_pid():
        raise IposError("no agent is running on this server to pass the order on: start it")
    orders.give(orders_file(), name, ServerState[state.name])
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        if any(row["server"] == name and row["state"] == state for row in server_list(open_view())):
            return
        time.sleep(_LOOK_S)
    raise IposError(
        f"{name} has not done it in {_WAIT_S:.0f} s: it is down or its agent is not running; the "
        "order stands, and it will follow when it is back"
    )
