# SPDX-License-Identifier: Apache-2.0
"""When the walks through the connection tables begin."""

import asyncio
from collections.abc import Iterator

import pytest

from ipos.agent.expiry.connection_rows import ConnectionRows
from ipos.agent.expiry.expiry_rules import Limits
from ipos.agent.expiry.grace import Period
from ipos.agent.expiry.sweep import PAUSE_NS, Sweep
from ipos.agent.host.own_state import boottime_ns


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
        sweep = object.__new__(Sweep)
        sweep._due, sweep._passed_ns = asyncio.Event(), 0
        sweep._rows = object.__new__(ConnectionRows)
        sweep._rows.limits, sweep._grace = Limits(), Period()
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
