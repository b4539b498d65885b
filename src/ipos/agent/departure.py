# SPDX-License-Identifier: Apache-2.0
"""A server leaves its farm in order before its agent stops (`[server] on_stop = "leave"`)."""

import asyncio
import time

import msgspec
import structlog

from ipos.agent.drain.emptying import Emptying
from ipos.agent.holders.announcements import Announcements
from ipos.agent.holders.keeper import Keeper
from ipos.agent.host.systemd import STOPPING, notify
from ipos.agent.loop.tasks import Tasks, wait_for

_HAND_OVER_S = 5
"""How long a server that leaves waits for others to take its addresses, beside its timeout."""
_LOOK_S = 0.05

log = structlog.get_logger()


class Departure:
    """Waits until this server has no connections and no addresses, then stops the agent."""

    def __init__(self, emptying: Emptying, keeper: Keeper | Announcements, tasks: Tasks) -> None:
        self._emptying = emptying
        self._keeper = keeper
        self._tasks = tasks
        self.has_begun = False

    def begin(self, server: str, timeout_s: int) -> None:
        """Give all connections and addresses away, or as many as there is time for, then stop."""
        self.has_begun = True
        self._tasks.spawn(self._leave(server, timeout_s))

    async def _leave(self, server: str, timeout_s: int) -> None:
        extra = f"EXTEND_TIMEOUT_USEC={(timeout_s + _HAND_OVER_S + 1) * 1_000_000:.0f}"
        await asyncio.to_thread(notify, STOPPING, extra)
        log.info("this server leaves the farm", timeout_s=timeout_s)
        now_ms = time.time_ns() // 1_000_000
        self._emptying.leave(server, now_ms, now_ms + timeout_s * 1000)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while loop.time() < began_s + timeout_s + _HAND_OVER_S and not self._is_over():
            await wait_for(self._tasks.stopping, _LOOK_S)
        told = self._emptying.leaving()
        log.info(
            "this server has left the farm",
            took_s=round(loop.time() - began_s, 1),
            holds_addresses=self._keeper.holds_any,
            **({} if told is None else msgspec.structs.asdict(told)),
        )
        self._tasks.stopping.set()

    def _is_over(self) -> bool:
        leaving = self._emptying.leaving()
        if leaving is None or leaving.left:
            return False
        return not (leaving.gives and (self._keeper.holds_any or leaving.unattached))
