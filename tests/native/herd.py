# SPDX-License-Identifier: Apache-2.0
"""Many first servers that decide by rows a tenth of a second old: the core itself, on a clock.

Every server is a first server and a candidate. Requests come at random moments to random first
servers and take a random time where they are served; a server's CPU is what it had to do in the
last half second, of what it could have done. Ten times a second each server says its connections
and CPU to all, at a moment of its own; in between a first server knows what it did itself.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ipos.selection.policies import Policy, ServerState
from native.library import Node
from tests.support.pools import pool

POOL = 1
ROW_S, WINDOW_ROWS = 0.1, 5
_SMALL = {"forward": 1, "local": 1, "connect": 1, "temporary": 1, "holding": 1, "hold_pool": 1,
          "hold_free": 1, "deny": 1}  # fmt: skip


@dataclass
class Server:
    """One of the farm: its iNIC's tables, and what it is doing."""

    index: int
    workers: int
    node: Node = field(default_factory=lambda: Node(_SMALL))
    connections: int = 0
    hog: float = 0
    worked: float = 0
    rows: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_ROWS))
    sent: Counter[int] = field(default_factory=Counter)
    closed: Counter[int] = field(default_factory=Counter)

    def cpu(self) -> int:
        """Permille, of the last rows' time."""
        self.rows.append(min(1.0, self.worked / (self.workers * ROW_S) + self.hog))
        self.worked = 0
        return round(1000 * sum(self.rows) / len(self.rows))


class Herd:
    """`servers` of them, and `rate` requests a second of `work_s` seconds of CPU each.

    A request stays for `stay_s` on average, which may be longer than it needs the CPU.
    """

    def __init__(
        self,
        policy: Policy,
        servers: int,
        rate: float,
        stay_s: float,
        work_s: float,
        *,
        firsts: int | None = None,
        workers: int = 4,
        seed: int = 1,
    ) -> None:
        self.rng = random.Random(seed)
        self.rate, self.stay_s, self.work_s = rate, stay_s, work_s
        self.servers = [Server(index, workers) for index in range(1, servers + 1)]
        self.firsts = self.servers[:firsts]
        self.now = 0.0
        self.served: Counter[int] = Counter()
        self.busiest: list[tuple[float, int]] = []
        """(mean of all, greatest) number of connections, ten times a second."""
        for first in self.firsts:
            first.node.table("pools")[POOL] = {
                **pool({"server": s.index, "port": 80, "ramp": 256} for s in self.servers),
                "policy": policy, "firsts": servers,
            }  # fmt: skip
        self._events: list[tuple[float, int, str, int, int]] = []
        self._order = 0
        for server in self.servers:
            self._say(server)
            self._at(self.rng.random() * ROW_S, "row", server.index)
        self._at(0, "request")

    def close(self) -> None:
        for server in self.servers:
            server.node.close()

    def run(self, seconds: float) -> Counter[int]:
        """Let time pass; how many requests of it each server got."""
        until = self.now + seconds
        self.served = Counter()
        while self._events[0][0] < until:
            self.now, _, what, index, first = heapq.heappop(self._events)
            if what == "request":
                self._request()
            elif what == "row":
                self._say(self.servers[index - 1])
                self._at(self.now + ROW_S, "row", index)
            else:
                self._end(self.servers[index - 1], self.servers[first - 1])
        return self.served

    def _request(self) -> None:
        self._at(self.now + self.rng.expovariate(self.rate), "request")
        first = self.rng.choice(self.firsts)
        client = IPv4Address(self.rng.getrandbits(32))
        index, _ = first.node.choose(POOL, client, self.rng.getrandbits(64))
        server = self.servers[index - 1]
        server.connections += 1
        server.worked += self.work_s
        self.served[index] += 1
        first.sent[index] += 1
        self._traffic(first, index)
        self._at(self.now + self.rng.expovariate(1 / self.stay_s), "end", index, first.index)

    def _end(self, server: Server, first: Server) -> None:
        server.connections -= 1
        first.closed[server.index] += 1
        self._traffic(first, server.index)

    def _traffic(self, first: Server, index: int) -> None:
        row = {"sent": first.sent[index], "closed": first.closed[index]}
        first.node.table("traffic")[index] = row

    def _say(self, server: Server) -> None:
        """One server's row, to everybody at once."""
        cpu = server.cpu()
        for first in self.firsts:
            sent, closed = first.sent[server.index], first.closed[server.index]
            first.node.table("servers")[server.index] = {
                "address": server.index, "mac": bytes(6), "state": ServerState.READY,
                "tcp_connections": server.connections, "cpu_permille": cpu,
                "base": sent - closed, "sent": sent,
            }  # fmt: skip
        if server.index == 1:
            counts = [one.connections for one in self.servers]
            self.busiest.append((sum(counts) / len(counts), max(counts)))

    def _at(self, when: float, what: str, index: int = 0, first: int = 0) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what, index, first))
