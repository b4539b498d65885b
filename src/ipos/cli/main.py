# SPDX-License-Identifier: Apache-2.0
"""The `ipos` command's root.

Subcommands are named here and imported only when called: `ipos --help` answers in tens of
milliseconds and `ipos table` never pays for the agent's imports. Each module offers `app`, a
`typer.Typer`; one with a single command becomes that command, one with several becomes a group.

Data goes to stdout, messages to stderr. Exit status: 0 done, 1 a fault, 2 wrong usage.
"""

import importlib
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from ipos import __version__


class Subcommand(NamedTuple):
    """Where a subcommand lives and what `ipos --help` says about it."""

    module: str
    summary: str


SUBCOMMANDS: dict[str, Subcommand] = {
    "demo": Subcommand("ipos.cli.demo", "A farm at work, in under a minute."),
    "lab": Subcommand("ipos.cli.lab", "A farm on this machine, in network namespaces."),
    "agent": Subcommand("ipos.cli.agent", "The daemon of one server."),
    "status": Subcommand("ipos.cli.status", "What is loaded here, and what it knows of the farm."),
    "server": Subcommand("ipos.cli.server", "List the servers, or say what is wanted of one."),
    "table": Subcommand("ipos.cli.table", "Print a table of the iNIC."),
    "counters": Subcommand("ipos.cli.counters", "Print the iNIC's counters."),
    "capture": Subcommand("ipos.cli.capture", "Write what the iNIC receives and sends as pcap."),
    "route": Subcommand("ipos.cli.route", "List the rules by host and path, or test a URL."),
    "explain": Subcommand("ipos.cli.explain", "Which server would get a request now, and why."),
    "watch": Subcommand("ipos.cli.watch", "Print connections as they are decided."),
    "config": Subcommand("ipos.cli.config", "Check or show a config file."),
    "reload": Subcommand("ipos.cli.reload", "Have the agent take its changed config file."),
    "doctor": Subcommand("ipos.cli.doctor", "Check this machine and name the fix for each fault."),
    "upgrade": Subcommand("ipos.cli.upgrade", "Replace the programs under live connections."),
    "detach": Subcommand("ipos.cli.detach", "Stop the data plane and remove all of it."),
}


class LazyGroup(TyperGroup):
    """A command group that knows its commands' names and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with name and summary: enough for help, suggestions and completion."""
        entry = SUBCOMMANDS.get(cmd_name)
        return entry and TyperCommand(name=cmd_name, help=entry.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, imported: what dispatch and completion of its options ask for."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in SUBCOMMANDS:
            module = importlib.import_module(SUBCOMMANDS[name].module)
            command = typer.main.get_command(module.app)
            command.name = name
        return name, command, rest


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ipos {__version__}")
        raise typer.Exit


root = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes take longer than all else a command does
)


@root.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version."),
    ] = False,
) -> None:
    """A server farm without a load-balancer tier: connect to any server, the best one replies."""
