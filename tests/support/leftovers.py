# SPDX-License-Identifier: Apache-2.0
"""Removes what tests leave when their process is killed: labs, namespaces, pins, cgroups.

A lab of three servers keeps 1.1 GB of maps until its pins are gone. A run that is cut off (a time
limit, a lack of memory, Ctrl-C twice) removes nothing itself, so each process that runs tests has a
watcher, which waits for its end. The watcher may be killed together with the tests: therefore each
process is written down, and the next run removes what is left of those that are gone. All that
tests make has the number of their process in its name.

As a command: waits for the end of a process of tests, then removes: leftovers.py PID
"""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ipos import locks
from ipos.agent.host.paths import cgroup_root
from ipos.errors import IposError
from ipos.kernel import data_plane
from ipos.lab import Lab, Settings, namespaces, state
from ipos.lab.places import BPFFS, PINS

REGISTER = Path("/run/ipos-tests")
"""A file for each process that runs tests, with the time of its start."""


def begin() -> subprocess.Popen[bytes] | None:
    """Remove what earlier runs have left, and have this process watched. None without root."""
    if os.geteuid() != 0:
        return None
    REGISTER.mkdir(mode=0o700, exist_ok=True)
    with locks.locked(REGISTER):
        for note in REGISTER.iterdir():
            if _started(int(note.name)) != note.read_text():
                remove(int(note.name))
                note.unlink()
        _note(os.getpid()).write_text(_started(os.getpid()))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.leftovers", str(os.getpid())],
        cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def end(watcher: subprocess.Popen[bytes]) -> None:
    """This process has ended its tests in order, and they have removed what they made."""
    watcher.kill()
    watcher.wait()
    _note(os.getpid()).unlink(missing_ok=True)


def remove(pid: int) -> None:
    """Remove all that the tests of a process have made. The process must have ended."""
    name = re.compile(rf"(?:.*\D)?{pid}(?:\D.*)?")
    named = [one for one in namespaces.DIRECTORY.glob("*") if name.fullmatch(one.name)]
    for lab in filter(name.fullmatch, state.names()):
        print(f"a killed run of tests has left lab {lab}; it is removed", flush=True)
        with suppress(IposError):
            Lab(Settings(name=lab)).down()
    for process in _processes_in(named):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for place in (*PINS.glob("*"), *BPFFS.glob("tk-*")):
        if name.fullmatch(place.name):
            with suppress(IposError, OSError):
                data_plane.detach(place)
            shutil.rmtree(place, ignore_errors=True)
    for path in named:
        namespaces.remove(path)
    for group in (*cgroup_root().glob("ipos-test-*"), *cgroup_root().glob("tk-*")):
        if name.fullmatch(group.name):
            with suppress(OSError):
                (group / "cgroup.kill").write_text("1")
                group.rmdir()


def _note(pid: int) -> Path:
    return REGISTER / str(pid)


def _started(pid: int) -> str:
    """When a process began, in ticks since boot, as text; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat.rpartition(")")[2].split()  # proc(5): state is the third field, here the first
    return "" if fields[0] in "ZX" else fields[19]


def _processes_in(paths: list[Path]) -> Iterator[int]:
    """The processes whose network namespace is one of these."""
    wanted = {path.stat().st_ino for path in paths if path.exists()}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "ns/net").stat().st_ino in wanted:
                yield int(entry.name)


def _watch(pid: int) -> None:
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [])
        os.close(descriptor)
    with locks.locked(REGISTER):
        remove(pid)
        _note(pid).unlink(missing_ok=True)


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
