# SPDX-License-Identifier: Apache-2.0
"""Which of a pool's candidates gets a request, and why.

The candidates that can take it, and have started enough for it (`ipos.selection.candidates`),
stand in the pool's order; n is their number, w a weight, W the sum of weights. A request brings
one random number of 64 bits, whose halves are `high` and `low`, and the client's address.

    least-loaded       i is drawn by weight with `high`, another one, j, by weight with `low`.
                       j wins if score[j] * w[i] < score[i] * w[j], else i:
                           score = (min(connections, 2^24) * (W // n) + w) * cpu price
                       Two random candidates, the less loaded wins: nearly as even as asking all of
                       them, and servers that read the same rows do not all run to the same one
                       (Mitzenmacher, "The Power of Two Choices", 2001).
    least-cpu          the same with score = 16 + cpu_permille + firsts * (sent since the row came):
                       each of the `firsts` servers that decide by the same rows adds for all of
                       them what it has sent itself
    least-connections  the fewest connections / w of all of them, those since the row came counted
                       `firsts` times; equals are drawn by weight with `high`
    weighted           drawn by weight with turn * 0x9e3779b9 mod 2^32, where others draw with a
                       random number: an additive recurrence with the golden ratio, whose points lie
                       as evenly in every row of turns as points can (Knuth, TAOCP 3, 6.4)
    round-robin        turn % n, whatever the weights
    random             drawn by weight with `high`
    source-hash        the client's way through the pool's table (`ipos.selection.source`)
    fixed              the first that can take it, whether it has started or not

The caller counts `turn` up once per decision of round-robin and weighted. What slow start draws is
`low` & 255, but for source-hash, where it is the client's, so that clients come back one by one.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ipos.selection import source
from ipos.selection.candidates import (
    CONNECTIONS_MAX,
    NOWHERE,
    Candidate,
    Load,
    ServerState,
    drawn,
    has_started,
    obstacle,
    started,
)

__all__ = ["NOWHERE", "Candidate", "Decision", "Load", "Policy", "Request", "ServerState",
           "decide", "fewest", "obstacle", "score"]  # fmt: skip

_WORD = 0xFFFF_FFFF
_GOLDEN = 0x9E3779B9


class Policy(IntEnum):
    """``enum ipos_policy``."""

    LEAST_LOADED = 0
    ROUND_ROBIN = 1
    RANDOM = 2
    FIXED = 3
    LEAST_CONNECTIONS = 4
    WEIGHTED = 5
    SOURCE_HASH = 6
    LEAST_CPU = 7

    @property
    def title(self) -> str:
        """As configurations have it."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Request:
    """What a decision is made by, besides the candidates and their loads.

    ``client`` is its address as a number; ``table`` has the server's index for each slot of the
    pool's source-hash table, empty where there is none; ``firsts`` is how many servers decide by
    the same rows.
    """

    random: int = 0
    turn: int = 0
    client: int = 0
    firsts: int = 1
    table: Sequence[int] = ()

    @property
    def high(self) -> int:
        return self.random >> 32 & _WORD

    @property
    def low(self) -> int:
        return self.random & _WORD


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidate, or ``None`` if no server can take the request, and why, for people."""

    candidate: Candidate | None
    reason: str


def decide(
    policy: Policy,
    candidates: Sequence[Candidate],
    loads: Mapping[int, Load],
    request: Request,
    refused: Container[int] = (),
) -> Decision:
    """Choose among the candidates of a pool, whose servers are all different."""
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
    if policy is Policy.FIXED:
        return Decision(usable[0], "fixed: the first that can take it")
    if policy is Policy.SOURCE_HASH:
        return _source_hash(usable, loads, request, refused)
    usable = started(usable, request.low & 0xFF)
    if policy is Policy.ROUND_ROBIN:
        told = f"round-robin: turn {request.turn} of {len(usable)}"
        return Decision(usable[request.turn % len(usable)], told)
    if policy is Policy.WEIGHTED:
        return _by_weight(policy, usable, request.turn * _GOLDEN & _WORD)
    if policy is Policy.RANDOM:
        return _by_weight(policy, usable, request.high)
    if policy is Policy.LEAST_CONNECTIONS:
        return _least_connections(usable, loads, request)
    return _better_of_two(policy, usable, loads, request)


def score(
    policy: Policy, candidate: Candidate, usable: Sequence[Candidate], load: Load, firsts: int = 1
) -> int:
    """What the policy compares, per weight, lower is better; 0 for one that compares nothing."""
    if policy is Policy.LEAST_LOADED:
        mean = sum(one.weight for one in usable) // max(1, len(usable))
        return (min(load.connections, CONNECTIONS_MAX) * mean + candidate.weight) * load.cpu_price
    if policy is Policy.LEAST_CPU:
        return 16 + load.cpu_permille + load.new * firsts
    if policy is Policy.LEAST_CONNECTIONS:
        return load.reckoned(firsts)
    return 0


def _better_of_two(
    policy: Policy, usable: Sequence[Candidate], loads: Mapping[int, Load], request: Request
) -> Decision:
    first = usable[drawn(usable, request.high)]
    if len(usable) == 1:
        return Decision(first, f"{policy.title}: the only one that can take it")
    second = usable[drawn(usable, request.low, first)]
    scores = {
        c.server: score(policy, c, usable, loads[c.server], request.firsts) for c in (first, second)
    }
    winner, other = first, second
    if scores[second.server] * first.weight < scores[first.server] * second.weight:
        winner, other = second, first
    told = [
        f"server {c.server} (score {scores[c.server]}, weight {c.weight})" for c in (winner, other)
    ]
    return Decision(winner, f"{policy.title}: {told[0]} against {told[1]}")


def fewest(
    usable: Sequence[Candidate], loads: Mapping[int, Load], firsts: int = 1
) -> list[Candidate]:
    """The candidates that have the fewest connections per weight, as least-connections reckons."""
    bearing = {c.server: loads[c.server].reckoned(firsts) for c in usable}
    best = usable[0]
    for one in usable:
        if bearing[one.server] * best.weight < bearing[best.server] * one.weight:
            best = one
    return [c for c in usable if bearing[c.server] * best.weight == bearing[best.server] * c.weight]


def _least_connections(
    usable: Sequence[Candidate], loads: Mapping[int, Load], request: Request
) -> Decision:
    equals = fewest(usable, loads, request.firsts)
    chosen = equals[drawn(equals, request.high)]
    connections = loads[chosen.server].reckoned(request.firsts)
    others = len(equals) - 1
    return Decision(
        chosen,
        f"least-connections: {connections} connections at weight {chosen.weight}, the fewest of "
        f"{len(usable)}{f', as {others} more' if others else ''}",
    )


def _by_weight(policy: Policy, usable: Sequence[Candidate], random: int) -> Decision:
    chosen = usable[drawn(usable, random)]
    total = sum(candidate.weight for candidate in usable)
    return Decision(chosen, f"{policy.title}: weight {chosen.weight} of {total}")


def _source_hash(
    usable: Sequence[Candidate],
    loads: Mapping[int, Load],
    request: Request,
    refused: Container[int],
) -> Decision:
    able = {candidate.server: candidate for candidate in usable}
    greatest = max(candidate.ramp for candidate in usable)
    part = source.part(request.client)
    because = ""
    for slot in source.way(request.client) if request.table else ():
        server = request.table[slot]
        candidate = able.get(server)
        if candidate is None:
            reason = obstacle(server, loads, refused) or "is no candidate"
        elif has_started(candidate, greatest, part):
            told = f"source-hash: it is server {server}'s client"
            return Decision(
                candidate, f"{because}, the next is server {server}" if because else told
            )
        else:
            reason = "is still starting"
        because = because or f"source-hash: it is server {server}'s client, which {reason}"
    chosen = usable[source.last_resort(request.client, len(usable))]
    return Decision(chosen, f"{because or 'source-hash: no table'}, one of {len(usable)} others")
