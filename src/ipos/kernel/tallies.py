# SPDX-License-Identifier: Apache-2.0
"""What the data plane has counted and timed for services, pools, rules and servers.

Each CPU counts by itself; here they are summed. Programs of a version that does not count yet have
no such maps: then everything is 0.
"""

import struct
from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeVar

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.abi.layout import constant
from ipos.kernel.libbpf.errors import PinError

R = TypeVar("R", rows.ServiceTally, rows.Tally, rows.Histogram)
_BUCKETS = constant("IPOS_BUCKETS")


class Counts(Protocol):
    """A map with a value for each CPU."""

    def get_per_cpu(self, key: bytes) -> list[bytes] | None: ...
    def update_per_cpu(self, key: bytes, values: Iterable[bytes], /) -> None: ...


class Tallies:
    """`open_map` opens one of the maps by its name; PinError where there is none."""

    def __init__(self, open_map: Callable[[str], Counts]) -> None:
        self._open_map = open_map
        self._opened: dict[str, Counts | None] = {}

    def service(self, index: int) -> rows.ServiceTally:
        return self._sum("service_tallies", _SERVICE, index)

    def pool(self, index: int) -> rows.Tally:
        return self._sum("pool_tallies", _TALLY, index)

    def rule(self, number: int) -> rows.Tally:
        """By the place of a rule in the configuration, from 1; 0: what no rule decided."""
        return self._sum("rule_tallies", _TALLY, number)

    def server(self, index: int) -> rows.Tally:
        return self._sum("server_tallies", _TALLY, index)

    def histogram(self, service: int, what: rows.Timed) -> rows.Histogram:
        index = constant("IPOS_TIMEDS") * service + what
        return self._sum("histograms", _HISTOGRAM, index)

    def forget(
        self,
        services: Collection[int] = (),
        pools: Collection[int] = (),
        rules: Collection[int] = (),
    ) -> None:
        """Begin at 0 where an index gets another meaning. What is counted meanwhile is lost."""
        timeds = constant("IPOS_TIMEDS")
        self._empty("service_tallies", services)
        self._empty("histograms", [timeds * one + at for one in services for at in range(timeds)])
        self._empty("pool_tallies", pools)
        self._empty("rule_tallies", rules)

    def _sum(self, name: str, codec: Codec[R], index: int) -> R:
        counts = self._map(name)
        raw = counts.get_per_cpu(index.to_bytes(4, "little")) if counts is not None else None
        size = codec.shape.size
        words = [struct.unpack(f"={size // 8}Q", one[:size]) for one in raw or ()]
        summed = [sum(column) for column in zip(*words, strict=True)] or [0] * (size // 8)
        return codec.decode(struct.pack(f"={size // 8}Q", *summed))

    def _empty(self, name: str, indices: Iterable[int]) -> None:
        counts = self._map(name)
        for index in indices if counts is not None else ():
            assert counts is not None
            key = index.to_bytes(4, "little")
            values = counts.get_per_cpu(key) or []
            if any(any(value) for value in values):
                counts.update_per_cpu(key, [bytes(len(value)) for value in values])

    def _map(self, name: str) -> Counts | None:
        if name not in self._opened:
            try:
                self._opened[name] = self._open_map(name)
            except PinError:
                return None  # an upgrade may bring it
        return self._opened[name]


_SERVICE = Codec(rows.ServiceTally)
_TALLY = Codec(rows.Tally)
_HISTOGRAM = Codec(rows.Histogram)


def bounds_s() -> list[float]:
    """The upper bounds of a histogram's buckets in seconds; the last one has none."""
    return [2**bits / 1e6 for bits in range(_BUCKETS - 1)]
