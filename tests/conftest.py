# SPDX-License-Identifier: Apache-2.0
"""What all tests share: farm tests are skipped, with the reason said, where they cannot run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import leftovers

# A deadline would make the tests' outcome a matter of the machine's load.
settings.register_profile("ipos", deadline=None)
settings.load_profile("ipos")


SLOW_S = 3600
_WATCHER = pytest.StashKey[subprocess.Popen[bytes] | None]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_S))
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="farm tests need root: network namespaces and BPF")
    for item in items:
        if item.get_closest_marker("farm"):
            item.add_marker(skip)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tell-failed", type=Path, help="a file for the tests that have failed")


def pytest_configure(config: pytest.Config) -> None:
    told = config.getoption("--tell-failed")
    if told is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Failed(told))
    # With -n it is the workers who run tests.
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.stash[_WATCHER] = leftovers.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if watcher := config.stash.get(_WATCHER, None):
        leftovers.end(watcher)


def pytest_sessionfinish() -> None:
    if "tests.support.shared" in sys.modules:
        from tests.support import shared

        shared.end()


class _Failed:
    """Writes which tests have failed, and whether each needs a farm: `scripts/suite.py` asks."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._found: dict[str, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._found[report.nodeid] = "farm" in report.keywords
            # Named at once too: a run that is cut off never comes to its summary.
            why = getattr(getattr(report.longrepr, "reprcrash", None), "message", "")
            print(f"\nfailed: {report.nodeid}: {why.partition(chr(10))[0][:200]}", flush=True)

    def pytest_sessionfinish(self) -> None:
        self._file.write_text(json.dumps(self._found))
