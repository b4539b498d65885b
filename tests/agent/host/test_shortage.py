# SPDX-License-Identifier: Apache-2.0
"""How short a server is of memory and bandwidth, by made-up numbers."""

from typing import cast

import pytest

from ipos.agent.host.load import Bandwidth, Memory
from ipos.agent.host.shortage import RESERVE, Shortage, Use, memory_short

GIB = 1 << 30


class Numbers:
    """Stands for Memory and for Bandwidth."""

    def __init__(self) -> None:
        self.memory, self.bandwidth, self.limits = 64 * GIB, (10**9, 0), dict[int, int]()
        self.shortage = Shortage(
            cast(Memory, self), cast(Bandwidth, self), lambda pid: self.limits.get(pid)
        )

    def available(self) -> int:
        return self.memory

    def sample(self, now_ns: int, limit: int) -> tuple[int, int]:
        assert (now_ns, limit) == (5, 7)
        return self.bandwidth

    def look(self, **uses: Use) -> tuple[int, int]:
        """What is short of memory and bandwidth; the name of a use is "a" and its process id."""
        self.shortage.sample(5, [(int(name[1:]), use) for name, use in uses.items()], 7)
        return self.shortage.memory_short, self.shortage.bandwidth_short


@pytest.mark.parametrize(
    ("use", "needs"),
    [
        (Use(0, 0), RESERVE),
        (Use(3 * GIB, 4 * GIB), 2 * GIB),
        (Use(4 * GIB, 4 * GIB), GIB),
        (Use(5 * GIB, 4 * GIB), GIB),
    ],
)
def test_what_an_application_needs_beyond_what_it_has(use: Use, needs: int) -> None:
    assert use.needs == needs


@pytest.mark.parametrize(
    ("left", "before", "short"),
    [
        (0, 0, 100), (49, 0, 96), (50, 0, 95), (99, 0, 91), (100, 0, 0), (124, 0, 0),
        (100, 90, 90), (124, 90, 90), (125, 90, 0), (0, 90, 100), (1000, 100, 0),
    ],
)  # fmt: skip
def test_less_than_is_needed_is_short_until_there_is_a_quarter_more(
    left: int, before: int, short: int
) -> None:
    assert memory_short(left, 100, before) == short


def test_the_application_that_has_least_counts() -> None:
    farm = Numbers()
    small, large = Use(RESERVE, RESERVE), Use(2 * GIB, 4 * GIB)
    assert farm.look(a1=small, a2=large) == (0, 0)
    assert farm.shortage.memory_available == 64 * GIB
    farm.limits = {1: RESERVE // 2}
    assert farm.look(a1=small, a2=large) == (95, 0)
    assert farm.shortage.memory_available == RESERVE // 2
    assert farm.look(a2=large) == (0, 0)
    farm.memory = GIB
    assert farm.look(a2=large) == (97, 0), "the machine has no more than a third of it"
    assert farm.look() == (0, 0), "nothing serves"


def test_a_link_in_use_rises_at_once_and_falls_by_more_than_a_tenth() -> None:
    farm = Numbers()
    told = []
    for used in (0, 60, 55, 50, 49, 99, 100, 90, 89, 0):
        farm.bandwidth = (10**9, used)
        told.append(farm.look()[1])
    assert told == [0, 60, 60, 60, 49, 99, 100, 100, 89, 0]
