# SPDX-License-Identifier: Apache-2.0
"""One measured run: an unmodified client inside the lab, and what the machine spent on it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol

from ipos.errors import IposError
from ipos.lab.lab import Lab

_SCRIPT = Path(__file__).with_name("summary.lua")
_TOOLS = {"wrk": "wrk", "curl": "curl"}
"""Command -> the Debian package it comes from."""
_THREADS = 2
_IDLE, _IOWAIT, _STEAL, _GUEST = 3, 4, 7, 8


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


class Load(Protocol):
    """What a client does. IposError, with the client's words, if it fails or gets nothing."""

    def run(self, lab: Lab, addresses: Sequence[str], seconds: int) -> Run: ...


@dataclass(frozen=True, slots=True)
class Requests:
    """wrk, whose threads connect to the addresses in turn.

    keep: keep connections; if not, each request is on a new one.
    """

    path: str
    connections: int
    keep: bool

    def run(self, lab: Lab, addresses: Sequence[str], seconds: int) -> Run:
        command = ["wrk", f"-t{_THREADS}", f"-c{self.connections}", f"-d{seconds}s"]
        command += ["-s", str(_SCRIPT)]
        if not self.keep:
            command += ["-H", "Connection: close"]
        before = busy_s()
        os.environ["IPOS_BENCH_ADDRESSES"] = ",".join(addresses)  # for the script
        done = _run(lab, [*command, f"http://{addresses[0]}{self.path}"])
        spent = busy_s() - before
        found = json.loads(done.stdout.splitlines()[-1])
        _require_octets(found["bytes"], lab, addresses)
        return Run(
            found["requests"], found["errors"], found["bytes"], found["microseconds"] / 1e6, spent
        )


@dataclass(frozen=True, slots=True)
class Downloads:
    """curl, one new connection after the other, until the time is over; none is cut short.

    wrk reads 8 KB at a time and acknowledges as often; curl is what downloads.
    """

    path: str
    at_once: int
    """Downloads of one curl process, so that its start does not count."""

    def run(self, lab: Lab, addresses: Sequence[str], seconds: int) -> Run:
        command = ["curl", "-s", "-H", "Connection: close", "-w", "%{http_code} %{size_download}\n"]
        for address in islice(cycle(addresses), self.at_once):
            command += ["-o", "/dev/null", f"http://{address}{self.path}"]
        started, before = time.monotonic(), busy_s()
        lines: list[str] = []
        while time.monotonic() - started < seconds:
            lines += _run(lab, command).stdout.splitlines()
        spent, took = busy_s() - before, time.monotonic() - started
        octets = sum(int(line.split()[1]) for line in lines)
        _require_octets(octets, lab, addresses)
        errors = sum(not line.startswith("200 ") for line in lines)
        return Run(len(lines), errors, octets, took, spent)


def _run(lab: Lab, command: list[str]) -> subprocess.CompletedProcess[Any]:
    done = lab.run("client1", command, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise IposError(f"{command[0]} failed in lab {lab.name}, {done.returncode}: {said}")
    return done


def _require_octets(octets: int, lab: Lab, addresses: Sequence[str]) -> None:
    if not octets:
        raise IposError(f"{' and '.join(addresses)} of lab {lab.name} answered nothing at all")


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


def require_tools() -> None:
    """IposError if a client is not there."""
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            raise IposError(f"{tool} is missing; run: apt install {package}")
