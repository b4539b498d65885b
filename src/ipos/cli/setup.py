# SPDX-License-Identifier: Apache-2.0
"""`ipos setup`: writes the first configuration of a server, and has `ipos doctor` look at it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ipos.errors import IposError

if TYPE_CHECKING:
    from ipos.firstrun.first_config import Answers

app = typer.Typer(add_completion=False, rich_markup_mode=None)

DEFAULT_KEY = Path("/etc/ipos/farm.key")


@app.command()
def setup(
    farm: Annotated[str, typer.Option(metavar="NAME", help="Name of the farm.")] = "",
    server: Annotated[str, typer.Option(metavar="NAME", help="Name of this server.")] = "",
    front: Annotated[str, typer.Option(metavar="IF", help="Interface towards clients.")] = "",
    back: Annotated[str, typer.Option(metavar="IF", help="Interface of the farm's own LAN.")] = "",
    address: Annotated[
        list[str] | None,
        typer.Option(metavar="IP", help="A service address of this server; repeatable."),
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IP",
            help="The back address of a server, this one too; repeatable. Without it the "
            "servers find each other.",
        ),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(metavar="S", help="NAME:PORT, or NAME:PORT=IP:PORT; repeatable."),
    ] = None,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The farm's key.")] = DEFAULT_KEY,
    new_farm: Annotated[
        bool, typer.Option("--new-farm", help="This is the first server: make a key.")
    ] = False,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="The file to write.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
) -> None:
    """Write the first configuration of this server, after showing all that will change.

    What no option says is asked, with what this machine suggests. Then `ipos doctor` looks at the
    machine; exit status 1: it found something to fix.
    """
    from ipos.agent.host.paths import config_file
    from ipos.firstrun import first_config
    from ipos.firstrun.machine import expect_interfaces, some_interfaces, suggest

    file = config or config_file()
    if file.exists():
        raise IposError(f"{file} exists already: change it by hand, then `ipos config check`")
    guess, ask = suggest(), _Asker(silent=yes or not sys.stdin.isatty())
    there = some_interfaces()
    front = ask("--front", f"Interface towards clients ({there})", front, guess.front)
    back = ask("--back", "Interface of the farm's own LAN", back, guess.back or front)
    expect_interfaces(front, back)
    said = first_config.Answers(
        farm=ask("--farm", "Name of the farm", farm, ""),
        server=ask("--server", "Name of this server", server, guess.server),
        front=front,
        back=back,
        addresses=first_config.addresses(
            ask.several("--address", "Service addresses of this server", address)
        ),
        members=first_config.addresses(
            ask.several("--member", "Back addresses of all servers (none: find them)", member, "")
        ),
        services=tuple(
            first_config.service(each)
            for each in ask.several("--service", "Services, as web:80", service, "web:80")
        ),
        key=key,
    )
    _write(said, file, ask, new_farm=new_farm)
    _examine(file)


def _write(said: "Answers", file: Path, ask: "_Asker", *, new_farm: bool) -> None:
    """Show what will change, ask, and do it: all of it or nothing."""
    from ipos.config import parse
    from ipos.firstrun import new_files

    if not said.key.exists() and not new_farm and not ask.silent:
        print(f"There is no key in {said.key}. Every server of a farm has the same one.")
        new_farm = typer.confirm("Is this the first server of a new farm?", default=False)
    new_key = new_files.expect_key(said.key, new_farm=new_farm)
    text = said.as_toml()
    print(text)
    print("This will:", *new_files.told(said, file, new_key=new_key), sep="\n  ")
    if not ask.silent and not typer.confirm("Go on?", default=True):
        raise IposError("nothing was written")
    if new_key:
        new_files.make_key(said.key)
    try:
        parse(text, file)
        new_files.write_config(file, text)
    except IposError:
        if new_key:
            said.key.unlink()
        raise
    print(f"\nwritten: {file}")
    if new_key:
        print(f"copy {said.key} to every other server of the farm, before `ipos setup` there")


class _Asker:
    """Asks for what no option says; without a terminal the suggestion is taken."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent

    def __call__(self, option: str, question: str, said: str, suggestion: str) -> str:
        if said:
            return said
        if not self.silent:
            answer: str = typer.prompt(question, default=suggestion or None)
            return answer
        if not suggestion:
            raise IposError(f"{option} is missing, and this machine suggests nothing: say it")
        return suggestion

    def several(
        self, option: str, question: str, said: list[str] | None, suggestion: str | None = None
    ) -> list[str]:
        if said:
            return said
        if not self.silent:
            answer: str = typer.prompt(question, default=suggestion)
            return answer.replace(",", " ").split()
        if suggestion is None:
            raise IposError(f"{option} is missing: say it once or more")
        return suggestion.split()


def _examine(file: Path) -> None:
    from ipos.cli import doctor
    from ipos.cli.output import Output

    print("\nipos doctor says:")
    try:
        doctor.doctor(config=file, output=Output.TEXT)
    except typer.Exit as end:
        status = end.exit_code
    print("\nnext: systemctl enable --now ipos-agent, or `ipos agent`; then `ipos status`")
    raise typer.Exit(status)
