# SPDX-License-Identifier: Apache-2.0
"""`ipos demo` as a user runs it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.demo import story
from ipos.demo.screen import Lines
from ipos.errors import IposError
from ipos.lab import cleaning

IPOS = str(Path(sys.executable).with_name("ipos"))


@pytest.fixture
def name() -> Iterator[str]:
    """A lab's name; whatever a failed test leaves of it is removed."""
    unique = f"t{os.getpid()}-demo"
    yield unique
    if cleaning.remains(unique):
        cleaning.clean(unique)


@pytest.mark.farm
def test_json_is_all_there_is_on_stdout_and_nothing_stays(name: str) -> None:
    command = [IPOS, "demo", "--json", "--seconds", "3", "--name", name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failures"] == 0
    assert 0 < found["migrated"] < found["requests"]
    assert set(found["answered_by"]) == {"s1", "s2", "s3"}
    assert sum(found["answered_by"].values()) == found["requests"]
    assert found["client_address_seen"] is True
    assert "draining s2" in done.stderr
    assert cleaning.remains(name) == []


@pytest.mark.farm
@pytest.mark.parametrize(
    ("when", "number"),
    [
        ("building", signal.SIGINT),
        ("real traffic", signal.SIGTERM),
        pytest.param("building", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("real traffic", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_demo_leaves_nothing(name: str, number: signal.Signals, when: str) -> None:
    demo = subprocess.Popen(
        [IPOS, "demo", "--seconds", "30", "--name", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stderr is not None
    for line in demo.stderr:
        if line.startswith(when):
            break
    demo.send_signal(number)
    printed, said = demo.communicate()
    assert demo.returncode == 130, said
    assert printed == ""
    assert said.endswith("interrupted; the demo's farm is gone\n")
    assert cleaning.remains(name) == []


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(IposError, match="takes root; run: sudo ipos demo"):
        story.run("unused", 5, Lines())


@pytest.mark.farm
def test_a_lab_of_that_name_is_left_alone(name: str) -> None:
    from ipos.lab import Lab, Settings

    with Lab(Settings(name=name, servers=1, bare=True)) as lab:
        with pytest.raises(IposError, match=f"there is a lab {name} already"):
            story.run(name, 5, Lines())
        assert lab.up() is False
