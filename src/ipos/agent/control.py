# SPDX-License-Identifier: Apache-2.0
"""What the API may have of the agent: its view, orders and reloads, and nothing of its insides."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from ipos.agent import orders, places
from ipos.agent.events import RuleName
from ipos.agent.views import View, server_list
from ipos.agent.watching import Feed, Watching
from ipos.errors import IposError
from ipos.inic.libbpf.maps import Map
from ipos.inic.rows import ServerState

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


class NoSuchServer(IposError):
    """No server has that name."""


class Reloads:
    """Requests to read the configuration anew, and who waits for what became of them.

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
    """`ipos.agent.api.Control` of a running agent."""

    def __init__(
        self,
        maps: Path,
        view: Callable[[], View],
        reloads: Reloads,
        stopping: asyncio.Event,
        watching: Watching,
        rule: RuleName,
    ) -> None:
        self.view = view
        self.rule = rule
        self.stopping = stopping
        self._directory = maps
        self._reloads = reloads
        self._watching = watching

    @cached_property
    def _maps(self) -> dict[str, Map]:
        return {name: Map.open(self._directory / name) for name in _TABLES.values()}

    def watch(self) -> AbstractContextManager[Feed]:
        return self._watching.feed()

    def limits(self) -> Mapping[str, int]:
        return {name: self._maps[map_].max_entries for name, map_ in _TABLES.items()}

    async def order(self, server: str, state: ServerState) -> None:
        """Returns when this server has seen it done."""
        self._expect(server)
        orders.give(places.orders_file(), server, state)
        await self._see(server, "state", state.name.lower())

    async def weigh(self, server: str, weight: int) -> None:
        """The same for its weight; 0: what is configured is to count again."""
        self._expect(server)
        orders.weigh(places.orders_file(), server, weight)
        await self._see(server, "weight_set", weight or None)

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
