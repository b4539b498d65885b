# SPDX-License-Identifier: Apache-2.0
"""`ipos rebalance`: which servers have more connections than their share, and give some away.

Such a server hands idle connections back to their first servers. For their next requests a server
is chosen anew, and the policy prefers servers with few connections.
"""

import math
import time
from collections.abc import Mapping

from ipos.agent.heartbeat.message import Order

FRESH_MS = 10_000
"""An order that is older is of the past: a server that was away does not follow it."""
PATIENCE_NS = 3_000_000_000
"""So long idle ones are looked for. More of them may become idle meanwhile."""


def parts(
    connections: Mapping[str, int], weights: Mapping[str, int], most: int | None = None
) -> dict[str, int]:
    """How many connections each server has beyond its share, by its weight; `most` in all. Pure.

    If `most` is less than all of these, each server gives the same fraction of its surplus.
    """
    weighed = sum(weights.get(server, 1) for server in connections)
    if not weighed:
        return dict.fromkeys(connections, 0)
    total = sum(connections.values())
    beyond = {
        server: max(0, has - math.ceil(total * weights.get(server, 1) / weighed))
        for server, has in connections.items()
    }
    wanted = sum(beyond.values())
    if most is None or wanted <= most:
        return beyond
    return {server: too_many * most // wanted for server, too_many in beyond.items()}


class Shedding:
    """The connections that one server still has to give. `handed`: its counter `handed_back`."""

    def __init__(self) -> None:
        self._when_ms = 0
        self._wanted = self._before = 0
        self._until_ns = 0
        self._moving = 0

    @property
    def is_on(self) -> bool:
        return self._until_ns > 0

    def follow(self, order: Order, handed: int) -> None:
        """Take in what is wanted of this server now."""
        if order.shed_ms > self._when_ms:
            self._when_ms = order.shed_ms
            if time.time_ns() // 1_000_000 - order.shed_ms < FRESH_MS and order.shed:
                self._wanted, self._before = order.shed, handed
                self._until_ns = time.monotonic_ns() + PATIENCE_NS

    def left(self, handed: int) -> int:
        """How many idle connections may be named now. Offers on their way count as given."""
        return self._wanted - (handed - self._before) - self._moving

    def passed(self, handed: int, moving: int) -> None:
        """A pass is over. `moving`: offers that no server has answered yet."""
        self._moving = moving
        late = time.monotonic_ns() > self._until_ns
        if not moving and (late or handed - self._before >= self._wanted):
            self._until_ns = 0
        elif late:
            self._wanted = handed - self._before  # only what was offered is looked after
