# SPDX-License-Identifier: Apache-2.0
"""Slow start: since when each server serves a service, and what part of the requests it gets.

Pure: time is an argument. Every agent counts the time for itself, because what matters is how long
its own server has been able to send there: a server that comes back from being down, drained, in
maintenance or without its application starts anew. A server that already serves in the agent's
first seconds has done so for an unknown time and is not held back. Neither is a server whose agent
was restarted, because its data plane and its application continued. When all others, two or more,
are gone at once, it is we who were cut off, and they have not started anew when they are back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ipos.abi.rows import RAMP_FULL, ServerState
from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.membership import Members
from ipos.config.schema import Service

FIRST = RAMP_FULL // 16
"""What a server is offered when it has just come: none at all would never warm it up."""
STEP = RAMP_FULL // 32
"""It grows by so much at a time, because all pools are written each time."""
_RESTART_NS = 3_000_000_000
_AT_ONCE_NS = 1_500_000_000
_LONG_AGO = -(1 << 62)


@dataclass(slots=True)
class _Service:
    """One service on one server: since when, until when, and the agent that said so."""

    since_ns: int
    until_ns: int | None = None
    boot: int = 0


class Starts:
    """The times that one agent keeps."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], _Service] = {}

    def look(
        self, services: Iterable[Service], members: Members, now_ns: int, *, opening: bool
    ) -> None:
        """Take in who serves what now. While `opening`, who is there was there before."""
        serving = {
            (service.name, member.index): member.state.boot
            for service in services
            for member in members.by_ip.values()
            if member.state is not None
            and member.age(now_ns) is not Age.DOWN
            and member.state.state == ServerState.READY
            and service.name in member.state.services
            and not member.standing.why
        }
        cut_off = _is_cut_off(members, now_ns)
        for key, known in self._known.items():
            if key in serving:
                continue
            if cut_off and key[1] != members.myself.index:
                if known.until_ns is not None and now_ns - known.until_ns < _AT_ONCE_NS:
                    known.until_ns = None
            elif known.until_ns is None:
                known.until_ns = now_ns
        for key, boot in serving.items():
            known = self._known.setdefault(key, _Service(_LONG_AGO if opening else now_ns))
            if known.until_ns is not None:
                restarted = known.boot != boot and now_ns - known.until_ns < _RESTART_NS
                if not restarted:
                    known.since_ns = now_ns
                known.until_ns = None
            known.boot = boot

    def ramps(self, services: Iterable[Service], now_ns: int) -> Mapping[tuple[str, int], int]:
        """(service, server's index) -> its ramp, of 256, for those that are still starting."""
        durations = {service.name: service.slow_start_ms * 1_000_000 for service in services}
        found = {}
        for (name, index), known in self._known.items():
            duration, elapsed = durations.get(name, 0), now_ns - known.since_ns
            if elapsed < duration and known.until_ns is None:
                grown = (RAMP_FULL - FIRST) * max(0, elapsed) // duration
                found[name, index] = FIRST + grown - grown % STEP
        return found


def _is_cut_off(members: Members, now_ns: int) -> bool:
    ages = [member.age(now_ns) for member in members.others() if member.state is not None]
    return len(ages) > 1 and all(age is Age.DOWN for age in ages)
