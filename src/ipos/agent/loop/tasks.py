# SPDX-License-Identifier: Apache-2.0
"""The agent's tasks: work that takes time, done beside the heartbeat.

A step that fails because of the machine (`IposError`, `OSError`) is tried again at the next beat.
Any other exception is a fault of the program: it ends the agent, and the data plane continues.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

from ipos.errors import IposError

T = TypeVar("T")


class Tasks:
    """`stopping` is set when the agent has been told to end, or ends because of a fault."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.fault: BaseException | None = None
        self._running: set[asyncio.Task[None]] = set()

    def attempt(self, step: Callable[[], object]) -> str:
        """Run one step of a beat. Returns why it failed, or "" if it did not."""
        try:
            step()
        except (IposError, OSError) as error:
            return str(error)
        except Exception as error:
            self._end(error)
        return ""

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Start a task that ends by itself. `wait` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def in_thread(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Run `work` in a thread, and `then` with its result in the event loop."""

        async def both() -> None:
            then(await asyncio.to_thread(work))

        self.spawn(both())

    async def wait(self) -> None:
        """Return when all tasks have ended."""
        while self._running:
            await asyncio.wait(self._running)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._end(error)

    def _end(self, fault: BaseException) -> None:
        self.fault = self.fault or fault
        self.stopping.set()


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task that does not end by itself, and wait until it has ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
