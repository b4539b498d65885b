# SPDX-License-Identifier: Apache-2.0
"""`ipos migrate`: has an application give one live connection to another server."""

from typing import Annotated

import typer

from ipos.cli import completions
from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_PATIENCE_S = 15.0


@app.command()
def migrate(
    client: Annotated[
        str,
        typer.Argument(metavar="CLIENT", help="The client's address and port: 198.51.100.7:50123."),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="SERVER",
            autocompletion=completions.servers,
            help="The server that it is to go on at, such as s2.",
        ),
    ],
) -> None:
    """Ask the application on this server to give a client's connection to another server.

    The connection goes on there with its application's state, and the client notices nothing. The
    application must use `ipos.endpoint`, on both servers.
    """
    from ipos.cli.client import Unanswered, ask

    try:
        ask("POST", "/v1/migrate", {"client": client, "to": to}, patience_s=_PATIENCE_S)
    except Unanswered as silence:
        raise IposError(f"{silence} to pass this on: start it") from None
    print(f"{client} goes on at {to}")
