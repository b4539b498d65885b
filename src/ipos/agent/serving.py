# SPDX-License-Identifier: Apache-2.0
"""What tells others that this server serves: log, service manager, ready file, API and web port."""

import asyncio
from contextlib import ExitStack

import structlog

from ipos.agent.examination.examiner import Examiner
from ipos.agent.host import paths
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.host.systemd import READY, notify
from ipos.agent.http import http_server
from ipos.agent.http.agent_control import AgentControl, Migrate, Reloads
from ipos.agent.http.history import History
from ipos.agent.http.spawning_routes import Spawning
from ipos.agent.http.web_port import open_port
from ipos.agent.loop import tasks
from ipos.agent.on_demand.supervisor import Supervisor
from ipos.agent.sessions.session_orders import SessionOrders
from ipos.agent.startup import Parts
from ipos.agent.view.snapshot_file import SnapshotFile
from ipos.agent.view.table_views import View
from ipos.errors import IposError

_RETRY_S = 1.0
"""How long after a failure the ready file is tried again."""

log = structlog.get_logger()


async def _nobody_migrates(client: str, to: str) -> None:
    """Until the agent knows better."""
    raise IposError("endpoints do not migrate with state here")


class Serving:
    """Opens the sockets at once, and answers at them from `announce` until the agent ends."""

    def __init__(
        self,
        stack: ExitStack,
        parts: Parts,
        reloads: Reloads,
        snapshot: SnapshotFile,
        examiner: Examiner,
        sessions: SessionOrders,
        supervisor: Supervisor,
        running: tasks.Tasks,
    ) -> None:
        """stack: closes the sockets."""
        self._parts = parts
        self._reloads = reloads
        self._snapshot = snapshot
        self._examiner = examiner
        self._sessions = sessions
        self._supervisor = supervisor
        self._tasks = running
        self._history = History()
        self.migrate: Migrate = _nobody_migrates
        self._listener = http_server.listen(paths.api_socket())
        stack.callback(self._listener.close)
        self._web = open_port(parts.config.agent, parts.file.parent)
        if self._web is not None:
            stack.callback(self._web.close)

    @property
    def history(self) -> History | None:
        """The last hour, if somebody can look at it."""
        return None if self._web is None else self._history

    def view(self) -> View:
        """What there is to see at this moment."""
        return View(self._parts.tables, self._snapshot.now(), boottime_ns())

    def recent_view(self) -> View:
        """What there was to see a moment ago; it costs less."""
        return View(self._parts.tables, self._snapshot.recent(), boottime_ns())

    def announce(self) -> None:
        """All rows and routes are there."""
        self._tasks.spawn(self._become_ready())
        self._tasks.spawn(self._mark_ready())

    async def _become_ready(self) -> None:
        """Tell the service manager and the log, then answer the API until the end."""
        await self._snapshot.flush()
        said = self._snapshot.now()
        log.info(
            "serving",
            server=said.me,
            farm=said.farm,
            services=len(self._parts.config.service),
            heard=f"{len(said.servers)} of {len(self._parts.members.by_ip)} servers",
        )
        await asyncio.to_thread(notify, READY)
        parts = self._parts
        control = AgentControl(
            parts.maps,
            self.view,
            parts.orders,
            self._reloads,
            self._tasks.stopping,
            parts.decisions.watching,
            parts.decisions.rule,
            self._history.document,
            self._examiner.ask_all,
            self._sessions,
            Spawning(self._supervisor, lambda: str(parts.config.server.addresses[0])),
            self.migrate,
        )
        await http_server.serve(self._listener, control, self._web)

    async def _mark_ready(self) -> None:
        """Make the ready file, which other programs may wait for; try again until it is there."""
        await self._snapshot.flush()
        while not self._tasks.stopping.is_set():
            try:
                await asyncio.to_thread(paths.ready_file().touch)
                self._parts.undone.note("ready", "")
                return
            except OSError as error:
                reason = f"cannot make {paths.ready_file()}: {error.strerror}"
                self._parts.undone.note("ready", reason)
            await tasks.wait_for(self._tasks.stopping, _RETRY_S)
