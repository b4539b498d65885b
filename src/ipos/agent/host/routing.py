# SPDX-License-Identifier: Apache-2.0
"""The local routes and addresses of this server, kept in step with the other servers.

A server has a local route for every service address of the farm, because it must accept packets
that the other servers forward to it. rtnetlink(7) can block, so this runs in a thread while the
agent goes on sending heartbeats.
"""

import asyncio
from collections.abc import Callable, Coroutine

from ipos.agent.loop.undone import Undone
from ipos.agent.network.interfaces import Network
from ipos.errors import IposError
from ipos.ip_family import Address

Spawn = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]


class Routing:
    """At most one change at a time. `spawn` runs a coroutine as a task of the agent."""

    def __init__(self, network: Network, undone: Undone, spawn: Spawn) -> None:
        self._network = network
        self._undone = undone
        self._spawn = spawn
        self._routes: set[Address] = set()
        self._held: list[Address] | None = None
        self._task: asyncio.Task[None] | None = None
        self.foreign: set[Address] = set()
        """The service addresses of the other servers, and our own of IPv6."""

    @property
    def is_complete(self) -> bool:
        """Whether there is a route for every address in `foreign`, and no other."""
        return self.foreign == self._routes

    def begin(self, own: list[Address], *, settled: bool) -> None:
        """Start a change if one is needed and none is running.

        `own` are this server's configured addresses. An address that it no longer has is removed
        only when `settled`: until then a row may still lead to it.
        """
        held = own if settled else self._held
        is_done = self.is_complete and held == self._held and not self._network.is_stale
        if self._task is None and not is_done:
            self._task = self._spawn(self._change(set(self.foreign), held))

    async def wait(self, own: list[Address], *, settled: bool) -> None:
        """Return when everything is done, or when a part of it has failed."""
        while self._task is not None:
            await self._task
            if not self._undone.reason("routes"):
                self.begin(own, settled=settled)

    async def stop(self) -> None:
        if self._task is not None:
            await self._task

    async def _change(self, routes: set[Address], held: list[Address] | None) -> None:
        try:
            if held is not None:
                await asyncio.to_thread(self._network.release, held)
            await asyncio.to_thread(self._network.route, routes)
            self._routes, self._held = routes, held
            self._undone.note("routes", "")
        except (IposError, OSError) as error:
            self._undone.note("routes", str(error))
        finally:
            self._task = None
