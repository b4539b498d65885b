# SPDX-License-Identifier: Apache-2.0
"""Puts decisions and the answers to them together: one entry for each request. Pure.

A request waits here for its answer, at most MOST of them. One whose connection ends before its
answer does has a line that says who has ended it. One that nobody tells of is told without times.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ipos.abi import rows
from ipos.abi.families import AnyDecision, AnyTuple
from ipos.abi.layout import constant, header

MOST = 10_000
PATIENCE_NS = 60_000_000_000
_HEAD, _TIMEOUT, _REDIRECTED = (
    constant(f"IPOS_REASON_{name}") for name in ("HEAD", "TIMEOUT", "REDIRECTED")
)
Told = dict[str, Any]
_OURS = (rows.Outcome.NEW, rows.Outcome.AGAIN, rows.Outcome.STAYS, rows.Outcome.TAKEN)


@dataclass(slots=True)
class _Waiting:
    told: Told
    since_ns: int


class Requests:
    """Those of one server, which has the index `me`."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[AnyTuple, list[_Waiting]] = OrderedDict()
        self._count = 0

    def take(self, decision: AnyDecision, told: Told, me: int) -> list[Told]:
        """One record, and the same in words. Returns what is complete by it, the oldest first."""
        key, outcome = decision.tuple, decision.outcome
        if outcome is rows.Outcome.ANSWERED:
            return self._answered(decision, told)
        done: list[Told] = []
        if outcome in (rows.Outcome.NEW, rows.Outcome.TAKEN):  # the connection before has ended
            done += self._end(key)
        elif outcome is rows.Outcome.AGAIN:  # the choice before has come to nothing
            self._drop(key)
        if outcome is rows.Outcome.REFUSED:
            return [*done, told | {"status": _status(decision), "bytes": None}]
        if decision.reason == _REDIRECTED:
            return [*done, told | {"status": 307, "bytes": None}]
        if decision.server != me or outcome not in _OURS:
            return done  # who serves it tells of it
        self._waiting.setdefault(key, []).append(_Waiting(told, decision.when_ns))
        self._count += 1
        while self._count > MOST:
            done += self._end(next(iter(self._waiting)))
        return done

    def give_up(self, now_ns: int, lives: Callable[[AnyTuple], bool]) -> list[Told]:
        """Those that have waited for long and whose connection is no more; a few at a time."""
        done = []
        for key, waiting in list(self._waiting.items())[:200]:
            if now_ns - waiting[0].since_ns < PATIENCE_NS:
                break
            if lives(key):
                self._waiting.move_to_end(key)
            else:
                done += self._end(key)
        return done

    def _answered(self, decision: AnyDecision, told: Told) -> list[Told]:
        """One packet may end several answers: its bytes are the first one's."""
        waiting = self._waiting.get(decision.tuple, [])
        found = waiting[: max(1, decision.answers)]
        del waiting[: len(found)]
        self._count -= len(found)
        if not waiting:
            self._waiting.pop(decision.tuple, None)
        times: Told = {
            "status": decision.status or None,
            "bytes": decision.bytes,
            "first_byte": round(decision.first_us / 1e6, 6),
            "took": round(decision.took_ns / 1e9, 6),
        }
        if rows.DecisionFlags.UNFINISHED in decision.flags:
            by_client = rows.DecisionFlags.BY_CLIENT in decision.flags
            times |= {
                "first_byte": times["first_byte"] if decision.first_us else None,
                "ended_by": "client" if by_client else "server",
            }
        done = [one.told | times for one in found] or [told | times]
        return [done[0], *(one | {"bytes": 0} for one in done[1:])]

    def _end(self, key: AnyTuple) -> list[Told]:
        ended = self._waiting.pop(key, [])
        self._count -= len(ended)
        return [one.told for one in ended]

    def _drop(self, key: AnyTuple) -> None:
        waiting = self._waiting.get(key)
        if waiting:
            waiting.pop()
            self._count -= 1
            if not waiting:
                del self._waiting[key]


def _status(decision: AnyDecision) -> int:
    if decision.reason == _TIMEOUT:
        return 408
    if decision.reason != _HEAD:
        return 503
    too_long = next(one.number for one in header().ambiguities if one.name == "TOO_LONG")
    return 431 if decision.refusal == too_long else 400
