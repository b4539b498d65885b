# SPDX-License-Identifier: Apache-2.0
"""Orders: the later one holds, wherever and in whatever order they are heard."""

import itertools
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipos import state_file
from ipos.abi.rows import ServerState
from ipos.agent.heartbeat import orders
from ipos.agent.heartbeat.message import Order
from ipos.agent.heartbeat.orders import Kept, Orders
from ipos.errors import IposError

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
    kept = Kept(file)
    kept.give("s2", ServerState.DRAIN)
    kept.weigh("s2", 7)
    kept.weigh("s3", 9)
    kept.save()
    known = Kept(file).orders
    assert (known.state_of("s2"), known.weight_of("s2")) == (ServerState.DRAIN, 7)
    assert (known.state_of("s3"), known.weight_of("s3")) == (ServerState.READY, 9)
    kept.give("s2", ServerState.READY)
    kept.weigh("s3", 0)
    kept.save()
    known = Kept(file).orders
    assert (known.state_of("s2"), known.weight_of("s2"), known.weight_of("s3")) == (
        ServerState.READY,
        7,
        0,
    )
    assert known.weight_of("s1") == 0


def test_a_deadline_goes_with_its_order() -> None:
    known = Orders()
    known.give("s2", ServerState.DRAIN, 1000, 31_000)
    known.weigh("s2", 7, 1001)
    drained = known.of("s2")
    assert drained == Order("s2", int(ServerState.DRAIN), 1000, 7, 1001, 31_000)
    heard = Orders([Order("s2", int(ServerState.DRAIN), 1000)])  # by way of an older release
    heard.merge(known.said())
    assert heard.of("s2") == drained
    heard.merge([Order("s2", int(ServerState.DRAIN), 1000)])
    assert heard.of("s2") == drained
    heard.give("s2", ServerState.READY, 2000)
    assert heard.of("s2") == Order("s2", int(ServerState.READY), 2000, 7, 1001)


def test_what_is_to_be_given_away_is_said_apart() -> None:
    known = Orders()
    known.shed("s2", 250, 1000)
    known.give("s2", ServerState.DRAIN, 2000)
    order = known.of("s2")
    assert order == Order("s2", int(ServerState.DRAIN), 2000, shed=250, shed_ms=1000)
    assert not known.merge([Order("s2", 1, 0, shed=9, shed_ms=999)])
    assert known.merge([Order("s2", 1, 0, shed=9, shed_ms=1001)])


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
    known = Kept(file).orders
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


def test_an_agent_keeps_what_it_hears_and_sees_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "orders.json"
    kept = Kept(file)
    assert not kept.is_unsaved
    kept.hear([Order("s2", int(ServerState.DRAIN), 5)])
    assert kept.is_unsaved
    kept.save()
    assert not kept.is_unsaved
    assert Kept(file).orders.state_of("s2") is ServerState.DRAIN
    state_file.write(file, [Order("s1", int(ServerState.MAINT), 9)])
    kept.look()
    assert kept.orders.state_of("s1") is ServerState.MAINT
    assert kept.orders.state_of("s2") is ServerState.DRAIN


def test_an_order_that_could_not_be_saved_holds_and_is_saved_later(tmp_path: Path) -> None:
    file = tmp_path / "orders.json"
    kept = Kept(file)
    obstacle = tmp_path / ".orders.json.new"
    obstacle.mkdir()
    kept.give("s2", ServerState.DRAIN)
    with pytest.raises(IposError, match=r"cannot write .*orders\.json"):
        kept.save()
    assert kept.orders.state_of("s2") is ServerState.DRAIN
    assert kept.is_unsaved
    obstacle.rmdir()
    kept.save()
    assert Kept(file).orders.state_of("s2") is ServerState.DRAIN


@pytest.mark.parametrize("damage", [b"", b"[", b'{"blake2b":"0","content":[]}', bytes(9), b"\xff["])
def test_a_damaged_file_is_set_aside_and_what_is_known_written_again(
    tmp_path: Path, damage: bytes
) -> None:
    file = tmp_path / "orders.json"
    kept = Kept(file)
    kept.give("s2", ServerState.DRAIN)
    kept.save()
    file.write_bytes(damage)
    os.utime(file, ns=(1, 1))
    kept.look()
    assert file.with_name("orders.json.damaged").read_bytes() == damage
    assert kept.is_unsaved
    kept.save()
    assert Kept(file).orders.state_of("s2") is ServerState.DRAIN


def test_numbers_and_names_that_are_none_are_ignored() -> None:
    late, long = Order("s1", 2, 2**63, 3, 2**63), Order("s" * 33, 2, 5)
    assert not Orders().merge([late, long, Order("", 2, 5)])
