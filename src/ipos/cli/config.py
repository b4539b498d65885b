# SPDX-License-Identifier: Apache-2.0
"""`ipos config`: reads a configuration file without starting anything."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check and show configuration.",
)


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="The file to check; /etc/ipos/ipos.toml by default.")
    ] = None,
) -> None:
    """Say everything that is wrong with a file, by line; nothing when it is right.

    A line that begins with `note:` is no mistake, and the exit status stays 0.
    """
    from ipos.agent.host.paths import config_file
    from ipos.config import load
    from ipos.config.remarks import remarks

    for note in remarks(load(file or config_file())):
        print(f"note: {note}")


@app.command()
def show(
    file: Annotated[
        Path | None, typer.Argument(help="The file; /etc/ipos/ipos.toml by default.")
    ] = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="With every default written out.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print a configuration file as it is understood."""
    from ipos.agent.host.paths import config_file
    from ipos.config import load
    from ipos.config.effective import as_document, as_toml

    document = as_document(load(file or config_file()), defaults=effective)
    print(json.dumps(document) if output is Output.JSON else as_toml(document), end="")
    if output is Output.JSON:
        print()
