# SPDX-License-Identifier: Apache-2.0
"""`ipos doctor`: says what on this host prevents a farm from working, in one sentence each."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipos.cli.output import Output, OutputOption, print_json
from ipos.errors import IposError

if TYPE_CHECKING:
    from ipos.doctor.checks import Finding

app = typer.Typer(add_completion=False, rich_markup_mode=None)

DEFAULT_CONFIG = Path("/etc/ipos/ipos.toml")
_PATIENCE_S = 40
"""The agent gives up before, and says who has not answered."""


@app.command()
def doctor(
    config: Annotated[
        Path, typer.Option(envvar="IPOS_CONFIG", help="This server's config file.")
    ] = DEFAULT_CONFIG,
    front: Annotated[str, typer.Option(help="Interface towards clients.")] = "",
    back: Annotated[str, typer.Option(help="Interface of the farm's own LAN.")] = "",
    port: Annotated[list[int] | None, typer.Option(help="A service's port; repeatable.")] = None,
    farm: Annotated[
        bool, typer.Option("--farm", help="Have every server of the farm examine itself.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check this machine and name the fix for each fault. Exit status 1: something to fix."""
    if farm:
        if front or back or port:
            raise IposError("--farm takes no --front, --back and --port: each server has its own")
        _examine_farm(output)
    from ipos.doctor.examination import examination

    findings = examination(config, front, back, port or ())
    healthy = all(each.ok for each in findings)
    if output is Output.JSON:
        print_json({"ok": healthy, "checks": [asdict(each) for each in findings]})
    else:
        for each in findings:
            print(_line("ok " if each.ok else _sign(each.seen), each.check, each.message))
        print(f"\n{_verdict(findings)}")
    raise typer.Exit(0 if healthy else 1)


def _verdict(findings: list["Finding"]) -> str:
    """The page in one line."""
    to_fix = sum(not each.ok and each.seen for each in findings)
    unseen = sum(not each.seen for each in findings)
    said = f"{to_fix} to fix" if to_fix else "nothing to fix"
    return f"{said}, and {unseen} not looked at" if unseen else said


def _examine_farm(output: Output) -> None:
    from ipos.cli.client import Unanswered, ask

    try:
        servers: list[dict[str, Any]] = ask("GET", "/v1/doctor", patience_s=_PATIENCE_S)
    except Unanswered as silence:
        raise IposError(
            f"{silence} to ask the others: start it, or run `ipos doctor` on each server"
        ) from None
    healthy = all(row["answered"] and not row["findings"] for row in servers)
    if output is Output.JSON:
        print_json({"ok": healthy, "servers": servers})
    else:
        print(*(line for row in servers for line in _told(row)), sep="\n")
    raise typer.Exit(0 if healthy else 1)


def _told(row: dict[str, Any]) -> list[str]:
    """One server: a line for it, and one for each fault."""
    name = row["back_address"] if not row["server"] else f"{row['server']} ({row['back_address']})"
    if not row["answered"]:
        return [f"{name}: no answer: {row['why']}"]
    count = len(row["findings"]) + row["left_out"]
    if not count:
        return [f"{name}: ok"]
    lines = [f"{name}: {count} to fix"]
    lines += [
        "  " + _line(_sign(each["seen"]), each["check"], each["message"])
        for each in row["findings"]
    ]
    if row["left_out"]:
        lines.append(f"  and {row['left_out']} more: run `ipos doctor` there")
    return lines


def _sign(seen: bool) -> str:
    return "FIX" if seen else "???"


def _line(sign: str, check: str, message: str) -> str:
    return f"{sign}  {check:<15} {message}".rstrip()
