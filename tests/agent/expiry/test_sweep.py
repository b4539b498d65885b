# SPDX-License-Identifier: Apache-2.0
"""When the walks through the connection tables begin."""

import asyncio
from collections import deque
from collections.abc import Iterator

import pytest

from ipos.agent.expiry.connection_rows import ConnectionRows
from ipos.agent.expiry.expiry_rules import Limits
from ipos.agent.expiry.sweep import PAUSE_NS, Sweep
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.loop.grace import Period


def bare() -> Sweep:
    """One that has no tables."""
    sweep = object.__new__(Sweep)
    sweep._due, sweep._passed_ns = asyncio.Event(), 0
    sweep._rows = object.__new__(ConnectionRows)
    sweep._rows.limits, sweep._grace = Limits(), Period()
    sweep._returns = deque()
    return sweep


def test_a_beat_during_a_pass_begins_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long table is walked over many beats: passes back to back would be all an agent does."""
    begun: list[int] = []

    def steps(self: Sweep, now_ns: int) -> Iterator[None]:
        begun.append(now_ns)
        if len(begun) < 5:
            self.tick(now_ns + 10 * PAUSE_NS)
        yield

    async def live() -> None:
        monkeypatch.setattr(Sweep, "steps", steps)
        sweep = bare()
        await sweep._grace.renew(0)
        passes = asyncio.create_task(sweep.run())
        for expected in (1, 2):
            sweep.tick(boottime_ns() + PAUSE_NS)
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(begun) == expected
        sweep.tick(boottime_ns())
        await asyncio.sleep(0)
        assert len(begun) == 2, "too soon after the last"
        passes.cancel()

    asyncio.run(live())


def test_who_was_away_tells_no_client_anything_before_it_knows_who_came_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []

    def steps(self: Sweep, now_ns: int) -> Iterator[None]:
        begun.append(len(self._returns))
        yield

    async def live() -> None:
        monkeypatch.setattr(Sweep, "steps", steps)
        sweep = bare()
        await sweep._grace.renew(0)
        passes = asyncio.create_task(sweep.run())

        async def turn() -> int:
            sweep.tick(boottime_ns() + PAUSE_NS)
            for _ in range(10):
                await asyncio.sleep(0)
            return len(begun)

        sweep.learns = True
        assert await turn() == 0
        sweep.returned({})
        assert await turn() == 1, "what it forgets comes first, and then all else as ever"
        sweep._returns.clear()
        sweep._passed_ns = 0
        assert await turn() == 1
        sweep.learns = False
        assert await turn() == 2
        passes.cancel()

    asyncio.run(live())
    assert begun == [2, 0]
