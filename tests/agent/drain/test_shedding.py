# SPDX-License-Identifier: Apache-2.0
"""How many connections each server gives away, and when it has given them."""

import time

from hypothesis import given
from hypothesis import strategies as st

from ipos.abi.rows import ServerState
from ipos.agent.drain.shedding import FRESH_MS, Shedding, parts
from ipos.agent.heartbeat.message import Order

READY = int(ServerState.READY)


def test_what_is_beyond_each_part() -> None:
    assert parts({"s1": 1000, "s2": 1000, "s3": 1000, "s4": 0}, {}) == {
        "s1": 250, "s2": 250, "s3": 250, "s4": 0,
    }  # fmt: skip
    assert parts({"s1": 90, "s2": 0}, {"s1": 2, "s2": 1}) == {"s1": 30, "s2": 0}
    assert parts({"s1": 5, "s2": 4}, {}) == {"s1": 0, "s2": 0}
    assert parts({"s1": 100, "s2": 300, "s3": 0}, {}, most=50) == {"s1": 0, "s2": 50, "s3": 0}
    assert parts({}, {}) == {}


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10_000), min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 100)),
    st.none() | st.integers(0, 1000),
)
def test_nobody_gives_below_its_part(
    has: dict[str, int], weights: dict[str, int], most: int | None
) -> None:
    gives = parts(has, weights, most)
    total, weighed = sum(has.values()), sum(weights.get(one, 1) for one in has)
    for server, number in gives.items():
        assert 0 <= number <= has[server]
        assert not number or has[server] - number >= total * weights.get(server, 1) // weighed
    assert most is None or sum(gives.values()) <= most


def test_an_order_is_followed_once() -> None:
    now_ms = time.time_ns() // 1_000_000
    order = Order("s1", READY, 0, shed=10, shed_ms=now_ms)
    shedding = Shedding()
    assert not shedding.is_on
    shedding.follow(order, handed=100)
    assert shedding.is_on
    assert shedding.left(104) == 6
    shedding.passed(104, moving=2)
    assert shedding.left(104) == 4, "those on their way count as given"
    shedding.passed(108, moving=2)
    assert shedding.is_on
    shedding.passed(110, moving=0)
    shedding.follow(order, handed=110)
    assert not shedding.is_on


def test_an_order_of_the_past_is_not() -> None:
    old_ms = time.time_ns() // 1_000_000 - FRESH_MS - 1
    shedding = Shedding()
    shedding.follow(Order("s1", READY, 0, shed=10, shed_ms=old_ms), handed=0)
    assert not shedding.is_on
