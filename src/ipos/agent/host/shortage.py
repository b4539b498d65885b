# SPDX-License-Identifier: Apache-2.0
"""How short this server is of memory and of bandwidth, in percent; of CPU its load says it.

`least-loaded` makes a server dearer by these: twice when half is gone, 64 times when next to
nothing is left. So both are 0 where there is enough, and beyond 50 where it matters.

Memory. An application needs what it had at most, as its row in Application information says, less
what it has now, and a quarter of that most, at least 16 MiB, beside that. What is left to it is
what the machine has available, or the limit of one of its cgroups less what is used there; files
that are cached are no use. Less left than needed is 90 percent, nothing left is 100. The shortage
ends when a quarter more than needed is left.

Bandwidth. It is the part of the front link that is in use, in the direction that is fuller. It
rises at once and falls only by more than ten percent. A link whose speed nobody knows is never
short.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ipos.agent.host.load import Bandwidth, Memory, memory_left

RESERVE = 16 << 20
_SLACK = 10


class Use(NamedTuple):
    """Bytes that an application has, and that it had at most."""

    now: int
    most: int

    @property
    def needs(self) -> int:
        """What it needs beyond what it has."""
        return max(0, self.most - self.now) + max(self.most // 4, RESERVE)


def memory_short(left: int, needs: int, before: int) -> int:
    """Percent, 0 or 90 to 100; `before` is what it was."""
    if left >= needs * 5 // 4 or (left >= needs and not before):
        return 0
    return max(90, 100 - 10 * left // needs)


class Shortage:
    """Memory and bandwidth that are left, and how short they are; `sample` reads them anew."""

    def __init__(
        self,
        memory: Memory,
        bandwidth: Bandwidth,
        left: Callable[[int], int | None] = memory_left,
    ) -> None:
        self._memory = memory
        self._bandwidth = bandwidth
        self._left = left
        self.memory_available = self.bandwidth_available = 0
        self.memory_short = self.bandwidth_short = 0

    def sample(self, now_ns: int, uses: Iterable[tuple[int, Use]], limit: int) -> None:
        """`uses` by process id, of the applications that serve; `limit` is the configured
        bandwidth."""
        self._look_at_memory(uses)
        self.bandwidth_available, used = self._bandwidth.sample(now_ns, limit)
        if used > self.bandwidth_short or used < self.bandwidth_short - _SLACK:
            self.bandwidth_short = used

    def _look_at_memory(self, uses: Iterable[tuple[int, Use]]) -> None:
        """What is available is the least that any of the applications has left."""
        machine = least = self._memory.available()
        worst = 0
        for pid, use in uses:
            own = self._left(pid)
            left = machine if own is None else min(machine, own)
            least = min(least, left)
            worst = max(worst, memory_short(left, use.needs, self.memory_short))
        self.memory_available, self.memory_short = least, worst
