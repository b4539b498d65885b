# SPDX-License-Identifier: Apache-2.0
"""Operators move sessions and revoke them; an order is over when all servers have it."""

import asyncio
from ipaddress import IPv4Address

import pytest

from ipos.agent.sessions import session_orders
from ipos.agent.sessions.row_store import Entry, RowStore
from ipos.agent.sessions.session_orders import NoSuchSession, SessionOrders, lifetimes
from ipos.config.schema import Service, Session
from ipos.errors import IposError
from ipos.selection import identities
from tests.agent.heartbeat.test_learned_cookies import Rows
from tests.agent.made_up_farm import config
from tests.agent.sessions.test_session_news import entry

TO = IPv4Address("203.0.113.9")
NOW_NS = 50 * 10**9


class News:
    """What was told; `behind`: servers that have not confirmed it."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.behind: list[IPv4Address] = []

    def tell(self, key: bytes) -> None:
        self.told.append(key)

    def untold(self, keys: object) -> list[IPv4Address]:
        return self.behind


class Made:
    def __init__(self) -> None:
        self.rows, self.news = RowStore(Rows()), News()
        self.orders = SessionOrders(self.rows, self.news, lambda: {80: 3_600})  # type: ignore[arg-type]

    def put(self, number: int, server: int = 1) -> Entry:
        made = entry(number, server=server, now_ns=NOW_NS)
        self.rows.put(made)
        return made

    def now(self, of: Entry) -> Entry:
        found = self.rows.get(of.key, NOW_NS)
        assert found is not None
        return found


@pytest.fixture
def made() -> Made:
    return Made()


def test_one_session_moves(made: Made) -> None:
    first, second = made.put(1), made.put(2)
    assert asyncio.run(made.orders.move(first.identity, TO, NOW_NS)) == 1
    assert (made.now(first).server, made.now(first).turn) == (TO, 2)
    assert made.now(second) == second
    assert made.news.told == [first.key]


def test_all_of_a_server_move(made: Made) -> None:
    of_one = [made.put(number) for number in range(3)]
    other = made.put(9, server=2)
    assert asyncio.run(made.orders.move_all(IPv4Address("203.0.113.1"), TO, NOW_NS)) == 3
    assert {made.now(each).server for each in of_one} == {TO}
    assert made.now(other) == other


def test_a_revoked_session_is_none_any_more(made: Made) -> None:
    first = made.put(1)
    assert asyncio.run(made.orders.revoke(first.identity, NOW_NS)) == 1
    row = made.now(first)
    assert (row.turn, row.server) == (identities.REVOKED, IPv4Address(0))
    assert row.expires_ns > first.expires_ns, "for as long as a row elsewhere may live"
    for order in (
        made.orders.revoke(first.identity, NOW_NS),
        made.orders.move(first.identity, TO, NOW_NS),
    ):
        with pytest.raises(NoSuchSession, match=first.identity.hex()):
            asyncio.run(order)
    assert asyncio.run(made.orders.move_all(IPv4Address(0), TO, NOW_NS)) == 0


def test_who_has_not_confirmed_an_order_is_named(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_orders, "_PATIENCE_S", 0.05)
    made.news.behind = [IPv4Address("10.77.0.3")]
    first = made.put(1)
    with pytest.raises(IposError, match=r"it is done here, but 10\.77\.0\.3 has not confirmed it"):
        asyncio.run(made.orders.move(first.identity, TO, NOW_NS))
    assert made.now(first).server == TO


def test_only_services_that_identify_have_such_rows() -> None:
    made = config(
        Service(name="web", port=80, session=Session(kind="identify", expire_s=90)),
        Service(name="shop", port=81, session=Session(kind="learn", cookie="ID")),
        Service(name="plain", port=82),
    )
    assert lifetimes(made) == {80: 90}
