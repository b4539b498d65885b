# SPDX-License-Identifier: Apache-2.0
"""`ipos agent`: the daemon of one server."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def agent(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file; /etc/ipos/ipos.toml by default."),
    ] = None,
) -> None:
    """Serve: load the data plane, send states to other servers, keep the tables right.

    The data plane goes on when the agent has ended; `ipos detach` stops it.
    """
    from ipos.agent.launch import serve

    serve(config)
