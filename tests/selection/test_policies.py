# SPDX-License-Identifier: Apache-2.0
"""Policies: the arithmetic by hand, and what must hold for any pool."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.selection.policies import Candidate, Load, Policy, ServerState, decide

POOL = [Candidate(1), Candidate(2), Candidate(3)]
IDLE = {1: Load(), 2: Load(), 3: Load()}

loads = st.builds(
    Load,
    state=st.sampled_from(ServerState),
    tcp_connections=st.integers(0, 1000),
    cpu_permille=st.integers(0, 1000),
    sent=st.integers(0, 2000),
    closed=st.integers(0, 2000),
    base=st.integers(-2000, 2000),
    limit=st.integers(0, 100),
)
pools = st.lists(
    st.builds(Candidate, st.integers(1, 8), st.integers(1, 0xFFFF)),
    max_size=8,
    unique_by=lambda c: c.server,
)


def chosen(policy: Policy, **how: object) -> int:
    candidate = decide(policy, POOL, IDLE, **how).candidate  # type: ignore[arg-type]
    assert candidate is not None
    return candidate.server


@pytest.mark.parametrize(
    ("load", "connections", "score"),
    [
        (Load(), 0, 16),
        (Load(tcp_connections=9), 9, 160),
        (Load(tcp_connections=9, sent=15, closed=4, base=6), 14, 240),
        (Load(tcp_connections=9, closed=100), 0, 16),
        (Load(cpu_permille=63), 0, 16),
        (Load(cpu_permille=64), 0, 17),
        (Load(cpu_permille=500), 0, 77),
        (Load(cpu_permille=1000), 0, 260),
        (Load(tcp_connections=3, cpu_permille=1000), 3, 1040),
    ],
)
def test_the_score(load: Load, connections: int, score: int) -> None:
    assert (load.connections, load.score) == (connections, score)


@pytest.mark.parametrize(
    ("random", "drawn"),
    [(0, (1, 2)), (1, (2, 3)), (2, (3, 1)), (1 << 16, (1, 3)), (0xFFFF_FFFF, (1, 3))],
)
def test_which_two_are_drawn_and_the_first_wins_a_tie(random: int, drawn: tuple[int, int]) -> None:
    first, second = drawn
    assert chosen(Policy.LEAST_LOADED, random=random) == first
    busy = {**IDLE, first: Load(tcp_connections=1)}
    candidate = decide(Policy.LEAST_LOADED, POOL, busy, random=random).candidate
    assert candidate == Candidate(second)


def test_the_second_must_be_better_by_its_weight() -> None:
    pool = [Candidate(1, 3), Candidate(2, 1)]
    rows = {1: Load(tcp_connections=2), 2: Load()}  # 48 / 3 and 16 / 1: a tie
    assert decide(Policy.LEAST_LOADED, pool, rows, random=0).candidate == pool[0]
    assert decide(Policy.LEAST_LOADED, pool, rows, random=1).candidate == pool[1]
    rows[1] = Load(tcp_connections=3)
    decision = decide(Policy.LEAST_LOADED, pool, rows, random=0)
    assert decision.candidate == pool[1]
    assert decision.reason == (
        "least-loaded: server 2 (score 16, weight 1) against server 1 (score 64, weight 3)"
    )


def test_round_robin_random_and_fixed() -> None:
    assert [chosen(Policy.ROUND_ROBIN, turn=turn) for turn in range(5)] == [1, 2, 3, 1, 2]
    assert chosen(Policy.FIXED) == 1
    pool = [Candidate(1, 1), Candidate(2, 3)]
    drawn = [decide(Policy.RANDOM, pool, IDLE, random=r).candidate for r in range(8)]
    assert [c.server for c in drawn if c] == [1, 2, 2, 2, 1, 2, 2, 2]


@pytest.mark.parametrize("policy", Policy)
def test_who_cannot_take_it_is_skipped_and_named(policy: Policy) -> None:
    pool = [Candidate(n) for n in range(1, 7)]
    rows = {
        1: Load(state=ServerState.DRAIN),
        2: Load(),
        3: Load(tcp_connections=7, limit=7),
        4: Load(tcp_connections=7, limit=8),
        5: Load(state=ServerState.DOWN),
    }
    for random in range(100):
        candidate = decide(policy, pool, rows, refused={2}, random=random, turn=random).candidate
        assert candidate == Candidate(4)
    nobody = decide(policy, pool, rows, refused={2, 4})
    assert nobody.candidate is None
    assert nobody.reason == (
        "nobody can take it: server 1 is drain, server 2 has refused, server 3 is at its limit "
        "of 7, server 4 has refused, server 5 is down, server 6 is none"
    )


def test_an_empty_pool() -> None:
    assert decide(Policy.FIXED, [], {}).reason == "nobody can take it: the pool is empty"


@given(
    policy=st.sampled_from(Policy),
    pool=pools,
    rows=st.dictionaries(st.integers(1, 8), loads),
    refused=st.sets(st.integers(1, 8)),
    random=st.integers(0, 0xFFFF_FFFF),
    turn=st.integers(0, 0xFFFF_FFFF),
)
def test_somebody_who_can_is_chosen_if_anybody_can(
    policy: Policy,
    pool: list[Candidate],
    rows: dict[int, Load],
    refused: set[int],
    random: int,
    turn: int,
) -> None:
    able = [
        c
        for c in pool
        if c.server in rows
        and rows[c.server].state is ServerState.READY
        and c.server not in refused
        and not 0 < rows[c.server].limit <= rows[c.server].connections
    ]
    decision = decide(policy, pool, rows, refused=refused, random=random, turn=turn)
    assert (decision.candidate in able) if able else decision.candidate is None
    assert decision.reason


def test_least_loaded_never_takes_the_worst_of_three() -> None:
    rows = {1: Load(tcp_connections=5), 2: Load(tcp_connections=9), 3: Load()}
    counts: Counter[int] = Counter()
    for random in range(3 * 2 * 50):
        draw = random % 3 | (random // 3 % 2) << 16
        candidate = decide(Policy.LEAST_LOADED, POOL, rows, random=draw).candidate
        assert candidate is not None
        counts[candidate.server] += 1
    assert counts == {3: 200, 1: 100}


@pytest.mark.parametrize("weight", [0, -1, 0x10000])
def test_weights_have_limits(weight: int) -> None:
    with pytest.raises(ValueError, match="1 to 65535"):
        Candidate(1, weight)


@pytest.mark.parametrize("cpu", [-1, 1001])
def test_a_load_has_limits(cpu: int) -> None:
    with pytest.raises(ValueError, match="0 to 1000 permille"):
        Load(cpu_permille=cpu)
