# SPDX-License-Identifier: Apache-2.0
"""All that `ipos doctor` finds on one server: its host, its agent's word, its configuration."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ipos.doctor.checks import OUR_XDP, Finding, examine
from ipos.doctor.facts import UNNAMED, Facts, collect
from ipos.doctor.site import read_site
from ipos.errors import IposError


def examination(
    config: Path, front: str = "", back: str = "", ports: Sequence[int] = (), *, ours: bool = False
) -> list[Finding]:
    """Every finding. Names and ports replace those of the configuration.

    ours: the caller knows that our programs are on both interfaces. Who may not open programs by
    their numbers, as the agent's unit may not, would see none there, or one without a name.
    """
    site = read_site(config)
    facts = collect(site, front or site.front, back or front or site.back, ports or site.ports)
    if ours:
        facts = attached(facts)
    return [*examine(facts), *farm_findings(), *config_findings(config)]


def attached(facts: Facts) -> Facts:
    """With our programs on both interfaces, unless one of another name is known to be there."""
    front, back = (
        replace(each, xdp=each.xdp if each.xdp and not each.xdp.startswith(UNNAMED) else OUR_XDP)
        for each in (facts.front, facts.back)
    )
    return replace(facts, front=front, back=back)


def farm_findings() -> list[Finding]:
    """What a running agent says is wrong with servers of the farm, this one included."""
    from ipos.agent.host.paths import agent_pid, snapshot_file
    from ipos.agent.snapshot.snapshot import read

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
