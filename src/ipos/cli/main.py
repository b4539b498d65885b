# SPDX-License-Identifier: Apache-2.0
"""The `ipos` command's root.

Subcommands are named here and imported only when called: `ipos --help` answers in tens of
milliseconds and `ipos table` never pays for the agent's imports. Each module offers `app`, a
`typer.Typer`; one with a single command becomes that command, one with several becomes a group.

Data goes to stdout, messages to stderr. Exit status: 0 done, 1 a fault, 2 wrong usage.
"""

import difflib
import importlib
import os
import re
from collections.abc import Iterable
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
    "setup": Subcommand("ipos.cli.setup", "Write the first configuration of this server."),
    "agent": Subcommand("ipos.cli.agent", "The daemon of one server."),
    "status": Subcommand("ipos.cli.status", "What is loaded here, and what it knows of the farm."),
    "top": Subcommand("ipos.cli.top", "Watch the farm; drain and weigh servers by key."),
    "server": Subcommand("ipos.cli.server", "List the servers, or order a state or weight."),
    "drain": Subcommand("ipos.cli.drain", "Take the connections from a server."),
    "rebalance": Subcommand("ipos.cli.rebalance", "Spread connections over the servers anew."),
    "migrate": Subcommand("ipos.cli.migrate", "Have a live connection go on at another server."),
    "address": Subcommand("ipos.cli.address", "List the service addresses and who holds them."),
    "session": Subcommand("ipos.cli.session", "List, move or revoke identified sessions."),
    "table": Subcommand("ipos.cli.table", "Print a table of the iNIC."),
    "counters": Subcommand("ipos.cli.counters", "Print the iNIC's counters."),
    "capture": Subcommand("ipos.cli.capture", "Write what the iNIC receives and sends as pcap."),
    "route": Subcommand("ipos.cli.route", "List the rules by host and path, or test a URL."),
    "explain": Subcommand("ipos.cli.explain", "Which server would get a request now, and why."),
    "watch": Subcommand("ipos.cli.watch", "Print connections as they are decided."),
    "spawn": Subcommand("ipos.cli.spawn", "Have the farm run one more program of [[spawn]]."),
    "config": Subcommand("ipos.cli.config", "Check or show a config file."),
    "reload": Subcommand("ipos.cli.reload", "Have the agent take its changed config file."),
    "doctor": Subcommand("ipos.cli.doctor", "Check this machine and name the fix for each fault."),
    "bugreport": Subcommand("ipos.cli.bugreport", "Make one file about this server, to send."),
    "upgrade": Subcommand("ipos.cli.upgrade", "Replace the programs under live connections."),
    "detach": Subcommand("ipos.cli.detach", "Stop the data plane and remove all of it."),
}


OF_A_DATA_PLANE = frozenset(
    (
        "status",
        "top",
        "server",
        "drain",
        "rebalance",
        "migrate",
        "address",
        "table",
        "counters",
        "capture",
        "route",
        "explain",
        "watch",
        "spawn",
        "reload",
        "bugreport",
    )
) | {"upgrade", "detach"}
"""Commands about the data plane of this machine, which take the options that name it."""


def _name_farm(name: str) -> None:
    if name:
        os.environ["IPOS_FARM"] = name


def _name_server(name: str) -> None:
    if name:
        os.environ["IPOS_SERVER"] = name


_choices = typer.Typer(add_completion=False, rich_markup_mode=None)


@_choices.command()
def choices(
    farm: Annotated[
        str,
        typer.Option(
            metavar="F",
            callback=_name_farm,
            expose_value=False,
            help="The farm of the data plane, where this machine has several.",
        ),
    ] = "",
    server: Annotated[
        str,
        typer.Option(
            metavar="S",
            callback=_name_server,
            expose_value=False,
            help="The server of that data plane.",
        ),
    ] = "",
) -> None:
    """Options that name a data plane; code that looks for one finds them in the environment."""


def add_choices(command: Any) -> None:
    """Have a command, or all of a group, take them."""
    for each in getattr(command, "commands", {}).values() or [command]:
        each.params += typer.main.get_command(_choices).params


def _meant(word: str, known: Iterable[str] = SUBCOMMANDS) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def plain(message: str) -> str:
    """What a library for values says of a wrong one, without its own words and with the value that
    is probably meant.
    """
    message = message.removeprefix("Value error, ")
    message = re.sub(r"^Input should be (a valid \w+), unable .*", r"it should be \1", message)
    wrong = re.match(r"'(.*?)' is not one of (.*)", message)
    if wrong is None:
        return message
    return message.rstrip(".") + _meant(wrong[1], re.findall(r"'([^']*)'", wrong[2]))


class LazyGroup(TyperGroup):
    """A command group that knows its commands' names and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with name and summary: enough for help, suggestions and completion."""
        entry = SUBCOMMANDS.get(cmd_name)
        return entry and TyperCommand(name=cmd_name, help=entry.summary)

    def invoke(self, ctx: Any) -> Any:
        """As any group does; a wrong value of an option is told in plain words."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # The library's own type has another home in each of its releases.
            said = getattr(error, "message", None)
            if type(error).__name__ == "BadParameter" and isinstance(said, str):
                error.message = plain(said)  # type: ignore[attr-defined]
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, imported. Dispatch and the completion of its options need it."""
        if args and args[0] not in SUBCOMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"There is no command {args[0]!r}{_meant(args[0])}")
        name, command, rest = super().resolve_command(ctx, args)
        if name in SUBCOMMANDS:
            from ipos.cli.examples import add_examples

            module = importlib.import_module(SUBCOMMANDS[name].module)
            command = typer.main.get_command(module.app)
            command.name = name
            add_examples(name, command)
            if name in OF_A_DATA_PLANE:
                add_choices(command)
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
    context_settings={"help_option_names": ["-h", "--help"]},
    # Click prints a paragraph that begins with \b as it stands.
    epilog="\n  ".join(
        ("\b\nExamples:", "ipos setup", "ipos status", "ipos drain s2 --wait", "ipos doctor --farm")
    ),
)


@root.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version."),
    ] = False,
) -> None:
    """A server farm without a load-balancer tier: connect to any server, the best one replies."""
