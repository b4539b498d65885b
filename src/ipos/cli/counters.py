# SPDX-License-Identifier: Apache-2.0
"""`ipos counters`: what the data plane on this server has done and dropped, by reason."""

import json
from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def counters(
    output: OutputOption = Output.TEXT,
    everything: Annotated[
        bool, typer.Option("--all", help="Show counters that are zero, too.")
    ] = False,
) -> None:
    """Print every counter of the data plane with its meaning. Works with the agent dead.

    JSON is one object of numbers by name, zeros included.
    """
    from ipos.cli.text_table import print_rows
    from ipos.kernel.maps import Tables
    from ipos.kernel.pins import find_pin_directory

    # Of any ABI: numbers of counters never change their meaning.
    found = Tables(find_pin_directory() / "maps").counters()
    if output is Output.JSON:
        print(json.dumps({counter.name.lower(): value for counter, value in found}))
        return
    shown = [
        (counter.name.lower(), value, counter.text)
        for counter, value in found
        if value or everything
    ]
    print_rows(("counter", "value", "meaning"), shown)
