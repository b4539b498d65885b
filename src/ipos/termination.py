# SPDX-License-Identifier: Apache-2.0
"""SIGTERM in commands that have something to take back before they end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Inside the block SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
