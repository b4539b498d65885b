# SPDX-License-Identifier: Apache-2.0
"""Runs a command of the site for a bounded time, and keeps a bounded part of what it prints."""

import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

OUTPUT_MAX = 4096
"""Bytes of the output that are looked at, from its end."""
_SHOWN_MAX = 200


def run(command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> str:
    """Run a command to its end. Returns a clause that says why it failed, or "".

    environment: what is added to our own. When the time is over, the command and what it has
    started are killed.
    """
    name = command[0]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return f"{name} cannot be run: {reason}"
    with process:
        deadline = time.monotonic() + timeout_s
        output, ended = _output(process, deadline)
        try:
            # What it has left behind may keep the output open: only its own end counts.
            code = process.wait(max(0.0, deadline - time.monotonic()) if ended else 0)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return f"{name} has not ended after {timeout_s:g} s and was killed"
    if code == 0:
        return ""
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
    said = f" and said: {last[:_SHOWN_MAX]}" if last else ""
    return f"{name} ended with status {code}{said}"


def _output(process: subprocess.Popen[bytes], deadline: float) -> tuple[str, bool]:
    """The last part of what it prints, and whether it has closed its output in time."""
    assert process.stdout is not None
    kept = b""
    poll = select.poll()  # select(2) knows no descriptor over 1,023
    poll.register(process.stdout, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(math.ceil(1000 * left)):
            break
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            return kept.decode(errors="replace"), True
        kept = (kept + data)[-OUTPUT_MAX:]
    return kept.decode(errors="replace"), False
