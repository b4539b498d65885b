# SPDX-License-Identifier: Apache-2.0
"""What agents tell each other of identified sessions reaches everybody, whatever is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from ipos.agent.heartbeat.learned_cookies import Peer
from ipos.agent.sessions import session_news
from ipos.agent.sessions.row_message import SessionRow
from ipos.agent.sessions.row_store import Entry, RowStore, from_message, key_of
from ipos.agent.sessions.session_news import REPEAT_NS, WAITING_MAX, YOUNG_NS, SessionNews
from ipos.selection import identities
from tests.agent.heartbeat.test_learned_cookies import Rows

KEY = bytes(range(32))
TICK_NS = 100_000_000
WALL_MS = 1_700_000_000_000


def address(number: int) -> IPv4Address:
    return IPv4Address(f"192.0.2.{number}")


def entry(number: int, turn: int = 1, server: int = 1, now_ns: int = 0) -> Entry:
    identity = (number + 1).to_bytes(8, "big")
    return from_message(
        SessionRow(identity, 80, turn, IPv4Address(f"203.0.113.{server}"), 600_000), now_ns
    )


@dataclass
class Lan:
    """Agents, and the datagrams between them, of which `loses` says which get lost."""

    loses: float = 0
    now_ns: int = 50 * 10**9
    servers: dict[int, Server] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    carried: list[tuple[int, int]] = field(default_factory=list)

    def add(self, number: int, boot: int = 1) -> Server:
        self.servers[number] = Server(self, number, boot)
        return self.servers[number]

    def carry(self, datagram: bytes, by: int, to: str) -> None:
        number = int(to.rpartition(".")[2])
        self.carried.append((by, number))
        if number in self.servers and self.rng.random() >= self.loses:
            receiver = self.servers[number]
            assert receiver.news.receive(
                datagram, str(address(by)), self.now_ns, WALL_MS + self.now_ns // 10**6
            )

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.now_ns += TICK_NS
            for number, server in self.servers.items():
                others = [one for one in self.servers.values() if one.number != number]
                peers = [Peer(address(one.number), one.boot) for one in others]
                server.news.tick(peers, self.now_ns, WALL_MS + self.now_ns // 10**6)

    def settle(self) -> None:
        """Until nothing is to be told any more."""
        for _ in range(400):
            self.carried.clear()
            self.tick(4)
            if not self.carried:
                return
        raise AssertionError("they never stop talking")


@dataclass
class Server:
    lan: Lan
    number: int
    boot: int
    maps: Rows = field(default_factory=Rows)

    def __post_init__(self) -> None:
        self.rows = RowStore(self.maps)
        self.news = SessionNews(
            self.rows, KEY, address(self.number),
            lambda datagram, to: self.lan.carry(datagram, self.number, to[0]), self.number << 32,
        )  # fmt: skip

    def note(self, *entries: Entry) -> None:
        for each in entries:
            self.rows.put(each)
            self.news.note(each, self.lan.now_ns)

    def known(self) -> dict[bytes, tuple[int, IPv4Address]]:
        found = (each for each in self.rows.all(self.lan.now_ns) if each is not None)
        return {each.identity: (each.turn, each.server) for each in found}


@pytest.fixture
def lan() -> Lan:
    made = Lan()
    for number in (1, 2, 3):
        made.add(number)
    made.settle()
    return made


def test_a_row_reaches_everybody_and_nobody_tells_it_on(lan: Lan) -> None:
    lan.servers[2].note(entry(1, now_ns=lan.now_ns))
    lan.carried.clear()
    lan.tick()
    assert lan.servers[1].known() == lan.servers[2].known() == lan.servers[3].known() != {}
    assert sorted(lan.carried) == [(1, 2), (2, 1), (2, 3), (3, 2)], "rows, and answers"
    lan.carried.clear()
    lan.tick(20)
    assert lan.carried == []


def test_what_is_lost_is_told_again_until_it_is_there(lan: Lan) -> None:
    lan.loses = 0.5
    for number in range(500):
        entries = entry(number, now_ns=lan.now_ns)
        lan.servers[1 + number % 3].note(entries)
    lan.settle()
    assert len(lan.servers[1].known()) == 500
    assert lan.servers[1].known() == lan.servers[2].known() == lan.servers[3].known()


def test_the_sender_knows_who_has_not_confirmed_it(lan: Lan) -> None:
    lan.loses = 1
    told = entry(1, now_ns=lan.now_ns)
    lan.servers[1].note(told)
    assert lan.servers[1].news.untold({told.key}) == [address(2), address(3)]
    lan.tick()
    assert lan.servers[1].news.untold({told.key}) == [address(2), address(3)]
    lan.loses = 0
    lan.tick(1 + REPEAT_NS // TICK_NS)
    assert lan.servers[1].news.untold({told.key}) == []


def test_servers_that_decide_at_once_end_with_one_row(lan: Lan) -> None:
    lan.servers[1].note(entry(1, 2, 1, lan.now_ns))
    lan.servers[2].note(entry(1, 2, 3, lan.now_ns))
    lan.servers[3].note(entry(1, 2, 2, lan.now_ns))
    lan.settle()
    for server in lan.servers.values():
        assert list(server.known().values()) == [(2, IPv4Address("203.0.113.3"))]


def test_who_begins_is_given_all_rows_by_the_lowest_of_the_others(lan: Lan) -> None:
    lan.servers[3].note(*(entry(number, now_ns=lan.now_ns) for number in range(300)))
    lan.settle()
    lan.add(3, boot=2)
    lan.carried.clear()
    lan.settle()
    lan.carried.clear()
    assert len(lan.servers[3].known()) == 300


def test_the_next_one_gives_them_if_the_lowest_dies(lan: Lan) -> None:
    lan.servers[2].note(*(entry(number, now_ns=lan.now_ns) for number in range(300)))
    lan.settle()
    lan.add(3, boot=2)
    lan.loses = 1
    lan.tick()
    del lan.servers[1]
    lan.loses = 0
    lan.settle()
    assert len(lan.servers[3].known()) == 300


def test_who_was_silent_is_given_all_rows_by_everybody(lan: Lan) -> None:
    away = lan.servers.pop(3)
    lan.tick()
    away.news.tick([], lan.now_ns, WALL_MS)
    lan.servers[2].note(entry(1, now_ns=lan.now_ns))
    away.note(entry(2, now_ns=lan.now_ns))
    lan.settle()
    lan.servers[3] = away
    lan.settle()
    assert len(away.known()) == 2
    assert lan.servers[1].known() == lan.servers[2].known() == away.known()


def test_a_server_that_was_away_does_not_bring_a_revoked_session_back(lan: Lan) -> None:
    lan.servers[1].note(entry(1, now_ns=lan.now_ns))
    lan.settle()
    away = lan.servers.pop(1)
    lan.tick()
    revoked = SessionRow(entry(1).identity, 80, identities.REVOKED, IPv4Address(0), 600_000)
    lan.servers[2].note(from_message(revoked, lan.now_ns))
    lan.settle()
    lan.servers[1] = away
    lan.settle()
    for server in lan.servers.values():
        assert list(server.known().values()) == [(identities.REVOKED, IPv4Address(0))]


def test_learned_cookies_and_expired_sessions_are_not_told(lan: Lan) -> None:
    server = lan.servers[1]
    old = from_message(SessionRow(bytes(8), 80, 1, IPv4Address("203.0.113.1"), 1), lan.now_ns)
    server.rows.put(old)
    server.maps.update(key_of(b"a learnt", 80), bytes(8) + (1 << 60).to_bytes(8, "little"))
    lan.tick()
    lan.add(3, boot=2)
    lan.settle()
    assert lan.servers[3].maps.rows == {}


def test_too_many_rows_for_a_server_become_all_rows(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_news, "WAITING_MAX", 100)
    assert WAITING_MAX > 100
    lan.now_ns += YOUNG_NS
    lan.servers[1].note(*(entry(number, now_ns=lan.now_ns) for number in range(1_000)))
    lan.settle()
    assert len(lan.servers[2].known()) == len(lan.servers[3].known()) == 1_000


def test_who_is_given_all_rows_has_confirmed_none_before(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So an order that moves or revokes many is not over before all servers know of it."""
    monkeypatch.setattr(session_news, "WAITING_MAX", 100)
    monkeypatch.setattr(session_news, "WINDOW", 1)
    lan.now_ns += YOUNG_NS
    entries = [entry(number, now_ns=lan.now_ns) for number in range(1_000)]
    lan.servers[1].note(*entries)
    keys = [each.key for each in entries]
    lan.loses = 1
    lan.tick(5)
    for told in (keys[:1], keys[-1:], keys):
        assert lan.servers[1].news.untold({*told}) == [address(2), address(3)]
    lan.loses = 0
    lan.settle()
    assert lan.servers[1].news.untold({*keys}) == []


def test_rows_that_are_not_to_be_told_take_some_ticks_and_not_one_long_one(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_news, "LOOKED_MAX", 100)
    server = lan.servers[1]
    for number in range(1_000):
        key = key_of(number.to_bytes(8, "big"), 80)
        server.maps.update(key, bytes(8) + (1 << 60).to_bytes(8, "little"))
    server.note(entry(7_000, now_ns=lan.now_ns))
    lan.settle()
    looked: list[bytes] = []
    items = server.maps.items

    def counted() -> Iterator[tuple[bytes, bytes]]:
        for key, value in list(items()):
            looked.append(key)
            yield key, value

    monkeypatch.setattr(server.maps, "items", counted)
    lan.add(3, boot=2)
    lan.tick()
    assert 0 < len(looked) <= 100
    lan.tick(20)
    assert len(lan.servers[3].known()) == 1


def test_rows_that_were_too_many_are_told_when_all_rows_are(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_news, "WAITING_MAX", 100)
    monkeypatch.setattr(session_news, "WINDOW", 1)
    lan.now_ns += YOUNG_NS
    told = [entry(number, now_ns=lan.now_ns) for number in range(300)]
    last, news = {told[-1].key}, lan.servers[1].news
    lan.loses = 1
    lan.servers[1].note(*told)
    lan.tick()
    assert news.untold(last) == [address(2), address(3)], "it waits among all rows"
    lan.loses = 0
    lan.settle()
    assert news.untold(last) == []
    assert len(lan.servers[2].known()) == len(lan.servers[3].known()) == 300


def test_an_order_does_not_wait_for_a_server_that_is_given_all_rows(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_news, "WINDOW", 1)
    lan.servers[1].note(*(entry(number, now_ns=lan.now_ns) for number in range(300)))
    lan.settle()
    lan.add(3, boot=2)
    lan.loses = 1
    lan.tick()
    assert lan.servers[3].known() == {}
    assert lan.servers[1].news.untold({entry(5_000).key}) == []
