# SPDX-License-Identifier: Apache-2.0
"""The tools that check the files of packaging/, in a virtual environment under build/, which needs
a package index.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.packaging.commands import ROOT


@cache
def checkers() -> Path:
    """The folder of their commands. The test is skipped where they cannot be installed."""
    folder = ROOT / "build" / "checkers"
    commands = folder / "bin"
    done = subprocess.run([sys.executable, "-m", "venv", folder], check=False, capture_output=True)
    if done.returncode == 0:
        pip = (commands / "python", "-m", "pip", "install", "--quiet", "-r")
        wanted = ROOT / "packaging" / "checkers.txt"
        done = subprocess.run((*pip, wanted), check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"the tools cannot be installed: {done.stderr[-200:]!r}")
    return commands
