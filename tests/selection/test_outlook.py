# SPDX-License-Identifier: Apache-2.0
"""The outlook against the policies themselves: many draws come out as it foretells."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.selection import source
from ipos.selection.outlook import outlook
from ipos.selection.policies import Candidate, Load, Policy, Request, ServerState, decide
from tests.selection.test_policies import loads, pools, requests

POOL = [Candidate(1), Candidate(2), Candidate(3, 2, 100)]
ANY = Request()
IDLE = {1: Load(), 2: Load(), 3: Load()}


@given(
    policy=st.sampled_from(Policy),
    pool=pools,
    known=st.dictionaries(st.integers(1, 8), loads),
    request=requests,
)
def test_no_decision_surprises(
    policy: Policy, pool: list[Candidate], known: dict[int, Load], request: Request
) -> None:
    told = outlook(policy, pool, known, request)
    chosen = decide(policy, pool, known, request).candidate
    assert chosen in [decision.candidate for decision, _ in told.decisions]
    assert sum(part for _, part in told.decisions) == pytest.approx(1)
    for prospect in told.prospects:
        assert not (prospect.share and prospect.obstacle)


@pytest.mark.parametrize("policy", set(Policy) - {Policy.SOURCE_HASH})
def test_shares_are_what_draws_come_to(policy: Policy) -> None:
    known = IDLE | {2: Load(tcp_connections=3, cpu_permille=40)}
    rng = random.Random(1)
    counted: Counter[int] = Counter()
    turn = 0
    for _ in range(8000):
        decision = decide(policy, POOL, known, Request(random=rng.getrandbits(64), turn=turn))
        one, turn = decision.candidate, turn + decision.turns
        assert one is not None
        counted[one.server] += 1
    found = {one.candidate.server: one.share for one in outlook(policy, POOL, known, ANY).prospects}
    for one in POOL:
        assert found[one.server] == pytest.approx(counted[one.server] / 8000, abs=0.02)


def test_a_large_pool_is_sampled() -> None:
    pool = [Candidate(n, 1, 4 * n) for n in range(1, 65)]
    known = {n: Load(cpu_permille=990 if n == 64 else 0) for n in range(1, 65)}
    told = outlook(Policy.LEAST_LOADED, pool, known, ANY)
    assert sum(one.share for one in told.prospects) == pytest.approx(1)
    shares = [one.share for one in told.prospects]
    assert 0 < shares[63] < 0.03, "alone for 4 of 256 parts, and never the better of two"
    assert sum(shares[:16]) < 0.1 < sum(shares[16:32]) < sum(shares[32:48]), "they start"
    assert len(told.decisions) <= 1000


def test_shares_of_a_table_are_those_of_clients() -> None:
    table = [position + 1 for position in source.table([("a", 1), ("b", 1), ("c", 2)])]
    told = outlook(Policy.SOURCE_HASH, POOL, IDLE, Request(table=table))
    assert [one.share for one in told.prospects] == pytest.approx([0.4, 0.4, 0.2], abs=0.03)
    away = "source-hash: it is server 3's client, which is still starting, the next is server"
    assert {decision.reason for decision, _ in told.decisions} == {
        *(f"source-hash: it is server {n}'s client" for n in (1, 2, 3)),
        f"{away} 1",
        f"{away} 2",
    }
    mine = outlook(Policy.SOURCE_HASH, POOL, IDLE, Request(table=table), any_client=False)
    assert sorted(one.share for one in mine.prospects) == [0, 0, 1]


def test_the_busiest_of_three_is_never_the_better_of_two() -> None:
    known = {1: Load(tcp_connections=9), 2: Load()}
    told = outlook(Policy.LEAST_LOADED, POOL[:2], known, ANY)
    assert [one.share for one in told.prospects] == [0, 1]
    ((decision, part),) = told.decisions
    assert part == 1
    assert decision.reason == (
        "least-loaded: server 2 (score 1, weight 1) against server 1 (score 10, weight 1)"
    )


def test_obstacles_are_named() -> None:
    known = {1: Load(state=ServerState.DRAIN), 3: Load(tcp_connections=5, limit=5)}
    told = outlook(Policy.LEAST_LOADED, POOL, known, ANY)
    assert [one.obstacle for one in told.prospects] == [
        "is drain",
        "is none",
        "is at its limit of 5",
    ]
    assert told.decisions[0][0].candidate is None
