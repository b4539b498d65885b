# SPDX-License-Identifier: Apache-2.0
"""Rates and times of services and routes, from one `GET /v1/traffic` to the next. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
_NOTHING: Document = {"services": [], "routes": []}


class Traffic:
    """What has changed between the last two."""

    def __init__(self) -> None:
        self._now = self._before = _NOTHING
        self._passed_s = 0.0

    def take(self, traffic: Document, passed_s: float) -> None:
        """Another one, so many seconds after the one before."""
        self._before, self._now, self._passed_s = self._now, traffic, passed_s

    def service(self, name: str) -> tuple[str, str, str, str]:
        """Requests and refusals a second, median and 99th percentile of the requests' times."""
        now, before = (_services(one).get(name) for one in (self._now, self._before))
        if now is None or before is None:
            return "", "", "", ""
        decided, refused = (_grown(now[what], before[what]) for what in ("decided", "refused"))
        times = [new - old for new, old in zip(now["request"], before["request"], strict=True)]
        return self._rate(decided), self._rate(refused), quantile(times, 0.5), quantile(times, 0.99)

    def routes(self) -> list[tuple[str, str, str, str]]:
        """Service, route, and its requests and refusals a second; the busiest first."""
        before = {(one["service"], one["route"]): one for one in self._before["routes"]}
        found = []
        for one in self._now["routes"]:
            old = before.get((one["service"], one["route"]))
            if old is not None:
                decided, refused = (max(0, one[w] - old[w]) for w in ("decided", "refused"))
                found.append((decided, refused, one["service"], one["route"]))
        found.sort(key=lambda row: (-row[0], -row[1], *row[2:]))
        return [
            (service, route, self._rate(decided), self._rate(refused))
            for decided, refused, service, route in found
        ]

    def _rate(self, count: int) -> str:
        return f"{count / self._passed_s:,.1f}" if self._passed_s > 0 else ""


def quantile(buckets: Sequence[int], part: float) -> str:
    """At most how long that part took; a bucket's number is the bits of its microseconds."""
    upto, total = 0, sum(buckets)
    for bits, count in enumerate(buckets):
        upto += count
        if count > 0 and upto >= part * total:
            return _duration(2**bits)
    return ""


def _duration(us: int) -> str:
    if us < 1_000:
        return f"{us} us"
    return f"{us / 1_000:.3g} ms" if us < 1_000_000 else f"{us / 1_000_000:.3g} s"


def _services(traffic: Document) -> dict[str, Any]:
    return {one["service"]: one for one in traffic["services"]}


def _grown(now: Mapping[str, int], before: Mapping[str, int]) -> int:
    return max(0, sum(now.values()) - sum(before.values()))
