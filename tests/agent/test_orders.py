# SPDX-License-Identifier: Apache-2.0
"""Orders: the later one holds, wherever and in whatever order they are heard."""

import itertools
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ipos.agent import orders
from ipos.agent.message import Order
from ipos.agent.orders import Kept, Orders
from ipos.inic.rows import ServerState

some = st.builds(Order, st.sampled_from(["s1", "s2"]), st.integers(1, 3), st.integers(0, 5))


def test_nobody_said_anything_means_ready() -> None:
    assert Orders().state_of("s1") is ServerState.READY
    assert Orders().said() == []


def test_the_later_order_holds_whatever_the_clocks_say() -> None:
    known = Orders()
    known.give("s2", ServerState.DRAIN, 1000)
    known.give("s2", ServerState.READY, 900)
    assert known.state_of("s2") is ServerState.READY
    assert not known.merge([Order("s2", int(ServerState.MAINT), 999)])
    assert known.state_of("s2") is ServerState.READY


@settings(deadline=None)
@given(st.lists(some, max_size=4))
def test_all_who_hear_the_same_agree(said: list[Order]) -> None:
    views = set()
    for heard in itertools.permutations(said):
        known = Orders()
        for order in heard:
            known.merge([order, order])
        views.add((known.state_of("s1"), known.state_of("s2")))
    assert len(views) == 1


def test_states_that_are_no_order_are_ignored() -> None:
    assert not Orders().merge([Order("s1", int(ServerState.DOWN), 1), Order("s1", 99, 2)])


def test_orders_are_bounded() -> None:
    known = Orders(Order(f"s{n}", 2, n) for n in range(1000))
    assert len(known.all()) == orders.KEPT_MAX
    assert [order.when_ms for order in known.said()[:2]] == [254, 253]
    assert len(known.said()) == orders.SAID_MAX


def test_an_agent_keeps_what_it_hears_and_sees_what_is_given(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "orders.json"
    kept = Kept(file)
    kept.hear([Order("s2", int(ServerState.DRAIN), 5)])
    assert Kept(file).orders.state_of("s2") is ServerState.DRAIN
    orders.give(file, "s1", ServerState.MAINT)
    kept.look()
    assert kept.orders.state_of("s1") is ServerState.MAINT
    assert kept.orders.state_of("s2") is ServerState.DRAIN
