# SPDX-License-Identifier: Apache-2.0
"""Keeps the orders of a running agent and their file the same, in threads."""

import asyncio

from ipos.agent.heartbeat.message import Order
from ipos.agent.heartbeat.orders import Kept
from ipos.agent.loop.tasks import Tasks, wait_for
from ipos.agent.loop.undone import Undone
from ipos.errors import IposError

RETRY_S = 1.0
"""How long after a full disk has refused the orders they are saved again."""
_LOOK_NS = 250_000_000
"""How often the file is looked at: `ipos server set` writes it when no agent runs."""


class OrderFile:
    """Reads the file when it has changed, and writes it when there is a new order."""

    def __init__(self, orders: Kept, undone: Undone, tasks: Tasks) -> None:
        self._orders = orders
        self._undone = undone
        self._tasks = tasks
        self._looked_ns = 0
        self._reading = self._saving = False

    def look(self, now_ns: int) -> None:
        """Read the file when it has changed; in a thread, because it is on a disk."""
        if now_ns - self._looked_ns < _LOOK_NS or self._reading:
            return
        self._looked_ns = now_ns
        if self._orders.has_changed():
            self._reading = True
            self._tasks.in_thread(self._orders.read, self._take)

    def _take(self, found: list[Order]) -> None:
        self._reading = False
        self._orders.take(found)

    @property
    def is_due(self) -> bool:
        """Whether `save` would begin to write."""
        return not self._saving and self._orders.is_unsaved

    def save(self) -> None:
        """Begin to write the file if there is something new."""
        if self.is_due:
            self._saving = True
            self._tasks.spawn(self._save())

    async def _save(self) -> None:
        """Write it in a thread; after a failure, wait before the next attempt."""
        try:
            await asyncio.to_thread(self._orders.save)
            self._undone.note("orders", "")
        except (IposError, OSError) as error:
            self._undone.note("orders", f"orders hold and will be saved later: {error}")
            await wait_for(self._tasks.stopping, RETRY_S)
        finally:
            self._saving = False
