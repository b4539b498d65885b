# SPDX-License-Identifier: Apache-2.0
"""Makes the agent's snapshot and writes it to its file.

The commands read that file when no agent runs. It is written when it contains something new, and at
least every ten seconds. A thread writes it, because the directory may be on a disk.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.member_faults import TEXTS
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import State
from ipos.agent.holders.announcements import Announcements
from ipos.agent.holders.keeper import Keeper
from ipos.agent.host.health_checks import Checks
from ipos.agent.host.own_state import Observer, boottime_ns
from ipos.agent.loop.tasks import Tasks
from ipos.agent.loop.undone import Undone
from ipos.agent.rows import pools
from ipos.agent.rows.convergence import Convergence
from ipos.agent.snapshot import snapshot
from ipos.agent.snapshot.snapshot import Snapshot
from ipos.agent.view.own_programs import OwnPrograms
from ipos.config import absences
from ipos.config.schema import Config
from ipos.errors import IposError

_KEEP_NS = 10_000_000_000
_SECOND_NS = 1_000_000_000


class SnapshotFile:
    """The snapshot of one agent. `source` is the configuration's file.

    `lines` counts those of the access log, by what became of them.
    """

    def __init__(
        self,
        file: Path,
        source: Path,
        config: Config,
        members: Members,
        rows: Convergence,
        observer: Observer,
        own_programs: OwnPrograms,
        checks: Checks,
        lines: Callable[[], dict[str, int]],
        keeper: Keeper | Announcements,
        undone: Undone,
        tasks: Tasks,
        outages: Callable[[], list[str]] = list,
    ) -> None:
        self._outages = outages
        self._file = file
        self._source = str(source)
        self._members = members
        self._rows = rows
        self._observer = observer
        self._own_programs = own_programs
        self._checks = checks
        self._lines = lines
        self._keeper = keeper
        self._undone = undone
        self._tasks = tasks
        self._started_ns = boottime_ns()
        self._recent: tuple[Snapshot, int] | None = None
        self._saved = Snapshot()
        self._saved_ns = 0
        self._writing: asyncio.Task[None] | None = None
        self.config = config
        self.taken_s = time.time()
        """When the configuration was taken last."""
        self.loaded = 1
        """How often the configuration's file has been read."""
        self.refused = ""
        """Why its last reading was not taken; empty when it was."""

    def save(self) -> None:
        """Begin to write the file if there is something new. Counts alone can wait."""
        if self._writing is not None:  # it is compared again a second later
            return
        fresh, now_ns = self.now(), boottime_ns()
        if now_ns - self._saved_ns > _KEEP_NS or fresh.is_news(self._saved):
            self._writing = self._tasks.spawn(self._write(fresh, now_ns))

    async def flush(self) -> None:
        """Return when the file says all there is to say, or cannot be written."""
        while self._writing is not None:
            await self._writing
        self.save()
        if self._writing is not None:
            await self._writing

    async def _write(self, fresh: Snapshot, now_ns: int) -> None:
        try:
            await asyncio.to_thread(snapshot.write, self._file, fresh)
            self._saved, self._saved_ns = fresh, now_ns
            self._undone.note("snapshot", "")
        except IposError as error:
            self._undone.note("snapshot", str(error))
        finally:
            self._writing = None

    def recent(self) -> Snapshot:
        """The last one, if it was made within a second: to make one takes its time."""
        if self._recent is None or boottime_ns() - self._recent[1] > _SECOND_NS:
            return self.now()
        return self._recent[0]

    def now(self) -> Snapshot:
        """What the commands would be told at this moment."""
        made = self._made()
        self._recent = made, boottime_ns()
        return made

    def _made(self) -> Snapshot:
        known = pools.definitions(self.config)
        troubles = self._members.troubles(boottime_ns())
        remarks = (
            *self._outages(), *self._observer.remarks, *self._own_programs.remarks,
            *self._unstarted(),
        )  # fmt: skip
        return Snapshot(
            farm=self.config.farm.name,
            me=self.config.server.name,
            config=self._source,
            loaded=self.loaded,
            refused=self.refused,
            services=self._rows.slots,
            pools=self._rows.numbers,
            labels=[known[key].label if key in known else "" for key in self._rows.numbers],
            servers=snapshot.advertised(self._members),
            datagrams=dict(self._members.counts),
            access_log=self._lines(),
            troubles=[*(one.text for one in troubles if one.member), *remarks],
            strangers=[one.text for one in troubles if not one.member],
            absences=self._absences(),
            fault=TEXTS.get(self._rows.faults.mine, ""),
            undone=self._all_undone(),
            addresses=self._keeper.held(boottime_ns()),
            address_changes=dict(self._keeper.counts),
            taken_s=self.taken_s,
            checks=self._checks.states(),
            rules=self._rows.rules,
        )

    def _absences(self) -> list[str]:
        if boottime_ns() - self._started_ns < absences.QUIET_NS:
            return []
        known = self._members.by_ip.values()
        states = [member.state for member in known if member.state is not None]
        return [
            *absences.unheard(member.back_ip for member in known if member.state is None),
            *absences.unknown_servers(self.config, (state.server for state in states)),
            *absences.unserved(self.config, (name for state in states for name in state.services)),
            *absences.idle(self.config, {one.server: one.services for one in self._up()}),
        ]

    def _unstarted(self) -> list[str]:
        """Applications that a server could not start when it last tried."""
        known = self._members.by_ip.values()
        states = [member.state for member in known if member.state is not None]
        return [one.why for state in states for one in state.starting if one.why and not one.call]

    def _up(self) -> list[State]:
        """What those servers say of themselves who are heard now."""
        now_ns = boottime_ns()
        known = self._members.by_ip.values()
        return [
            member.state
            for member in known
            if member.state is not None and member.serves and member.age(now_ns) is Age.FRESH
        ]

    def _all_undone(self) -> list[str]:
        checks = [snapshot.not_well(*each) for each in self._checks.troubles().items()]
        return [text for text in (self.refused, *self._undone.reasons(), *checks) if text]
