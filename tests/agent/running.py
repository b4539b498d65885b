# SPDX-License-Identifier: Apache-2.0
"""A view of a farm of three without kernel or agent, and what an API needs beside it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from ipaddress import IPv4Address
from typing import Any, TypeVar

from ipos.abi.rows import ServerState
from ipos.agent.http.agent_control import Wanted
from ipos.agent.http.spawning_routes import Spawning
from ipos.agent.on_demand.calls import Held, NoSuchCall, PortsTaken, Progress
from ipos.agent.rows import desired, pools
from ipos.agent.rows.map_writer import Writer
from ipos.agent.rows.url_rows import compile_urls
from ipos.agent.sessions.session_orders import NoSuchSession, SessionOrders
from ipos.agent.snapshot.snapshot import Snapshot, advertised
from ipos.agent.view.table_views import View
from ipos.agent.view.watchers import Feed, Watching
from ipos.errors import IposError
from tests.agent.made_up_farm import (
    MS,
    NOW_NS,
    WALL_MS,
    Memory,
    back,
    config,
    datagram,
    members,
    state,
)

T = TypeVar("T")


class Sessions(SessionOrders):
    """Orders about sessions are kept in `given`."""

    def __init__(self) -> None:
        self.given: list[tuple[object, ...]] = []

    async def move(self, identity: bytes, to: IPv4Address, now_ns: int) -> int:
        if not any(identity):
            raise NoSuchSession("there is no such session")
        self.given.append(("move", identity, to))
        return 1

    async def move_all(self, source: IPv4Address, to: IPv4Address, now_ns: int) -> int:
        self.given.append(("move all", source, to))
        return 7

    async def revoke(self, identity: bytes, now_ns: int) -> int:
        self.given.append(("revoke", identity))
        return 1


class Caller:
    """Calls that run at once, or end for a reason."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.why = ""
        self.taken: list[PortsTaken] = []
        """What is said of the first calls."""

    def call(self, program: str, args: list[str], pid: int) -> Held:
        if self.taken:
            raise self.taken.pop(0)
        made = Held(f"s1.{len(self.held)}", program, "worker:20000", 20000, args, pid, 7, 1_700_000)
        made.progress, made.server, made.why = Progress.RUNNING, "s2", self.why
        if self.why:
            made.progress = Progress.ENDED
        self.held.append(made)
        return made

    def end_call(self, name: str) -> None:
        if all(one.name != name for one in self.held):
            raise NoSuchCall(f"{name} is no program")
        self.held = [one for one in self.held if one.name != name]

    def calls(self) -> list[Held]:
        return self.held


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
        slots = pools.number_services(self.config, [])
        known = pools.definitions(self.config)
        numbers = pools.number_pools(known)
        wanted = desired.plan(self.config, slots, numbers, self.members, {}, NOW_NS)
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
        self.wanted: Wanted | None = None
        self.most: int | None = -1
        self.reloads = 0
        self.sessions = Sessions()
        self.migrations: list[tuple[str, str]] = []
        self.refusal = ""
        self.decided: list[bytes] = []
        self.watched: list[bool] = []
        self.caller = Caller()
        self.spawning = Spawning(self.caller, lambda: "203.0.113.1")
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

    async def counted(self, make: Callable[[View], T]) -> T:
        return make(self.view())

    def history(self) -> list[dict[str, Any]]:
        return []

    def limits(self) -> Mapping[str, int]:
        return {"forward": 1000}

    async def order(self, server: str, wanted: Wanted) -> None:
        self.orders.append((server, wanted.state))
        self.wanted = wanted

    async def rebalance(self, most: int | None) -> dict[str, dict[str, int]]:
        self.most = most
        return {"s1": {"connections": 9, "gives": 3}}

    async def weigh(self, server: str, weight: int) -> None:
        self.weights.append((server, weight))

    async def migrate(self, client: str, to: str) -> None:
        self.migrations.append((client, to))
        if self.refusal:
            raise IposError(self.refusal)

    async def examine(self) -> list[dict[str, Any]]:
        return [{"server": "s1", "back_address": "10.77.0.1", "answered": True, "findings": []}]

    async def reload(self) -> None:
        self.reloads += 1
        if self.refusal:
            raise IposError(self.refusal)
