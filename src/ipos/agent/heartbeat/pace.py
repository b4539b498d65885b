# SPDX-License-Identifier: Apache-2.0
"""How often a server says its state, and how much of it. Pure.

All hear all, so what a farm costs each of its servers grows with its size. Up to 64 servers say
their state ten times a second. A larger farm's servers say theirs four times a second and look
eight times at what has come, so that a silent one is asked, and is down, as soon as in a small
farm.

To read a whole state takes an agent some 18 us. So it is said three times when it has something
new, when another server has just begun, and else every tenth time. In between the data planes are
told the numbers alone, in a frame that costs the agents nothing. A server that is refused, because
another one has its name or an address of it, always says its whole state.
"""

from typing import NamedTuple

import msgspec

from ipos.agent.heartbeat.member_faults import Fault
from ipos.agent.heartbeat.message import State

SMALL = 64


class Pace(NamedTuple):
    """A look at the others every `tick_ms` of the wall clock; at each `every`th we speak."""

    tick_ms: int
    every: int

    @property
    def again_ms(self) -> int:
        """From one state of ours to the next."""
        return self.tick_ms * self.every

    def until_next(self, now_s: float) -> float:
        """Seconds to the next look. A timer that ends a little too early makes no second one."""
        tick_s = self.tick_ms / 1000
        left_s = tick_s - now_s % tick_s
        return left_s if left_s > tick_s / 4 else left_s + tick_s

    def speaks(self, now_s: float) -> bool:
        """Whether the look that is nearest to now is one at which all servers speak."""
        return round(now_s * 1000 / self.tick_ms) % self.every == 0


OFTEN = Pace(100, 1)
SELDOM = Pace(125, 2)


def pace(servers: int) -> Pace:
    """Of a farm of so many servers."""
    return OFTEN if servers <= SMALL else SELDOM


TIMES = 3
"""How often something new is said in full: a datagram may be lost."""
EVERY = 10
"""Of so many states one is said in full while nothing is new."""


class Editions:
    """Says of each state of one server whether it is said in full."""

    def __init__(self) -> None:
        self._edition = 0
        self._left = 0
        self._said: State | None = None

    def repeat(self) -> None:
        """Say the next states in full: somebody has begun, and knows nothing of us."""
        self._left = TIMES

    def tell(self, state: State) -> tuple[State, bool]:
        """The state with its edition, and whether all of it is to be said.

        Servers say all of theirs at different beats, by their addresses.
        """
        lasting = msgspec.structs.replace(
            state, sequence=0, sent_ms=0, tcp_connections=0, cpu_permille=0, memory_available=0,
            bandwidth_available=0, applications=[],
        )  # fmt: skip
        if lasting != self._said:
            self._said = lasting
            self._edition += 1
            self._left = TIMES
        state = msgspec.structs.replace(state, edition=self._edition)
        is_due = (state.sequence + state.back_ip) % EVERY == 0
        # Data planes take no frames from a server that is refused: it would seem to be silent.
        is_refused = state.fault == Fault.DUPLICATE
        whole = is_due or is_refused or self._left > 0
        self._left = max(0, self._left - 1)
        return state, whole
