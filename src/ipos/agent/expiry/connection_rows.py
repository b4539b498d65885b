# SPDX-License-Identifier: Apache-2.0
"""The tables of connections as one pass of the expiry sees them, and what its parts share.

The data plane counts its rows in the map `roles`, and asks a table only where a row may be. A count
must be changed in one step, which only a program of the data plane can do. So the agent tells it
which rows it has taken away. Until then a table is asked in vain. If the data plane is never told,
it is asked in vain for ever.
"""

import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from ipos.abi.codec import Codec
from ipos.abi.layout import constant
from ipos.abi.rows import Settings
from ipos.agent.expiry import expiry_rules, notices
from ipos.agent.expiry.ended_counts import Ledger
from ipos.agent.expiry.expiry_rules import Forwarded, Held, Known, Left, Limits, Owned
from ipos.agent.expiry.network_shares import Shares
from ipos.agent.expiry.notices import FrameSocket
from ipos.agent.expiry.row_table import Old, R, RowTable
from ipos.closing import Closing
from ipos.kernel.libbpf.map_store import Map

FORWARD = constant("IPOS_ROLE_FORWARD")
LOCAL = constant("IPOS_ROLE_LOCAL")
CONNECT = constant("IPOS_ROLE_CONNECT")
HOLDING = constant("IPOS_ROLE_HOLDING")
ACTIONS = 128
"""Rows that are acted on before it is asked whether others should have their turn."""
_MAPS = (
    *("holding", "hold_free", "hold_pool", "hold_returned", "temporary", "local", "connect"),
    "forward",
    *("settings", "servers", "traffic", "counters"),
)
_OF_FAMILY = ("holding", "temporary", "local", "connect", "forward")
"""Those that IPv6 has for itself, with a 6 behind their names."""
_SETTINGS = Codec(Settings)


class TakenRows:
    """Counts the rows that were taken away; `book` tells the data plane of them."""

    def __init__(self, programs: Path) -> None:
        """programs: where the running programs are pinned."""
        self._programs = programs
        self._rows: Counter[tuple[bytes, int]] = Counter()

    def add(self, key: bytes, role: int) -> None:
        """A row of this connection is gone. role: what its table is counted as."""
        self._rows[key, role] += 1

    def put_back(self, key: bytes, role: int) -> None:
        """The row was put back, before `book`."""
        self._rows[key, role] -= 1

    def book(self, settings: Settings) -> None:
        """Inside the server's network namespace. IposError or OSError: the rest the next time.

        None is told twice, not even after an error: a count may be too high, and never too low.
        """
        for key, role in list(self._rows):
            while self._rows[key, role] > 0:
                self._rows[key, role] -= 1
                notices.tell_taken(settings, expiry_rules.ENDS.read(key), role, self._programs)
            del self._rows[key, role]


class CountedTables:
    """The tables whose rows the data plane counts. What is taken out of them is in `taken`."""

    def __init__(self, maps: Mapping[str, Map], programs: Path) -> None:
        self.taken = TakenRows(programs)
        self.holding: RowTable[Held] = RowTable(
            maps["holding"], expiry_rules.HELD, expiry_rules.HELD_SINCE, self._add(HOLDING)
        )
        self.local = self._owned(maps["local"], LOCAL)
        self.connect = self._owned(maps["connect"], CONNECT)
        self.forward: RowTable[Forwarded] = RowTable(
            maps["forward"],
            expiry_rules.FORWARDED,
            expiry_rules.FORWARDED_SINCE,
            self._add(FORWARD),
        )

    def _owned(self, table: Map, role: int) -> RowTable[Owned]:
        return RowTable(table, expiry_rules.OWNED, expiry_rules.OWNED_SINCE, self._add(role))

    def _add(self, role: int) -> Callable[[bytes], None]:
        return partial(self.taken.add, role=role)


class ConnectionRows(Closing):
    """The tables pinned in a directory, opened inside the server's network namespace.

    `interfaces` are front and back; see `Limits.in_force` for `limits`. `settings`, `limits` and
    now_ns are the pass's, from `begin` on.
    """

    settings: Settings

    def __init__(
        self, maps: Path, interfaces: tuple[str, str], limits: Limits, *, six: bool = False
    ) -> None:
        """six: the connections by IPv6."""
        self.front, self.back = interfaces
        self._usual = self.limits = limits
        self.programs = maps.parent / "progs"
        self.family = socket.AF_INET6 if six else socket.AF_INET
        self.key_size = expiry_rules.KEY6_SIZE if six else expiry_rules.KEY_SIZE
        self.maps = at = {
            name: Map.open(maps / (f"{name}6" if six and name in _OF_FAMILY else name))
            for name in _MAPS
        }
        counted = CountedTables(at, self.programs)
        self.taken, self.holding, self.forward = counted.taken, counted.holding, counted.forward
        self.local, self.connect = counted.local, counted.connect
        self.temporary = RowTable(at["temporary"], expiry_rules.LEFT, expiry_rules.LEFT_SINCE)
        self.ledger = Ledger(at["traffic"], at["counters"])
        self.shares = Shares(at["hold_returned"])
        self.frames = FrameSocket()
        self.now_ns = 0
        self._raw_settings = b""
        self._servers: dict[int, Known | None] = {}

    def begin(self, now_ns: int) -> bool:
        """A pass begins; False where the data plane has no settings. MapError: it has gone."""
        raw = self.maps["settings"].get(bytes(4))
        if raw is None:
            return False
        if raw != self._raw_settings:
            self._raw_settings = raw
            self.settings = _SETTINGS.decode(raw)
            self.limits = self._usual.in_force(self.settings)
        self.now_ns = now_ns
        self._servers = {}
        return True

    def stroll(self, table: RowTable[R], older_ns: int) -> Old[R]:
        """Rows of the table's next batch that have not changed for so long."""
        return table.stroll(self.now_ns - older_ns, self.now_ns, self.limits.again_ns)

    def book(self) -> None:
        """Tell the data plane what was counted, given back and taken away in this pass."""
        self.ledger.book()
        self.shares.book()
        self.taken.book(self.settings)

    def forget_forwarded(self, before_ns: int) -> Iterator[None]:
        """The accepted rows of Forward that have not been used since then, in pieces."""
        for found in self.forward.walk(before_ns):
            for turn, (key, row) in enumerate(found, start=1):
                if row.acknowledged and self.forward.take(key, expiry_rules.is_accepted):
                    self.ledger.closed(row.server)
                    self.ledger.count("FORGOTTEN")
                if turn % ACTIONS == 0:
                    yield
            yield

    def tell_unattached(self, key: bytes, row: Owned) -> None:
        older_ms = self.limits.unattached_ns // 1_000_000
        notices.tell_unattached(
            self.settings, expiry_rules.ENDS.read(key), row, older_ms, self.programs
        )

    def remember(self, key: bytes, row: Held | Owned | Forwarded | Left, state: int) -> None:
        """Write a row that keeps the old cookie from opening the connection again."""
        self.maps["temporary"].update(key, expiry_rules.ended(row, state, self.now_ns))

    def ended(self, table: RowTable[Owned], key: bytes, row: Owned, state: int) -> None:
        """An endpoint that was taken away: its first server is told. state: see `remember`."""
        self.remember(key, row, state)
        if table is self.local:
            self.ledger.closed(self.settings.self)
        first = self.server(row.first)
        mac = None if first is None or row.first == self.settings.self else first.mac
        if expiry_rules.is_located(row):
            mac = notices.EVERYBODY
        if mac is not None:
            frame = notices.closed_frame(self.settings, expiry_rules.ENDS.read(key), row, mac)
            self.frames.send(self.back, frame)

    def server(self, index: int) -> Known | None:
        """The row at this index. Each row is read once in a pass."""
        if index not in self._servers:
            raw = self.maps["servers"].get(index.to_bytes(4, sys.byteorder))
            known = None if raw is None else expiry_rules.KNOWN.read(raw)
            is_there = known is not None and known.state != expiry_rules.NO_SERVER
            self._servers[index] = known if is_there else None
        return self._servers[index]

    def members(self) -> set[IPv4Address]:
        rows = (expiry_rules.KNOWN.read(row) for _, row in self.maps["servers"].items())
        return {IPv4Address(server.back_ip) for server in rows if server.state}

    def close(self) -> None:
        self.frames.close()
        for table in self.maps.values():
            table.close()
