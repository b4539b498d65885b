# SPDX-License-Identifier: Apache-2.0
"""One measured run: wrk inside a client, and what the machine spent on it."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ipos.errors import IposError
from ipos.lab.lab import Lab

_SCRIPT = Path(__file__).with_name("summary.lua")
_IDLE, _IOWAIT, _STEAL, _GUEST = 3, 4, 7, 8


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk does. keep: keep connections; if not, each request is on a new one."""

    path: str
    connections: int
    keep: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One run. busy_s: CPU seconds of the whole machine, all cores. errors: of any kind."""

    requests: int
    errors: int
    octets: int
    seconds: float
    busy_s: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def busy_s_per_gb(self) -> float:
        """CPU seconds per 10^9 bytes received."""
        return self.busy_s / (self.octets / 1e9)


def run(lab: Lab, address: str, load: Load, seconds: float) -> Run:
    """Run wrk in the lab's first client. IposError with its words if it fails or gets nothing."""
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds:g}s", "-s", str(_SCRIPT)]
    if not load.keep:
        command += ["-H", "Connection: close"]
    before = busy_s()
    done = lab.run(
        "client1", [*command, f"http://{address}{load.path}"], capture_output=True, text=True
    )
    spent = busy_s() - before
    if done.returncode != 0:
        raise IposError(f"wrk failed in lab {lab.name}: {(done.stderr or done.stdout).strip()}")
    found = json.loads(done.stdout.splitlines()[-1])
    if not found["bytes"]:
        raise IposError(f"{address} of lab {lab.name} answered nothing at all: {found}")
    return Run(
        found["requests"], found["errors"], found["bytes"], found["microseconds"] / 1e6, spent
    )


def busy_s() -> float:
    """CPU seconds since boot in which any core was not idle (proc(5), /proc/stat)."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    # Guest time is counted in user time already, and stolen time is somebody else's work.
    worked = sum(
        value
        for at, value in enumerate(ticks)
        if at < _GUEST and at not in (_IDLE, _IOWAIT, _STEAL)
    )
    return worked / os.sysconf("SC_CLK_TCK")


def require_wrk() -> None:
    """IposError if wrk is not there."""
    try:
        subprocess.run(["wrk", "-v"], capture_output=True)
    except FileNotFoundError:
        raise IposError("wrk is missing; run: apt install wrk") from None
