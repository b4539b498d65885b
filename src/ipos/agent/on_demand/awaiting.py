# SPDX-License-Identifier: Apache-2.0
"""Requests that wait in this server until their application is started.

The data plane names them in a ring, each time that it has found no server. When there is one, or
when there will be none, the agent runs a frame through the data plane's program for each of them,
which decides again. Without an agent, or where the ring was full, the client's next retransmission
does.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from ipos.agent.expiry import expiry_rules, notices
from ipos.closing import Closing
from ipos.kernel.either_family import EitherFamily
from ipos.kernel.maps import Tables
from ipos.kernel.rings import Ring

MOST = 4096
"""Requests that are remembered, and records that are read at a time."""
AT_ONCE = 256
"""Requests that are decided again before anything else is done."""
AGAIN_NS = 250_000_000
"""A request that still waits is not decided again before."""
_LOOKED_MAX = 64


class Awaiting(Closing):
    """`pins` is where the data plane is; the thread must be in the server's network namespace.

    slots: the services' names by index.
    """

    def __init__(self, pins: Path, tables: Tables, slots: Callable[[], list[str]]) -> None:
        self._tables = tables
        self._programs = pins / "progs"
        self._holding = EitherFamily(pins / "maps", "holding")
        self._ring = Ring(pins / "maps", "awaiting")
        self._slots = slots
        self._since: dict[str, dict[bytes, int]] = {}
        self._told: dict[bytes, int] = {}

    def fileno(self) -> int:
        """Readable while the data plane has named requests."""
        return self._ring.fileno()

    def take(self, now_ns: int) -> None:
        """Read what the data plane has named."""
        for key in self._ring.take(MOST):
            row = self._row(key)
            slots = self._slots()
            if row is None or row.service >= len(slots):
                continue
            waiting = self._since.setdefault(slots[row.service], {})
            if len(waiting) < MOST:
                waiting.setdefault(key, now_ns)

    def wanted(self) -> set[str]:
        """Services that a request waits for. Requests whose clients have gone are forgotten."""
        for waiting in self._since.values():
            for key in list(waiting)[:_LOOKED_MAX]:
                if self._row(key) is not None:
                    break
                del waiting[key]
        self._since = {name: waiting for name, waiting in self._since.items() if waiting}
        if not self._since:
            self._told.clear()
        return set(self._since)

    def decide_again(self, service: str, before_ns: int, now_ns: int) -> None:
        """Have those decided that have waited since before then. PinError, OSError."""
        settings = self._tables.settings.get(0)
        waiting = self._since.get(service, {})
        due = [
            key
            for key, since_ns in waiting.items()
            if since_ns < before_ns and now_ns - self._told.get(key, 0) >= AGAIN_NS
        ]
        for key in due[:AT_ONCE]:
            row = self._row(key)
            if row is None or settings is None:
                del waiting[key]
                self._told.pop(key, None)
                continue
            self._told[key] = now_ns
            notices.tell_late(settings, expiry_rules.ENDS.read(key), row, self._programs)

    def keep(self, services: Collection[str]) -> None:
        """Forget those of other services."""
        self._since = {name: one for name, one in self._since.items() if name in services}

    def _row(self, key: bytes) -> expiry_rules.Held | None:
        """The row of a request that nobody has yet."""
        raw = self._holding.get(key)
        row = None if raw is None else expiry_rules.HELD.read(raw)
        return row if row is not None and row.complete and not row.answer else None

    def close(self) -> None:
        self._ring.close()
        self._holding.close()
