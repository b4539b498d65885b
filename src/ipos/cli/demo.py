# SPDX-License-Identifier: Apache-2.0
"""`ipos demo`: shows a farm at work, in under a minute."""

import sys
from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def demo(
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
    output: OutputOption = Output.TEXT,
    seconds: Annotated[
        float, typer.Option(min=2, max=40, metavar="N", help="Seconds of traffic.")
    ] = 15,
    name: Annotated[
        str, typer.Option(metavar="N", help="Name of its lab; the default is a new name.")
    ] = "",
) -> None:
    """Show a farm of three at work: build it, load it, drain a server, report, remove it.

    Exit status 0: no request failed, and connections migrated.
    """
    from ipos.demo import summary
    from ipos.demo.screen import screen
    from ipos.demo.story import run, unused_name

    try:
        outcome = run(name or unused_name(), seconds, screen())
    except KeyboardInterrupt:
        print("ipos: interrupted; the demo's farm is gone", file=sys.stderr)
        raise typer.Exit(130) from None
    in_json = as_json or output is Output.JSON
    print(summary.as_json(outcome) if in_json else summary.as_text(outcome))
    raise typer.Exit(0 if outcome.succeeded else 1)
