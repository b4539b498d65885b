# SPDX-License-Identifier: Apache-2.0
"""Walks the connection tables and does what `ipos.agent.reaper` decides.

A pass twice a second, right after the agent has listened, in pieces of a few milliseconds, so that
it goes on speaking in between: all of `holding`, where a second counts, and of each other table the
next few thousand rows. What a row needs from the kernel or from another server is bounded for each
pass too; a large table takes longer to walk, nothing takes longer at once.
"""

import asyncio
import dataclasses
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType

import structlog

from ipos.agent import notices, questions, reaper
from ipos.agent.inquiry import Inquiry, Send
from ipos.agent.ledger import Ledger
from ipos.agent.lost import Lost
from ipos.agent.notices import FrameSocket
from ipos.agent.observer import boottime_ns
from ipos.agent.reaper import Fate, Forwarded, Held, Known, Limits, Owned
from ipos.agent.rowtable import RowTable
from ipos.agent.sockets import Sockets
from ipos.agent.timewait import TimeWait
from ipos.errors import IposError
from ipos.inic.codec import Codec
from ipos.inic.layout import constant, layout
from ipos.inic.libbpf import syscall
from ipos.inic.libbpf.errors import MapError
from ipos.inic.libbpf.maps import Map
from ipos.inic.rows import Settings
from ipos.requests import responses

PAUSE_NS = 450_000_000
"""From one pass to the next: five of the agent's beats, less how exactly they come."""
PIECE_NS = 2_000_000
"""After that long others have their turn."""
ACTIONS = 128
"""Rows that are acted on before it is asked whether others should have their turn."""
CHECKS = 256
"""Questions to the kernel in one pass."""
_MAPS = (
    *("holding", "hold_free", "hold_pool", "temporary", "local", "connect", "forward"),
    *("settings", "servers", "traffic", "counters"),
)
_SETTINGS = Codec(Settings, layout("ipos_settings"))
_STATE_AT = layout("ipos_temporary").field("state").offset
_CLOSED = constant("IPOS_TEMP_CLOSED")
_CHUNK = constant("IPOS_CHUNK")

log = structlog.get_logger()


class Reaping(AbstractContextManager["Reaping"]):
    """Reaps the tables pinned in a directory, and answers other servers that do.

    Made inside the server's network namespace. `interfaces` are front and back, `key` the farm's
    key of state datagrams, `send` how a datagram leaves. header_ns and idle_ns of `limits` are the
    running settings' instead. timed_out is told the key and service of heads that do not end in
    time.
    """

    def __init__(
        self,
        maps: Path,
        interfaces: tuple[str, str],
        key: bytes,
        send: Send,
        limits: Limits | None = None,
        timed_out: Callable[[bytes, int], None] | None = None,
    ) -> None:
        self._front, self._back = interfaces
        self._timed_out = timed_out
        self._limits = limits or Limits()
        self._directory = maps
        self._maps = at = {name: Map.open(maps / name) for name in _MAPS}
        self._holding = RowTable(at["holding"], reaper.HELD, reaper.HELD_SINCE)
        self._local = RowTable(at["local"], reaper.OWNED, reaper.OWNED_SINCE)
        self._connect = RowTable(at["connect"], reaper.OWNED, reaper.OWNED_SINCE)
        self._forward = RowTable(at["forward"], reaper.FORWARDED, reaper.FORWARDED_SINCE)
        self._suspects: deque[tuple[RowTable[Owned], bytes]] = deque()
        self._servers: dict[int, Known | None] = {}
        self._raw_settings = b""
        self._now_ns = self._passed_ns = 0
        self._ledger = Ledger(at["traffic"], at["counters"])
        self._inquiry = Inquiry(key, send)
        self._frames = FrameSocket()
        self._sockets = Sockets()
        self._time_wait = TimeWait(self._remembers_end)
        self._lost = Lost(at["servers"], self._forward, self._holding, self._reset)
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Pass after pass, each when it is told to, until cancelled."""
        failure = ""
        while True:
            await self._due.wait()
            self._due.clear()
            self._passed_ns = sys.maxsize  # while it goes on, the next one is not due
            try:
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
        """Have the next pass, if it is time for it: a timer of its own would wake the agent."""
        if now_ns - self._passed_ns >= PAUSE_NS:
            self._due.set()

    def look(self) -> None:
        """Have the next pass now: a server may be down."""
        self._lost.look()
        self._due.set()

    def steps(self, now_ns: int) -> Iterator[None]:
        """One pass, in pieces. MapError when the data plane has gone, OSError from the kernel."""
        raw = self._maps["settings"].get(bytes(4))
        if raw is None:
            return
        if raw != self._raw_settings:
            self._raw_settings = raw
            self._settings = _SETTINGS.decode(raw)
            self._limits = dataclasses.replace(
                self._limits,
                header_ns=self._settings.header_timeout_ms * 1_000_000,
                idle_ns=self._settings.idle_s * 1_000_000_000,
            )
        self._now_ns = now_ns
        self._servers = {}
        try:
            yield from self._lost.steps()
            yield from self._reap_held()
            yield from self._reap_owned(self._local)
            yield from self._reap_owned(self._connect)
            if self._suspects:
                yield from self._check_sockets()
            yield from self._reap_forward()
            for _ in range(self._time_wait.sweep(now_ns)):
                self._ledger.count("TIME_WAIT_SWEPT")
        finally:
            self._ledger.book()
        self._inquiry.ask(now_ns)

    def _remembers_end(
        self, client: bytes, service: bytes, client_port: bytes, service_port: bytes
    ) -> bool:
        key = client + service + client_port + service_port + bytes((socket.IPPROTO_TCP, 0, 0, 0))
        row = self._maps["temporary"].get(key)
        return row is not None and row[_STATE_AT] == _CLOSED

    # ---- holding -----------------------------------------------------------------------------

    def _reap_held(self) -> Iterator[None]:
        for old in self._holding.walk(self._now_ns - self._limits.header_ns):
            for turn, (key, row) in enumerate(old, start=1):
                fate = self._held_fate(key, row)
                if fate is Fate.LATE:
                    ends, programs = reaper.ENDS.read(key), self._directory.parent / "progs"
                    notices.tell_late(self._settings, ends, row, programs)
                elif fate is not Fate.KEEP:
                    self._give_up(key)
                if turn % ACTIONS == 0:
                    yield
            yield

    def _held_fate(self, key: bytes, row: Held) -> Fate:
        fate = reaper.held(row, self._now_ns, self._limits)
        if fate is not Fate.LOOK:
            return fate
        if row.moving:
            return reaper.waiting(self._local.get(key) or self._connect.get(key))
        forward, local = self._forward.get(key), self._local.get(key)
        return reaper.offered(forward, local, self._now_ns, self._limits)

    def _give_up(self, key: bytes) -> None:
        row = self._holding.take(key, lambda row: self._held_fate(key, row) is not Fate.KEEP)
        if row is None:
            return
        fate = self._held_fate(key, row)
        if fate is Fate.ANSWER and self._answer(key, row):
            return
        for piece in reaper.pieces(row.chunks):
            self._maps["hold_free"].push(piece)
        if fate is Fate.EXPIRE:
            self._remember(key, row, reaper.RESET)
            self._ledger.count("ANSWER_EXPIRED")
        if fate is not Fate.RESET:
            return
        if row.complete and not self._withdraw(key):
            return
        self._remember(key, row, reaper.RESET)
        self._late(key, row)
        iss = reaper.HANDSHAKE.read(row.hs).iss
        ends = reaper.ENDS.read(key)
        frame = notices.reset_frame(self._settings, ends, row.client_mac, iss)
        self._frames.send(self._front, frame)

    def _late(self, key: bytes, row: Held) -> None:
        self._ledger.count("HEAD_TIMEOUT")
        if self._timed_out is not None and not row.complete:
            self._timed_out(key, row.service)

    def _answer(self, key: bytes, row: Held) -> bool:
        """Tell a client in words; False when it has begun anew meanwhile: then its pieces go back.

        The data plane sends the answer again if the client misses it, out of the first piece.
        """
        answer = responses.timed_out()
        first, *others = reaper.pieces(row.chunks)
        self._maps["hold_pool"].update(first, answer.ljust(_CHUNK, b"\0"))
        kept = reaper.answered(row, answer, self._now_ns)._replace(
            chunks=row.chunks[:4].ljust(len(row.chunks), b"\0")
        )
        try:
            if not self._maps["holding"].update(key, reaper.HELD.write(kept), syscall.NOEXIST):
                return False
        except MapError:
            return False
        for piece in others:
            self._maps["hold_free"].push(piece)
        self._late(key, row)
        frame = notices.answer_frame(self._settings, reaper.ENDS.read(key), kept, answer)
        self._frames.send(self._front, frame)
        return True

    def _withdraw(self, key: bytes) -> bool:
        """Take back the offer of a request; False when it has been accepted after all."""
        if self._forward.get(key) is not None:
            offer = self._forward.take(key, reaper.is_unaccepted)
            if offer is None:
                return False
            self._ledger.closed(offer.server)
        if self._local.get(key) is not None:
            if self._local.take(key, reaper.is_unattached) is None:
                return False
            self._ledger.closed(self._settings.self)
        return True

    # ---- local, connect ----------------------------------------------------------------------

    def _reap_owned(self, table: RowTable[Owned]) -> Iterator[None]:
        if self._suspects:
            return
        old = table.stroll(
            self._now_ns - self._limits.owned_ns, self._now_ns, self._limits.again_ns
        )
        for turn, (key, row) in enumerate(old, start=1):
            fate = reaper.owned(row, self._now_ns, self._limits)
            if fate is Fate.ASK:
                self._suspects.append((table, key))
            elif fate is Fate.FORGET:
                gone = table.take(key, self._owned_is(Fate.FORGET))
                if gone is not None and table is self._local:
                    self._ledger.closed(self._settings.self)
            if turn % ACTIONS == 0:
                yield
        yield

    def _owned_is(self, fate: Fate) -> Callable[[Owned], bool]:
        return lambda row: reaper.owned(row, self._now_ns, self._limits) is fate

    def _check_sockets(self) -> Iterator[None]:
        for turn in range(1, min(CHECKS, len(self._suspects)) + 1):
            table, key = self._suspects.popleft()
            ends = reaper.ENDS.read(key)
            local, remote = (ends.service_ip, ends.service_port), (ends.client_ip, ends.client_port)
            if not self._sockets.exists(local, remote):
                self._end(table, key)
            if turn % ACTIONS == 0:
                yield

    def _end(self, table: RowTable[Owned], key: bytes) -> None:
        """The kernel has no socket for an attached endpoint."""
        row = table.take(key, self._owned_is(Fate.ASK))
        if row is None:
            return
        self._remember(key, row, reaper.CLOSED)
        self._ledger.count("ENDED_UNSEEN")
        if table is self._local:
            self._ledger.closed(self._settings.self)
            return
        first = self._server(row.first)
        if first is not None:
            ends = reaper.ENDS.read(key)
            frame = notices.closed_frame(self._settings, ends, row, first.mac)
            self._frames.send(self._back, frame)

    # ---- forward -----------------------------------------------------------------------------

    def _reap_forward(self) -> Iterator[None]:
        if self._inquiry.is_busy:
            return
        old = self._forward.stroll(
            self._now_ns - self._limits.forwarded_ns, self._now_ns, self._limits.again_ns
        )
        for turn, (key, row) in enumerate(old, start=1):
            fate = self._forwarded_fate(row)
            owner = self._server(row.server)
            if fate is Fate.END:
                self._lost.reset(key, lambda row: self._forwarded_fate(row) is Fate.END)
            elif fate is Fate.ASK and owner is not None:
                self._inquiry.doubt(IPv4Address(owner.back_ip), key, row.iss)
            if turn % ACTIONS == 0:
                yield
        yield

    def _forwarded_fate(self, row: Forwarded) -> Fate:
        owner = self._server(row.server)
        state = reaper.NO_SERVER if owner is None else owner.state
        return reaper.forwarded(row, state, self._now_ns, self._limits)

    def _reset(self, key: bytes, still: Callable[[Forwarded], bool]) -> Forwarded | None:
        row = self._forget(key, reaper.RESET, still)
        if row is not None:
            self._ledger.count("OWNER_LOST")
        return row

    def _forget(
        self, key: bytes, state: int, still: Callable[[Forwarded], bool]
    ) -> Forwarded | None:
        """End a connection given away. state: how late packets are answered."""
        row = self._forward.take(key, still)
        if row is not None:
            self._remember(key, row, state)
            self._ledger.closed(row.server)
        return row

    # ---- other servers -----------------------------------------------------------------------

    def receive(self, datagram: bytes, source: tuple[str, int], now_ns: int) -> bool:
        """Answer a question, act on an answer; False for a datagram of another kind."""
        if not questions.is_one(datagram):
            return False
        self._now_ns = now_ns
        for key, iss in self._inquiry.receive(datagram, source, self._members(), self._knows):
            self._forget(key, reaper.CLOSED, self._is_denied(iss))
        self._ledger.book()
        return True

    def _knows(self, key: bytes, iss: int) -> bool:
        row = self._connect.get(key)
        return row is not None and reaper.HANDSHAKE.read(row.hs).iss == iss

    def _is_denied(self, iss: int) -> Callable[[Forwarded], bool]:
        return lambda row: row.iss == iss and self._forwarded_fate(row) is not Fate.KEEP

    # ---- all of them -------------------------------------------------------------------------

    def _remember(self, key: bytes, row: Held | Owned | Forwarded, state: int) -> None:
        """The old cookie opens nothing any more."""
        self._maps["temporary"].update(key, reaper.ended(row, state, self._now_ns))

    def _server(self, index: int) -> Known | None:
        """Of the rows a pass needs, each is read once."""
        if index not in self._servers:
            raw = self._maps["servers"].get(index.to_bytes(4, sys.byteorder))
            known = None if raw is None else reaper.KNOWN.read(raw)
            is_there = known is not None and known.state != reaper.NO_SERVER
            self._servers[index] = known if is_there else None
        return self._servers[index]

    def _members(self) -> set[IPv4Address]:
        rows = (reaper.KNOWN.read(row) for _, row in self._maps["servers"].items())
        return {IPv4Address(server.back_ip) for server in rows if server.state}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lost.close()
        self._frames.close()
        self._sockets.close()
        self._time_wait.close()
        for table in self._maps.values():
            table.close()
