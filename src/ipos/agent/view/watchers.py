# SPDX-License-Identifier: Apache-2.0
"""Readers of decisions, and what each of them is given.

The data plane reports every decision only while somebody watches. So the first watcher sets its
flag and the last one clears it; a new agent clears one that a dead agent left. Decisions drawn for
the access log come without the flag. All readers share the ring: the one that reads first passes
the records on to the others.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ipos.kernel.decisions import decode, is_of_request

LOOK_S = 0.05
READ = 1000
"""Records of one look; what the ring has no room for meanwhile is counted by the data plane."""
KEPT = 2000
"""Of one reader that is slower than the others."""


class Ring(Protocol):
    """`ipos.kernel.decisions.DecisionRing`, or a stand-in of a test."""

    def take(self, most: int) -> list[bytes]: ...
    def close(self) -> None: ...


class Feed:
    """The records that one reader has not got yet."""

    def __init__(self, look: Callable[[], None], *, watches: bool) -> None:
        self.watches = watches
        self._look = look
        self._waiting: deque[bytes] = deque()
        self._lost = 0

    def put(self, records: list[bytes]) -> None:
        room = max(0, KEPT - len(self._waiting))
        self._waiting.extend(records[:room])
        self._lost += len(records[room:])

    def take(self) -> tuple[list[bytes], int]:
        """(records, how many more there were that nobody kept) since the last time."""
        self._look()
        told, lost = list(self._waiting), self._lost
        self._waiting.clear()
        self._lost = 0
        return told, lost


class Watching:
    """All readers of one data plane's ring. `switch` sets and clears the flag in its settings."""

    def __init__(self, open_ring: Callable[[], Ring], switch: Callable[[bool], None]) -> None:
        self._open = open_ring
        self._switch = switch
        self._ring: Ring | None = None
        self._feeds: list[Feed] = []

    @property
    def is_on(self) -> bool:
        return any(feed.watches for feed in self._feeds)

    @contextmanager
    def feed(self, *, watches: bool = True) -> Iterator[Feed]:
        """A reader, as long as the block lasts; without `watches`, of what is there anyway.

        IposError when there is no ring to read.
        """
        feed = Feed(self._look, watches=watches)
        if self._ring is None:
            self._ring = self._open()
        self._feeds.append(feed)
        try:
            if watches:
                self._switch(True)
            yield feed
        finally:
            self._feeds.remove(feed)
            if watches and not self.is_on:
                self._switch(False)
            if not self._feeds:
                self._ring.close()
                self._ring = None

    def told(self, record: bytes) -> None:
        """Give a decision of the agent's own to all readers."""
        for feed in self._feeds:
            feed.put([record])

    def _look(self) -> None:
        records = self._ring.take(READ) if self._ring is not None else []
        if records:
            shown = [one for one in records if not is_of_request(decode(one))]
            for feed in self._feeds:
                feed.put(shown if feed.watches else records)
