# SPDX-License-Identifier: Apache-2.0
"""What real processes need: memory, and CPU over time, children included."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from ipos.agent.host.processes import SAMPLE_NS, Applications, Process

SECOND = 1_000_000_000
BURN = """
import os, sys, time
child = os.fork()
if child == 0:
    block = bytearray(40_000_000)
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    print("burnt", flush=True)
time.sleep(60)
"""


@contextmanager
def running() -> Iterator[subprocess.Popen[str]]:
    """A process that sleeps and a child of it that has used CPU time and memory."""
    command = [sys.executable, "-c", BURN]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "burnt\n"
            yield process
        finally:
            os.killpg(process.pid, 9)


def test_a_process_and_its_children_are_one_application() -> None:
    applications = Applications(cpus=1)
    assert applications.now([], 0) == []
    with running() as process:
        told = [Process(process.pid, "burner"), Process(process.pid, "burner"), Process(0, "")]
        (first,) = applications.now(told, SAMPLE_NS)
        assert (first.pid, first.name, first.cpu_permille) == (process.pid, "burner", 0)
        assert first.memory > 40_000_000
        assert applications.now([], SAMPLE_NS + SECOND) == [first], "not looked at again so soon"
        (again,) = applications.now(told, 2 * SAMPLE_NS)
        assert again.cpu_permille == 0, "it sleeps"


def test_an_application_requires_the_most_that_it_has_had() -> None:
    applications = Applications(cpus=1)
    with running() as process:
        told = [Process(process.pid, "burner")]
        (first,) = applications.now(told, 0)
        (child,) = psutil.Process(process.pid).children()
        child.kill()
        child.wait()
        (again,) = applications.now(told, SAMPLE_NS)
        use = applications.uses[process.pid]
    assert again.memory == first.memory == use.most > 40_000_000
    assert use.now < use.most - 30_000_000
    applications.now([], 2 * SAMPLE_NS)
    assert applications.uses == {}


def test_cpu_time_between_two_looks_counts() -> None:
    applications = Applications(cpus=1)
    me = [Process(os.getpid(), "pytest")]
    applications.now(me, 0)
    end = os.times().user + 0.2
    while os.times().user < end:
        pass
    (told,) = applications.now(me, SAMPLE_NS)
    assert 90 <= told.cpu_permille <= 1000


def test_one_that_has_ended_needs_nothing() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (told,) = Applications().now([Process(ended.pid, "true")], 0)
    assert (told.memory, told.cpu_permille) == (0, 0)
