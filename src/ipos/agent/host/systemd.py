# SPDX-License-Identifier: Apache-2.0
"""Messages to systemd about the agent's life, as in sd_notify(3): datagrams of KEY=VALUE lines.

Without a service manager there is no `NOTIFY_SOCKET`, and nothing is sent.
"""

import os
import socket
import time

READY, STOPPING, WATCHDOG = "READY=1", "STOPPING=1", "WATCHDOG=1"


def notify(*lines: str, patience_s: float = 0.2) -> bool:
    """Tell the service manager. False when there is none, or its queue stays full for that long."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(patience_s)
            # "@" begins a name in the abstract namespace.
            out.sendto("\n".join(lines).encode(), where.replace("@", "\0", 1))
    except OSError:
        return False
    return True


def reloading() -> tuple[str, str]:
    """What begins a reload; READY ends it. systemd tells reloads apart by the monotonic time."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"


class Watchdog:
    """Says that the agent lives, at half the interval the service manager asks for.

    It never waits: what a full queue refuses is sent at the next beat.
    """

    def __init__(self) -> None:
        asked = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._interval_ns = int(asked) * 1000 // 2 if asked.isdigit() and ours else 0
        self._said_ns = 0

    def alive(self, now_ns: int) -> None:
        due = self._interval_ns and now_ns - self._said_ns >= self._interval_ns
        if due and notify(WATCHDOG, patience_s=0):
            self._said_ns = now_ns
