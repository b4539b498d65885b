# SPDX-License-Identifier: Apache-2.0
"""`ipos reload`: take all of a changed configuration, or none of it.

While a file is being read, the agent goes on sending and receiving states, and changes no rows.
"""

import asyncio
import time
from dataclasses import dataclass

import structlog

from ipos.agent import setup
from ipos.agent.exchange import Exchange
from ipos.agent.host.routing import Routing
from ipos.agent.host.systemd import READY, notify, reloading
from ipos.agent.http.agent_control import Reloads
from ipos.agent.loop.tasks import Tasks
from ipos.agent.loop.undone import Undone
from ipos.agent.network.interfaces import interface
from ipos.agent.on_demand.supervisor import Supervisor
from ipos.agent.startup import Parts
from ipos.agent.update import Update
from ipos.agent.view.snapshot_file import SnapshotFile
from ipos.config.changes import refused
from ipos.config.crosscheck import read_secret, secret_path
from ipos.config.reader import load
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.handshake.keys import KeyRing, key_ring
from ipos.ip_family import sixes

_NEW_SECRET = (
    "the farm's secret cannot change at once, because the other servers would not believe this "
    "one: let all of them believe the new secret first, in a second line of farm.secret_file that "
    'begins with "also "'
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Change:
    """A configuration that may be taken, with all that was worked out from it."""

    config: Config
    keys: KeyRing
    services: list[str]
    pools: list[str]


class Reload:
    """Carries out what `requests` ask for."""

    def __init__(
        self,
        parts: Parts,
        requests: Reloads,
        supervisor: Supervisor,
        exchange: Exchange,
        routing: Routing,
        snapshot: SnapshotFile,
        update: Update,
        undone: Undone,
        tasks: Tasks,
    ) -> None:
        self._parts = parts
        self._requests = requests
        self._supervisor = supervisor
        self._exchange = exchange
        self._routing = routing
        self._snapshot = snapshot
        self._update = update
        self._undone = undone
        self._tasks = tasks
        self._running = False

    def begin(self) -> bool:
        """Start a reload that is due; whether one is going on.

        Not before the members are settled: until then rows of an earlier agent stay, and there may
        not be room for all new ones.
        """
        if self._requests.is_due and not self._running and self._update.settled:
            self._running = True
            self._tasks.spawn(self._run())
        return self._running

    async def _run(self) -> None:
        left = ""
        self._requests.begin()
        await asyncio.to_thread(notify, *reloading())
        try:
            change = await self._read()
        except (IposError, OSError) as error:
            self._snapshot.refused = str(error)
            log.error("configuration not taken", reason=str(error))
        else:
            self._snapshot.refused = ""
            self._snapshot.taken_s = time.time()
            self._take(change)
            left = await self._carry_out()
        finally:
            self._running = False
        self._snapshot.loaded += 1
        await self._snapshot.flush()
        await asyncio.to_thread(notify, READY)
        self._requests.end(self._snapshot.refused or left)

    async def _read(self) -> _Change:
        """Read the file and prepare what it asks for. IposError says why it cannot be taken."""
        parts = self._parts
        fresh = await asyncio.to_thread(load, parts.file)
        problems = refused(parts.config, fresh)
        secret = await asyncio.to_thread(read_secret, secret_path(fresh, parts.file))
        keys = await asyncio.to_thread(key_ring, secret, fresh.farm.name)
        if not keys.may_follow(parts.keys):
            problems.append(_NEW_SECRET)
        if problems:
            raise IposError("; ".join(problems))
        front = await asyncio.to_thread(interface, fresh.server.front)
        await asyncio.to_thread(setup.prepare, fresh, parts.network, front, parts.back)
        services, pools = await asyncio.to_thread(parts.rows.prepare, fresh)
        if sixes(fresh.server.addresses):
            await asyncio.to_thread(setup.extend, fresh, parts.pins)
        await asyncio.to_thread(setup.attach, fresh, parts.pins, front, parts.back)
        return _Change(fresh, keys, services, pools)

    def _take(self, change: _Change) -> None:
        """From here on all parts use the new configuration."""
        parts, fresh = self._parts, change.config
        parts.config, parts.keys = fresh, change.keys
        parts.observer.config = self._snapshot.config = fresh
        setup.say_notes(fresh)
        parts.datagram_keys.take(*setup.state_keys(change.keys))
        parts.clock.take(change.keys)
        parts.rows.take(fresh, change.services, change.pools)
        self._exchange.take(fresh)
        self._supervisor.take(fresh)
        parts.checks.converge(fresh.service)
        parts.decisions.take(fresh)

    async def _carry_out(self) -> str:
        """Write the rows and routes of the new configuration. Returns what is missing, or ""."""
        self._update.refresh()
        failed = self._update.follow_now()
        settled = self._update.settled
        await self._routing.wait(self._parts.config.server.addresses, settled=settled)
        left = (failed, self._undone.reason("rows"), self._undone.reason("routes"))
        if not any(left):
            return ""
        log.error("configuration taken, but not all of it is in force")
        return f"the file is taken, but not all of it is: {'; '.join(filter(None, left))}"
