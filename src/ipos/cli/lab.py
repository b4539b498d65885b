# SPDX-License-Identifier: Apache-2.0
"""`ipos lab`: a farm on this machine, with network namespaces as hosts."""

import json
import sys
import textwrap
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ipos.cli import completions
from ipos.cli.output import Output, OutputOption
from ipos.lab.errors import LabError
from ipos.lab.plan import Settings

if TYPE_CHECKING:
    from ipos.lab.lab import Lab

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A farm on this machine: servers, clients and a router as network namespaces.",
)

_APP_WIDTH = 30
"""Of a command that is a lab's application, in the list of labs."""

_Name = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="N",
        envvar="IPOS_LAB",
        autocompletion=completions.labs,
        help="Name of the lab.",
    ),
]
_Node = Annotated[
    str,
    typer.Argument(autocompletion=completions.nodes, help="client1, router1, s1 and so on."),
]


@app.command()
def up(
    name: _Name = "farm",
    servers: Annotated[int, typer.Option(metavar="N", help="How many servers.")] = 3,
    clients: Annotated[int, typer.Option(metavar="N", help="How many clients.")] = 1,
    topology: Annotated[
        str,
        typer.Option(
            help="single; dual-isp: two routers; back-lan: as single; one-lan: front and back are "
            "one interface; or ecmp: routers are told of an address that all servers have."
        ),
    ] = "single",
    application: Annotated[
        str,
        typer.Option("--app", help="nginx, builtin, none, or a shell command for each server."),
    ] = "nginx",
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The farm's common parts: services, pools, routes."),
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="Hosts and applications only, nothing of ipOS.")
    ] = False,
    boxed: Annotated[
        bool,
        typer.Option("--boxed", help="Each server's application is in a container of its own."),
    ] = False,
    switch: Annotated[
        str,
        typer.Option(help="bridge, or xdp: LANs that cost next to nothing, for measurements."),
    ] = "bridge",
    ipv6: Annotated[
        bool,
        typer.Option(help="IPv6 addresses beside those of IPv4, unless the farm cannot have any."),
    ] = True,
) -> None:
    """Build a lab and start it. Harmless if the same lab is up already."""
    from ipos.lab import configuration, second_family
    from ipos.lab.lab import Lab

    text = _read(config)
    settings = Settings(
        name=name,
        servers=servers,
        clients=clients,
        topology=topology,
        app=application,
        config=text,
        bare=bare,
        switch=switch,
        boxed=boxed,
    )
    if ipv6:
        common = configuration.parse_common(text)
        settings = replace(settings, ipv6=second_family.may_have(settings, common))
    lab = Lab(settings)
    if not lab.up():
        print(f"lab {name} is up already")
        return
    addresses = ", ".join(f"{server.name} {_addresses(lab, server.name)}" for server in lab.servers)
    print(f"lab {name} is up: {addresses}")
    if lab.clients:
        option = "" if name == "farm" else f"--name {name} "
        url = f"http://{lab.front('s1')}/"
        print(f"try: ipos lab exec {option}{lab.clients[0].name} -- curl -i {url}")
        if settings.ipv6:
            url = f"'http://[{lab.front6('s1')}]/'"
            print(f"     ipos lab exec {option}{lab.clients[0].name} -- curl -gi {url}")


def _addresses(lab: "Lab", server: str) -> str:
    both = [lab.front(server), *([lab.front6(server)] if lab.settings.ipv6 else [])]
    return " ".join(both)


@app.command()
def down(name: _Name = "farm") -> None:
    """End a lab and remove all of it, whatever state it is in. Harmless if there is none."""
    from ipos.lab.lab import Lab

    ended = Lab(Settings(name=name)).down()
    print(f"lab {name} is gone" if ended else f"there is no lab {name}")


class Damage(StrEnum):
    """What is done to a link; both directions unless one is named, as the node sees them."""

    CUT = "cut"
    SENDS_NOTHING = "sends-nothing"
    HEARS_NOTHING = "hears-nothing"
    WHOLE = "whole"
    REHASH = "rehash"


@app.command()
def fault(
    damage: Annotated[
        Damage,
        typer.Argument(
            help="cut: no carrier. whole: the damage ends. rehash: the router of an ecmp lab "
            "sends flows to other servers; it needs no node."
        ),
    ],
    node: Annotated[
        str,
        typer.Argument(autocompletion=completions.nodes, help="client1, router1, s1 and so on."),
    ] = "",
    interface: Annotated[str, typer.Argument(help="front or back.")] = "",
    name: _Name = "farm",
) -> None:
    """Damage one link of a lab: pull its cable, or lose all frames in one direction.

    One direction is dead on one link at a time; `whole` ends that, and plugs this cable in.
    `rehash` damages nothing: the router sends most flows to other servers from now on.
    """
    from ipos.lab import faults
    from ipos.lab.lab import Lab

    lab = Lab.load(name)
    if damage is Damage.REHASH:
        faults.rehash(lab)
        return
    if not node or not interface:
        raise LabError(f"{damage} is done to a link: name a node and an interface, as s1 back")
    if damage in (Damage.CUT, Damage.WHOLE):
        faults.set_link(lab, node, interface, up=damage is Damage.WHOLE)
    if damage is Damage.WHOLE:
        faults.set_loss(lab, 0)
    elif damage is not Damage.CUT:
        sends = damage is Damage.SENDS_NOTHING
        directions = faults.FROM_NODE if sends else faults.TO_NODE
        faults.set_loss(lab, 100, [(node, interface)], directions)


@app.command(name="list")
def list_labs(output: OutputOption = Output.TEXT) -> None:
    """List the labs of this machine."""
    from ipos.cli.text_table import print_rows
    from ipos.lab import state

    rows: list[dict[str, object]] = []
    for name in state.names():
        manifest = state.read(name)
        if manifest is None:
            foreign = state.is_foreign(name)
            rows.append({"name": name, "state": "other version" if foreign else "broken"})
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
    header = ["name", "state", "servers", "clients", "topology", "switch", "bare", "app"]
    for row in rows:
        row["app"] = textwrap.shorten(str(row.get("app", "-")), _APP_WIDTH, placeholder=" ...")
    print_rows(header, [[row.get(column) for column in header] for row in rows])


@app.command(
    name="exec",
    # Options after NODE belong to the command, with or without a `--` before it.
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)
def execute(
    node: _Node,
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
