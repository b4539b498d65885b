# SPDX-License-Identifier: Apache-2.0
"""How often a server says its state, and how much of it. Pure.

Every server hears all others, so the cost for each grows with the farm. Up to 64 servers send their
state ten times a second. In a larger farm they send it four times a second, and look eight times a
second at what has come, so that a silent server is probed, and is down, as soon as in a small farm.

To read a whole state takes an agent some 18 us. So it is sent three times when it has something
new, three times when another server has just started, and else every tenth time. In between only
the numbers are sent, in a frame that the data planes take, which costs the other agents nothing. A
server that is refused, because another one has its name or an address of it, always sends its whole
state.
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
        """Milliseconds from one state of ours to the next."""
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
    """The pace of a farm with so many servers."""
    return OFTEN if servers <= SMALL else SELDOM


TIMES = 3
"""How often something new is said in full: a datagram may be lost."""
EVERY = 10
"""Of so many states one is said in full while nothing is new."""


class Editions:
    """Decides for each state of one server whether it is sent in full."""

    def __init__(self) -> None:
        self._edition = 0
        self._left = 0
        self._said: State | None = None

    def repeat(self) -> None:
        """Send the next states in full, because a server has started that knows nothing of us."""
        self._left = TIMES

    def tell(self, state: State) -> tuple[State, bool]:
        """The state with its edition, and whether all of it is to be sent.

        Servers send whole states at different beats, chosen by their addresses.
        """
        lasting = msgspec.structs.replace(
            state, sequence=0, sent_ms=0, tcp_connections=0, cpu_permille=0, memory_available=0,
            bandwidth_available=0, memory_short=0, bandwidth_short=0, applications=[],
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
