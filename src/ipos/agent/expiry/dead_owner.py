# SPDX-License-Identifier: Apache-2.0
"""Tells clients that the server that has their connections is down.

The data plane ends such a connection when the client's next segment comes. But a client that waits
for a response sends none, and would wait for ever. So once for each server that is down, the agent
looks through Forward for the connections that server had.

    acknowledged    RST to the client, at what it has acknowledged: the very next number, unless
                    more came meanwhile; then it answers, and the data plane's RST is exact
    offered only    an old segment to the client, as a keepalive is, upon whose acknowledgement the
                    data plane chooses again: its request lies here, and goes elsewhere

A container that is removed is such an owner, too. It takes its sockets with it, and what they said
last may have found no way out any more. So the clients of its connections are reset at once.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from ipos.abi.columns import Among
from ipos.abi.layout import constant
from ipos.abi.rows import ServerState
from ipos.agent.expiry import expiry_rules, notices
from ipos.agent.expiry.connection_rows import ConnectionRows
from ipos.agent.expiry.expiry_rules import Forwarded, Held, Owned
from ipos.agent.expiry.row_table import RowTable
from ipos.agent.expiry.timewait import Key, TimeWait
from ipos.agent.host.connection_sockets import Containers
from ipos.agent.network.interfaces import NetworkError
from ipos.agent.network.wired_namespaces import Seat
from ipos.closing import Closing
from ipos.kernel.libbpf.map_store import Map

ACTIONS = 128
"""Rows that are acted on before others have their turn."""
_MARK_OURS = constant("IPOS_MARK_OURS")  # our data plane lets it go out
_STATE = Among("ipos_server", "state")
_OWNER = Among("ipos_forward", "server")
_BOX = Among("ipos_endpoint", "box")
_BOXED = constant("IPOS_EP_BOXED")
_TIME_WAIT_NS = 1_000_000_000

Forget = Callable[[bytes, Callable[[Forwarded], bool]], Forwarded | None]
"""Takes a row of Forward away, if this still holds of it, and remembers that it was reset."""


class DeadOwners(Closing):
    """The connections of servers that are down, each server's once until it is back.

    Made inside the server's network namespace.
    """

    def __init__(
        self, servers: Map, forward: RowTable[Forwarded], holding: RowTable[Held], forget: Forget,
        family: int = socket.AF_INET,
    ) -> None:  # fmt: skip
        self._servers = servers
        self._forward = forward
        self._holding = holding
        self._forget = forget
        self._told: set[int] = set()
        self.back: set[int] = set()
        """Servers that are not down any more, and do not know whom we have reset."""
        self._is_due = True
        self._packets = _PacketSocket(family)

    def look(self) -> None:
        """A server's state has changed."""
        self._is_due = True

    def steps(self) -> Iterator[None]:
        """One pass, in pieces."""
        if not self._is_due:
            return
        self._is_due = False
        rows = self._servers.first(self._servers.max_entries)
        down = set(_STATE.places(rows, {ServerState.DOWN}))
        self.back |= self._told - down
        self._told &= down
        fresh = down - self._told
        if not fresh:
            return
        self._told |= fresh
        for found in self._forward.find(lambda values: _OWNER.places(values, fresh)):
            for turn, (key, row) in enumerate(found, start=1):
                if row.acknowledged:
                    self.reset(key, lambda row: bool(row.acknowledged) and row.server in fresh)
                else:
                    self._rouse(key)
                if turn % ACTIONS == 0:
                    yield
            yield

    def reset(self, key: bytes, still: Callable[[Forwarded], bool]) -> None:
        """End a connection that was given away, and tell its client."""
        row = self._forget(key, still)
        if row is not None:
            self.tell(key, row.client_ack)

    def tell(self, key: bytes, number: int) -> None:
        """Reset a client that has acknowledged all before this number."""
        self._packets.send(notices.reset_packet(expiry_rules.ENDS.read(key), number))

    def _rouse(self, key: bytes) -> None:
        held = self._holding.get(key)
        if held is not None:
            self._packets.send(notices.rousing_packet(expiry_rules.ENDS.read(key), held))

    def close(self) -> None:
        self._packets.close()


class Tell(Protocol):
    """Resets a client that has acknowledged all before this number."""

    def __call__(self, key: bytes, number: int) -> None: ...


class LostBoxes:
    """Ends the connections of containers that have gone, and TIME_WAIT in those that have not."""

    def __init__(
        self, rows: ConnectionRows, tell: Tell, containers: Containers, remembered: Key
    ) -> None:
        self._rows = rows
        self._tell = tell
        self._containers = containers
        self._remembered = remembered
        self._due_ns = 0

    def steps(self, now_ns: int) -> Iterator[None]:
        """One pass, in pieces."""
        gone = set(self._containers.gone)
        for table in (self._rows.local, self._rows.connect) if gone else ():
            for found in table.find(lambda values: _BOX.places(values, gone)):
                for turn, (key, _) in enumerate(found, start=1):
                    self._end(table, key, gone)
                    if turn % ACTIONS == 0:
                        yield
                yield
        self._containers.gone -= gone
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + _TIME_WAIT_NS
            for seat in self._containers.seats():
                self._sweep(seat, now_ns)
                yield

    def _sweep(self, seat: Seat, now_ns: int) -> None:
        with (
            suppress(OSError, NetworkError),
            seat.entered(),
            closing(TimeWait(self._remembered)) as sockets,
        ):
            for _ in range(sockets.sweep(now_ns)):
                self._rows.ledger.count("TIME_WAIT_SWEPT")

    def _end(self, table: RowTable[Owned], key: bytes, gone: set[int]) -> None:
        row = table.take(key, lambda row: row.box in gone and bool(row.flags & _BOXED))
        if row is None:
            return
        self._rows.ended(table, key, row, expiry_rules.RESET)
        self._rows.ledger.count("BOX_LOST")
        self._tell(key, row.snd_nxt)


class _PacketSocket(Closing):
    """Sends IP packets as they are, by the routes that answers to clients go."""

    def __init__(self, family: int) -> None:
        self._family = family
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(family, kind, socket.IPPROTO_RAW)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK_OURS)
        except OSError as error:
            raise NetworkError(f"cannot send packets: {error.strerror}; run as root") from None

    def send(self, packet: bytes) -> None:
        """The packet may be lost: no route, or a full queue. Then the client's next segment is
        answered."""
        four = self._family == socket.AF_INET
        to = IPv4Address(packet[16:20]) if four else IPv6Address(packet[24:40])
        try:
            self._socket.sendto(packet, (str(to), 0))
        except OSError:
            pass

    def close(self) -> None:
        self._socket.close()
