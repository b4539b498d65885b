# SPDX-License-Identifier: Apache-2.0
"""Structured logs on stderr, for people and for journald. While nothing is wrong, nothing is
logged.
"""

import os
import select

import structlog

_STDERR = 2


class Stderr:
    """Standard error as a file for logs that never raises an error and never blocks.

    A disk may be full, and the reader of a pipe may have stopped or gone: then the message is lost.
    """

    def __init__(self, fd: int = _STDERR) -> None:
        self._fd = fd

    def write(self, text: str) -> int:
        try:
            _, ready, _ = select.select((), (self._fd,), (), 0)
            if ready:
                os.write(self._fd, text.encode(errors="backslashreplace"))
        except (OSError, ValueError):
            pass
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""


def configure() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.WriteLoggerFactory(Stderr()),  # type: ignore[arg-type]
    )
