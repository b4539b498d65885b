# SPDX-License-Identifier: Apache-2.0
"""The rows of one family in a pass: connections by IPv4, or by IPv6."""

import socket
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import IPv4Address

from ipos.abi.layout import constant, layout
from ipos.agent.expiry import expiry_rules
from ipos.agent.expiry.connection_rows import ACTIONS, ConnectionRows
from ipos.agent.expiry.dead_owner import DeadOwners, LostBoxes
from ipos.agent.expiry.expiry_rules import Fate, Forwarded, Left, Owned
from ipos.agent.expiry.ghosts import Ghosts, Heard
from ipos.agent.expiry.held_rows import HeldRows
from ipos.agent.expiry.owner_query import Inquiry
from ipos.agent.expiry.query_message import Connection
from ipos.agent.expiry.row_table import RowTable
from ipos.agent.expiry.timewait import TimeWait
from ipos.agent.host.connection_sockets import BoxedSockets, Containers
from ipos.closing import Closing

CHECKS = 256
"""Questions to the kernel in one pass."""
_STATE_AT = layout("ipos_temporary").field("state").offset
_CLOSED = constant("IPOS_TEMP_CLOSED")
_SYN = constant("IPOS_TEMP_SYN")


class FamilySweep(Closing):
    """Works on `rows` and closes them. See `Sweep` for what the others are."""

    def __init__(
        self,
        rows: ConnectionRows,
        inquiry: Inquiry,
        sockets: BoxedSockets,
        boxes: Containers,
        timed_out: Callable[[bytes, int], None] | None,
        heard: Heard,
        *,
        found_again: bool,
    ) -> None:
        self._rows = rows
        self._held = HeldRows(rows, lambda key, number: self._lost.tell(key, number), timed_out)
        self._suspects: deque[tuple[RowTable[Owned], bytes]] = deque()
        self._inquiry = inquiry
        self._sockets = sockets
        self._ghosts = Ghosts(
            rows.connect, rows.local, inquiry, sockets, rows.ledger, rows.server, heard,
            found_again=found_again,
        )  # fmt: skip
        self._found_again = found_again
        self._returned_ns = 0
        self._time_wait = TimeWait(self._remembers_end, rows.family)
        self._lost = DeadOwners(
            rows.maps["servers"], rows.forward, rows.holding, self._reset, rows.family
        )
        self._boxes = LostBoxes(rows, self._lost.tell, boxes, self._remembers_end)

    def has(self, key: bytes) -> bool:
        """Whether a connection with this key would be in these tables."""
        return len(key) == self._rows.key_size

    def begin(self, now_ns: int) -> bool:
        """A pass begins; False where the data plane has no settings. MapError: it has gone."""
        return self._rows.begin(now_ns)

    def at(self, now_ns: int) -> None:
        """It is now so late, outside of a pass."""
        self._rows.now_ns = now_ns

    def book(self) -> None:
        """A pass has ended."""
        self._rows.book()

    def book_ends(self) -> None:
        """Add up what has ended outside of a pass."""
        self._rows.ledger.book()

    def look(self) -> None:
        """A server's state has changed."""
        self._lost.look()

    @property
    def back(self) -> set[int]:
        """Servers that are not down any more, and do not know whom we have reset."""
        return self._lost.back

    def steps(self, told: Collection[int], now_ns: int) -> Iterator[None]:
        """One pass, in pieces. told: servers that have reset connections, which may be ours."""
        yield from self._boxes.steps(now_ns)
        yield from self._ghosts.steps(told, now_ns)
        yield from self._held.reap()
        yield from self._reap_silent()
        yield from self._reap_owned(self._rows.local)
        yield from self._reap_owned(self._rows.connect)
        if self._suspects:
            yield from self._check_sockets()
        yield from self._reap_forward()
        for _ in range(self._time_wait.sweep(now_ns)):
            self._rows.ledger.count("TIME_WAIT_SWEPT")

    def find_lost(self) -> Iterator[None]:
        """The connections of servers that are down, in pieces."""
        yield from self._lost.steps()

    def returned(self, holders: Mapping[bytes, IPv4Address], *, first: bool) -> Iterator[None]:
        """This server was away; see `Sweep.returned`. first: it has just come back."""
        before_ns = self._rows.now_ns
        if first:
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

    def denied(self, key: bytes, iss: int, *, by_first: bool) -> None:
        """Another server does not know a connection: its owner, or its first server."""
        if by_first:
            self._ghosts.denied(key, iss)
        else:
            self._forget(key, expiry_rules.CLOSED, self._is_denied(iss))

    def _remembers_end(
        self, client: bytes, service: bytes, client_port: bytes, service_port: bytes
    ) -> bool:
        key = client + service + client_port + service_port + bytes((socket.IPPROTO_TCP,))
        key = key.ljust(self._rows.key_size, b"\0")
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

    def knows(self, who: IPv4Address, key: bytes, asked: Connection, of_first: bool) -> bool:
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

    def _is_denied(self, iss: int) -> Callable[[Forwarded], bool]:
        return lambda row: row.iss == iss and self._forwarded_fate(row) is not Fate.KEEP

    def close(self) -> None:
        self._lost.close()
        self._rows.close()
        self._time_wait.close()


def _is_of(row: Owned | None, iss: int) -> bool:
    return row is not None and expiry_rules.HANDSHAKE.read(row.hs).iss == iss
