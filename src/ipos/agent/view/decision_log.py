# SPDX-License-Identifier: Apache-2.0
"""Passes decisions from the data plane's ring to the access log and to those who watch."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from ipos.abi.rows import SettingsFlags
from ipos.agent.host.own_state import boottime_ns, wall_offset_ns
from ipos.agent.view.access_log import AccessLog
from ipos.agent.view.events import event, is_logged
from ipos.agent.view.snapshot import Snapshot
from ipos.agent.view.watchers import LOOK_S, Watching
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.kernel import decisions
from ipos.kernel.decisions import DecisionRing
from ipos.kernel.maps import Tables, switch


class DecisionLog:
    """`maps` is where the data plane's are pinned."""

    def __init__(self, config: Config, tables: Tables, maps: Path) -> None:
        self._config = config
        self._tables = tables
        self._maps = maps
        self._wanted = asyncio.Event()
        self.watching = Watching(self._ring, self._switch)
        self.lines = AccessLog(config.server.access_log_file)
        self._look()

    def take(self, fresh: Config) -> None:
        """Use another configuration."""
        self._config = fresh
        self.lines.reopen(fresh.server.access_log_file)
        self._look()

    async def run(self, snapshot: Callable[[], Snapshot]) -> None:
        """Log what the data plane draws for it, while a service has a log; until cancelled."""
        while True:
            await self._wanted.wait()
            with self.watching.feed(watches=False) as feed:
                while self._wanted.is_set():
                    records, lost = feed.take()
                    self.lines.miss(lost)
                    if records:
                        now, offset_ns = snapshot(), wall_offset_ns()
                        self.lines.put(
                            event(record, now, offset_ns, self.rule)
                            for record in records
                            if is_logged(record)
                        )
                    await asyncio.sleep(LOOK_S)

    def timed_out(self, key: bytes, service: int, name: str, me: int) -> None:
        """Log the agent's decision that a request whose head did not end in time is refused."""
        shares = [one.access_log for one in self._config.service if one.name == name]
        logged = any(random.random() < share for share in shares)
        self.watching.told(decisions.timed_out(key, service, me, boottime_ns(), logged=logged))

    def rule(self, number: int) -> str | None:
        """A rule as its `[[route]]` says it."""
        routes = self._config.route
        return (
            f"{routes[number - 1].host}{routes[number - 1].path}"
            if 0 < number <= len(routes)
            else None
        )

    def counts(self) -> dict[str, int]:
        return {"written": self.lines.written, "lost": self.lines.lost}

    def close(self) -> None:
        self.lines.close()

    def _look(self) -> None:
        if any(service.access_log for service in self._config.service):
            self._wanted.set()
        else:
            self._wanted.clear()

    def _ring(self) -> DecisionRing:
        if not (self._maps / "decisions").exists():
            raise IposError(
                "the loaded data plane is older than this agent and reports no decisions: "
                "run `ipos upgrade`"
            )
        return DecisionRing(self._maps)

    def _switch(self, on: bool) -> None:
        switch(self._tables, SettingsFlags.WATCH, on=on)
