# SPDX-License-Identifier: Apache-2.0
"""Policies: the arithmetic by hand, and what must hold for any pool."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.selection.policies import (
    Candidate,
    Load,
    Policy,
    Request,
    ServerState,
    decide,
    score,
)

POOL = [Candidate(1), Candidate(2), Candidate(3)]
IDLE = {1: Load(), 2: Load(), 3: Load()}
WHOLE = 1 << 32
THIRDS = [0, WHOLE // 3 + 1, WHOLE * 2 // 3 + 1]
"""Random numbers that draw the first, the second and the third of three alike."""

loads = st.builds(
    Load,
    state=st.sampled_from(ServerState),
    tcp_connections=st.integers(0, 1000),
    cpu_permille=st.integers(0, 1000),
    memory_short=st.integers(0, 100),
    bandwidth_short=st.integers(0, 100),
    sent=st.integers(0, 2000),
    closed=st.integers(0, 2000),
    base=st.integers(-2000, 2000),
    limit=st.integers(0, 100),
    row_sent=st.integers(0, 2000),
)
pools = st.lists(
    st.builds(Candidate, st.integers(1, 8), st.integers(1, 0xFFFF), st.integers(0, 256)),
    max_size=8,
    unique_by=lambda c: c.server,
)
requests = st.builds(
    Request,
    random=st.integers(0, 2**64 - 1),
    turn=st.integers(0, 0xFFFF_FFFF),
    client=st.integers(0, 0xFFFF_FFFF),
    firsts=st.integers(1, 255),
)


def halves(high: int, low: int) -> Request:
    return Request(random=high << 32 | low)


def chosen(
    policy: Policy,
    request: Request,
    known: dict[int, Load] = IDLE,
    pool: list[Candidate] = POOL,
) -> int:
    candidate = decide(policy, pool, known, request).candidate
    assert candidate is not None
    return candidate.server


@pytest.mark.parametrize(
    ("load", "connections", "price"),
    [
        (Load(), 0, 1),
        (Load(tcp_connections=9), 9, 1),
        (Load(tcp_connections=9, sent=15, closed=4, base=6), 14, 1),
        (Load(tcp_connections=9, closed=100), 0, 1),
        (Load(cpu_permille=499), 0, 1),
        (Load(cpu_permille=500), 0, 2),
        (Load(cpu_permille=750), 0, 4),
        (Load(cpu_permille=875), 0, 8),
        (Load(cpu_permille=938), 0, 16),
        (Load(cpu_permille=969), 0, 32),
        (Load(cpu_permille=985), 0, 64),
        (Load(cpu_permille=1000), 0, 64),
        (Load(memory_short=49), 0, 1),
        (Load(memory_short=50), 0, 2),
        (Load(memory_short=90), 0, 8),
        (Load(bandwidth_short=75), 0, 4),
        (Load(bandwidth_short=100), 0, 64),
        (Load(cpu_permille=500, memory_short=75, bandwidth_short=90), 0, 8),
        (Load(cpu_permille=500, memory_short=90, bandwidth_short=75), 0, 8),
        (Load(cpu_permille=900, memory_short=75, bandwidth_short=50), 0, 8),
    ],
)
def test_a_load(load: Load, connections: int, price: int) -> None:
    assert (load.connections, load.price) == (connections, price)


@pytest.mark.parametrize(
    ("load", "shortest"),
    [
        (Load(), (0, "cpu")),
        (Load(cpu_permille=500, memory_short=50, bandwidth_short=50), (500, "cpu")),
        (Load(cpu_permille=500, memory_short=51, bandwidth_short=51), (510, "memory")),
        (Load(cpu_permille=500, memory_short=51, bandwidth_short=52), (520, "bandwidth")),
    ],
)
def test_what_a_server_is_shortest_of(load: Load, shortest: tuple[int, str]) -> None:
    assert load.shortest == shortest


@pytest.mark.parametrize("short", [(101, 0), (0, 101)])
def test_more_than_all_cannot_be_short(short: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 to 100 percent"):
        Load(memory_short=short[0], bandwidth_short=short[1])


@pytest.mark.parametrize("load", [Load(memory_short=90), Load(bandwidth_short=90)])
def test_a_short_server_is_never_the_better_of_two(load: Load) -> None:
    known = {**IDLE, 2: load}
    for high in THIRDS:
        for low in THIRDS:
            assert chosen(Policy.LEAST_LOADED, halves(high, low), known) != 2
    assert chosen(Policy.LEAST_CPU, halves(THIRDS[1], 0), known) == 2, "which goes by CPU alone"


def test_what_all_first_servers_have_done() -> None:
    load = Load(tcp_connections=9, sent=20, closed=4, base=6, row_sent=17)
    assert (load.reckoned(1), load.reckoned(8), load.new) == (19, 89, 3)
    wrapped = Load(sent=(1 << 32) + 5, row_sent=0xFFFF_FFFF)
    assert wrapped.new == 6, "the row has the low half of a number"


def test_scores() -> None:
    pool = [Candidate(1, 1), Candidate(2, 3)]  # the mean weight is 2
    busy = Load(tcp_connections=5, cpu_permille=800, sent=9, row_sent=2)
    assert score(Policy.LEAST_LOADED, pool[1], pool, busy) == (14 * 2 + 3) * 4
    assert score(Policy.LEAST_LOADED, pool[1], pool, Load(tcp_connections=2**31)) == 2**25 + 3
    assert score(Policy.LEAST_CPU, pool[1], pool, busy, firsts=8) == 16 + 800 + 7 * 8
    assert score(Policy.LEAST_CONNECTIONS, pool[1], pool, busy, firsts=8) == 5 + 9 * 8
    assert score(Policy.WEIGHTED, pool[1], pool, busy) == 0


@pytest.mark.parametrize("policy", [Policy.LEAST_LOADED, Policy.LEAST_CPU])
@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("other", [0, 1])
def test_which_two_are_drawn_and_the_first_wins_a_tie(
    policy: Policy, first: int, other: int
) -> None:
    second = [n for n in (1, 2, 3) if n != first][other]
    request = halves(THIRDS[first - 1], THIRDS[second - 1])
    assert chosen(policy, request) == first
    busy = {**IDLE, first: Load(tcp_connections=1, cpu_permille=1)}
    assert chosen(policy, request, busy) == second


def test_two_are_drawn_by_weight_and_idle_servers_get_their_share() -> None:
    pool = [Candidate(1, 1), Candidate(2, 3)]
    for policy in (Policy.LEAST_LOADED, Policy.LEAST_CONNECTIONS, Policy.RANDOM):
        found = [decide(policy, pool, IDLE, halves(at, 0)).candidate for at in _even(8)]
        assert [c.server for c in found if c] == [1, 1, 2, 2, 2, 2, 2, 2], policy


def test_the_second_must_be_better_by_its_weight() -> None:
    pool = [Candidate(1, 3), Candidate(2, 1)]  # the mean weight is 2
    first = halves(0, 0)
    rows = {1: Load(tcp_connections=3), 2: Load(tcp_connections=1)}  # 9 / 3 and 3 / 1: a tie
    assert decide(Policy.LEAST_LOADED, pool, rows, first).candidate == pool[0]
    assert decide(Policy.LEAST_LOADED, pool, rows, halves(WHOLE - 1, 0)).candidate == pool[1]
    rows[1] = Load(tcp_connections=4)
    decision = decide(Policy.LEAST_LOADED, pool, rows, first)
    assert decision.candidate == pool[1]
    assert decision.reason == (
        "least-loaded: server 2 (score 3, weight 1) against server 1 (score 11, weight 3)"
    )


def test_the_fewest_connections_of_all_and_ties_among_them() -> None:
    pool = [Candidate(1, 1), Candidate(2, 2), Candidate(3, 1), Candidate(4, 1)]
    rows = {1: Load(tcp_connections=4), 2: Load(tcp_connections=6), 3: Load(tcp_connections=3),
            4: Load(tcp_connections=9)}  # fmt: skip
    found = [decide(Policy.LEAST_CONNECTIONS, pool, rows, halves(at, 0)) for at in _even(6)]
    assert [d.candidate.server for d in found if d.candidate] == [2, 2, 2, 2, 3, 3]
    assert found[0].reason == (
        "least-connections: 6 connections at weight 2, the fewest of 4, as 1 more"
    )
    rows[3] = Load(tcp_connections=3, sent=1)  # eight servers may each have sent it one
    assert decide(Policy.LEAST_CONNECTIONS, pool, rows, halves(WHOLE - 1, 0)).reason == (
        "least-connections: 6 connections at weight 2, the fewest of 4"
    )
    assert decide(
        Policy.LEAST_CONNECTIONS, pool, {**rows, 2: Load(tcp_connections=21)}, Request(firsts=8)
    ).candidate == Candidate(1)


def test_least_cpu_counts_what_was_sent_since() -> None:
    rows = {1: Load(cpu_permille=100), 2: Load(cpu_permille=105)}
    pool = POOL[:2]
    for sent, firsts, winner in [(5, 1, 1), (6, 1, 2), (1, 5, 1), (1, 6, 2)]:
        rows[1] = Load(cpu_permille=100, sent=sent)
        request = Request(random=(WHOLE - 1) << 32, firsts=firsts)
        expected = 2 if (sent, firsts) in [(5, 1), (1, 5)] else winner
        found = decide(Policy.LEAST_CPU, pool, rows, request).candidate
        assert found == Candidate(expected), "a tie goes to the one drawn first, which is 2"


def test_round_robin_and_fixed() -> None:
    turns = [chosen(Policy.ROUND_ROBIN, Request(turn=turn)) for turn in range(5)]
    assert turns == [1, 2, 3, 1, 2]
    assert chosen(Policy.FIXED, Request()) == 1


def test_weighted_is_a_pattern_without_bursts() -> None:
    pool = [Candidate(1, 3), Candidate(2, 1)]
    found = [decide(Policy.WEIGHTED, pool, IDLE, Request(turn=t)).candidate for t in range(16)]
    pattern = "".join(str(c.server) for c in found if c)
    assert pattern == "1112111121121111"
    told = decide(Policy.WEIGHTED, pool, IDLE, Request(turn=3))
    assert told.reason == "weighted: weight 1 of 4"


@given(
    weights=st.lists(st.integers(1, 0xFFFF), min_size=1, max_size=8),
    start=st.integers(0, 0xFFFF_FFFF),
    turns=st.integers(1, 1000),
)
def test_weighted_gives_everyone_its_share_in_any_row_of_turns(
    weights: list[int], start: int, turns: int
) -> None:
    pool = [Candidate(n + 1, weight) for n, weight in enumerate(weights)]
    idle = {candidate.server: Load() for candidate in pool}
    counts: Counter[int] = Counter()
    for turn in range(start, start + turns):
        candidate = decide(Policy.WEIGHTED, pool, idle, Request(turn=turn)).candidate
        assert candidate is not None
        counts[candidate.server] += 1
    for candidate in pool:
        fair = turns * candidate.weight / sum(weights)
        assert abs(counts[candidate.server] - fair) < 4


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
    for n in range(100):
        request = Request(random=n << 57 | n << 25, turn=n, client=n)
        candidate = decide(policy, pool, rows, request, refused={2}).candidate
        assert candidate == Candidate(4)
    nobody = decide(policy, pool, rows, Request(), refused={2, 4})
    assert nobody.candidate is None
    assert nobody.reason == (
        "nobody can take it: server 1 is drain, server 2 has refused, server 3 is at its limit "
        "of 7, server 4 has refused, server 5 is down, server 6 is none"
    )


def test_an_empty_pool() -> None:
    told = decide(Policy.FIXED, [], {}, Request())
    assert told.reason == "nobody can take it: the pool is empty"


@given(
    policy=st.sampled_from(Policy),
    pool=pools,
    rows=st.dictionaries(st.integers(1, 8), loads),
    refused=st.sets(st.integers(1, 8)),
    request=requests,
)
def test_somebody_who_can_is_chosen_if_anybody_can(
    policy: Policy,
    pool: list[Candidate],
    rows: dict[int, Load],
    refused: set[int],
    request: Request,
) -> None:
    able = [
        c
        for c in pool
        if c.server in rows
        and rows[c.server].state is ServerState.READY
        and c.server not in refused
        and not 0 < rows[c.server].limit <= rows[c.server].connections
    ]
    decision = decide(policy, pool, rows, request, refused)
    assert (decision.candidate in able) if able else decision.candidate is None
    assert decision.reason


def test_least_loaded_never_takes_the_worst_of_three() -> None:
    rows = {1: Load(tcp_connections=5), 2: Load(tcp_connections=9), 3: Load()}
    counts = Counter(
        chosen(Policy.LEAST_LOADED, halves(high, low), rows) for high in THIRDS for low in THIRDS
    )
    assert counts.keys() == {1, 3}
    assert counts[3] > counts[1]


@pytest.mark.parametrize("policy", set(Policy) - {Policy.FIXED, Policy.SOURCE_HASH})
@pytest.mark.parametrize(("others", "part"), [(256, 64), (128, 32)])
def test_a_starting_server_is_offered_its_part_even_by_a_policy_that_wants_it(
    policy: Policy, others: int, part: int
) -> None:
    pool = [Candidate(1, 1, others), Candidate(2, 1, part), Candidate(3, 1, others)]
    busy = Load(tcp_connections=50, cpu_permille=300)
    rows = {1: busy, 2: Load(), 3: busy}
    offered = 0
    for low in range(256):
        found = {
            decide(policy, pool, rows, Request(random=high << 32 | low, turn=turn)).candidate
            for high in THIRDS
            for turn in range(3)
        }
        offered += pool[1] in found
    assert offered == 64


def test_where_all_start_nobody_waits() -> None:
    pool = [Candidate(n, 1, 1) for n in (1, 2, 3)]
    for low in (0, 255):
        found = [
            decide(Policy.ROUND_ROBIN, pool, IDLE, Request(random=low, turn=turn)).candidate
            for turn in range(3)
        ]
        assert found == pool


def test_fixed_does_not_wait_for_a_start() -> None:
    pool = [Candidate(1, 1, 1), Candidate(2)]
    assert decide(Policy.FIXED, pool, IDLE, Request(random=255)).candidate == pool[0]


@pytest.mark.parametrize("weight", [0, -1, 0x10000])
def test_weights_have_limits(weight: int) -> None:
    with pytest.raises(ValueError, match="1 to 65535"):
        Candidate(1, weight)


@pytest.mark.parametrize("ramp", [-1, 257])
def test_ramps_have_limits(ramp: int) -> None:
    with pytest.raises(ValueError, match="0 to 256"):
        Candidate(1, 1, ramp)


@pytest.mark.parametrize("cpu", [-1, 1001])
def test_a_load_has_limits(cpu: int) -> None:
    with pytest.raises(ValueError, match="0 to 1000 permille"):
        Load(cpu_permille=cpu)


def _even(count: int) -> list[int]:
    """So many numbers, evenly over 32 bits."""
    return [(2 * n + 1) * WHOLE // (2 * count) for n in range(count)]


@pytest.mark.parametrize("policy", [Policy.RANDOM, Policy.LEAST_LOADED])
@pytest.mark.parametrize("down", [range(1, 3), range(1, 150), range(2, 200)])
def test_draws_that_miss_leave_everyone_its_part(policy: Policy, down: range) -> None:
    pool = [Candidate(n, 1 + n % 3) for n in range(1, 201)]
    rows = {n: Load(state=ServerState.DOWN if n in down else ServerState.READY)
            for n in range(1, 201)}  # fmt: skip
    rng = random.Random(2)
    counts = Counter(
        chosen(policy, Request(random=rng.getrandbits(64)), rows, pool) for _ in range(2000)
    )
    up = [one for one in pool if one.server not in down]
    total = sum(one.weight for one in up)
    light = sum(counts[one.server] for one in up if one.weight == 1) / 2000
    wanted = sum(one.weight for one in up if one.weight == 1) / total
    assert counts.keys() <= {one.server for one in up}
    assert light == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("policy", [Policy.ROUND_ROBIN, Policy.WEIGHTED])
def test_who_cannot_leaves_its_turn_to_all_and_not_to_the_next(policy: Policy) -> None:
    pool = [Candidate(n) for n in range(1, 11)]
    rows = {n: Load(limit=1, tcp_connections=n == 4) for n in range(1, 11)}
    turn, counts = 0, Counter[int]()
    for _ in range(900):
        decision = decide(policy, pool, rows, Request(turn=turn))
        assert decision.candidate is not None
        counts[decision.candidate.server] += 1
        turn += decision.turns
    assert set(counts) == set(range(1, 11)) - {4}
    assert max(counts.values()) - min(counts.values()) <= 4
