# SPDX-License-Identifier: Apache-2.0
"""Memory and CPU of the applications that listen, by psutil.

An application is the process that listens and all its descendants, as far as the kernel tells them
(/proc/PID/task/PID/children), so a server with several workers is one row.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ipos.agent.heartbeat.message import APPLICATIONS_MAX, Application
from ipos.agent.host.load import read
from ipos.agent.host.shortage import Use

SAMPLE_NS = 2_000_000_000
FAMILY_MAX = 64
"""Processes of one application that are looked at."""


@dataclass(frozen=True, slots=True)
class Process:
    """Whose socket it is."""

    pid: int
    name: str


def processes(inodes: set[int], proc: Path = Path("/proc")) -> dict[int, Process]:
    """Socket inode -> process, for those that can be seen."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, Process] = {}
    for entry in proc.iterdir():
        if len(found) == len(inodes):
            break
        if not entry.name.isdigit():
            continue
        try:
            mine = _open_files(entry) & wanted.keys()
            name = (entry / "comm").read_text().strip() if mine else ""
        except OSError:  # it has ended, or is not ours to see
            continue
        for target in mine:
            found.setdefault(wanted[target], Process(int(entry.name), name))
    return found


def _open_files(process: Path) -> set[str]:
    """What a process's descriptors are; those it closes meanwhile may be missing."""
    targets = set()
    with os.scandir(process / "fd") as descriptors:
        for descriptor in descriptors:
            with suppress(OSError):
                targets.add(os.readlink(descriptor.path))
    return targets


@dataclass(frozen=True, slots=True)
class _Sample:
    """CPU seconds used until a time on a clock in nanoseconds."""

    used_s: float
    now_ns: int


class Applications:
    """Looks at them every two seconds. `cpus`: the main board's."""

    def __init__(self, cpus: int | None = None, proc: Path = Path("/proc")) -> None:
        self._cpus = cpus or os.cpu_count() or 1
        self._proc = proc
        self._processes: dict[int, psutil.Process] = {}
        self._before: dict[int, _Sample] = {}
        self._found: list[Application] = []
        self._sampled_ns: int | None = None
        self.uses: dict[int, Use] = {}
        """Their memory, by the process that listens. A row has the most that they had."""

    def now(self, listening: Iterable[Process], now_ns: int) -> list[Application]:
        """Those of these processes; a process that is not ours to see (id 0) is left out."""
        if self._sampled_ns is not None and now_ns - self._sampled_ns < SAMPLE_NS:
            return self._found
        self._sampled_ns = now_ns
        wanted = dict.fromkeys((one.pid, one.name) for one in listening if one.pid)
        seen: set[int] = set()
        self._found = []
        for pid, name in list(wanted)[:APPLICATIONS_MAX]:
            family = self._family(pid)
            seen |= set(family)
            self._found.append(self._look(pid, name, family, now_ns))
        self._processes = {pid: one for pid, one in self._processes.items() if pid in seen}
        ids = wanted_ids(wanted)
        self._before = {pid: one for pid, one in self._before.items() if pid in ids}
        self.uses = {pid: use for pid, use in self.uses.items() if pid in ids}
        return self._found

    def _look(self, pid: int, name: str, family: list[int], now_ns: int) -> Application:
        memory, used_s = 0, 0.0
        for member in family:
            try:
                process = self._processes.get(member) or psutil.Process(member)
                self._processes[member] = process
                with process.oneshot():
                    memory += process.memory_info().rss
                    times = process.cpu_times()
                used_s += times.user + times.system
            except psutil.Error:  # it has ended, or is not ours to see
                self._processes.pop(member, None)
        before = self._before.get(pid)
        self._before[pid] = _Sample(used_s, now_ns)
        permille = 0
        if before is not None and now_ns > before.now_ns:
            share = (used_s - before.used_s) * 1e9 / ((now_ns - before.now_ns) * self._cpus)
            permille = max(0, min(1000, round(1000 * share)))
        known = self.uses.get(pid)
        self.uses[pid] = use = Use(memory, max(memory, known.most if known else 0))
        return Application(pid, use.most, permille, name)

    def _family(self, pid: int) -> list[int]:
        """The process and its descendants, itself first."""
        found: list[int] = []
        waiting = [pid]
        while waiting and len(found) < FAMILY_MAX:
            member = waiting.pop()
            found.append(member)
            try:
                children = read(f"{self._proc}/{member}/task/{member}/children")
            except OSError:
                continue
            waiting += map(int, children.split())
        return found


def wanted_ids(wanted: Iterable[tuple[int, str]]) -> set[int]:
    return {pid for pid, _ in wanted}
