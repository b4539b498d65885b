# SPDX-License-Identifier: Apache-2.0
"""Takes the connections of this server away from its applications while it drains, and counts them.

The data plane moves a connection with its next request. A connection without a request is idle: the
agent names it to the data plane, which checks this and hands the connection back to its first
server, where it waits without an application. After the order's deadline all connections that are
left are reset.

There is a pass over Local and Forward-Connect at each beat, in pieces of a few milliseconds.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from ipos.abi.layout import counter
from ipos.abi.rows import ServerState, Settings
from ipos.agent.drain.reasons import ENDPOINT, Endpoint, Why, why
from ipos.agent.drain.shedding import Shedding
from ipos.agent.expiry import expiry_rules, notices
from ipos.agent.expiry.ended_counts import Ledger
from ipos.agent.heartbeat.message import Leaving, Order
from ipos.agent.host.connection_sockets import BoxedSockets, Containers
from ipos.agent.host.own_state import boottime_ns
from ipos.closing import Closing
from ipos.errors import IposError
from ipos.kernel.either_family import EitherFamily
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.maps import Tables

PIECE_NS = 2_000_000
"""After that long others have their turn."""
_COUNTED = tuple(map(counter, ("MOVED", "HANDED_BACK")))
_DRAIN = int(ServerState.DRAIN)
_COUNT_NS = 900_000_000
"""How often rows are counted that are no endpoints."""
_GIVE_NS = 250_000_000
"""How often those are looked for whose address another server answers for now. A client's packet
that comes there meanwhile is asked about for longer than that."""

log = structlog.get_logger()


class Emptying(Closing):
    """What one agent does while its server drains. `begins` is called when a drain begins or ends.

    Made inside the server's network namespace; `maps` are the data plane's. `holder` gives the
    index of the server that answers for an address now; 0 is this server, or an unknown one.
    `gives`: the addresses of a server without connections may go to others.
    """

    def __init__(
        self,
        maps: Path,
        tables: Tables,
        begins: Callable[[], None],
        holder: Callable[[int], int],
        *,
        gives: bool,
        containers: Containers | None = None,
    ) -> None:
        self._holder = holder
        self._gives = gives
        self._programs = maps.parent / "progs"
        self._tables = tables
        self._begins = begins
        self._owned = [EitherFamily(maps, name) for name in ("local", "connect")]
        self._holding = EitherFamily(maps, "holding")
        self._ledger_maps = {name: Map.open(maps / name) for name in ("traffic", "counters")}
        self._ledger = Ledger(self._ledger_maps["traffic"], self._ledger_maps["counters"])
        self._sockets = BoxedSockets(containers)
        self._order: Order | None = None
        self._own: Order | None = None
        self._shedding = Shedding()
        self._given_ns = 0
        self._before = (0, 0)
        self._reset = 0
        self._left: Counter[Why] | None = None
        self._forwards = self._unattached = 0
        self._counted_ns: int | None = None
        self._due = asyncio.Event()
        self._failure = ""

    @property
    def drains(self) -> bool:
        """Whether this server is to lose its connections."""
        return self._order is not None

    @property
    def leaves(self) -> bool:
        """Whether it drains because its agent is to end, whatever was ordered."""
        return self._own is not None

    def leave(self, server: str, now_ms: int, deadline_ms: int) -> None:
        """Drain as if that had been ordered, for as long as this agent lives."""
        self._own = Order(server, _DRAIN, now_ms, deadline_ms=deadline_ms)

    def follow(self, order: Order | None) -> None:
        """Take in the order for this server, and start the next pass."""
        if order is not None:
            self._shedding.follow(order, self._counts()[1])
        now_ns = boottime_ns()
        if self._shedding.is_on or now_ns - self._given_ns > _GIVE_NS:
            self._due.set()
        order = self._own or order
        if order is not None and order.state != _DRAIN:
            order = None
        before, self._order = self._order, order
        if (before is None) != (order is None):
            self._before, self._reset, self._left = self._counts(), 0, None
            self._begins()
        if order is not None:
            self._due.set()

    def leaving(self) -> Leaving | None:
        """The progress; None while this server does not drain, or before its first pass."""
        order, left = self._order, self._left
        if order is None or left is None:
            return None
        moved, handed_back = self._counts()
        return Leaving(
            since_ms=order.when_ms,
            deadline_ms=order.deadline_ms,
            moved=moved - self._before[0],
            handed_back=handed_back - self._before[1],
            reset=self._reset,
            left={str(one): number for one, number in sorted(left.items()) if number},
            forwards=self._forwards,
            unattached=self._unattached,
            gives=self._gives and not left,
        )

    def _counts(self) -> tuple[int, int]:
        moved, handed_back = self._tables.counts(_COUNTED)
        return moved, handed_back

    async def run(self) -> None:
        """Pass after pass while the server drains, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                begun_ns = boottime_ns()
                for _ in self.steps():
                    if boottime_ns() - begun_ns > PIECE_NS:
                        await asyncio.sleep(0)
                        begun_ns = boottime_ns()
                self._failure = ""
            except (IposError, OSError) as error:
                if str(error) != self._failure:
                    self._failure = str(error)
                    log.error("connections cannot be taken from this server", reason=str(error))

    def steps(self) -> Iterator[None]:
        """One pass, in pieces."""
        settings, order = self._tables.settings.get(0), self._order
        if settings is not None and order is None and self._shedding.is_on:
            yield from self._shed(settings)
        if settings is not None:
            yield from self._give_on(settings)
        if settings is None or order is None:
            return
        left: Counter[Why] = Counter()
        late = 0 < order.deadline_ms <= _wall_ms(settings)
        for found in self._rows():
            for at, (key, row) in enumerate(found):
                left[self._look(settings, key, row, late=late)] += 1
                if at % 16 == 15:
                    yield
            yield
        self._ledger.book()
        self._left = left
        now_ns = boottime_ns()
        if self._counted_ns is None or now_ns - self._counted_ns > _COUNT_NS:
            self._counted_ns = now_ns
            traffic = self._tables.traffic.items()
            given = (row.sent - row.closed for index, row in traffic if index != settings.self)
            self._forwards = max(0, sum(given))

    def _rows(self) -> Iterator[list[tuple[bytes, Endpoint]]]:
        """Local and Forward-Connect, in batches."""
        for table in [each for both in self._owned for each in both.all()]:
            position: bytes | None = None
            while True:
                keys, values, position = table.block(position)
                key, value = table.key_size, table.value_size
                yield [
                    (
                        keys[at * key : (at + 1) * key],
                        ENDPOINT.read(values[at * value : (at + 1) * value]),
                    )
                    for at in range(len(keys) // key)
                ]
                if position is None:
                    break

    def _shed(self, settings: Settings) -> Iterator[None]:
        """Hand some idle connections back: a server is chosen anew for their next request."""
        left = self._shedding.left(self._counts()[1])
        moving = 0
        for found in self._rows():
            for at, (key, row) in enumerate(found):
                reason = why(row)
                offered = reason is Why.MOVING and row.asked == row.answered
                moving += offered
                if offered or (reason is Why.IDLE and left > 0):
                    left -= reason is Why.IDLE
                    ends = expiry_rules.ENDS.read(key)
                    notices.tell_idle(settings, ends, row.hs, 0, self._programs)
                if at % 16 == 15:
                    yield
            yield
        self._shedding.passed(self._counts()[1], moving)

    def _give_on(self, settings: Settings) -> Iterator[None]:
        """Give connections that wait here for a request to the server that has their address."""
        self._given_ns = boottime_ns()
        idle = Counter[str]()
        for table in self._holding.all():
            yield from self._give_on_from(table, settings, idle)
        self._unattached = idle.total()

    def _give_on_from(self, table: Map, settings: Settings, idle: Counter[str]) -> Iterator[None]:
        """idle: counts those that wait."""
        position: bytes | None = None
        while True:
            keys, values, position = table.block(position)
            for at in range(len(keys) // table.key_size):
                raw = values[at * table.value_size : (at + 1) * table.value_size]
                row = expiry_rules.HELD.read(raw)
                if not row.live or row.moving or row.held:
                    continue
                idle[""] += 1
                ends = expiry_rules.ENDS.read(keys[at * table.key_size : (at + 1) * table.key_size])
                holder = self._holder(int.from_bytes(ends.service_ip, "big"))
                if holder:
                    notices.tell_idle(settings, ends, row.hs, holder, self._programs)
                if at % 16 == 15:
                    yield
            if position is None:
                break
            yield

    def _look(self, settings: Settings, key: bytes, row: Endpoint, *, late: bool) -> Why:
        found = why(row)
        if found is Why.IDLE or (found is Why.MOVING and row.asked == row.answered):
            ends = expiry_rules.ENDS.read(key)
            notices.tell_idle(settings, ends, row.hs, 0, self._programs)
        elif late and found is not Why.MOVING:
            self._end(key, row)
        return found

    def _end(self, key: bytes, row: Endpoint) -> None:
        """Reset both sides, because the deadline is over."""
        ends = expiry_rules.ENDS.read(key)
        local, remote = (ends.service_ip, ends.service_port), (ends.client_ip, ends.client_port)
        if row.cookie and self._sockets.destroy(local, remote, row.cookie):
            self._reset += 1
            self._ledger.count("DRAIN_RESET")

    def close(self) -> None:
        self._sockets.close()
        for each in (*self._owned, self._holding, *self._ledger_maps.values()):
            each.close()


def _wall_ms(settings: Settings) -> int:
    return (boottime_ns() + settings.wall_offset_ns) // 1_000_000
