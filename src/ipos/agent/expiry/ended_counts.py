# SPDX-License-Identifier: Apache-2.0
"""Counts of what the agent has ended itself, added to the counters of the data plane."""

import sys
from collections import Counter

from ipos.abi.layout import counter, layout
from ipos.kernel.libbpf.map_store import Map


class Ledger:
    """Sums that `book` adds to the maps `traffic` and `counters`.

    Only the agent writes the counters that are named here. But the data plane also adds to
    `traffic`, and what it adds between our reading and our writing is lost. This error lasts for
    100 ms, because a server's load is computed from the difference anew ten times a second.
    """

    def __init__(self, traffic: Map, counters: Map) -> None:
        self._traffic = traffic
        self._counters = counters
        self._closed: Counter[int] = Counter()
        self._counts: Counter[str] = Counter()

    def closed(self, server: int) -> None:
        """An endpoint that was given to a server has ended."""
        self._closed[server] += 1

    def count(self, name: str) -> None:
        self._counts[name] += 1

    def book(self) -> None:
        if not (self._closed or self._counts):
            return
        shape = layout("ipos_traffic")
        for server, ended in self._closed.items():
            found = self._traffic.get(_word(server))
            if found is not None:
                row = shape.unpack(found)
                row["closed"] += ended
                self._traffic.update(_word(server), shape.pack(row))
        for name, times in self._counts.items():
            key = _word(counter(name))
            values = self._counters.get_per_cpu(key)
            if values is not None:
                values[0] = _word(int.from_bytes(values[0], sys.byteorder) + times, 8)
                self._counters.update_per_cpu(key, values)
        self._closed.clear()
        self._counts.clear()


def _word(number: int, size: int = 4) -> bytes:
    return number.to_bytes(size, sys.byteorder)
