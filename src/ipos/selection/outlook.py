# SPDX-License-Identifier: Apache-2.0
"""Lists everything that `decide` could answer now, for people who ask why.

A decision draws a few numbers, and only two things depend on them: which server is drawn by weight,
and which servers have not started enough. Every outcome of those draws is decided here by the same
function, so the answer is what the policy does. Where the client's address decides and no client is
given, a thousand clients are asked about, and where too many pairs can be drawn, a thousand of them
are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from ipos.selection.candidates import DRAWS, started, started_at_all
from ipos.selection.policies import (
    NOWHERE,
    Candidate,
    Decision,
    Load,
    Policy,
    Request,
    decide,
    fewest,
    obstacle,
)

SAMPLE = 1000
_ALL_MAX = 5000
_CIRCLE = 1 << 32
_BACK = pow(0x9E3779B9, -1, _CIRCLE)


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
    policy: Policy,
    candidates: Sequence[Candidate],
    loads: Mapping[int, Load],
    request: Request,
    *,
    any_client: bool = True,
) -> Outlook:
    """What can become of the next request, whatever numbers it brings.

    `any_client`: no client is given; else the request's client counts.
    """
    if request.ramp is None:
        request = replace(request, ramp=max((c.ramp for c in candidates), default=0))
    usable = [one for one in candidates if not obstacle(one.server, loads)]
    parts: dict[Decision, float] = {}
    for drawn, part in _draws(policy, candidates, usable, loads, request, any_client):
        decision = decide(policy, candidates, loads, drawn)
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
    usable: Sequence[Candidate],
    loads: Mapping[int, Load],
    request: Request,
    any_client: bool,
) -> Iterator[tuple[Request, float]]:
    """Each different draw as a request that makes it, and its probability."""
    if not usable or policy is Policy.FIXED:
        yield request, 1.0
        return
    if policy is Policy.SOURCE_HASH:
        clients = range(SAMPLE) if any_client else (request.client,)
        for client in clients:
            yield replace(request, client=client), 1 / len(clients)
        return
    parts = list(_parts(usable, request))
    pairs = policy.draws_two
    if pairs and len(parts) * len(usable) ** 2 > _ALL_MAX:
        numbers = Random(0)
        for _ in range(SAMPLE):
            yield replace(request, random=numbers.getrandbits(64)), 1 / SAMPLE
        return
    in_turn = 0.0
    for part, likely in parts:
        able = _able(usable, part, request)
        in_turn += likely * (len(able) if policy is Policy.ROUND_ROBIN else _total(able))
    for part, likely in parts:
        hits = started(usable, part, request.ramp or 0)
        able = _able(usable, part, request)
        n = len(able)
        if policy is Policy.ROUND_ROBIN:
            for i, one in enumerate(able):
                on = (candidates.index(one) - request.turn) % len(candidates) if hits else i
                yield replace(request, random=part, turn=request.turn + on), likely / in_turn
            continue
        if policy is Policy.LEAST_CONNECTIONS:
            able = fewest(able, loads, request.firsts)
        for first in able:
            share = first.weight / _total(able) * likely
            among = candidates if hits and policy is not Policy.LEAST_CONNECTIONS else able
            high = _drawing(among, first)
            if policy is Policy.WEIGHTED:
                turn = (high * _BACK - (0 if hits else DRAWS - 1)) % _CIRCLE
                # Who has not started leaves its turn to the next request, not to its neighbour.
                yield replace(request, random=part, turn=turn), first.weight * likely / in_turn
            elif pairs and n > 1:
                rest = _total(able) - first.weight
                for second in able:
                    if second is not first:
                        others = candidates if hits else [one for one in able if one is not first]
                        low = _drawing(others, second) & ~0xFF | part
                        random = high << 32 | low
                        yield replace(request, random=random), share * second.weight / rest
            else:
                yield replace(request, random=high << 32 | part), share


def _parts(usable: Sequence[Candidate], request: Request) -> Iterator[tuple[int, float]]:
    """Numbers of slow start that differ in which servers have started, and their probabilities."""
    before: list[Candidate] | None = None
    since = 0
    for part in range(257):
        able = None
        if part < 256:
            able = _able(usable, part, request)
        if part and able != before:
            yield since, (part - since) / 256
            since = part
        before = able


def _able(usable: Sequence[Candidate], part: int, request: Request) -> list[Candidate]:
    return started(usable, part, request.ramp or 0) or started_at_all(usable, part)


def _drawing(able: Sequence[Candidate], wanted: Candidate) -> int:
    """A random number of 32 bits, far from its neighbours', that draws this one by weight."""
    position = next(i for i, one in enumerate(able) if one is wanted)
    start = sum(one.weight for one in able[:position])
    return (2 * start + wanted.weight) * _CIRCLE // (2 * _total(able))


def _total(able: Sequence[Candidate]) -> int:
    return sum(one.weight for one in able)
