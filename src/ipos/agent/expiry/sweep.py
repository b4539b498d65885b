# SPDX-License-Identifier: Apache-2.0
"""Walks through the connection tables and does what `ipos.agent.expiry.expiry_rules` decides.

There are two passes a second, each right after the agent has listened, in pieces of a few
milliseconds, so that the agent can send in between. A pass covers all of `holding`, where a second
matters, and the next few thousand rows of each other table. It asks the kernel and other servers a
bounded number of questions; a large table takes more passes, and no pass takes longer.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

import structlog

from ipos.abi.rows import Settings
from ipos.agent.expiry import expiry_rules, query_message
from ipos.agent.expiry.connection_rows import ConnectionRows
from ipos.agent.expiry.expiry_rules import Limits
from ipos.agent.expiry.family_sweep import FamilySweep
from ipos.agent.expiry.ghosts import Heard
from ipos.agent.expiry.owner_query import Inquiry, Send
from ipos.agent.expiry.query_message import Connection
from ipos.agent.heartbeat.datagram_tags import Key
from ipos.agent.host.connection_sockets import BoxedSockets, Containers, NoContainers
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.host.socket_count import Connections
from ipos.agent.loop import grace
from ipos.closing import Closing
from ipos.errors import IposError
from ipos.kernel import loading

PAUSE_NS = 450_000_000
"""From one pass to the next: five of the agent's beats, less how exactly they come."""
PIECE_NS = 2_000_000
"""After that long others have their turn."""

log = structlog.get_logger()


ASK_AGAIN_NS = 6_000_000_000
"""By then a server that was away has its addresses back, and routers know it."""


class Flows(Protocol):
    """What ends the idle flows of UDP services: `ipos.agent.flows`."""

    def steps(
        self, settings: Settings, now_ns: int, ended: Callable[[str], None]
    ) -> Iterator[None]: ...
    def close(self) -> None: ...


class Sweep(Closing):
    """Removes old rows from the tables pinned in a directory, and answers questions of other
    servers.

    Made inside the server's network namespace. `interfaces` are front and back, `key` the farm's
    key of state datagrams, `send` how a datagram leaves. learns: this server was away, and does not
    know yet what others did meanwhile, so no client is told anything. header_ns and idle_ns of
    `limits` are the running settings' instead. timed_out is told the key and service of heads that
    do not end in time. `connections` are counted by the same beat. heard: see `Ghosts`.
    """

    learns = False

    def __init__(
        self,
        maps: Path,
        interfaces: tuple[str, str],
        key: Key,
        send: Send,
        limits: Limits | None = None,
        timed_out: Callable[[bytes, int], None] | None = None,
        connections: Connections | None = None,
        heard: Heard = dict,
        *,
        found_again: bool = False,
        flows: Flows | None = None,
        containers: Containers | None = None,
    ) -> None:
        self._rows = rows = ConnectionRows(maps, interfaces, limits or Limits())
        self._flows = flows
        self._connections = connections
        self._passed_ns = 0
        self._grace = grace.Period()
        self._inquiry = Inquiry(key, send)
        boxes = containers or NoContainers()
        self._sockets = BoxedSockets(boxes)
        self._returns = deque[tuple[int, Mapping[bytes, IPv4Address]]]()

        def of(rows: ConnectionRows, containers: Containers) -> FamilySweep:
            return FamilySweep(
                rows, self._inquiry, self._sockets, containers, timed_out, heard,
                found_again=found_again,
            )  # fmt: skip

        self._families = [of(rows, boxes)]
        six = partial(ConnectionRows, maps, interfaces, limits or Limits(), six=True)
        self._make_six: Callable[[], FamilySweep] = lambda: of(six(), NoContainers())
        self._pins = maps.parent
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Pass after pass, each when it is told to, until cancelled."""
        failure = ""
        while True:
            await self._due.wait()
            self._due.clear()
            if self.learns and not self._returns:
                continue
            self._passed_ns = sys.maxsize  # while it goes on, the next one is not due
            try:
                # TCP may still have a packet of a row without a socket, on another CPU.
                await self._grace.renew(self._rows.limits.unattached_ns // 2)
                begun_ns = now_ns = boottime_ns()
                for _ in self.steps(now_ns):
                    if boottime_ns() - begun_ns > PIECE_NS:
                        await asyncio.sleep(0)
                        begun_ns = boottime_ns()
                failure = ""
            except (IposError, OSError) as error:
                if str(error) != failure:
                    failure = str(error)
                    log.error("old rows cannot be removed", reason=failure)
            self._passed_ns = boottime_ns()

    def tick(self, now_ns: int) -> None:
        """Start the next pass, if it is due. A timer of its own would wake the agent."""
        if now_ns - self._passed_ns >= PAUSE_NS:
            self._due.set()

    def look(self) -> None:
        """Start the next pass now, because a server may be down."""
        for family in self._families:
            family.look()
        self._due.set()

    def steps(self, now_ns: int) -> Iterator[None]:
        """One pass, in pieces, after a grace period. MapError: the data plane has gone."""
        if len(self._families) == 1 and loading.has_six(self._pins):
            self._families.append(self._make_six())
        begun = [family.begin(now_ns) for family in self._families]
        if not all(begun):
            return
        try:
            yield from self._return()
            for family in self._families:
                yield from family.find_lost()
            if self._connections is not None:
                yield from self._connections.steps(now_ns)
            losers = self._losers()
            for family in self._families:
                yield from family.steps(losers, now_ns)
            if self._flows is not None:
                yield from self._flows.steps(self._rows.settings, now_ns, self._rows.ledger.count)
        finally:
            for family in self._families:
                family.book()
        self._inquiry.ask(now_ns)

    def returned(self, holders: Mapping[bytes, IPv4Address]) -> None:
        """This server was away. holders: who had its addresses meanwhile, by service IP.

        What it knew of connections may have changed. Its rows of Forward and the first requests
        that it holds are removed before a client is told anything; the owners are asked for when
        packets come. About the connections that it owns it asks the other servers which they have
        ended, and asks again a while later, because they end some as long as packets come to them.
        """
        self._returns += [(0, dict(holders)), (boottime_ns() + ASK_AGAIN_NS, dict(holders))]
        self._due.set()

    def _return(self) -> Iterator[None]:
        before_ns = self._rows.now_ns
        for due_ns, holders in list(self._returns):
            if before_ns < due_ns:
                continue
            self._returns.remove((due_ns, holders))
            for family in self._families:
                yield from family.returned(holders, first=not due_ns)

    # ---- other servers -----------------------------------------------------------------------

    def receive(self, datagram: bytes, source: tuple[str, int], now_ns: int) -> bool:
        """Answer a question, act on an answer; False for a datagram of another kind."""
        if not query_message.is_one(datagram):
            return False
        for family in self._families:
            family.at(now_ns)
        denied = self._inquiry.receive(datagram, source, self._rows.members(), self._knows)
        for key, iss, by_first in denied:
            its = self._family_of(key)
            if its is not None:
                its.denied(key, iss, by_first=by_first)
                its.book_ends()
        return True

    def _family_of(self, key: bytes) -> FamilySweep | None:
        """The tables that a connection is in; None where IPv6 is not loaded."""
        return next((one for one in self._families if one.has(key)), None)

    def _knows(self, who: IPv4Address, key: bytes, asked: Connection, of_first: bool) -> bool:
        """Whether we own a connection, or may know it as its first server. A family that is not
        loaded here has none."""
        family = self._family_of(key)
        return family is not None and family.knows(who, key, asked, of_first)

    def _losers(self) -> set[int]:
        """The servers that have reset connections of ours. Tells servers that are back what we
        reset."""
        for index in set().union(*(family.back for family in self._families)):
            back = self._rows.server(index)
            if back is not None:
                self._inquiry.tell_lost(IPv4Address(back.back_ip))
        for family in self._families:
            family.back.clear()
        told = self._inquiry.told_lost()
        if not told:
            return set()
        servers = self._rows.maps["servers"].items()
        rows = ((key, expiry_rules.KNOWN.read(row)) for key, row in servers)
        return {
            int.from_bytes(key, sys.byteorder)
            for key, row in rows
            if row.state and IPv4Address(row.back_ip) in told
        }

    # ---- all of them -------------------------------------------------------------------------

    def close(self) -> None:
        for family in self._families:
            family.close()
        if self._flows is not None:
            self._flows.close()
        self._sockets.close()
