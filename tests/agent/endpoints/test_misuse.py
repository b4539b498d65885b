# SPDX-License-Identifier: Apache-2.0
"""Applications that ask for what is not theirs, or for too much: nobody else's connection suffers.

The farm of `test_both_sides` is used, in which sockets and rows are the test's.
"""

from typing import Any

import pytest

from ipos.agent.endpoints import giver as giver_module
from ipos.agent.endpoints import row_orders, tcp_repair
from ipos.agent.endpoints import transfer_message as t
from ipos.agent.endpoints.row_orders import ATTACHED, FROZEN, PREPARED, key_of
from ipos.agent.endpoints.taker import _KEYS
from ipos.agent.endpoints.transfer_message import Attempt
from ipos.endpoint import desk_message as m
from tests.agent.endpoints.test_both_sides import (
    CLIENT,
    SERVICE,
    Application,
    Farm,
    _sockets,
    made,
    shown,
)

__all__ = ["_sockets"]


def begin(farm: Farm, port: int, state: bytes = b"", to: str = "s2") -> None:
    server: Any = farm.servers[0]
    server.giver.begin(server.application, port, to, shown(server.socks[port], state), farm.now_ns)


def until(farm: Farm, what: Any) -> None:
    for _ in range(3000):
        if what():
            return
        farm.step()
    raise AssertionError("it has not come to that")


def prepared(farm: Farm) -> tuple[bytes, Any]:
    """s1 is silent from now on, and s2 has the socket of an endpoint that is not live yet."""
    begin(farm, 1)
    taker = farm.servers[1]
    until(farm, lambda: any(row.state == PREPARED for row in taker.rows.rows.values()))
    farm.wire.clear()
    (key,) = [what.key for what, _ in taker.application.said if isinstance(what, m.Coming)]
    (arrival,) = taker.taker._arrivals.values()
    return key, arrival.sock


def test_a_connection_is_given_once_at_a_time() -> None:
    farm = made(0, 1, 1)
    begin(farm, 1)
    with pytest.raises(tcp_repair.Unmovable, match="migrating already"):
        begin(farm, 1, to="s3")
    until(farm, lambda: farm.owner(1) is farm.servers[1])


def test_what_is_on_its_way_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giver_module, "BYTES_MAX", 10_000)
    farm = made(0, 1, 4)
    begin(farm, 1, bytes(6_000))
    with pytest.raises(tcp_repair.Unmovable, match="too much"):
        begin(farm, 2, bytes(6_000))
    begin(farm, 2, bytes(1_000))
    until(farm, lambda: farm.owner(1) is farm.owner(2) is farm.servers[1])
    assert farm.servers[0].giver._held == 0
    begin(farm, 3, bytes(6_000))
    until(farm, lambda: farm.owner(3) is farm.servers[1])


def test_of_what_has_not_come_nothing_is_kept() -> None:
    """Its number is remembered for a while, and there may be many of these."""
    farm = made(0, 1, 1)
    begin(farm, 1, bytes(5_000))
    taker = farm.servers[1].taker
    until(farm, lambda: any(one.state.data for one in taker._arrivals.values()))
    (arrival,) = taker._arrivals.values()
    taker.hear(t.Outcome(arrival.attempt, False), farm.servers[0].member, farm.now_ns)
    assert taker._arrivals == {arrival.attempt: arrival}
    assert (arrival.state.data, arrival.image) == (b"", None)


def test_a_socket_of_another_connection_brings_nothing_back() -> None:
    """Nor does it end what is on its way, whatever an application knows of it."""
    farm = made(0, 1, 1)
    key, _ = prepared(farm)
    taker, stranger = farm.servers[1], Application()
    mine = farm.sock(1, b"")
    named = _KEYS[1].decode(key)
    for nonce in (named.nonce, 0, 77):
        guess = _KEYS[0].encode(Attempt(CLIENT, 1, SERVICE, 80, named.iss, named.migration, nonce))
        one: Any = stranger
        assert not taker.taker.back(one, guess, shown(mine), farm.now_ns)
        assert stranger.said.pop() == (m.Dropped(guess), ())
    assert len(taker.taker._arrivals) == 1
    until(farm, lambda: farm.owner(1) is taker)
    assert mine.state == "live"


@pytest.mark.parametrize(
    "key", [b"", b"?", _KEYS[0].encode(Attempt(bytes(16), 1, SERVICE, 80, 0, 0))]
)
def test_what_is_no_key_is_dropped(key: bytes) -> None:
    farm = made(0, 1, 1)
    one: Any = Application()
    assert not farm.servers[1].taker.back(one, key, shown(farm.sock(1, b"")), farm.now_ns)
    assert one.said == [(m.Dropped(key), ())]


def test_a_socket_that_is_not_live_yet_cannot_be_had_by_asking() -> None:
    """Not as one that was given, nor as one that came: the giver may still keep it."""
    farm = made(0, 1, 1)
    key, sock = prepared(farm)
    taker = farm.servers[1]
    one: Any = taker.application
    taker.giver.again(one, 7, shown(sock))
    taker.taker.back(one, key, shown(sock), farm.now_ns)
    assert (sock.state, bool(sock.mark)) == ("repair", True)
    (row,) = taker.rows.rows.values()
    assert (row.state, row.flags) == (PREPARED, FROZEN)


def test_a_frozen_socket_cannot_be_had_by_saying_that_it_came() -> None:
    farm = made(0, 1, 1)
    begin(farm, 1)
    giver = farm.servers[0]
    row_key = key_of(Attempt(CLIENT, 1, SERVICE, 80, 0, 0))
    until(farm, lambda: giver.rows.rows[row_key].flags & FROZEN)
    row = giver.rows.rows[row_key]
    assert row.state == ATTACHED
    key = _KEYS[0].encode(Attempt(CLIENT, 1, SERVICE, 80, row.handshake.iss, row.migration, 5))
    one: Any = giver.application
    giver.taker.back(one, key, shown(giver.socks[1]), farm.now_ns)
    assert giver.socks[1].state == "repair"
    assert giver.socks[1].mark


def test_an_application_that_calls_again_hears_how_it_ended() -> None:
    farm = made(0, 1, 1)
    begin(farm, 1)
    giver = farm.servers[0]
    until(farm, lambda: giver.socks[1].state == "repair")
    another: Any = Application()
    giver.giver.again(another, 9, shown(giver.socks[1]))
    assert giver.socks[1].state == "repair", "it goes on its way"
    until(farm, lambda: farm.owner(1) is farm.servers[1])
    assert another.said == [(m.Given(9, True), ())]


def test_no_connection_is_made_of_a_socket_in_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its application may disconnect it, and connect it without a handshake: it stays dumb."""
    farm = made(0, 1, 1)
    _, sock = prepared(farm)
    sock.port = 4711
    farm.step()
    until(farm, lambda: any(isinstance(w, m.Dropped) for w, _ in farm.servers[1].application.said))
    assert (sock.state, bool(sock.mark)) == ("repair", True)


def test_no_connection_is_thawed_but_the_one_that_was_frozen() -> None:
    farm = made(0, 1, 1)
    begin(farm, 1)
    giver = farm.servers[0]
    sock = giver.socks[1]
    until(farm, lambda: sock.state == "repair")
    farm.wire.clear()
    sock.port = 4711
    farm.servers[1].start()  # an agent that knows nothing of it
    farm.servers[1].rows.rows.clear()
    until(farm, lambda: any(isinstance(w, m.Given) for w, _ in giver.application.said))
    assert (sock.state, bool(sock.mark)) == ("repair", True)


@pytest.mark.parametrize(("mark", "state"), [(7, "repair"), (row_orders.MARK_FROZEN, "left")])
def test_what_an_earlier_agent_has_given_loses_its_connection(mark: int, state: str) -> None:
    """But no socket that no agent has frozen."""
    farm = made(0, 1, 1)
    giver = farm.servers[0]
    sock = farm.sock(4711, b"")
    sock.state, sock.mark = "repair", mark
    one: Any = Application()
    assert giver.giver.again(one, 3, shown(sock))
    assert sock.state == state
    assert one.said == [(m.Given(3, True), ())]
