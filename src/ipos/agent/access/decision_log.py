# SPDX-License-Identifier: Apache-2.0
"""Passes decisions from the data plane's ring to the access log and to those who watch."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipos.abi.families import AnyTuple
from ipos.abi.rows import DecisionFlags, SettingsFlags, Tuple
from ipos.agent.access.access_log import AccessLog
from ipos.agent.access.answered import Requests
from ipos.agent.host.own_state import boottime_ns, wall_offset_ns
from ipos.agent.snapshot.snapshot import Snapshot
from ipos.agent.view.events import event
from ipos.agent.view.watchers import LOOK_S, Watching
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.kernel import decisions
from ipos.kernel.decisions import DecisionRing
from ipos.kernel.maps import Tables, switch
from ipos.selection.urlmap import rule_text

_LOOK_NS = 5_000_000_000


class DecisionLog:
    """`maps` is where the data plane's are pinned."""

    def __init__(self, config: Config, tables: Tables, maps: Path) -> None:
        self._config = config
        self._tables = tables
        self._maps = maps
        self._wanted = asyncio.Event()
        self._looked_ns = 0
        self.watching = Watching(self._ring, self._switch)
        server = config.server
        self._requests = Requests()
        self.lines = AccessLog(
            server.access_log_file, server.access_log_to, server.access_log_format
        )
        self._look()

    def take(self, fresh: Config) -> None:
        """Use another configuration."""
        self._config = fresh
        server = fresh.server
        self.lines.reopen(server.access_log_file, server.access_log_to, server.access_log_format)
        self._look()

    async def run(self, snapshot: Callable[[], Snapshot]) -> None:
        """Log what the data plane draws for it, while a service has a log; until cancelled."""
        while True:
            await self._wanted.wait()
            with self.watching.feed(watches=False) as feed:
                while self._wanted.is_set():
                    records, lost = feed.take()
                    self.lines.miss(lost)
                    told = self._told(records, snapshot) if records else []
                    told += self._given_up()
                    if told:
                        self.lines.put(told)
                    await asyncio.sleep(LOOK_S)

    def _told(self, records: list[bytes], snapshot: Callable[[], Snapshot]) -> list[dict[str, Any]]:
        """What there is to log of these records: decisions as such, or requests that are over."""
        now, offset_ns, told = snapshot(), wall_offset_ns(), []
        me = next((one.index for one in now.servers if one.server == now.me), 0)
        as_decisions = self._config.server.access_log_format == "decisions"
        for record in records:
            decision = decisions.decode(record)
            if DecisionFlags.LOGGED not in decision.flags:
                continue
            if not as_decisions:
                said = event(record, now, offset_ns, self.rule)
                told += self._requests.take(decision, said, me)
            elif not decisions.is_of_request(decision):
                told.append(event(record, now, offset_ns, self.rule))
        return told

    def _given_up(self) -> list[dict[str, Any]]:
        """Requests that nobody will answer; looked for every few seconds."""
        now_ns = boottime_ns()
        if now_ns - self._looked_ns < _LOOK_NS:
            return []
        self._looked_ns = now_ns
        return self._requests.give_up(now_ns, self._is_open)

    def _is_open(self, key: AnyTuple) -> bool:
        """Whether a connection has an endpoint here."""
        if isinstance(key, Tuple):
            four = self._tables
            return four.local.get(key) is not None or four.connect.get(key) is not None
        if not self._tables.has_six:
            return False
        six = self._tables.six
        return six.local.get(key) is not None or six.connect.get(key) is not None

    def timed_out(self, key: bytes, service: int, name: str, me: int) -> None:
        """Log the agent's decision that a request whose head did not end in time is refused."""
        shares = [one.access_log for one in self._config.service if one.name == name]
        logged = any(random.random() < share for share in shares)
        self.watching.told(decisions.timed_out(key, service, me, boottime_ns(), logged=logged))

    def rule(self, number: int) -> str | None:
        """A rule as its `[[route]]` says it."""
        routes = self._config.route
        if not 0 < number <= len(routes):
            return None
        one = routes[number - 1]
        return rule_text(one.host, one.path, one.alpn or ())

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
