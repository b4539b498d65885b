# SPDX-License-Identifier: Apache-2.0
"""Decides which of a pool's candidates gets a request, and why.

The candidates of a pool stand in the order of their servers' numbers; n is how many they are, w a
weight, W the sum of weights. A request brings one random number of 64 bits, whose halves are `high`
and `low`, and the client's address. A draw is from all of the pool, and drawn again, up to eight
times in all, until it hits one that can take the request and has started enough for it
(`ipos.selection.candidates`). When none does, all candidates are checked, and one of those that can
take it is drawn with the first number. So each of these has the same share as by a draw among them.

    least-loaded       i is drawn by weight with `high`, another one, j, by weight with `low`.
                       j wins if score[j] * w[i] < score[i] * w[j], else i:
                           score = (min(connections, 2^24) * (W // n) + w) * price
                       where the price is 1 while half of CPU, memory and bandwidth is left, and
                       twice as much whenever half of what is left of one of them is gone.
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

A connection that an application has given back, because its server drains or has more than its
part, is no matter of chance: least-loaded and least-cpu then compare all candidates, and count what
was sent since the row came `firsts` times. Equals are drawn by weight with `high`.

Each draw of round-robin and weighted takes a turn of its own, so if a server cannot take a request,
all others share it, and not only the next one in the order. What slow start draws is `low` & 255;
where several turns are taken, the nth uses the same bits of the nth draw from `low`. With
source-hash it is the client's, so that clients come back one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from ipos.selection import source
from ipos.selection.candidates import (
    CONNECTIONS_MAX,
    NOWHERE,
    Candidate,
    Load,
    ServerState,
    drawn,
    draws,
    has_started,
    obstacle,
    started,
    started_at_all,
)

__all__ = ["NOWHERE", "Candidate", "Decision", "Load", "Policy", "Request", "ServerState",
           "decide", "fewest", "obstacle", "score"]  # fmt: skip

_WORD = 0xFFFF_FFFF
_GOLDEN = 0x9E3779B9


class Policy(IntEnum):
    """``enum ipos_policy``, in the order in which users read the names."""

    LEAST_LOADED = 0
    LEAST_CONNECTIONS = 4
    LEAST_CPU = 7
    WEIGHTED = 5
    ROUND_ROBIN = 1
    RANDOM = 2
    SOURCE_HASH = 6
    FIXED = 3

    @property
    def draws_two(self) -> bool:
        """Whether it draws two candidates and takes the better one."""
        return self in (Policy.LEAST_LOADED, Policy.LEAST_CPU)

    @property
    def title(self) -> str:
        """As configurations have it."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Request:
    """What a decision is made by, besides the candidates and their loads.

    ``returned``: an application has had its connection and has given it back.
    ``client`` is its address as a number; ``table`` has the server's index for each slot of the
    pool's source-hash table, empty where there is none; ``firsts`` is how many servers decide by
    the same rows; ``ramp`` the greatest of the pool, as its row has it;
    without one it is that of the candidates.
    """

    random: int = 0
    turn: int = 0
    client: int = 0
    firsts: int = 1
    table: Sequence[int] = ()
    ramp: int | None = None
    returned: bool = False

    @property
    def high(self) -> int:
        return self.random >> 32 & _WORD

    @property
    def low(self) -> int:
        return self.random & _WORD


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidate, or ``None`` if no server can take the request, and why, for people.

    ``turns`` is how many were taken.
    """

    candidate: Candidate | None
    reason: str
    turns: int = field(default=0, compare=False)


def decide(
    policy: Policy,
    candidates: Sequence[Candidate],
    loads: Mapping[int, Load],
    request: Request,
    refused: Collection[int] = (),
) -> Decision:
    """Choose among the candidates of a pool, whose servers rise."""
    if request.ramp is None:
        request = replace(request, ramp=max((c.ramp for c in candidates), default=0))
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
    part = request.low & 0xFF
    hits = started(usable, part, request.ramp or 0)
    able = hits or started_at_all(usable, part)
    if policy in (Policy.ROUND_ROBIN, Policy.WEIGHTED):
        return _in_turn(policy, candidates, usable, able, request)
    if policy is Policy.RANDOM:
        chosen = _drawn(candidates, hits, able, request.high)
        return Decision(chosen, _weighed(policy, chosen, able))
    if policy is Policy.LEAST_CONNECTIONS:
        return _least_connections(able, loads, request)
    if request.returned:  # two at random would bring few of them to a server that has just come
        return _best_of_all(policy, candidates, able, loads, request)
    return _better_of_two(policy, candidates, hits, able, loads, request)


def score(
    policy: Policy,
    candidate: Candidate,
    pool: Sequence[Candidate],
    load: Load,
    firsts: int = 1,
    times: int = 1,
) -> int:
    """What the policy compares, per weight, lower is better; 0 for one that compares nothing.

    ``times``: how often least-loaded counts what has been sent since the row came.
    """
    if policy is Policy.LEAST_LOADED:
        mean = sum(one.weight for one in pool) // max(1, len(pool))
        connections = min(load.reckoned(times), CONNECTIONS_MAX)
        return (connections * mean + candidate.weight) * load.price
    if policy is Policy.LEAST_CPU:
        return 16 + load.cpu_permille + load.new * firsts
    if policy is Policy.LEAST_CONNECTIONS:
        return load.reckoned(firsts)
    return 0


def _drawn(
    pool: Sequence[Candidate],
    hits: Sequence[Candidate],
    able: Sequence[Candidate],
    random: int,
    without: Candidate | None = None,
) -> Candidate:
    """One of the able candidates, drawn by weight; ``without`` only if there is no other."""
    for number in draws(random):
        one = pool[drawn(pool, number)]
        if one in hits and one is not without:
            return one
    if without is not None and len(able) == 1:
        return without
    return able[drawn(able, random, without)]


def _in_turn(
    policy: Policy,
    pool: Sequence[Candidate],
    usable: Sequence[Candidate],
    able: Sequence[Candidate],
    request: Request,
) -> Decision:
    by_weight = policy is Policy.WEIGHTED
    for turns, number in enumerate(draws(request.low), 1):
        turn = (request.turn + turns - 1) & _WORD
        place = drawn(pool, turn * _GOLDEN & _WORD) if by_weight else turn % len(pool)
        part = number & 0xFF
        if pool[place] in usable and has_started(pool[place], request.ramp or 0, part):
            chosen = pool[place]
            break
    else:
        place = drawn(able, turn * _GOLDEN & _WORD) if by_weight else turn % len(able)
        chosen = able[place]
    if by_weight:
        return Decision(chosen, _weighed(policy, chosen, able), turns)
    return Decision(chosen, f"round-robin: the next of {len(able)}", turns)


def _better_of_two(
    policy: Policy,
    pool: Sequence[Candidate],
    hits: Sequence[Candidate],
    able: Sequence[Candidate],
    loads: Mapping[int, Load],
    request: Request,
) -> Decision:
    first = _drawn(pool, hits, able, request.high)
    if len(able) == 1:
        return Decision(first, f"{policy.title}: the only one that can take it")
    second = _drawn(pool, hits, able, request.low, first)
    scores = {
        c.server: score(policy, c, pool, loads[c.server], request.firsts) for c in (first, second)
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
    return _lowest(usable, {c.server: loads[c.server].reckoned(firsts) for c in usable})


def _lowest(usable: Sequence[Candidate], scores: Mapping[int, int]) -> list[Candidate]:
    """The candidates whose score is the lowest for their weight."""
    best = usable[0]
    for one in usable:
        if scores[one.server] * best.weight < scores[best.server] * one.weight:
            best = one
    return [c for c in usable if scores[c.server] * best.weight == scores[best.server] * c.weight]


def _best_of_all(
    policy: Policy,
    pool: Sequence[Candidate],
    usable: Sequence[Candidate],
    loads: Mapping[int, Load],
    request: Request,
) -> Decision:
    """What a policy that draws two does with a connection that an application has given back."""
    scores = {
        c.server: score(policy, c, pool, loads[c.server], request.firsts, times=request.firsts)
        for c in usable
    }
    equals = _lowest(usable, scores)
    chosen = equals[drawn(equals, request.high)]
    return Decision(
        chosen, f"{policy.title}: score {scores[chosen.server]}, the best of {len(usable)}"
    )


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


def _weighed(policy: Policy, chosen: Candidate, able: Sequence[Candidate]) -> str:
    total = sum(candidate.weight for candidate in able)
    return f"{policy.title}: weight {chosen.weight} of {total}"


def _source_hash(
    usable: Sequence[Candidate],
    loads: Mapping[int, Load],
    request: Request,
    refused: Collection[int],
) -> Decision:
    able = {candidate.server: candidate for candidate in usable}
    part = source.part(request.client)
    because = ""
    for slot in source.way(request.client) if request.table else ():
        server = request.table[slot]
        candidate = able.get(server)
        if candidate is None:
            reason = obstacle(server, loads, refused) or "is no candidate"
        elif has_started(candidate, request.ramp or 0, part):
            told = f"source-hash: it is server {server}'s client"
            return Decision(
                candidate, f"{because}, the next is server {server}" if because else told
            )
        else:
            reason = "is still starting"
        because = because or f"source-hash: it is server {server}'s client, which {reason}"
    chosen = usable[source.last_resort(request.client, len(usable))]
    return Decision(chosen, f"{because or 'source-hash: no table'}, one of {len(usable)} others")
