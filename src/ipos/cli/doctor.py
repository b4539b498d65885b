# SPDX-License-Identifier: Apache-2.0
"""`ipos doctor`: says what on this host prevents a farm from working, in one sentence each."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ipos.cli.output import Output, OutputOption, print_json
from ipos.doctor import Finding, collect, examine
from ipos.doctor.site import read_site
from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


DEFAULT_CONFIG = Path("/etc/ipos/ipos.toml")


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
    facts = collect(site, front or site.front, back or front or site.back, port or site.ports)
    findings = [*examine(facts), *farm_findings(), *config_findings(config)]
    healthy = all(each.ok for each in findings)
    if output is Output.JSON:
        print_json({"ok": healthy, "checks": [asdict(each) for each in findings]})
    else:
        print(*map(_line, findings), sep="\n")
    raise typer.Exit(0 if healthy else 1)


def farm_findings() -> list[Finding]:
    """What a running agent says is wrong with servers of the farm, this one included."""
    from ipos.agent.host.paths import agent_pid, snapshot_file
    from ipos.agent.view.snapshot import read

    if not agent_pid():
        return []
    said = read(snapshot_file())
    found = [*said.faults(), *said.troubles, *said.strangers, *said.absences, *said.undone]
    if not found:
        return [Finding("farm", True)]
    return [Finding("farm", False, f"{each}.") for each in found]


def config_findings(config: Path) -> list[Finding]:
    """What `ipos config check` remarks: nothing that must be fixed."""
    from ipos.config import load
    from ipos.config.remarks import remarks

    try:
        found = remarks(load(config))
    except (IposError, OSError):  # `ipos config check` says why
        return []
    return [Finding("configuration", True, f"{note}.") for note in found]


def _line(finding: Finding) -> str:
    sign = "ok " if finding.ok else "FIX" if finding.seen else "???"
    return f"{sign}  {finding.check:<15} {finding.message}".rstrip()
