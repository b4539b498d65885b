# SPDX-License-Identifier: Apache-2.0
"""Servers that were away, and what their addresses were meanwhile."""

from ipos.agent.holders.actions import Kind
from ipos.agent.holders.states import ASKS_NS, SLEPT_NS, State
from tests.agent.holders.test_states import A1, A2, DEAD, ME, One, server


def test_who_was_away_learns_who_had_its_address_meanwhile() -> None:
    one = One()
    one.look(server(1, holds=(A1,)), server(2, holds=(A2,)), times=3)
    one.now_ns += SLEPT_NS
    others = server(1, holds=(A1, A2)), server(2)
    one.look(*others)
    assert one.count(Kind.GIVEN_UP, A2) == 1
    assert one.addresses.returned == {A2: 1}
    one.addresses.returned.clear()
    one.look(*others, times=5)
    assert one.addresses.returned == {}, "it is told once"


def test_who_was_away_and_nobody_had_its_address() -> None:
    one = One()
    one.now_ns += SLEPT_NS
    one.look(server(1, holds=(A1,)), server(2), times=20)
    assert one.addresses.state(A2) is State.HOLDS
    one.look(server(1, holds=(A1, A2)), server(2, holds=(A2,)), times=2)
    assert one.addresses.returned == {}
    assert one.addresses.asks(one.now_ns) == set(), "no other server has had it"


def test_an_agent_that_begins_believes_that_its_address_has_moved() -> None:
    one = One()
    assert one.addresses.state(A2) is State.HOLDS
    one.look(server(1, holds=(A1, A2)), server(2))
    assert one.addresses.state(A2) is not State.HOLDS
    assert one.addresses.returned == {A2: 1}
    one.look(server(1, holds=(A1,)), server(2), times=10)
    assert one.addresses.state(A2) is State.HOLDS


def test_an_address_that_came_from_another_server_asks_for_a_while() -> None:
    one = One()
    one.look(server(1, holds=(A1,)), ME)
    assert one.addresses.asks(one.now_ns) == set(), "it is not here"
    one.look(DEAD, ME, times=10)
    assert one.addresses.state(A1) is State.HOLDS
    assert one.addresses.asks(one.now_ns) == {A1}
    assert one.addresses.asks(one.now_ns + ASKS_NS) == set()
