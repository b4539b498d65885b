# SPDX-License-Identifier: Apache-2.0
"""Tests that are killed leave nothing: neither beside their watcher nor without it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ipos.lab import cleaning, places, state
from tests.support import leftovers
from tests.support.farm import wait_until

pytestmark = pytest.mark.farm

# It is watched, as tests are, makes a lab and a program in it, and waits to be killed.
_TESTS = """
import os, sys
from ipos.lab import Lab, Settings
from tests.support import leftovers
watcher = leftovers.begin()
lab = Lab(Settings(name=f"t{os.getpid()}-k", servers=1, clients=0, app="builtin", bare=True))
lab.up()
lab.popen("s1", ["sleep", "1000"], start_new_session=True)
print(watcher.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tests() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process with a lab of its own, and the pid of its watcher."""
    with subprocess.Popen(
        [sys.executable, "-c", _TESTS], cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def _killed(process: subprocess.Popen[str]) -> str:
    """The lab of a process that is killed here."""
    lab = f"t{process.pid}-k"
    assert state.read(lab)
    process.kill()
    process.wait()
    return lab


def test_the_watcher_removes_what_killed_tests_leave(
    tests: tuple[subprocess.Popen[str], int],
) -> None:
    process, _ = tests
    lab = _killed(process)
    wait_until("nothing is left", lambda: not cleaning.remains(lab), 30.0)
    wait_until("it is forgotten", lambda: not (leftovers.REGISTER / str(process.pid)).exists())


def test_the_next_run_removes_it_when_the_watcher_was_killed_too(
    tests: tuple[subprocess.Popen[str], int],
) -> None:
    process, watcher = tests
    os.kill(watcher, signal.SIGKILL)
    lab = _killed(process)
    assert cleaning.remains(lab)
    note = leftovers.REGISTER / str(os.getpid())
    written = note.read_text()
    other = leftovers.begin()
    assert other is not None
    other.kill()
    other.wait()
    assert cleaning.remains(lab) == []
    assert note.read_text() == written


def test_names_that_only_contain_the_number_stay() -> None:
    pid = _free_pid()
    name = f"t{pid}0-k"
    with state.locked(name):
        leftovers.remove(pid)
        assert name in state.names()
        with suppress(FileNotFoundError):
            (places.ROOT / name).rmdir()


def _free_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid
