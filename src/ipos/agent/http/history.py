# SPDX-License-Identifier: Apache-2.0
"""The last hour in samples, which the page draws as graphs. Pure.

A sample every ten seconds: what each server says of itself, and how the counters have grown since
the one before. Bounded: samples by number, servers by number.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EVERY_NS = 10_000_000_000
SAMPLES = 360
SERVERS_MAX = 64
_RATES = {
    "here": ("served_here",),
    "migrated": ("migrated",),
    "refused": ("drop_no_server",),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """wall_s: when. rates: events per second. servers: connections and CPU by name."""

    wall_s: int
    rates: Mapping[str, float]
    servers: Mapping[str, tuple[int, float]]


class History:
    """Samples, the oldest first."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._before: dict[str, int] = {}
        self._before_ns = 0

    def is_due(self, now_ns: int) -> bool:
        return now_ns - self._before_ns >= EVERY_NS

    def take(
        self,
        counters: Mapping[str, int],
        servers: Mapping[str, tuple[int, float]],
        now_ns: int,
        wall_s: int,
    ) -> None:
        """Add a sample. The first one has no rates: there is nothing before it."""
        sums = {name: sum(counters.get(one, 0) for one in of) for name, of in _RATES.items()}
        sums["drops"] = sum(n for name, n in counters.items() if name.startswith("drop_"))
        passed_s = (now_ns - self._before_ns) / 1e9
        rates = {
            name: round((total - self._before[name]) / passed_s, 2)
            for name, total in sums.items()
            if name in self._before
        }
        some = dict(sorted(servers.items())[:SERVERS_MAX])
        self._samples.append(Sample(wall_s, rates, some))
        self._before, self._before_ns = sums, now_ns

    def document(self) -> list[dict[str, Any]]:
        """As `GET /v1/history` answers."""
        return [
            {"time": one.wall_s, "rates": dict(one.rates), "servers": dict(one.servers)}
            for one in self._samples
        ]
