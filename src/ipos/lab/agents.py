# SPDX-License-Identifier: Apache-2.0
"""Starts the agents of a lab, with the same command and file as a user."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ipos.lab import cgroups
from ipos.lab.errors import LabError
from ipos.lab.places import Place, tail_of

READY_TIMEOUT_S = 60.0


def log_of(place: Place) -> Path:
    """Where a server's agent writes."""
    return place.run_dir / "agent.log"


def _ready_file(place: Place) -> Path:
    return place.run_dir / "ready"


def _attached_file(place: Place) -> Path:
    return place.run_dir / "api.sock"


def launch(place: Place) -> None:
    """Start a server's agent, and wait for nothing."""
    for file in (_ready_file(place), _attached_file(place)):
        file.unlink(missing_ok=True)
    place.spawn(
        ["ipos", "agent", "--config", str(place.config_file)],
        place.agent_cgroup,
        log_of(place),
    )


def start(places: Sequence[Place]) -> None:
    """Start the agents and wait until each one says that it is ready.

    An agent makes its API's socket once its data plane is attached, and the file `ready` once it
    has heard the farm's members, both in its run directory. No more are started at a time than have
    a CPU each and one that waits, because loading a data plane takes a CPU for a second. LabError,
    with the end of its log, if one exits or stays silent.
    """
    at_once = 1 + (os.cpu_count() or 1)
    for begin in range(0, len(places), at_once):
        some = places[begin : begin + at_once]
        for place in some:
            launch(place)
        _wait(some, _attached_file)
    _wait(places, _ready_file)


def _wait(places: Sequence[Place], sign: Callable[[Place], Path]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while waiting := [place for place in places if not sign(place).exists()]:
        for place in waiting:
            if not cgroups.populated(place.agent_cgroup) and not sign(place).exists():
                raise LabError(f"the agent of {place.node} ended early{tail_of(log_of(place))}")
        if time.monotonic() > deadline:
            raise LabError(
                f"the agent of {waiting[0].node} is not ready after {READY_TIMEOUT_S:.0f} s"
                f"{tail_of(log_of(waiting[0]))}"
            )
        time.sleep(0.01)
