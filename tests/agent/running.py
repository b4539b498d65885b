# SPDX-License-Identifier: Apache-2.0
"""A view of a farm of three without kernel or agent, and what an API needs beside it."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager

from ipos.agent import plan, pools
from ipos.agent.snapshot import Snapshot, advertised
from ipos.agent.urls import compile_urls
from ipos.agent.views import View
from ipos.agent.watching import Feed, Watching
from ipos.agent.writer import Writer
from ipos.errors import IposError
from ipos.inic.rows import ServerState
from tests.agent.farm import MS, NOW_NS, WALL_MS, Memory, back, config, datagram, members, state


class Running:
    """s1 of a farm of three whose applications all listen; an API's `Control`.

    Orders are kept in `orders` and `weights`, reloads counted; `refusal` is what a reload is
    answered with.
    It is the ring of decisions, too: `decided` are its records, `watched` what the flag was set to.
    """

    def __init__(self, *services: object, **parts: object) -> None:
        self.memory = Memory()
        self.tables = self.memory.tables()
        self.config = config(*services, **parts)  # type: ignore[arg-type]
        self.members = members()
        names = [service.name for service in self.config.service]
        self.members.hear_myself(state(1, services=names), NOW_NS)
        for n in (2, 3):
            said = datagram(n, services=names)
            assert self.members.receive(said, int(back(n)), NOW_NS, WALL_MS)
        slots = plan.number_services(self.config, [])
        known = pools.definitions(self.config)
        numbers = pools.number_pools(known)
        wanted = plan.plan(self.config, slots, numbers, self.members, {}, NOW_NS)
        writer = Writer(self.tables)
        writer.prepare(compile_urls(self.config, slots, numbers))
        writer.write(wanted, prune=True)
        self.snapshot = Snapshot(
            farm="shop",
            me="s1",
            services=slots,
            pools=numbers,
            labels=[known[key].label for key in numbers],
            servers=advertised(self.members),
            datagrams={"accepted": 2},
        )
        self.stopping = asyncio.Event()
        self.orders: list[tuple[str, ServerState]] = []
        self.weights: list[tuple[str, int]] = []
        self.reloads = 0
        self.refusal = ""
        self.decided: list[bytes] = []
        self.watched: list[bool] = []
        self.watching = Watching(lambda: self, self._switch)

    def view(self) -> View:
        return View(self.tables, self.snapshot, NOW_NS + 40 * MS)

    def watch(self) -> AbstractContextManager[Feed]:
        return self.watching.feed()

    def rule(self, number: int) -> str | None:
        return f"rule {number}" if number else None

    def _switch(self, on: bool) -> None:
        self.watched.append(on)

    def take(self, most: int) -> list[bytes]:
        taken, self.decided = self.decided[:most], self.decided[most:]
        return taken

    def close(self) -> None:
        """A ring's end."""

    def limits(self) -> Mapping[str, int]:
        return {"forward": 1000}

    async def order(self, server: str, state: ServerState) -> None:
        self.orders.append((server, state))

    async def weigh(self, server: str, weight: int) -> None:
        self.weights.append((server, weight))

    async def reload(self) -> None:
        self.reloads += 1
        if self.refusal:
            raise IposError(self.refusal)
