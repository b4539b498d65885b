# SPDX-License-Identifier: Apache-2.0
"""Walks through the connection tables and does what `ipos.agent.expiry.expiry_rules` decides.

There are two passes a second, each right after the agent has listened, in pieces of a few
milliseconds, so that the agent can send in between. A pass covers all of `holding`, where a second
matters, and the next few thousand rows of each other table. It asks the kernel and other servers a
bounded number of questions; a large table takes more passes, and no pass takes longer.
"""

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

import structlog

from ipos.abi.layout import constant, layout
from ipos.abi.rows import Settings
from ipos.agent.expiry import expiry_rules, grace, query_message
from ipos.agent.expiry.connection_rows import ACTIONS, ConnectionRows
from ipos.agent.expiry.dead_owner import DeadOwners, LostBoxes
from ipos.agent.expiry.expiry_rules import Fate, Forwarded, Left, Limits, Owned
from ipos.agent.expiry.ghosts import Ghosts, Heard
from ipos.agent.expiry.held_rows import HeldRows
from ipos.agent.expiry.owner_query import Inquiry, Send
from ipos.agent.expiry.query_message import Connection
from ipos.agent.expiry.row_table import RowTable
from ipos.agent.expiry.timewait import TimeWait
from ipos.agent.heartbeat.datagram_tags import Key
from ipos.agent.host.connection_sockets import BoxedSockets, Containers, NoContainers
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.host.socket_count import Connections
from ipos.closing import Closing
from ipos.errors import IposError

PAUSE_NS = 450_000_000
"""From one pass to the next: five of the agent's beats, less how exactly they come."""
PIECE_NS = 2_000_000
"""After that long others have their turn."""
CHECKS = 256
"""Questions to the kernel in one pass."""
_STATE_AT = layout("ipos_temporary").field("state").offset
_CLOSED = constant("IPOS_TEMP_CLOSED")
_SYN = constant("IPOS_TEMP_SYN")

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
        self._held = HeldRows(rows, lambda key, number: self._lost.tell(key, number), timed_out)
        self._connections = connections
        self._suspects: deque[tuple[RowTable[Owned], bytes]] = deque()
        self._passed_ns = 0
        self._grace = grace.Period()
        self._inquiry = Inquiry(key, send)
        boxes = containers or NoContainers()
        self._sockets = BoxedSockets(boxes)
        self._ghosts = Ghosts(
            rows.connect, rows.local, self._inquiry, self._sockets, rows.ledger, rows.server, heard,
            found_again=found_again,
        )  # fmt: skip
        self._found_again = found_again
        self._returns = deque[tuple[int, Mapping[bytes, IPv4Address]]]()
        self._returned_ns = 0
        self._time_wait = TimeWait(self._remembers_end)
        self._lost = DeadOwners(rows.maps["servers"], rows.forward, rows.holding, self._reset)
        self._boxes = LostBoxes(rows, self._lost.tell, boxes, self._remembers_end)
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
        self._lost.look()
        self._due.set()

    def steps(self, now_ns: int) -> Iterator[None]:
        """One pass, in pieces, after a grace period. MapError: the data plane has gone."""
        if not self._rows.begin(now_ns):
            return
        try:
            yield from self._return()
            yield from self._lost.steps()
            yield from self._boxes.steps(now_ns)
            yield from self._ghosts.steps(self._losers(), now_ns)
            if self._connections is not None:
                yield from self._connections.steps(now_ns)
            yield from self._held.reap()
            yield from self._reap_silent()
            yield from self._reap_owned(self._rows.local)
            yield from self._reap_owned(self._rows.connect)
            if self._suspects:
                yield from self._check_sockets()
            yield from self._reap_forward()
            if self._flows is not None:
                yield from self._flows.steps(self._rows.settings, now_ns, self._rows.ledger.count)
            for _ in range(self._time_wait.sweep(now_ns)):
                self._rows.ledger.count("TIME_WAIT_SWEPT")
        finally:
            self._rows.book()
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
            if not due_ns:
                self._returned_ns = before_ns
                yield from self._rows.forget_forwarded(before_ns)
                yield from self._held.forget(before_ns)
            for found in self._rows.local.walk(before_ns):
                for turn, (key, row) in enumerate(found, start=1):
                    holder = holders.get(expiry_rules.ENDS.read(key).service_ip)
                    if holder is not None:
                        self._ghosts.ask_about(key, row, holder)
                    if turn % ACTIONS == 0:
                        yield
                yield

    def _remembers_end(
        self, client: bytes, service: bytes, client_port: bytes, service_port: bytes
    ) -> bool:
        key = client + service + client_port + service_port + bytes((socket.IPPROTO_TCP, 0, 0, 0))
        row = self._rows.maps["temporary"].get(key)
        return row is not None and row[_STATE_AT] == _CLOSED

    # ---- temporary ---------------------------------------------------------------------------

    def _reap_silent(self) -> Iterator[None]:
        old = self._rows.stroll(self._rows.temporary, self._rows.limits.first_byte_ns)
        for turn, (key, row) in enumerate(old, start=1):
            if self._is_silent(row):
                self._close_silent(key)
            if turn % ACTIONS == 0:
                yield
        yield

    def _is_silent(self, row: Left) -> bool:
        return expiry_rules.opened(row, self._rows.now_ns, self._rows.limits) is Fate.RESET

    def _close_silent(self, key: bytes) -> None:
        """Reset a client that has sent nothing. What it sends now is answered by a reset again."""
        row = self._rows.temporary.take(key, self._is_silent)
        if row is None or row.created_ns < self._returned_ns:  # it may be another server's by now
            return
        self._rows.remember(key, row, expiry_rules.RESET)
        self._rows.ledger.count("SILENT_CLOSED")
        number = expiry_rules.HANDSHAKE.read(row.hs).iss + 1 & 0xFFFF_FFFF
        self._lost.tell(key, number)

    # ---- local, connect ----------------------------------------------------------------------

    def _reap_owned(self, table: RowTable[Owned]) -> Iterator[None]:
        if self._suspects:
            return
        old = self._rows.stroll(table, self._rows.limits.owned_ns)
        unattached: list[tuple[bytes, Owned]] = []
        for turn, (key, row) in enumerate(old, start=1):
            fate = expiry_rules.owned(row, self._rows.now_ns, self._rows.limits)
            if fate is Fate.ASK:
                self._suspects.append((table, key))
            elif fate is Fate.FORGET:
                unattached.append((key, row))
            if turn % ACTIONS == 0:
                yield
        yield from self._forget_unattached(unattached)
        yield

    def _forget_unattached(self, rows: list[tuple[bytes, Owned]]) -> Iterator[None]:
        for turn, (key, row) in enumerate(rows, start=1):
            self._rows.tell_unattached(key, row)
            if turn % ACTIONS == 0:
                yield

    def _owned_is(self, fate: Fate) -> Callable[[Owned], bool]:
        return lambda row: expiry_rules.owned(row, self._rows.now_ns, self._rows.limits) is fate

    def _check_sockets(self) -> Iterator[None]:
        for turn in range(1, min(CHECKS, len(self._suspects)) + 1):
            table, key = self._suspects.popleft()
            ends = expiry_rules.ENDS.read(key)
            local, remote = (ends.service_ip, ends.service_port), (ends.client_ip, ends.client_port)
            if not self._sockets.exists(local, remote):
                self._end(table, key)
            elif table is self._rows.connect:
                self._ghosts.suspect(key)
            if turn % ACTIONS == 0:
                yield

    def _end(self, table: RowTable[Owned], key: bytes) -> None:
        """The kernel has no socket for an attached endpoint."""
        row = table.take(key, self._owned_is(Fate.ASK))
        if row is None:
            return
        self._rows.ended(table, key, row, expiry_rules.CLOSED)
        self._rows.ledger.count("ENDED_UNSEEN")

    # ---- forward -----------------------------------------------------------------------------

    def _reap_forward(self) -> Iterator[None]:
        if self._inquiry.is_busy:
            return
        old = self._rows.stroll(self._rows.forward, self._rows.limits.forwarded_ns)
        for turn, (key, row) in enumerate(old, start=1):
            fate = self._forwarded_fate(row)
            owner = self._rows.server(row.server)
            if fate is Fate.END:
                self._lost.reset(key, lambda row: self._forwarded_fate(row) is Fate.END)
            elif fate is Fate.ASK and owner is not None:
                self._inquiry.doubt(IPv4Address(owner.back_ip), key, row.iss)
            if turn % ACTIONS == 0:
                yield
        yield

    def _forwarded_fate(self, row: Forwarded) -> Fate:
        owner = self._rows.server(row.server)
        state = expiry_rules.NO_SERVER if owner is None else owner.state
        return expiry_rules.forwarded(row, state, self._rows.now_ns, self._rows.limits)

    def _reset(self, key: bytes, still: Callable[[Forwarded], bool]) -> Forwarded | None:
        row = self._forget(key, expiry_rules.RESET, still)
        if row is not None:
            self._rows.ledger.count("OWNER_LOST")
        return row

    def _forget(
        self, key: bytes, state: int, still: Callable[[Forwarded], bool]
    ) -> Forwarded | None:
        """End a connection given away. state: how late packets are answered."""
        row = self._rows.forward.take(key, still)
        if row is not None:
            self._rows.remember(key, row, state)
            self._rows.ledger.closed(row.server)
        return row

    # ---- other servers -----------------------------------------------------------------------

    def receive(self, datagram: bytes, source: tuple[str, int], now_ns: int) -> bool:
        """Answer a question, act on an answer; False for a datagram of another kind."""
        if not query_message.is_one(datagram):
            return False
        self._rows.now_ns = now_ns
        denied = self._inquiry.receive(datagram, source, self._rows.members(), self._knows)
        for key, iss, by_first in denied:
            if by_first:
                self._ghosts.denied(key, iss)
            else:
                self._forget(key, expiry_rules.CLOSED, self._is_denied(iss))
        self._rows.ledger.book()
        return True

    def _knows(self, who: IPv4Address, key: bytes, asked: Connection, of_first: bool) -> bool:
        """Whether we own a connection; or, as its first server, whether the server `who` may own
        it."""
        if not of_first:
            owned = (self._rows.connect.get(key), self._rows.local.get(key))
            return any(_is_of(row, asked.iss) for row in owned)
        row = self._rows.forward.get(key)
        if row is not None and row.iss == asked.iss:
            owner = self._rows.server(row.server)
            # Of one that moves between servers it may be older news that we have.
            return asked.live or owner is None or IPv4Address(owner.back_ip) == who
        if _is_of(self._rows.local.get(key), asked.iss):
            return True
        raw = self._rows.maps["temporary"].get(key)
        if self._found_again:  # it is over if we have ended it
            return raw is None or not expiry_rules.has_ended(expiry_rules.LEFT.read(raw), asked.iss)
        return raw is not None and raw[_STATE_AT] == _SYN  # its owner's kernel shakes hands

    def _losers(self) -> set[int]:
        """The servers that have reset connections of ours. Tells servers that are back what we
        reset."""
        for index in self._lost.back:
            back = self._rows.server(index)
            if back is not None:
                self._inquiry.tell_lost(IPv4Address(back.back_ip))
        self._lost.back.clear()
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

    def _is_denied(self, iss: int) -> Callable[[Forwarded], bool]:
        return lambda row: row.iss == iss and self._forwarded_fate(row) is not Fate.KEEP

    # ---- all of them -------------------------------------------------------------------------

    def close(self) -> None:
        self._lost.close()
        self._rows.close()
        if self._flows is not None:
            self._flows.close()
        self._sockets.close()
        self._time_wait.close()


def _is_of(row: Owned | None, iss: int) -> bool:
    return row is not None and expiry_rules.HANDSHAKE.read(row.hs).iss == iss
