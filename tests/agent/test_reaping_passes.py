# SPDX-License-Identifier: Apache-2.0
"""When the walks through the connection tables begin."""

import asyncio
from collections.abc import Iterator

import pytest

from ipos.agent.observer import boottime_ns
from ipos.agent.reaping import PAUSE_NS, Reaping


def test_a_beat_during_a_pass_begins_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long table is walked over many beats: passes back to back would be all an agent does."""
    begun: list[int] = []

    def steps(self: Reaping, now_ns: int) -> Iterator[None]:
        begun.append(now_ns)
        if len(begun) < 5:
            self.tick(now_ns + 10 * PAUSE_NS)
        yield

    async def live() -> None:
        monkeypatch.setattr(Reaping, "steps", steps)
        reaping = object.__new__(Reaping)
        reaping._due, reaping._passed_ns = asyncio.Event(), 0
        passes = asyncio.create_task(reaping.run())
        for expected in (1, 2):
            reaping.tick(boottime_ns() + PAUSE_NS)
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(begun) == expected
        reaping.tick(boottime_ns())
        await asyncio.sleep(0)
        assert len(begun) == 2, "too soon after the last"
        passes.cancel()

    asyncio.run(live())
