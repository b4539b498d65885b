# SPDX-License-Identifier: Apache-2.0
"""`ipos doctor`: what of this host stands in the way, one sentence each."""

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ipos.cli.output import Output, OutputOption, print_json
from ipos.inic.doctor import Finding, collect, examine

app = typer.Typer(add_completion=False, rich_markup_mode=None)


DEFAULT_CONFIG = Path("/etc/ipos/ipos.toml")


@dataclass(frozen=True, slots=True)
class Site:
    """What the checks need of a config file."""

    front: str = "front"
    back: str = "back"
    ports: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()


@app.command()
def doctor(
    config: Annotated[
        Path, typer.Option(envvar="IPOS_CONFIG", help="This server's config file.")
    ] = DEFAULT_CONFIG,
    front: Annotated[str, typer.Option(help="Interface towards clients.")] = "",
    back: Annotated[str, typer.Option(help="Interface of the farm's own LAN.")] = "",
    port: Annotated[list[int] | None, typer.Option(help="A service's port; repeatable.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check this machine and name the fix for each fault. Exit status 1: something to fix."""
    site = read_site(config)
    facts = collect(
        front or site.front, back or front or site.back, port or site.ports, site.addresses
    )
    findings = examine(facts)
    healthy = all(each.ok for each in findings)
    if output is Output.JSON:
        print_json({"ok": healthy, "checks": [asdict(each) for each in findings]})
    else:
        print(*map(_line, findings), sep="\n")
    raise typer.Exit(0 if healthy else 1)


def read_site(config: Path) -> Site:
    """Interfaces and ports of a config file, as far as it holds any.

    Read leniently and not through the schema: a host is examined before its config is right.
    """
    try:
        raw = tomllib.loads(config.read_text())
    except (OSError, tomllib.TOMLDecodeError):
        return Site()
    server: dict[str, Any] = raw.get("server", {})
    services: list[dict[str, Any]] = raw.get("service", [])
    front = str(server.get("front", Site().front))
    return Site(
        front,
        str(server.get("back", front)),
        tuple(each["port"] for each in services if isinstance(each.get("port"), int)),
        tuple(str(each) for each in server.get("addresses", ())),
    )


def _line(finding: Finding) -> str:
    return f"{'ok ' if finding.ok else 'FIX'}  {finding.check:<15} {finding.message}".rstrip()
