# SPDX-License-Identifier: Apache-2.0
"""A map of connections and its second one, for IPv6, which may come while the first is in use."""

from pathlib import Path

from ipos.abi.layout import layout
from ipos.closing import Closing
from ipos.kernel.libbpf.map_store import Map

_KEY = layout("ipos_tuple").size


class EitherFamily(Closing):
    """The maps `name` and, where the programs of IPv6 are loaded, `name` with a 6 behind it."""

    def __init__(self, maps: Path, name: str) -> None:
        self._six_at = maps / f"{name}6"
        self._four = Map.open(maps / name)
        self._six: Map | None = None

    def all(self) -> list[Map]:
        """Those that are there now."""
        if self._six is None and self._six_at.exists():
            self._six = Map.open(self._six_at)
        return [self._four] if self._six is None else [self._four, self._six]

    def get(self, key: bytes) -> bytes | None:
        """The row of a connection, whose key says by its length of which family it is."""
        if len(key) == _KEY:
            return self._four.get(key)
        six = self.all()[1:]
        return six[0].get(key) if six else None

    def close(self) -> None:
        self._four.close()
        if self._six is not None:
            self._six.close()
