# SPDX-License-Identifier: Apache-2.0
"""Serves clients of HTTP/2 that send their request only after the server has sent something.

Only time tells such a client from one whose request is in the next segment. The data plane holds a
first flight without a request, does not acknowledge it, and names the connection in a ring. A
moment later the agent runs a frame through the data plane's program, which decides if no request
has come. Without an agent the client sends the same again, Linux does so after 200 ms, and then the
data plane decides.
"""

import asyncio
from pathlib import Path

import structlog

from ipos.agent.expiry import expiry_rules, notices
from ipos.closing import Closing
from ipos.errors import IposError
from ipos.kernel.either_family import EitherFamily
from ipos.kernel.maps import Tables
from ipos.kernel.rings import Ring

PAUSE_S = 0.015
"""What comes at once is here by then, unless its client is starved between two writes; twice as
long for what comes while we wait.
"""
MOST = 256
"""Connections of one round. A flood of others has to send again."""

log = structlog.get_logger()


class SilentClients(Closing):
    """`pins` is where the data plane is; the thread must be in the server's network namespace."""

    def __init__(self, pins: Path, tables: Tables) -> None:
        self._tables = tables
        self._programs = pins / "progs"
        self._holding = EitherFamily(pins / "maps", "holding")
        self._ring = Ring(pins / "maps", "silent")
        self._failure = ""

    async def run(self) -> None:
        """Round after round, until cancelled."""
        while True:
            await self._somebody()
            keys = self._ring.take(MOST)
            await asyncio.sleep(PAUSE_S)
            try:
                self._end(keys)
                self._failure = ""
            except (IposError, OSError) as error:
                if str(error) != self._failure:
                    self._failure = str(error)
                    log.error("clients of HTTP/2 that wait must send again", reason=self._failure)

    async def _somebody(self) -> None:
        loop, seen = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._ring.fileno(), seen.set)
        try:
            await seen.wait()
        finally:
            loop.remove_reader(self._ring.fileno())

    def _end(self, keys: list[bytes]) -> None:
        settings = self._tables.settings.get(0)
        for key in keys:
            raw = self._holding.get(key)
            row = None if raw is None else expiry_rules.HELD.read(raw)
            if settings is not None and row is not None and not (row.complete or row.moving):
                notices.tell_late(settings, expiry_rules.ENDS.read(key), row, self._programs)

    def close(self) -> None:
        self._ring.close()
        self._holding.close()
