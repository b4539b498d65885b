# SPDX-License-Identifier: Apache-2.0
"""Learned sessions between agents: what one tells, another has."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ipos.abi.layout import layout
from ipos.agent.heartbeat.learned_cookies import (
    NEWS_MAX,
    Cookie,
    CookieGossip,
    Peer,
    decode,
    encode,
)

KEY = bytes(range(32))
NOW_NS, NOW_MS = 50 * 10**9, 1_700_000_000_000
ROW = Cookie(bytes(range(8)), 80, IPv4Address("203.0.113.1"), 60_000)


@dataclass
class Rows:
    """A map and a queue of the kernel's."""

    rows: dict[bytes, bytes] = field(default_factory=dict)
    queue: deque[bytes] = field(default_factory=deque)

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def update(self, key: bytes, value: bytes, /) -> bool:
        self.rows[key] = value
        return True

    def delete(self, key: bytes) -> bool:
        return self.rows.pop(key, None) is not None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self.rows.items()))

    def pop(self) -> bytes | None:
        return self.queue.popleft() if self.queue else None


@dataclass
class Server:
    """One agent's side. `sent`: datagrams and the back addresses they went to."""

    number: int
    maps: Rows = field(default_factory=Rows)
    sent: list[tuple[bytes, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gossip = CookieGossip(
            self.maps, self.maps, KEY, _address(self.number),
            lambda datagram, to: self.sent.append((datagram, to[0])),
        )  # fmt: skip

    def tick(self, *others: int, boot: int = 1) -> list[str]:
        """To whom it sends, when it hears these."""
        self.sent.clear()
        self.gossip.tick([Peer(_address(n), boot) for n in others], NOW_NS, NOW_MS)
        return [to for _, to in self.sent]

    def hear(self, *rows: Cookie) -> None:
        assert self.gossip.receive(encode(rows, NOW_MS, KEY), NOW_NS, NOW_MS)

    def servers(self) -> list[IPv4Address]:
        shape = layout("ipos_cookie")
        return [IPv4Address(shape.unpack(row)["server_ip"]) for row in self.maps.rows.values()]


def _address(number: int) -> IPv4Address:
    return IPv4Address(f"192.0.2.{number}")


def test_a_datagram_is_of_these_seconds_and_of_this_farm() -> None:
    datagram = encode([ROW], NOW_MS, KEY)
    assert decode(datagram, NOW_MS + 5_000, KEY) == [ROW]
    assert decode(datagram, NOW_MS + 5_001, KEY) is None
    assert decode(datagram, NOW_MS, KEY[::-1]) is None
    assert decode(datagram[:-1], NOW_MS, KEY) is None


def test_of_two_rows_the_one_that_lives_longer_stays() -> None:
    server = Server(1)
    moved = Cookie(ROW.hash, 80, IPv4Address("203.0.113.2"), ROW.life_ms + 1)
    server.hear(ROW, moved, ROW)
    assert server.servers() == [moved.server]
    server.hear(Cookie(ROW.hash, 80, moved.server, 0))
    assert server.servers() == []


def test_who_begins_is_given_the_map_by_the_lowest_of_the_others() -> None:
    first, second = Server(1), Server(2)
    for server in (first, second):
        server.hear(ROW)
        server.tick(1 if server is second else 2)
    assert first.tick(2, 3) == [str(_address(3))]
    assert second.tick(1, 3) == []
    assert first.tick(2, 3) == []


def test_who_was_silent_is_given_the_map_again() -> None:
    server = Server(1)
    server.hear(ROW)
    server.tick(2, 3)
    assert server.tick(2, 3) == []
    assert server.tick(2) == []
    assert server.tick(2, 3) == [str(_address(3))]


def test_a_map_of_many_ticks_is_given_whole() -> None:
    server = Server(1)
    count = 2 * NEWS_MAX + 1
    for n in range(count):
        server.hear(Cookie(n.to_bytes(8, "big"), 80, ROW.server, 60_000))
    told = set()
    while server.tick(2):
        for datagram, _ in server.sent:
            told |= {row.hash for row in decode(datagram, NOW_MS, KEY) or []}
    assert len(told) == count
