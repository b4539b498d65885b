# SPDX-License-Identifier: Apache-2.0
"""Connections of applications in containers: their sockets, and their end when a container goes.

A container that is removed takes its sockets with it, and what they said last may have found no way
out any more. Its clients would wait for ever, so they are reset at once.
"""

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Protocol

from ipos.abi.columns import Among
from ipos.abi.layout import constant
from ipos.agent.expiry import expiry_rules
from ipos.agent.expiry.connection_rows import ACTIONS, ConnectionRows
from ipos.agent.expiry.expiry_rules import Owned
from ipos.agent.expiry.row_table import RowTable
from ipos.agent.expiry.timewait import Key, TimeWait
from ipos.agent.host.connection_sockets import Containers
from ipos.agent.network.interfaces import NetworkError
from ipos.agent.network.wired_namespaces import Seat

_BOX = Among("ipos_endpoint", "box")
_BOXED = constant("IPOS_EP_BOXED")
_TIME_WAIT_NS = 1_000_000_000


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
