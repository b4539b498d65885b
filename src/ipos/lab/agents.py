# SPDX-License-Identifier: Apache-2.0
"""Starts the agent in the servers, with the very command and file that a user would use."""

import time
from collections.abc import Sequence
from pathlib import Path

from ipos.lab import cgroups
from ipos.lab.errors import LabError
from ipos.lab.places import Place, tail_of

READY_TIMEOUT_S = 20.0


def log_of(place: Place) -> Path:
    """Where a server's agent writes."""
    return place.run_dir / "agent.log"


def _ready_file(place: Place) -> Path:
    return place.run_dir / "ready"


def start(places: Sequence[Place]) -> None:
    """Start the agents and wait until each one says that it is ready.

    An agent makes the file `ready` in its run directory once its data plane is attached and it has
    heard the farm's members. LabError, with the end of its log, if one exits or stays silent.
    """
    for place in places:
        _ready_file(place).unlink(missing_ok=True)
        place.spawn(
            ["ipos", "agent", "--config", str(place.config_file)],
            place.agent_cgroup,
            log_of(place),
        )
    deadline = time.monotonic() + READY_TIMEOUT_S
    while waiting := [place for place in places if not _ready_file(place).exists()]:
        for place in waiting:
            if not cgroups.populated(place.agent_cgroup) and not _ready_file(place).exists():
                raise LabError(f"the agent of {place.node} ended early{tail_of(log_of(place))}")
        if time.monotonic() > deadline:
            raise LabError(
                f"the agent of {waiting[0].node} is not ready after {READY_TIMEOUT_S:.0f} s"
                f"{tail_of(log_of(waiting[0]))}"
            )
        time.sleep(0.01)
