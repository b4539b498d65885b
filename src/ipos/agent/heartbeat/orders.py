# SPDX-License-Identifier: Apache-2.0
"""What operators have ordered of servers: states and weights, given on any server and known to all.

An order names a server, its state, its weight, and when each was given. Of two orders for one
server the later one holds, separately for state and weight. Every agent keeps all
orders in a file and sends the latest in its datagrams, so an order reaches a server that was away,
and the halves of a LAN that was cut agree when it is whole again.
"""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from ipos import state_file
from ipos.abi.rows import ServerState
from ipos.agent.heartbeat.message import Order
from ipos.errors import IposError

SAID_MAX = 16
"""How many orders a datagram carries at most: the latest."""
KEPT_MAX = 255
WEIGHT_MAX = 0xFFFF
SHED_MAX = 0xFFFF_FFFF
NAME_MAX = 32
WHEN_MAX_MS = 1 << 52
"""Further ahead no clock is: a number that is larger is none of a time."""

log = structlog.get_logger()


class Orders:
    """The latest order for each server. Pure; `Kept` is not."""

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._by_server: dict[str, Order] = {}
        self.merge(orders)

    def merge(self, orders: Iterable[Order]) -> bool:
        """Take orders that are later than those known; whether there were any."""
        changed = False
        for order in orders:
            known = self._by_server.get(order.server)
            if order == known:  # as nearly always: all say all they know, ten times a second
                continue
            if not 0 < len(order.server) <= NAME_MAX:
                continue
            later = _later(known or Order(order.server, ServerState.READY, 0), order)
            if later == known or not _says_anything(later) or (known is None and self._full()):
                continue
            self._by_server[order.server] = later
            changed = True
        return changed

    def give(self, server: str, state: ServerState, now_ms: int, deadline_ms: int = 0) -> None:
        """A new order: later than any other for this server, whatever the clocks say."""
        known = self._by_server.get(server, Order(server, ServerState.READY, 0))
        when_ms = max(now_ms, known.when_ms + 1)
        self.merge([Order(server, int(state), when_ms, deadline_ms=deadline_ms)])

    def shed(self, server: str, connections: int, now_ms: int) -> None:
        """So many of its idle connections are to be chosen anew."""
        known = self._by_server.get(server, Order(server, ServerState.READY, 0))
        when_ms = max(now_ms, known.shed_ms + 1)
        self.merge([msgspec.structs.replace(known, shed=connections, shed_ms=when_ms)])

    def weigh(self, server: str, weight: int, now_ms: int) -> None:
        """The same for its weight; 0: the configured weight counts again."""
        known = self._by_server.get(server, Order(server, ServerState.READY, 0))
        when_ms = max(now_ms, known.weighed_ms + 1)
        self.merge([msgspec.structs.replace(known, weight=weight, weighed_ms=when_ms)])

    def state_of(self, server: str) -> ServerState:
        """The state that is ordered for a server; ready without an order."""
        order = self._by_server.get(server)
        return ServerState.READY if order is None else ServerState(order.state)

    def of(self, server: str) -> Order | None:
        """The order for a server, None when there is none."""
        return self._by_server.get(server)

    def weight_of(self, server: str) -> int:
        """The server's weight in every pool that has it; 0 for the one that is configured there."""
        order = self._by_server.get(server)
        return 0 if order is None else order.weight

    def said(self) -> list[Order]:
        """The latest orders, as many as a datagram has room for."""
        latest = sorted(self._by_server.values(), key=_when_ms, reverse=True)
        return latest[:SAID_MAX]

    def all(self) -> list[Order]:
        return list(self._by_server.values())

    def _full(self) -> bool:
        return len(self._by_server) >= KEPT_MAX


_ORDERED = {int(state) for state in (ServerState.READY, ServerState.DRAIN, ServerState.MAINT)}


def _later(known: Order, said: Order) -> Order:
    """Of two orders for a server, the later state with the later weight; nonsense is not taken."""
    state = (known.when_ms, known.state, known.deadline_ms)
    weight = (known.weighed_ms, known.weight)
    if 0 < said.when_ms < WHEN_MAX_MS and said.state in _ORDERED:
        deadline_ms = said.deadline_ms if 0 <= said.deadline_ms < WHEN_MAX_MS else 0
        state = max(state, (said.when_ms, said.state, deadline_ms))
    if 0 < said.weighed_ms < WHEN_MAX_MS and 0 <= said.weight <= WEIGHT_MAX:
        weight = max(weight, (said.weighed_ms, said.weight))
    shed = (known.shed_ms, known.shed)
    if 0 < said.shed_ms < WHEN_MAX_MS and 0 <= said.shed <= SHED_MAX:
        shed = max(shed, (said.shed_ms, said.shed))
    return Order(known.server, state[1], state[0], weight[1], weight[0], state[2], shed[1], shed[0])


def _says_anything(order: Order) -> bool:
    return bool(order.when_ms or order.weighed_ms or order.shed_ms)


def _when_ms(order: Order) -> int:
    return max(order.when_ms, order.weighed_ms, order.shed_ms)


class Kept:
    """The orders of one agent and their file.

    What is given or heard holds at once; `save` writes it, which may wait for a disk, and what
    could not be written stays to be saved later.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._name = str(file)
        self._modified_ns = 0
        self._writing = threading.Lock()
        self._saved: list[Order] = []
        self.orders = Orders()
        self.look()

    def look(self) -> None:
        """Take in what the file says, if it has changed since the last look."""
        if self.has_changed():
            self.take(self.read())

    def has_changed(self) -> bool:
        """Whether the file was written since the last call."""
        try:
            modified_ns = os.stat(self._name).st_mtime_ns
        except OSError:  # it does not exist or cannot be read, which `save` reports
            return False
        before, self._modified_ns = self._modified_ns, modified_ns
        return modified_ns != before

    def read(self) -> list[Order]:
        """The orders in the file. May wait for a disk."""
        return state_file.take(self._file, list[Order], lambda text: log.error(text)) or []

    def take(self, found: list[Order]) -> None:
        """Take in the orders that `read` has found."""
        self._saved = found
        self.orders.merge(found)

    def hear(self, said: list[Order]) -> None:
        """Take in the orders of another server."""
        self.orders.merge(said)

    def give(self, server: str, state: ServerState, deadline_s: float = 0) -> None:
        """What `ipos server set` and `ipos drain` do. deadline_s: from now, 0 for none."""
        now_ms = _now_ms()
        self.orders.give(
            server, state, now_ms, now_ms + int(deadline_s * 1000) if deadline_s else 0
        )

    def shed(self, server: str, connections: int) -> None:
        """What `ipos rebalance` does."""
        self.orders.shed(server, connections, _now_ms())

    def weigh(self, server: str, weight: int) -> None:
        """What `ipos server set --weight` does; 0: the configured weight counts again."""
        self.orders.weigh(server, weight, _now_ms())

    @property
    def is_unsaved(self) -> bool:
        return self.orders.all() != self._saved

    def save(self) -> None:
        """Write what is known. IposError, and it stays unsaved, when that is not possible."""
        with self._writing:
            orders = self.orders.all()
            if orders == self._saved:
                return
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise IposError(
                    f"cannot make the directory {self._file.parent}: {error.strerror}"
                ) from None
            state_file.write(self._file, orders)
            self._saved = orders


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
