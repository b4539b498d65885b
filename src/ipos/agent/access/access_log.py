# SPDX-License-Identifier: Apache-2.0
"""Writes the access log: a line for each decision or request that the data plane has drawn for it.

The event loop makes the lines and a thread writes them, so a slow disk, or a reader of stdout that
has stopped, holds up nothing. The queue is bounded; lines that find no room are lost and counted.
"""

import queue
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from ipos.agent.access.formats import FORMATS, Format
from ipos.agent.access.targets import Target, To, open_target

_WAITING = 64
"""Batches, each of one look at the ring."""
_END_S = 2.0
log = structlog.get_logger()


class AccessLog:
    """Opens its target when there is a line, and anew after `reopen`. `path`: see `targets`."""

    def __init__(self, path: Path | None, to: To = "file", form: Format = "decisions") -> None:
        self.written = self.lost = 0
        self._path, self._to, self._line = path, to, FORMATS[form]
        self._opened: Target | None = None
        self._failure = ""
        self._batches: queue.Queue[list[bytes] | None] = queue.Queue(_WAITING)
        self._reopening = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="access log", daemon=True)
        self._thread.start()

    def put(self, told: Iterable[Mapping[str, Any]]) -> None:
        """Never waits."""
        lines = [self._line(one) for one in told]
        try:
            self._batches.put_nowait(lines)
        except queue.Full:
            self.lost += len(lines)

    def miss(self, count: int) -> None:
        """Count decisions that were lost before lines were made of them."""
        self.lost += count

    def reopen(self, path: Path | None, to: To = "file", form: Format = "decisions") -> None:
        """Open this target for the next batch: a new file if the old one was renamed."""
        self._path, self._to, self._line = path, to, FORMATS[form]
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
                self._write(lines)
            except OSError as error:
                self.lost += len(lines)
                self._shut()  # the one who reads may be another by then
                if str(error) != self._failure:
                    self._failure = str(error)
                    log.error("access log not written, trying again", reason=self._failure)
            else:
                self._failure = ""
                self.written += len(lines)
        self._shut()

    def _write(self, lines: list[bytes]) -> None:
        if self._reopening.is_set():
            self._reopening.clear()
            self._shut()
        if self._opened is None:
            self._opened = open_target(self._to, self._path)
        self._opened.write(lines)

    def _shut(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
