# SPDX-License-Identifier: Apache-2.0
"""Locks on directories that an interrupt does not leave behind."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident

_held: dict[tuple[int, Path], list[int]] = {}
"""Thread and directory -> the descriptor that has the lock."""


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Hold the directory alone, and wait for that. Yields its descriptor. OSError if there is none.

    A thread does not take a lock twice. A Ctrl-C may come between any two steps, before the lock
    is in its `with` block or while it is left, and the thread then cleans up, which takes the lock
    again. What it still has of that lock is therefore given back first: it would wait for itself.
    """
    mine = _held.setdefault((get_ident(), directory), [])
    _close(mine)
    try:
        # One call opens and keeps: nothing comes between.
        mine.extend(map(os.open, [directory], [os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC]))
        fcntl.flock(mine[-1], fcntl.LOCK_EX)
        yield mine[-1]
    finally:
        _close(mine)


def _close(descriptors: list[int]) -> None:
    with suppress(IndexError):
        # One call takes and closes until there is none: nothing comes between either.
        any(map(os.close, iter(descriptors.pop, None)))
