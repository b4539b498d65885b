# SPDX-License-Identifier: Apache-2.0
"""Rings of the data plane: it writes them, and one process reads each."""

from pathlib import Path

from ipos.closing import Closing
from ipos.kernel.libbpf import Map, RingBuffer


class _Enough(Exception):
    """Ends a reading; libbpf has counted the record that raised it as read."""


class Ring(Closing):
    """The reading end of the ring of this name. What an earlier reader left is thrown away."""

    def __init__(self, maps: Path, name: str) -> None:
        self._found: list[bytes] = []
        self._most = 0
        self._map = Map.open(maps / name)
        self._ring = RingBuffer(self._map.fd, self._receive)
        while self.take(1000):
            pass

    def fileno(self) -> int:
        """Readable while records wait."""
        return self._ring.fileno()

    def take(self, most: int) -> list[bytes]:
        """The records that wait, `most` of them at a time: a writer may be faster than we are."""
        self._most = most
        try:
            self._ring.consume()
        except _Enough:
            pass
        taken, self._found = self._found, []
        return taken

    def close(self) -> None:
        self._ring.close()
        self._map.close()

    def _receive(self, record: bytes) -> None:
        self._found.append(record)
        if len(self._found) >= self._most:
            raise _Enough
