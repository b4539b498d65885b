# SPDX-License-Identifier: Apache-2.0
"""The lock of a lab, interrupted at every step."""

import contextlib
import fcntl
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ipos import locks
from ipos.cli.lab import list_labs
from ipos.cli.output import Output
from ipos.lab import state

FILES = {module.__file__ for module in (state, locks, contextlib)}
_flock = fcntl.flock


class _Interrupt:
    """A Ctrl-C before the given instruction of those that make the lock."""

    def __init__(self, step: int) -> None:
        self.left = step

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.trace


def _at_once(descriptor: int, operation: int) -> None:
    _flock(descriptor, operation | fcntl.LOCK_NB)


def test_whoever_is_interrupted_can_take_the_lock_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While the interrupt is on its way: `ipos demo` removes its lab then."""
    monkeypatch.setattr(state, "ROOT", tmp_path)
    monkeypatch.setattr(fcntl, "flock", _at_once)
    before = sys.gettrace()
    step = 0
    while True:
        step += 1
        interrupt = _Interrupt(step)
        try:
            sys.settrace(interrupt.trace)
            with state.locked("lab"):
                pass
        except KeyboardInterrupt:
            sys.settrace(before)
            with state.locked("lab"):
                pass
        else:
            break
        finally:
            sys.settrace(before)
    assert interrupt.left > 0
    assert step > 100, "every step was interrupted once"


@pytest.mark.parametrize(
    "settings", [{"name": "new", "topology": "ring"}, {"name": "new", "colour": "green"}]
)
def test_a_lab_of_another_version_is_listed_as_such(
    settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(state, "ROOT", tmp_path)
    for name, content in (
        ("cut", '{"settings": '),
        ("new", json.dumps({"settings": settings, "complete": True})),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(content)
    list_labs(Output.JSON)
    listed = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert listed == {"cut": "broken", "new": "other version"}
