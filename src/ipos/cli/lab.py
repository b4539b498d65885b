# SPDX-License-Identifier: Apache-2.0
"""`ipos lab`: a farm on this machine, with network namespaces as hosts."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption
from ipos.lab.errors import LabError
from ipos.lab.plan import Settings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A farm on this machine: servers, clients and a router as network namespaces.",
)

_Name = Annotated[str, typer.Option("--name", metavar="N", help="Name of the lab.")]


@app.command()
def up(
    name: _Name = "farm",
    servers: Annotated[int, typer.Option(metavar="N", help="How many servers.")] = 3,
    clients: Annotated[int, typer.Option(metavar="N", help="How many clients.")] = 1,
    topology: Annotated[
        str, typer.Option(help="single, or one-lan: front and back are one interface.")
    ] = "single",
    application: Annotated[
        str,
        typer.Option("--app", help="nginx, builtin, or a shell command that each server runs."),
    ] = "nginx",
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The farm's common parts: services, pools, routes."),
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="Hosts and applications only, nothing of ipOS.")
    ] = False,
    switch: Annotated[
        str,
        typer.Option(help="bridge, or xdp: LANs that cost next to nothing, for measurements."),
    ] = "bridge",
) -> None:
    """Build a lab and start it. Harmless if the same lab is up already."""
    from ipos.lab.lab import Lab

    lab = Lab(
        Settings(
            name=name,
            servers=servers,
            clients=clients,
            topology=topology,
            app=application,
            config=_read(config),
            bare=bare,
            switch=switch,
        )
    )
    if not lab.up():
        print(f"lab {name} is up already")
        return
    addresses = ", ".join(f"{server.name} {lab.front(server.name)}" for server in lab.servers)
    print(f"lab {name} is up: {addresses}")
    if lab.clients:
        option = "" if name == "farm" else f"--name {name} "
        url = f"http://{lab.front('s1')}/"
        print(f"try: ipos lab exec {option}{lab.clients[0].name} -- curl -i {url}")


@app.command()
def down(name: _Name = "farm") -> None:
    """End a lab and remove all of it, whatever state it is in. Harmless if there is none."""
    from ipos.lab.lab import Lab

    ended = Lab(Settings(name=name)).down()
    print(f"lab {name} is gone" if ended else f"there is no lab {name}")


@app.command(name="list")
def list_labs(output: OutputOption = Output.TEXT) -> None:
    """List the labs of this machine."""
    from ipos.lab import state

    rows: list[dict[str, object]] = []
    for name in state.names():
        manifest = state.read(name)
        if manifest is None:
            rows.append({"name": name, "state": "broken"})
            continue
        settings = manifest.settings
        rows.append(
            {
                "name": name,
                "state": "up" if manifest.complete else "incomplete",
                "servers": settings.servers,
                "clients": settings.clients,
                "topology": settings.topology,
                "app": settings.app,
                "bare": settings.bare,
                "switch": settings.switch,
            }
        )
    if output is Output.JSON:
        print(json.dumps(rows))
        return
    for row in rows:
        rest = " ".join(f"{key}={value}" for key, value in row.items() if key != "name")
        print(f"{row['name']:<16} {rest}")


@app.command(
    name="exec",
    # Options after NODE belong to the command, with or without a `--` before it.
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)
def execute(
    node: Annotated[str, typer.Argument(help="client1, router1, s1 and so on.")],
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", help="What to run.")],
    name: _Name = "farm",
) -> None:
    """Run a command inside a node; its streams and exit status are its own."""
    from ipos.lab.lab import Lab

    argv = command[1:] if command[0] == "--" else command
    if not argv:
        print("ipos lab exec: no command after the node; try: -- sh", file=sys.stderr)
        raise typer.Exit(2)
    Lab.load(name).exec(node, argv)


def _read(config: Path | None) -> str | None:
    if config is None:
        return None
    try:
        return config.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"cannot read the lab's configuration {config}: {error}") from error


if __name__ == "__main__":
    app()
