# SPDX-License-Identifier: Apache-2.0
"""Takes idle flows out of `udp_flows`, which evicts nothing itself.

The data plane takes a flow that has been silent for too long for a new one, so this only gives back
room. The rows of `udp_new` and `udp_owned` need no help: the least recently used goes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.abi.columns import Columns, Since
from ipos.abi.layout import constant
from ipos.agent.expiry.network_shares import Shares
from ipos.agent.expiry.row_table import RowTable
from ipos.closing import Closing
from ipos.kernel.libbpf.map_store import Map

_AGAIN_NS = 1_000_000_000
_SECOND_NS = 1_000_000_000
_TURN = 128
"""Rows that are taken before it is asked whether others should have their turn."""
_SERVICE = Codec(rows.Service)


class Flow(NamedTuple):
    """Of `struct ipos_flow`."""

    last_seen_ns: int
    service: int


class IdleFlows(Closing):
    """The flows of the data plane whose maps are pinned in a directory."""

    def __init__(self, maps: Path) -> None:
        self._directory = maps
        self._opened: dict[str, Map] = {}
        self._flows: RowTable[Flow] | None = None

    def steps(
        self, settings: rows.Settings, now_ns: int, ended: Callable[[str], None]
    ) -> Iterator[None]:
        """One batch of the table, in pieces. MapError: the data plane has gone.

        ended: is told the counter of each row that was taken.
        """
        if not settings.flags & rows.SettingsFlags.FLOWS:
            return
        if self._flows is None:
            for name in ("udp_flows", "udp_returned", "services"):
                self._opened[name] = Map.open(self._directory / name)
            columns = Columns("ipos_flow", Flow._fields, Flow._make)
            self._flows = RowTable(
                self._opened["udp_flows"], columns, Since("ipos_flow", "last_seen_ns")
            )
        idle_ns = self._idle_ns()
        shares = Shares(self._opened["udp_returned"])
        least_ns = min((one for one in idle_ns.values() if one), default=0)

        def is_idle(row: Flow) -> bool:
            return now_ns - row.last_seen_ns > idle_ns.get(row.service, 0)

        try:
            old = self._flows.stroll(now_ns - least_ns, now_ns, _AGAIN_NS)
            for turn, (key, row) in enumerate(old, start=1):
                if is_idle(row) and self._flows.take(key, is_idle) is not None:
                    shares.returns(settings.vouch, key[:4], 1)
                    ended("FLOW_EXPIRED")
                if turn % _TURN == 0:
                    yield
        finally:
            shares.book()

    def close(self) -> None:
        """Close the maps; a second time does nothing."""
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()
        self._flows = None

    def _idle_ns(self) -> dict[int, int]:
        """By the index of the service; none that is not UDP."""
        found = {}
        for index in range(constant("IPOS_SERVICES_MAX")):
            raw = self._opened["services"].get(index.to_bytes(4, "little"))
            service = _SERVICE.decode(raw) if raw else rows.Service()
            if service.used and service.flow_idle_s:
                found[index] = service.flow_idle_s * _SECOND_NS
        return found
