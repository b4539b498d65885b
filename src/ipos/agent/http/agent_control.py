# SPDX-License-Identifier: Apache-2.0
"""What the API may use of the agent: its view, orders and reloads."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ipos.abi.rows import ServerState
from ipos.agent.drain.shedding import parts
from ipos.agent.heartbeat.orders import Kept
from ipos.agent.http.spawning_routes import Spawning
from ipos.agent.sessions.session_orders import SessionOrders
from ipos.agent.view.drain_report import only_server_of
from ipos.agent.view.events import RuleName
from ipos.agent.view.table_views import View, server_list
from ipos.agent.view.watchers import Feed, Watching
from ipos.errors import IposError
from ipos.kernel.either_family import EitherFamily
from ipos.kernel.maps import Tables

_WAIT_S = 3.0
_LOOK_S = 0.02
_TABLES = {
    "local": "local",
    "forward_connect": "connect",
    "forward": "forward",
    "temporary": "temporary",
    "held": "holding",
}
"""The connection tables as `ipos status` names them, and their maps."""


T = TypeVar("T")


class Wanted(NamedTuple):
    """What is wanted of a server. deadline_s: of a drain, from now on, 0 for none.

    forced: it may drain although nobody is left that serves what it serves.
    """

    state: ServerState
    deadline_s: float = 0
    forced: bool = False


class NoSuchServer(IposError):
    """No server has that name."""


Migrate = Callable[[str, str], Coroutine[Any, Any, None]]
"""Has an application give a client's connection to a server: `Endpoints.migrate`."""


class Reloads:
    """Requests to read the configuration anew, and the futures that wait for their results.

    One that comes while a file is being read needs a reading of its own.
    """

    def __init__(self) -> None:
        self._asked = self._begun = self._done = 0
        self._refused = ""

    def ask(self) -> int:
        self._asked += 1
        return self._asked

    @property
    def is_due(self) -> bool:
        return self._asked > self._begun

    def begin(self) -> None:
        self._begun = self._asked

    def end(self, refused: str) -> None:
        """`refused` is why the file was not taken, empty when it was."""
        self._done, self._refused = self._begun, refused

    async def wait(self, number: int) -> None:
        """IposError when the file was not taken."""
        while self._done < number:
            await asyncio.sleep(_LOOK_S)
        if self._refused:
            raise IposError(self._refused)


class AgentControl:
    """`ipos.agent.http.api.Control` of a running agent."""

    def __init__(
        self,
        maps: Path,
        view: Callable[[], View],
        orders: Kept,
        reloads: Reloads,
        stopping: asyncio.Event,
        watching: Watching,
        rule: RuleName,
        history: Callable[[], list[dict[str, Any]]],
        examine: Callable[[], Coroutine[Any, Any, list[dict[str, Any]]]],
        sessions: SessionOrders,
        spawning: Spawning,
        migrate: Migrate,
    ) -> None:
        self.spawning = spawning
        self.view = view
        self.migrate = migrate
        self.examine = examine
        self.sessions = sessions
        self.history = history
        self.rule = rule
        self.stopping = stopping
        self._directory = maps
        self._orders = orders
        self._reloads = reloads
        self._watching = watching
        self._tables = Tables(maps)
        self._counting = asyncio.Lock()

    @cached_property
    def _maps(self) -> dict[str, EitherFamily]:
        return {name: EitherFamily(self._directory, name) for name in _TABLES.values()}

    async def counted(self, make: Callable[[View], T]) -> T:
        """What `make` makes of the view, in a thread: counting rows of large tables takes long.

        It has maps of its own, because a map's buffers serve one thread at a time.
        """
        async with self._counting:
            view = dataclasses.replace(self.view(), tables=self._tables)
            return await asyncio.to_thread(make, view)

    def watch(self) -> AbstractContextManager[Feed]:
        return self._watching.feed()

    def limits(self) -> Mapping[str, int]:
        return {
            name: sum(one.max_entries for one in self._maps[map_].all())
            for name, map_ in _TABLES.items()
        }

    async def order(self, server: str, wanted: Wanted) -> None:
        """Returns when this server has seen it done, and saved it unless its disk is full.

        IposError, and nothing is ordered, when nobody would be left to serve something.
        """
        self._expect(server)
        if wanted.state is ServerState.DRAIN and not wanted.forced:
            alone = only_server_of(self.view(), server)
            if alone:
                raise IposError(
                    f"{server} is the last server that can serve {alone}: drain it after another "
                    f"is ready, or all the same by `ipos drain {server} --force`"
                )
        self._orders.give(server, wanted.state, wanted.deadline_s)
        await self._save()
        await self._see(server, "state", wanted.state.name.lower())

    async def weigh(self, server: str, weight: int) -> None:
        """The same for its weight; 0: the configured weight counts again."""
        self._expect(server)
        self._orders.weigh(server, weight)
        await self._save()
        await self._see(server, "weight_set", weight or None)

    async def rebalance(self, most: int | None) -> dict[str, dict[str, int]]:
        """Order each server to give away its surplus. Returns what each server has and gives."""
        rows = [
            row
            for row in server_list(self.view())
            if row["state"] == "ready" and not row["stale"] and row["server"]
        ]
        connections = {row["server"]: row["tcp_connections"] for row in rows}
        gives = parts(connections, {row["server"]: row["weight"] for row in rows}, most)
        for server, number in gives.items():
            if number:
                self._orders.shed(server, number)
        await self._save()
        return {
            server: {"connections": has, "gives": gives[server]}
            for server, has in connections.items()
        }

    async def _save(self) -> None:
        with suppress(IposError):  # the agent says so, and saves it later
            await asyncio.to_thread(self._orders.save)

    def _expect(self, server: str) -> None:
        names = {str(row["server"]) for row in server_list(self.view()) if row["server"]}
        if server not in names:
            known = ", ".join(sorted(names))
            raise NoSuchServer(f"no server is called {server}; there are {known}")

    async def _see(self, server: str, column: str, value: object) -> None:
        deadline = asyncio.get_running_loop().time() + _WAIT_S
        while asyncio.get_running_loop().time() < deadline:
            rows = server_list(self.view())
            if (server, value) in [(row["server"], row[column]) for row in rows]:
                return
            await asyncio.sleep(_LOOK_S)
        raise IposError(
            f"{server} has not done it in {_WAIT_S:.0f} s: it is down or its agent is not "
            "running; the order stands, and it will follow when it is back"
        )

    async def reload(self) -> None:
        await self._reloads.wait(self._reloads.ask())
