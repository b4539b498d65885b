# SPDX-License-Identifier: Apache-2.0
"""Work that may never end, because somebody else decides how long it takes.

Each piece has a thread of its own, which the end of the process does not wait for. The threads of
`asyncio.to_thread` are few, and the process waits for them: one that hangs there would hang all.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def begin(work: Callable[[], T], then: Callable[[T], object]) -> None:
    """Run `work`, which must not raise, and then `then` with its result in this event loop."""
    loop = asyncio.get_running_loop()

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(then, result)

    threading.Thread(target=run, daemon=True).start()
