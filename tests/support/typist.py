# SPDX-License-Identifier: Apache-2.0
"""A terminal in which a command runs, and a typist who answers what the command asks."""

import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

Answers = Sequence[tuple[str, str]]
"""A piece of each question, in the order in which they are asked, and what is typed then."""


def typed(
    argv: Sequence[str | Path],
    answers: Answers = (),
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600,
) -> tuple[int, str]:
    """Exit status and output of a command in a terminal. AssertionError: it did not end in time, or
    did not ask what was expected.
    """
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    with subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=env, cwd=cwd) as running:
        os.close(its)
        try:
            said = _converse(ours, list(answers), time.monotonic() + timeout_s)
            running.wait(10)
        finally:
            os.close(ours)
            running.kill()
    return running.returncode, said.replace("\r\n", "\n")


def _converse(terminal: int, left: list[tuple[str, str]], until: float) -> str:
    """All that is shown until the other side closes its end."""
    said, at = "", 0
    while True:
        ready, _, _ = select.select([terminal], [], [], max(until - time.monotonic(), 0))
        assert ready, f"it does not go on behind {said[-1000:]!r}"
        piece = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            piece = os.read(terminal, 65536)
        if not piece:
            assert not left, f"it has not asked {left[0][0]!r}: {said[-2000:]!r}"
            return said
        said += piece.decode(errors="replace")
        while left and left[0][0] in said[at:]:
            question, answer = left.pop(0)
            at = said.index(question, at) + len(question)
            os.write(terminal, f"{answer}\n".encode())
