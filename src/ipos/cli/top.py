# SPDX-License-Identifier: Apache-2.0
"""`ipos top`: the farm as it lives, in a terminal."""

from typing import Annotated

import typer

from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def top(
    every: Annotated[
        float, typer.Option(metavar="S", min=0.2, max=60, help="Seconds between two looks.")
    ] = 1.0,
) -> None:
    """Watch the farm: servers, services, and what is counted, with rates; drain and weigh by key.

    The keys are shown at the bottom. It needs the agent of this server.
    """
    import sys

    if not sys.stdout.isatty():
        raise IposError("ipos top needs a terminal; for programs there is `ipos status -o json`")
    from ipos.cli.client import ask
    from ipos.top.live_screen import Top

    ask("GET", "/v1/status")  # what is in the way is a sentence, and no empty screen
    Top(ask, every).run()
