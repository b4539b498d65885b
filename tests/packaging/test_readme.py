# SPDX-License-Identifier: Apache-2.0
"""What README shows on one machine and from day to day is typed here as it stands, line by line;
so are the labs of docs/operations.md.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings, cgroups, state
from tests.packaging.commands import ROOT, run
from tests.packaging.shown_commands import block, in_table
from tests.support.farm import Farm, wait_until
from tests.support.typist import typed

pytestmark = [pytest.mark.farm, pytest.mark.slow]
STREAMS = ("ipos watch", "ipos capture")
"""They go on until they are interrupted."""


def test_five_minutes() -> None:
    lines = block("README.md", "## Five minutes", "make setup")
    name = f"rd{os.getpid()}"
    try:
        done = subprocess.run(
            ["bash", "-exc", "\n".join(lines)], cwd=ROOT, env=os.environ | {"IPOS_LAB": name},
            capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "X-Served-By: s" in done.stdout
        assert "all well: 3 of 3 servers ready" in done.stdout
        drained = done.stdout.rpartition(f"lab {name} is gone")[0].splitlines()[-9:]
        assert set(drained) <= {"s1", "s3"}, drained
    finally:
        Lab(Settings(name=name)).down()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(Settings(name=f"rt{os.getpid()}")) as built:
        farm = Farm(built)
        wait_until("every server ready", farm.ready)
        yield built


def test_day_to_day(lab: Lab, tmp_path: Path) -> None:
    shown = in_table("README.md", "## Day to day")
    assert len(shown) > 12
    for command in shown:
        if command == "ipos detach":
            cgroups.end(lab.place("s1").agent_cgroup)
        place = lab.place("s1")
        limit = ["timeout", "--signal=INT", "3"] if command.startswith(STREAMS) else []
        argv = place.command([*limit, *command.split()])
        keys = [("ready", "q")] if command == "ipos top" else []
        status, said = typed(argv, keys, env=place.environment(), cwd=tmp_path)
        assert status in ((124, 130, 0) if limit else (0,)), (command, status, said)
        assert "Traceback" not in said


def test_labs_of_the_page() -> None:
    lines = block("docs/operations.md", "## A farm on one machine", "ipos lab up")
    names = {line.partition("--name ")[2].split()[0] for line in lines if "--name" in line}
    if names & set(state.names()):
        pytest.skip("labs of these names are here already")
    path = {"PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    try:
        run("bash", "-exc", "\n".join(lines), cwd=ROOT, env=os.environ | path, timeout_s=600)
    finally:
        for name in names:
            Lab(Settings(name=name)).down()
