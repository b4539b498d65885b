# SPDX-License-Identifier: Apache-2.0
"""The outlook against the policies themselves: many draws come out as it foretells."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.selection.outlook import outlook
from ipos.selection.policies import Candidate, Load, Policy, ServerState, decide
from tests.selection.test_policies import loads, pools

POOL = [Candidate(1), Candidate(2), Candidate(3, 2)]
IDLE = {1: Load(), 2: Load(), 3: Load()}


@given(
    policy=st.sampled_from(Policy),
    pool=pools,
    known=st.dictionaries(st.integers(1, 8), loads),
    random=st.integers(0, 0xFFFF_FFFF),
    turn=st.integers(0, 1 << 32),
)
def test_no_decision_surprises(
    policy: Policy, pool: list[Candidate], known: dict[int, Load], random: int, turn: int
) -> None:
    told = outlook(policy, pool, known, turn)
    chosen = decide(policy, pool, known, random=random, turn=turn).candidate
    assert chosen in [decision.candidate for decision, _ in told.decisions]
    assert sum(part for _, part in told.decisions) == pytest.approx(1)
    for prospect in told.prospects:
        assert not (prospect.share and prospect.obstacle)


@pytest.mark.parametrize("policy", Policy)
def test_shares_are_what_draws_come_to(policy: Policy) -> None:
    known = IDLE | {2: Load(tcp_connections=3)}
    counted: Counter[int] = Counter()
    for turn in range(12):
        for random in range(12):
            one = decide(policy, POOL, known, random=random | random << 16, turn=turn).candidate
            assert one is not None
            counted[one.server] += 1
    told = outlook(policy, POOL, known)
    expected = {server: count / 144 for server, count in counted.items()}
    found = {one.candidate.server: one.share for one in told.prospects if one.share}
    assert found == pytest.approx(expected)


def test_the_busiest_of_three_is_never_the_better_of_two() -> None:
    told = outlook(Policy.LEAST_LOADED, POOL[:2], {1: Load(tcp_connections=9), 2: Load()})
    assert [one.share for one in told.prospects] == [0, 1]
    ((decision, part),) = told.decisions
    assert part == 1
    assert decision.reason == (
        "least-loaded: server 2 (score 16, weight 1) against server 1 (score 160, weight 1)"
    )


def test_obstacles_are_named() -> None:
    known = {1: Load(state=ServerState.DRAIN), 3: Load(tcp_connections=5, limit=5)}
    told = outlook(Policy.LEAST_LOADED, POOL, known)
    assert [one.obstacle for one in told.prospects] == [
        "is drain",
        "is none",
        "is at its limit of 5",
    ]
    assert told.decisions[0][0].candidate is None
