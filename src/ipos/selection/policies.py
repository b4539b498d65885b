# SPDX-License-Identifier: Apache-2.0
"""Which of a pool's candidates gets a request, and why.

A candidate is usable if its server is READY, is not among the servers that refused this request,
and has room: no limit, or fewer connections than the limit. The usable candidates stand in the
pool's order; n is their number; r is one random 32-bit number, which is an argument.

Load. A server's row says how many connections it had when it wrote the row; what this server has
sent there since, less what has closed since, is added, and the sum is never below 0:

    connections = max(0, tcp_connections + (sent - closed) - base)
    score = (connections + 1) * (16 + (cpu_permille * cpu_permille >> 12))

so a busy CPU makes a server dearer, slowly at first: by a factor of 1 when idle, 4.8 at half,
16.25 when full.

    least-loaded  i = (r & 0xffff) % n; for n > 1, j = (i + 1 + (r >> 16) % (n - 1)) % n, so j is
                  another one. j wins if score[j] * weight[i] < score[i] * weight[j], else i. Two
                  random candidates, the less loaded wins: nearly as even as asking all of them,
                  and servers that read the same rows do not all run to the same one
                  (Mitzenmacher, "The Power of Two Choices", 2001).
    round-robin   turn % n; the caller counts turn up once per decision
    random        x = r % (sum of the usable weights); the first candidate at which the running
                  sum of weights exceeds x
    fixed         the first usable candidate
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class ServerState(IntEnum):
    """``enum ipos_server_state``."""

    NONE = 0
    READY = 1
    DRAIN = 2
    MAINT = 3
    DOWN = 4


class Policy(IntEnum):
    """``enum ipos_policy``."""

    LEAST_LOADED = 0
    ROUND_ROBIN = 1
    RANDOM = 2
    FIXED = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """One server of a pool; ``server`` is its index, ``weight`` 1 to 65535."""

    server: int
    weight: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= 0xFFFF:
            raise ValueError(f"a weight is 1 to 65535, not {self.weight}")


@dataclass(frozen=True, slots=True)
class Load:
    """What is known of one server's load; ``limit`` is in connections, 0: none.

    ``base`` is ``sent - closed`` at the time the row came.
    """

    state: ServerState = ServerState.READY
    tcp_connections: int = 0
    cpu_permille: int = 0
    sent: int = 0
    closed: int = 0
    base: int = 0
    limit: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.cpu_permille <= 1000:
            raise ValueError(f"a CPU's load is 0 to 1000 permille, not {self.cpu_permille}")

    @property
    def connections(self) -> int:
        """How many connections it has now, as far as this server can know."""
        return max(0, self.tcp_connections + self.sent - self.closed - self.base)

    @property
    def score(self) -> int:
        """The load as one number; lower is better, and it is at least 16."""
        return (self.connections + 1) * (16 + (self.cpu_permille * self.cpu_permille >> 12))


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidate, or ``None`` if no server can take the request, and why, for people."""

    candidate: Candidate | None
    reason: str


NOWHERE = Load(state=ServerState.NONE)


def decide(
    policy: Policy,
    candidates: Sequence[Candidate],
    loads: Mapping[int, Load],
    *,
    refused: Container[int] = (),
    random: int = 0,
    turn: int = 0,
) -> Decision:
    """Choose among the candidates of a pool. ``random`` is 32 bits; ``turn`` is round-robin's."""
    usable = []
    unusable = []
    for candidate in candidates:
        reason = obstacle(candidate.server, loads, refused)
        if reason:
            unusable.append(f"server {candidate.server} {reason}")
        else:
            usable.append(candidate)
    if not usable:
        return Decision(None, f"nobody can take it: {', '.join(unusable) or 'the pool is empty'}")
    if policy is Policy.ROUND_ROBIN:
        return Decision(usable[turn % len(usable)], f"round-robin: turn {turn} of {len(usable)}")
    if policy is Policy.RANDOM:
        return _weighted(usable, random)
    if policy is Policy.FIXED:
        return Decision(usable[0], "fixed: the first that can take it")
    return _least_loaded(usable, loads, random)


def obstacle(server: int, loads: Mapping[int, Load], refused: Container[int] = ()) -> str:
    """Why this server cannot get a request; empty when it can."""
    load = loads.get(server, NOWHERE)
    if load.state is not ServerState.READY:
        return f"is {load.state.name.lower()}"
    if server in refused:
        return "has refused"
    if load.limit and load.connections >= load.limit:
        return f"is at its limit of {load.limit}"
    return ""


def _least_loaded(usable: Sequence[Candidate], loads: Mapping[int, Load], random: int) -> Decision:
    n = len(usable)
    i = (random & 0xFFFF) % n
    first = usable[i]
    if n == 1:
        return Decision(first, "least-loaded: the only one that can take it")
    second = usable[(i + 1 + (random >> 16) % (n - 1)) % n]
    scores = {c.server: loads[c.server].score for c in (first, second)}
    winner, other = first, second
    if scores[second.server] * first.weight < scores[first.server] * second.weight:
        winner, other = second, first
    told = [
        f"server {c.server} (score {scores[c.server]}, weight {c.weight})" for c in (winner, other)
    ]
    return Decision(winner, f"least-loaded: {told[0]} against {told[1]}")


def _weighted(usable: Sequence[Candidate], random: int) -> Decision:
    total = sum(candidate.weight for candidate in usable)
    left = drawn = random % total
    for candidate in usable:
        if left < candidate.weight:
            break
        left -= candidate.weight
    return Decision(candidate, f"random: {drawn} of {total}")
