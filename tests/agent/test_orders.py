# SPDX-License-Identifier: Apache-2.0
"""Orders: the later one holds, wherever and in whatever order they are heard."""

import itertools
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ipos.agent import orders
from ipos.agent.message import Order
from ipos.agent.orders import Kept, Orders
from ipos.inic.rows import ServerState

some = st.builds(
    Order,
    st.sampled_from(["s1", "s2"]),
    st.integers(1, 3),
    st.integers(0, 5),
    st.integers(0, 3),
    st.integers(0, 5),
)


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
        views.add(tuple(sorted(known.all(), key=lambda one: one.server)))
    assert len(views) == 1


def test_a_weight_and_a_state_are_said_apart(tmp_path: Path) -> None:
    file = tmp_path / "orders.json"
    orders.give(file, "s2", ServerState.DRAIN)
    orders.weigh(file, "s2", 7)
    orders.weigh(file, "s3", 9)
    known = orders.read(file)
    assert (known.state_of("s2"), known.weight_of("s2")) == (ServerState.DRAIN, 7)
    assert (known.state_of("s3"), known.weight_of("s3")) == (ServerState.READY, 9)
    orders.give(file, "s2", ServerState.READY)
    orders.weigh(file, "s3", 0)
    known = orders.read(file)
    assert (known.state_of("s2"), known.weight_of("s2"), known.weight_of("s3")) == (
        ServerState.READY,
        7,
        0,
    )
    assert known.weight_of("s1") == 0


def test_the_later_weight_holds_whatever_the_clocks_say() -> None:
    known = Orders()
    known.weigh("s2", 5, 1000)
    known.weigh("s2", 3, 900)
    assert known.weight_of("s2") == 3
    assert not known.merge([Order("s2", 1, 0, 8, 1000)])
    assert known.weight_of("s2") == 3


def test_an_agent_without_weights_is_understood_and_so_are_we(tmp_path: Path) -> None:
    file = tmp_path / "orders.json"
    file.write_text('[["s2", 2, 5]]')
    known = orders.read(file)
    known.weigh("s2", 4, 6)
    assert known.state_of("s2") is ServerState.DRAIN
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(known.all()))
    assert [one[:3] for one in old] == [["s2", 2, 5]]


def test_weights_that_are_none_are_ignored() -> None:
    assert not Orders().merge([Order("s1", 1, 0, 65536, 3), Order("s1", 1, 0, -1, 3)])
    assert not Orders().merge([Order("s1", 1, 0, 0, 0)])


def test_states_that_are_no_order_are_ignored() -> None:
    assert not Orders().merge([Order("s1", int(ServerState.DOWN), 1), Order("s1", 99, 2)])


def test_orders_are_bounded() -> None:
    known = Orders(Order(f"s{n}", 2, n) for n in range(1, 1000))
    assert len(known.all()) == orders.KEPT_MAX
    assert [order.when_ms for order in known.said()[:2]] == [255, 254]
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
