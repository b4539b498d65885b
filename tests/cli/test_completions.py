# SPDX-License-Identifier: Apache-2.0
"""Shells complete names of servers, tables and labs; `IPOS_LAB` names the lab of a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipos.agent.snapshot import snapshot
from ipos.lab.places import ROOT
from tests.agent.running import Running

IPOS = Path(sys.executable).parent / "ipos"


def completed(line: str, run_dir: Path) -> set[str]:
    """What is offered for the word after a line."""
    asked = {
        "_IPOS_COMPLETE": "complete_bash",
        "COMP_WORDS": f"{line} ",
        "COMP_CWORD": str(len(line.split())),
        "IPOS_RUN_DIR": str(run_dir),
    }
    done = subprocess.run(
        [IPOS], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    return set(done.stdout.split())


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """A run directory whose agent knows three servers."""
    snapshot.write(tmp_path / "advertised.json", Running().snapshot)
    return tmp_path


@pytest.mark.parametrize("line", ["ipos drain", "ipos server set"])
def test_servers(line: str, farm: Path) -> None:
    assert completed(line, farm) == {"s1", "s2", "s3"}


def test_no_agent_completes_nothing(tmp_path: Path) -> None:
    assert completed("ipos drain", tmp_path) == set()


def test_tables(tmp_path: Path) -> None:
    assert {"forward", "local", "server", "url"} <= completed("ipos table", tmp_path)


@pytest.fixture
def lab() -> str:
    """The folder of a lab that was never brought up."""
    name = f"completed{os.getpid()}"
    (ROOT / name).mkdir(parents=True)
    return name


def test_labs(lab: str, tmp_path: Path) -> None:
    try:
        for command in ("down", "exec", "fault"):
            assert lab in completed(f"ipos lab {command} --name", tmp_path)
    finally:
        (ROOT / lab).rmdir()


def test_the_environment_names_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPOS_LAB", "of-the-environment")
    for command in (("lab", "exec", "s1", "true"), ("lab", "fault", "whole", "s1", "front")):
        done = subprocess.run([IPOS, *command], capture_output=True, text=True, check=False)
        assert "of-the-environment is not up" in done.stderr
