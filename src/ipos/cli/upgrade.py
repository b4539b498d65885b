# SPDX-License-Identifier: Apache-2.0
"""`ipos upgrade`: replaces the loaded programs by those of this package."""

from dataclasses import asdict

import typer

from ipos.cli.output import Output, OutputOption, print_json
from ipos.kernel import data_plane
from ipos.kernel.pins import find_pin_directory

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def upgrade(output: OutputOption = Output.TEXT) -> None:
    """Replace the loaded programs by this package's, link by link; connections go on.

    Programs of another ABI are refused: then drain this server, detach, and start anew.
    """
    done = data_plane.upgrade(data_plane.objects_directory(), find_pin_directory())
    if output is Output.JSON:
        print_json(asdict(done))
    else:
        print(f"replaced: {', '.join(done.replaced) or 'none, all are of this version'}")
