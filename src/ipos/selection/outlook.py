# SPDX-License-Identifier: Apache-2.0
"""All that `decide` could answer now, for people who ask why.

A decision draws at most one random number. Every outcome of that draw is decided here, by the
same function, so what is told of a policy is what the policy does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ipos.selection.policies import (
    NOWHERE,
    Candidate,
    Decision,
    Load,
    Policy,
    decide,
    obstacle,
)


@dataclass(frozen=True, slots=True)
class Prospect:
    """One candidate as it stands: `obstacle` is why it is not usable, empty when it is.

    `share` is the part of the next requests that would go there while no load changes, 0 to 1.
    """

    candidate: Candidate
    load: Load
    obstacle: str
    share: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """The candidates in the pool's order, and every different decision with its part of all."""

    prospects: tuple[Prospect, ...]
    decisions: tuple[tuple[Decision, float], ...]


def outlook(
    policy: Policy, candidates: Sequence[Candidate], loads: Mapping[int, Load], turn: int = 0
) -> Outlook:
    """What can become of the next request. `turn` is round-robin's."""
    usable = sum(not obstacle(one.server, loads) for one in candidates)
    parts: dict[Decision, float] = {}
    drawn = _draws(policy, candidates, loads, usable, turn)
    for random, at, part in drawn:
        decision = decide(policy, candidates, loads, random=random, turn=at)
        parts[decision] = parts.get(decision, 0) + part
    shares: dict[int, float] = {}
    for decision, part in parts.items():
        if decision.candidate is not None:
            server = decision.candidate.server
            shares[server] = shares.get(server, 0) + part
    prospects = tuple(
        Prospect(
            one,
            loads.get(one.server, NOWHERE),
            obstacle(one.server, loads),
            shares.get(one.server, 0.0),
        )
        for one in candidates
    )
    return Outlook(prospects, tuple(parts.items()))


def _draws(
    policy: Policy,
    candidates: Sequence[Candidate],
    loads: Mapping[int, Load],
    usable: int,
    turn: int,
) -> list[tuple[int, int, float]]:
    """(random number, turn, probability) of each different draw."""
    if policy is Policy.LEAST_LOADED and usable > 1:
        pairs = [(i, k) for i in range(usable) for k in range(usable - 1)]
        return [(i | k << 16, turn, 1 / len(pairs)) for i, k in pairs]
    if policy is Policy.ROUND_ROBIN and usable:
        return [(0, turn + i, 1 / usable) for i in range(usable)]
    if policy is Policy.RANDOM and usable:
        weights = [one.weight for one in candidates if not obstacle(one.server, loads)]
        total = sum(weights)
        starts = [sum(weights[:i]) for i in range(usable)]
        return [
            (start, turn, weight / total) for start, weight in zip(starts, weights, strict=True)
        ]
    return [(0, turn, 1.0)]
