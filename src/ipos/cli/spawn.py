# SPDX-License-Identifier: Apache-2.0
"""`ipos spawn`: has the farm run one more program, lists those that run, and ends them."""

from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_COLUMNS = ("call", "program", "address", "server", "state", "caller", "why")


@app.command()
def spawn(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A [[spawn]] of the configuration.")
    ] = "",
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGS]", help="Its arguments, as its `args` allow them."),
    ] = None,
    pid: Annotated[
        int | None,
        typer.Option(
            "--for",
            metavar="PID",
            min=1,
            help="The process with which it ends; by default the one that runs this command.",
        ),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Print what this server has spawned.")
    ] = False,
    stopped: Annotated[
        str, typer.Option("--stop", metavar="CALL", help='End this one, or "all" of this server.')
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Have the farm run one more program, and print the address by which the farm reaches it.

    The best server by free CPU and memory runs it, once. It ends with the process that has asked,
    which is the shell that runs this command, or by --stop.
    """
    import json
    import os

    from ipos import spawned
    from ipos.cli.text_table import print_rows

    if sum(map(bool, (name, listed, stopped))) != 1:
        raise typer.BadParameter("say what to spawn, or --list, or --stop")
    if listed:
        rows = spawned.spawned()
        if output is Output.JSON:
            print(json.dumps(rows))
        else:
            print_rows(list(_COLUMNS), [[row[one] for one in _COLUMNS] for row in rows])
        return
    if stopped:
        calls = [one["call"] for one in spawned.spawned() if one["state"] != "ended"]
        for call in calls if stopped == "all" else [stopped]:
            spawned.stop(call)
        return
    made = spawned.spawn(name, args or [], pid=pid or os.getppid())
    if output is Output.JSON:
        print(
            json.dumps(
                {
                    "call": made.call,
                    "address": f"{made.host}:{made.port}",
                    "server": made.server,
                }
            )
        )
    else:
        print(f"{made.host}:{made.port}")
