# SPDX-License-Identifier: Apache-2.0
"""What systemd is told of the agent's life, as sd_notify(3) says it: datagrams of KEY=VALUE lines.

Without a service manager there is no `NOTIFY_SOCKET`, and nothing is said.
"""

import os
import socket
import time

_PATIENCE_S = 0.2
READY, STOPPING, WATCHDOG = "READY=1", "STOPPING=1", "WATCHDOG=1"


def notify(*lines: str) -> bool:
    """Tell the service manager; False when there is none, or it does not listen."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            # Its queue is short; a manager that does not read must not stop the agent.
            out.settimeout(_PATIENCE_S)
            # "@" begins a name in the abstract namespace.
            out.sendto("\n".join(lines).encode(), where.replace("@", "\0", 1))
    except OSError:
        return False
    return True


def reloading() -> tuple[str, str]:
    """What begins a reload; READY ends it. systemd tells reloads apart by the monotonic time."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"


class Watchdog:
    """Says that the agent lives, at half the interval the service manager asks for."""

    def __init__(self) -> None:
        asked = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._interval_ns = int(asked) * 1000 // 2 if asked.isdigit() and ours else 0
        self._said_ns = 0

    def alive(self, now_ns: int) -> None:
        if self._interval_ns and now_ns - self._said_ns >= self._interval_ns:
            self._said_ns = now_ns
            notify(WATCHDOG)
