# SPDX-License-Identifier: Apache-2.0
"""The servers that could take a request, with the facts that policies choose by.

Load. A server's row says how many connections it had when it wrote the row; what this server has
sent there since, less what has closed since, is added, and the sum is never below 0:

    connections = max(0, tcp_connections + (sent - closed) - base)

A candidate is usable if its server is READY, is not among those that refused this request, and
has room: no limit, or fewer connections than the limit.

Slow start. A candidate's ramp, of 256, is how far it has started. One random number of 0 to 255
is drawn for each request; a usable candidate whose ramp is below the greatest of the pool is left
out unless number * greatest < ramp * 256. So it is offered that part of the requests, whatever the
policy then does. Should that leave out all who are usable, their own greatest counts, so where all
have just started nobody is left out.

Draws. A request comes with one random number of 32 bits for each candidate that is drawn by weight;
the nth draw from it, from 0, is by mix(number + nth * 0x9e3779b9), the first by the number itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import itemgetter

RAMP_FULL = 256
CONNECTIONS_MAX = 1 << 24
DRAWS = 8
REFUSERS_MAX = 15
"""When so many servers have refused a request, nobody is asked any more."""


class ServerState(IntEnum):
    """``enum ipos_server_state``."""

    NONE = 0
    READY = 1
    DRAIN = 2
    MAINT = 3
    DOWN = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """One server of a pool; ``server`` is its index, ``weight`` 1 to 65535, ``ramp`` 0 to 256."""

    server: int
    weight: int = 1
    ramp: int = RAMP_FULL

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= 0xFFFF:
            raise ValueError(f"a weight is 1 to 65535, not {self.weight}")
        if not 0 <= self.ramp <= RAMP_FULL:
            raise ValueError(f"a ramp is 0 to {RAMP_FULL}, not {self.ramp}")


@dataclass(frozen=True, slots=True)
class Load:
    """What is known of one server's load; ``limit`` is in connections, 0: none.

    ``base`` is ``sent - closed`` at the time the row came, ``row_sent`` was ``sent`` then. What it
    is short of is in percent.
    """

    state: ServerState = ServerState.READY
    tcp_connections: int = 0
    cpu_permille: int = 0
    sent: int = 0
    closed: int = 0
    base: int = 0
    limit: int = 0
    row_sent: int = 0
    memory_short: int = 0
    bandwidth_short: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.cpu_permille <= 1000:
            raise ValueError(f"a CPU's load is 0 to 1000 permille, not {self.cpu_permille}")
        if max(self.memory_short, self.bandwidth_short) > 100:
            raise ValueError("what a server is short of is 0 to 100 percent")

    @property
    def connections(self) -> int:
        """How many connections it has now, as far as this server can know."""
        return self.reckoned(1)

    def reckoned(self, firsts: int) -> int:
        """The same, if each of so many first servers has done as this one since the row came."""
        return max(0, self.tcp_connections + (self.sent - self.closed - self.base) * firsts)

    @property
    def shortest(self) -> tuple[int, str]:
        """What is gone, in permille, of that which it is shortest of, and what that is."""
        return max(
            (self.cpu_permille, "cpu"),
            (10 * self.memory_short, "memory"),
            (10 * self.bandwidth_short, "bandwidth"),
            key=itemgetter(0),
        )

    @property
    def price(self) -> int:
        """What a connection costs where CPU, memory or bandwidth are short: 1, 2, 4 ... 64.

        1 while more than half of each is left, then twice as much whenever half of what was left
        is gone.
        """
        left = 1000 - self.shortest[0]
        price = 1
        while price < 64 and left * price * 2 <= 1000:
            price *= 2
        return price

    @property
    def new(self) -> int:
        """What this server has sent there since the row came."""
        return (self.sent - self.row_sent) & 0xFFFF_FFFF


NOWHERE = Load(state=ServerState.NONE)


def has_refused(server: int, refused: Collection[int]) -> bool:
    """Whether a server is not to be asked again for this request."""
    return server in refused or len(refused) >= REFUSERS_MAX


def obstacle(server: int, loads: Mapping[int, Load], refused: Collection[int] = ()) -> str:
    """Why this server cannot get a request; empty when it can."""
    load = loads.get(server, NOWHERE)
    if load.state is not ServerState.READY:
        return f"is {load.state.name.lower()}"
    if has_refused(server, refused):
        return "has refused"
    if load.limit and load.connections >= load.limit:
        return f"is at its limit of {load.limit}"
    return ""


def has_started(candidate: Candidate, greatest: int, part: int) -> bool:
    """Whether a candidate is one for this part, 0 to 255, of the requests."""
    return candidate.ramp >= greatest or part * greatest < candidate.ramp * RAMP_FULL


def started(usable: Sequence[Candidate], part: int, greatest: int) -> list[Candidate]:
    """The usable candidates of one request. `greatest` is the pool's; it may leave none."""
    return [candidate for candidate in usable if has_started(candidate, greatest, part)]


def started_at_all(usable: Sequence[Candidate], part: int) -> list[Candidate]:
    """The same where the pool's greatest leaves none: at least one of them."""
    return started(usable, part, max(candidate.ramp for candidate in usable))


def draws(random: int) -> Iterator[int]:
    """The numbers that candidates are drawn by, before all are looked at."""
    for nth in range(DRAWS):
        yield mix(random + nth * 0x9E3779B9) if nth else random


def mix(number: int) -> int:
    """fmix32 of MurmurHash3: every bit of the result depends on every bit of the number."""
    number &= 0xFFFF_FFFF
    number = (number ^ number >> 16) * 0x85EBCA6B & 0xFFFF_FFFF
    number = (number ^ number >> 13) * 0xC2B2AE35 & 0xFFFF_FFFF
    return number ^ number >> 16


def drawn(candidates: Sequence[Candidate], random: int, without: Candidate | None = None) -> int:
    """The position of one of them, each as likely as its weight; ``random`` is 32 bits.

    It is random * (sum of weights) >> 32 that the running sum of weights first exceeds. The one
    that is ``without`` is passed over; 0 if there is no other.
    """
    left = random * sum(c.weight for c in candidates if c is not without) >> 32
    for position, candidate in enumerate(candidates):
        if candidate is without:
            continue
        if left < candidate.weight:
            return position
        left -= candidate.weight
    return 0
