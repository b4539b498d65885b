# SPDX-License-Identifier: Apache-2.0
"""The access log: one JSON object per line for each decision that the data plane has drawn for it.

The event loop makes the lines and a thread writes them, so a slow disk, or a reader of stdout that
has stopped, holds up nothing. The queue is bounded; lines that find no room are lost and counted.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

_WAITING = 64
"""Batches, each of one look at the ring."""
_END_S = 2.0
log = structlog.get_logger()


def line(told: Mapping[str, Any]) -> bytes:
    """JSON in ASCII: no byte of a client's can end it early."""
    return json.dumps(told).encode() + b"\n"


class AccessLog:
    """`path` is appended to, and opened anew by `reopen`; without one, stdout."""

    def __init__(self, path: Path | None) -> None:
        self.written = self.lost = 0
        self._path = path
        self._opened: int | None = None
        self._failure = ""
        self._batches: queue.Queue[list[bytes] | None] = queue.Queue(_WAITING)
        self._reopening = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="access log", daemon=True)
        self._thread.start()

    def put(self, told: Iterable[Mapping[str, Any]]) -> None:
        """Never waits."""
        lines = [line(one) for one in told]
        try:
            self._batches.put_nowait(lines)
        except queue.Full:
            self.lost += len(lines)

    def miss(self, count: int) -> None:
        """Count decisions that were lost before lines were made of them."""
        self.lost += count

    def reopen(self, path: Path | None) -> None:
        """Open this file for the next batch: it is a new file if the old one was renamed."""
        self._path = path
        self._reopening.set()

    def close(self) -> None:
        """Writes what waits, unless that takes long."""
        try:
            self._batches.put(None, timeout=_END_S)
        except queue.Full:
            return
        self._thread.join(_END_S)

    def _write_all(self) -> None:
        while (lines := self._batches.get()) is not None:
            try:
                self._write(b"".join(lines))
            except OSError as error:
                self.lost += len(lines)
                if str(error) != self._failure:
                    self._failure = str(error)
                    log.error("access log not written, trying on", reason=self._failure)
            else:
                self._failure = ""
                self.written += len(lines)
        self._shut()

    def _write(self, data: bytes) -> None:
        if self._reopening.is_set():
            self._reopening.clear()
            self._shut()
        if self._opened is None:
            self._opened = self._open()
        while data:
            data = data[os.write(self._opened, data) :]

    def _open(self) -> int:
        if self._path is None:
            return os.dup(sys.stdout.fileno())
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _shut(self) -> None:
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None
