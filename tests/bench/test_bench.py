# SPDX-License-Identifier: Apache-2.0
"""`python -m bench` end to end, as small as it gets: that it measures, not what."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ipos.lab import state

REPOSITORY = Path(__file__).parents[2]


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


@pytest.mark.farm
@pytest.mark.slow
@pytest.mark.parametrize("suite", ["connections", "keep-alive", "download"])
def test_a_suite_measures_every_arm_and_leaves_nothing(suite: str) -> None:
    before = set(state.names())
    done = _bench(suite, "--pairs", "2", "--seconds", "1", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["suites"]
    assert set(found["runs"]) == {"direct", "ipos", "haproxy"}
    for runs in found["runs"].values():
        assert len(runs) == 2
        assert all(one["requests"] > 0 and one["value"] > 0 for one in runs)
    assert all(ratio["low"] <= ratio["median"] for ratio in found["ratios"].values())
    assert not {name for name in state.names() if name.startswith("bench-")} - before


def test_an_unknown_suite_is_named_with_those_there_are() -> None:
    done = _bench("conections")
    assert done.returncode == 2
    assert "'conections'; there are connections, connections-migrated, " in done.stderr


@pytest.mark.farm
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_stopped_benchmark_takes_its_labs_down(number: signal.Signals) -> None:
    before = set(state.names())
    command = [sys.executable, "-m", "bench", "connections", "--pairs", "90", "--seconds", "1"]
    bench = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert bench.stderr is not None
    for line in bench.stderr:
        if line.startswith("connections 1/"):
            break
    there = {name for name in state.names() if name.startswith("bench-")} - before
    bench.send_signal(number)
    bench.communicate()
    assert bench.returncode == 130
    assert there
    assert not there & set(state.names())
