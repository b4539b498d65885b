# SPDX-License-Identifier: Apache-2.0
"""`ipos doctor`."""

import typer

app = typer.Typer(add_completion=False)


@app.command()
def doctor() -> None:
    """Check this machine and name the fix for each fault."""
