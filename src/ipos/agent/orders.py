# SPDX-License-Identifier: Apache-2.0
"""What operators want of servers, states and weights, said anywhere and known everywhere.

An order names a server, its state, its weight, and when each of them was said; of two for one
server the later one holds, for the state and for the weight.
Every agent keeps all it knows in a file and says the latest of them in its datagrams, so an order
reaches a server that was away when it was given, and the halves of a cut LAN agree when it heals.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from ipos.agent.message import Order
from ipos.agent.places import write_whole
from ipos.inic.rows import ServerState

SAID_MAX = 16
"""How many orders a datagram carries at most: the latest."""
KEPT_MAX = 255
WEIGHT_MAX = 0xFFFF


class Orders:
    """The latest order for each server. Pure; `read` and `update` are not."""

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._by_server: dict[str, Order] = {}
        self.merge(orders)

    def merge(self, orders: Iterable[Order]) -> bool:
        """Take what is later than what is known; whether anything was."""
        changed = False
        for order in orders:
            known = self._by_server.get(order.server)
            if order == known:  # as nearly always: all say all they know, ten times a second
                continue
            later = _later(known or Order(order.server, ServerState.READY, 0), order)
            if later == known or not _says_anything(later) or (known is None and self._full()):
                continue
            self._by_server[order.server] = later
            changed = True
        return changed

    def give(self, server: str, state: ServerState, now_ms: int) -> None:
        """A new order: later than any other for this server, whatever the clocks say."""
        known = self._by_server.get(server, Order(server, ServerState.READY, 0))
        self.merge([Order(server, int(state), max(now_ms, known.when_ms + 1))])

    def weigh(self, server: str, weight: int, now_ms: int) -> None:
        """The same for its weight; 0: what is configured is to count again."""
        known = self._by_server.get(server, Order(server, ServerState.READY, 0))
        when_ms = max(now_ms, known.weighed_ms + 1)
        self.merge([msgspec.structs.replace(known, weight=weight, weighed_ms=when_ms)])

    def state_of(self, server: str) -> ServerState:
        """What is wanted of a server; ready when nobody said anything."""
        order = self._by_server.get(server)
        return ServerState.READY if order is None else ServerState(order.state)

    def weight_of(self, server: str) -> int:
        """Its weight in every pool that has it; 0 for what is configured there."""
        order = self._by_server.get(server)
        return 0 if order is None else order.weight

    def said(self) -> list[Order]:
        """The latest orders, for a datagram."""
        latest = sorted(self._by_server.values(), key=_when_ms, reverse=True)
        return latest[:SAID_MAX]

    def all(self) -> list[Order]:
        return list(self._by_server.values())

    def _full(self) -> bool:
        return len(self._by_server) >= KEPT_MAX


_ORDERED = {int(state) for state in (ServerState.READY, ServerState.DRAIN, ServerState.MAINT)}


def _later(known: Order, said: Order) -> Order:
    """Of two orders for a server, the later state with the later weight; nonsense is not taken."""
    state, weight = (known.when_ms, known.state), (known.weighed_ms, known.weight)
    if said.when_ms and said.state in _ORDERED:
        state = max(state, (said.when_ms, said.state))
    if said.weighed_ms and 0 <= said.weight <= WEIGHT_MAX:
        weight = max(weight, (said.weighed_ms, said.weight))
    return Order(known.server, state[1], state[0], weight[1], weight[0])


def _says_anything(order: Order) -> bool:
    return bool(order.when_ms or order.weighed_ms)


def _when_ms(order: Order) -> int:
    return max(order.when_ms, order.weighed_ms)


def read(file: Path) -> Orders:
    """The orders of a file; none when there is no file."""
    try:
        return Orders(msgspec.json.decode(file.read_bytes(), type=list[Order]))
    except FileNotFoundError:
        return Orders()


def update(file: Path, change: Callable[[Orders], object]) -> None:
    """Change the orders of a file, which agent and command may both do at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        orders = read(file)
        change(orders)
        write_whole(file, msgspec.json.encode(orders.all()).decode())


class Kept:
    """The orders of one agent and their file, which `ipos server set` writes too."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._name = str(file)
        self._modified_ns = 0
        self.orders = Orders()
        self.look()

    def look(self) -> None:
        """Take in what the command has written since the last look."""
        try:
            modified_ns = os.stat(self._name).st_mtime_ns
        except FileNotFoundError:
            return
        if modified_ns != self._modified_ns:
            self._modified_ns = modified_ns
            self.orders.merge(read(self._file).all())

    def hear(self, said: list[Order]) -> None:
        """Take in what another server said, and keep it."""
        if self.orders.merge(said):
            update(self._file, lambda orders: orders.merge(said))


def give(file: Path, server: str, state: ServerState) -> None:
    """What `ipos server set` does."""
    now_ms = time.time_ns() // 1_000_000
    update(file, lambda orders: orders.give(server, state, now_ms))


def weigh(file: Path, server: str, weight: int) -> None:
    """What its `--weight` does; 0: what is configured is to count again."""
    now_ms = time.time_ns() // 1_000_000
    update(file, lambda orders: orders.weigh(server, weight, now_ms))
