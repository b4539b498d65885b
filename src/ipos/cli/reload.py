# SPDX-License-Identifier: Apache-2.0
"""`ipos reload`: has the agent take its changed configuration, all of it or nothing."""

import typer

from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_PATIENCE_S = 60.0


@app.command()
def reload() -> None:
    """Have the agent read its configuration file again. No connection is disturbed.

    Returns when it has been taken, and says why when it has not.
    """
    from ipos.cli.client import Unanswered, ask

    try:
        ask("POST", "/v1/reload", patience_s=_PATIENCE_S)
    except Unanswered as silence:
        raise IposError(f"{silence}; it reads the file when it starts") from None
