# SPDX-License-Identifier: Apache-2.0
"""Commands of the site: bounded in time and in what is read of them."""

import os
import time
from pathlib import Path

import pytest

from ipos import hook


def run(script: str, timeout_s: float = 10, **environment: str) -> str:
    return hook.run(["sh", "-c", script], environment, timeout_s)


def test_one_that_succeeds_says_nothing(tmp_path: Path) -> None:
    assert run('echo hello; printf "%s" "$WHAT" > "$FILE"', WHAT="a b", FILE=f"{tmp_path}/f") == ""
    assert (tmp_path / "f").read_text() == "a b"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "sh ended with status 3"),
        ("echo one; echo two >&2; exit 1", "sh ended with status 1 and said: two"),
        ("kill -9 $$", "sh ended with status -9"),
        ("yes no | head -c 3000000; exit 1", "sh ended with status 1 and said: no"),
    ],
)
def test_one_that_fails_is_a_clause(script: str, said: str) -> None:
    assert run(script) == said


def test_one_that_is_not_there_is_a_clause() -> None:
    found = hook.run(["/nowhere/birdc"], {}, 1)
    assert found == "/nowhere/birdc cannot be run: No such file or directory"


def test_one_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    said = run(f"sleep 1000 & echo $! > {file}; wait", timeout_s=0.5)
    assert said == "sh has not ended after 0.5 s and was killed"
    child = int(file.read_text())
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_it_leaves_behind_may_keep_the_output() -> None:
    assert run("sleep 2 & exit 0", timeout_s=0.5) == ""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
