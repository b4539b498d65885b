# SPDX-License-Identifier: Apache-2.0
"""Stops all applications that the agent has started, when no agent runs."""

import time
from contextlib import suppress
from pathlib import Path

from ipos.instance import record
from ipos.instance.process import process_of

PATIENCE_S = 10.0
"""From SIGTERM to SIGKILL; what is stuck in the kernel has a second more."""


def stop_all(file: Path) -> list[str]:
    """End what the file tells of, and remove it. Returns the services whose application stays."""
    left = {one.service: process_of(one) for one in record.read(file)}
    for at_once, patience_s in ((False, PATIENCE_S), (True, 1.0)):
        left = {name: process for name, process in left.items() if process.is_alive()}
        for process in left.values():
            process.end(at_once=at_once)
        deadline = time.monotonic() + patience_s
        while any(one.is_alive() for one in left.values()) and time.monotonic() < deadline:
            time.sleep(0.02)  # a cgroup and systemd tell nobody who does not wait for long
    for one in record.read(file):
        process_of(one).forget()
    with suppress(OSError):
        file.unlink(missing_ok=True)
    return [name for name, process in left.items() if process.is_alive()]
