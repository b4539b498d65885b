# SPDX-License-Identifier: Apache-2.0
"""Commands that must succeed, and those that must be there."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*argv: str | Path, timeout_s: float = 300, **options: object) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout_s, check=False,
        stdin=subprocess.DEVNULL, **options,
    )  # type: ignore[call-overload]  # fmt: skip
    assert done.returncode == 0, (argv, done.stdout[-2000:], done.stderr[-2000:])
    output: str = done.stdout
    return output


def expect_tools(*names: str) -> None:
    """Skip the test where one is not installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
