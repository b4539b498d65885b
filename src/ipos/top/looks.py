# SPDX-License-Identifier: Apache-2.0
"""What `ipos top` shows, made from one look at the agent after the other. Pure."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from ipos.cli.status import some_of
from ipos.cli.text_table import amount
from ipos.top.rates import Traffic

KEPT = 30
_BARS = " ▁▂▃▄▅▆▇█"
SORTS = ("name", "connections", "cpu", "memory")
Row = tuple[str, ...]


def sparkline(values: "deque[float]", most: float | None = None) -> str:
    """One character a value, the newest last. most: what fills a character; else the largest."""
    top = most or max(values, default=0) or 1
    last = len(_BARS) - 1
    return "".join(_BARS[min(last, max(0, round(value / top * last)))] for value in values)


class Looks:
    """Remembers what sparklines and rates need."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {"servers": [], "services": [], "troubles": [], "undone": []}
        self._cpu: dict[str, deque[float]] = {}
        self._counters: Mapping[str, int] = {}
        self._rates: dict[str, deque[float]] = {}
        self._at_s = 0.0
        self._traffic = Traffic()

    def take(
        self,
        status: dict[str, Any],
        counters: Mapping[str, int],
        now_s: float,
        traffic: Mapping[str, Any] | None = None,
    ) -> None:
        """Another look. now_s: of any clock that does not jump. traffic: of `GET /v1/traffic`."""
        passed_s = now_s - self._at_s
        if traffic:
            self._traffic.take(traffic, passed_s)
        for row in status["servers"]:
            kept = self._cpu.setdefault(row["server"], deque(maxlen=KEPT))
            kept.append(row["cpu_utilisation"])
        for name in self._cpu.keys() - {row["server"] for row in status["servers"]}:
            del self._cpu[name]
        if self._counters and passed_s > 0:
            for name, number in counters.items():
                rate = max(0, number - self._counters.get(name, 0)) / passed_s
                if rate or name in self._rates:
                    self._rates.setdefault(name, deque(maxlen=KEPT)).append(rate)
        self.status, self._counters, self._at_s = status, counters, now_s

    def servers(self, sort: str = "name", only: str = "") -> list[Row]:
        """Rows of: server, state, weight, connections, CPU, free memory, CPU of late."""
        orders: dict[str, Any] = {
            "name": lambda row: str(row["server"]),
            "connections": lambda row: -row["tcp_connections"],
            "cpu": lambda row: -row["cpu_utilisation"],
            "memory": lambda row: row["available_memory"],
        }
        return [
            (
                row["server"],
                _state(row),
                str(row["weight"]),
                str(row["tcp_connections"]),
                f"{row['cpu_utilisation']:.0%}",
                amount(row["available_memory"]),
                sparkline(self._cpu[row["server"]], 1.0),
            )
            for row in sorted(self.status["servers"], key=orders[sort])
            if only in row["server"]
        ]

    def services(self, only: str = "") -> list[Row]:
        """Rows of: service, requests and refusals a second, two times that half and 99 of 100
        requests do not exceed, port, policy, servers that may get its connections.
        """
        names = {row["address"]: row["server"] for row in self.status["servers"]}
        return [
            (
                row["service"],
                *self._traffic.service(row["service"]),
                str(row["port"]),
                row["policy"],
                some_of(names.get(one, one) for one in row["servers"]),
            )
            for row in self.status["services"]
            if only in row["service"]
        ]

    def routes(self, only: str = "") -> list[Row]:
        """Rows of: requests and refusals a second, service, route; the busiest first."""
        return [
            (*rates, service, route)
            for service, route, *rates in self._traffic.routes()
            if only in service or only in route
        ]

    def flows(self) -> str:
        """Two lines: the connections that this server knows of, and what becomes of packets and
        requests.
        """
        there = self.status.get("connections", {})
        counts = (f"{name.rpartition('_')[2]} {number:,}" for name, number in there.items())
        dropped = sum(rates[-1] for name, rates in self._rates.items() if name.startswith("drop_"))
        moved = self._rates.get("migrated", (0.0,))[-1]
        return f"{'  '.join(counts)}\nmigrated {moved:,.1f}/s  dropped {dropped:,.1f}/s"

    def counted(self, only: str = "") -> list[Row]:
        """Rows of: counter, rate a second, total, rate of late; the busiest first."""
        busy = sorted(self._rates.items(), key=lambda item: (-item[1][-1], item[0]))
        return [
            (name, f"{rates[-1]:,.1f}", f"{self._counters[name]:,}", sparkline(rates))
            for name, rates in busy
            if only in name and name in self._counters
        ]


def _state(row: Mapping[str, Any]) -> str:
    said = str(row["state"])
    return said if not row["stale"] else "stale" if said == "ready" else f"{said}, stale"
