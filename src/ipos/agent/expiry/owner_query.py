# SPDX-License-Identifier: Apache-2.0
"""Asks other servers about connections, as their owner or first server, and answers their
questions.

A missing answer changes nothing: the next walk through the table asks again.
"""

import secrets
from collections import deque
from collections.abc import Callable, Container, Iterator
from ipaddress import IPv4Address, IPv6Address

from ipos.abi.codec import Codec
from ipos.abi.rows import Tuple, Tuple6
from ipos.agent.expiry import expiry_rules, query_message
from ipos.agent.expiry.query_message import Answer, Connection, Lost, Question
from ipos.agent.heartbeat.datagram_tags import Key
from ipos.agent.heartbeat.message import PORT

Send = Callable[[bytes, tuple[str, int]], None]
Knows = Callable[[IPv4Address, bytes, Connection, bool], bool]
"""Whether a connection, by who asks, its row's key and the question, is known here; the last says
that it is its owner who asks.
"""
Doubt = tuple[bytes, int, bool]
"""The key of a connection's row, its iss, and whether it had a socket elsewhere before."""

ASKED = 4 * query_message.ROWS_MAX
"""Connections that are asked about at once."""
ANSWER_NS = 2_000_000_000
_TUPLE, _TUPLE6 = Codec(Tuple), Codec(Tuple6)


class Inquiry:
    """Asks and answers. `key` is the farm's key of state datagrams; `send` may lose a datagram.

    A connection is given as the key of its row and the sequence number `iss`.
    """

    def __init__(self, key: Key, send: Send) -> None:
        self._key = key
        self._send = send
        self._doubts: deque[tuple[IPv4Address, bool, Doubt]] = deque()
        self._asked: dict[int, tuple[IPv4Address, bool, list[Doubt], int]] = {}
        self._told: set[IPv4Address] = set()

    def doubt(
        self, server: IPv4Address, key: bytes, iss: int, *, of_first: bool = False,
        live: bool = False,
    ) -> None:  # fmt: skip
        """Ask another server, by its back address: the owner, or the first server."""
        self._doubts.append((server, of_first, (key, iss, live)))

    def tell_lost(self, server: IPv4Address) -> None:
        """Note that this server thought another one dead, and has reset its connections."""
        said = Lost(secrets.randbits(63))
        self._send(query_message.encode(said, self._key), (str(server), PORT))

    def told_lost(self) -> set[IPv4Address]:
        """The servers that have said this of us since the last call."""
        told, self._told = self._told, set()
        return told

    @property
    def is_busy(self) -> bool:
        return bool(self._doubts)

    def ask(self, now_ns: int) -> None:
        """Send some of the questions that wait."""
        self._asked = {n: asked for n, asked in self._asked.items() if asked[3] > now_ns}
        by_server: dict[tuple[IPv4Address, bool], list[Doubt]] = {}
        for _ in range(min(ASKED, len(self._doubts))):
            server, of_first, doubt = self._doubts.popleft()
            by_server.setdefault((server, of_first), []).append(doubt)
        for (server, of_first), doubts in by_server.items():
            for start in range(0, len(doubts), query_message.ROWS_MAX):
                some = doubts[start : start + query_message.ROWS_MAX]
                number = secrets.randbits(63)
                self._asked[number] = (server, of_first, some, now_ns + ANSWER_NS)
                said = Question(number, [_connection(*one) for one in some], of_first)
                self._send(query_message.encode(said, self._key), (str(server), PORT))

    def receive(
        self,
        datagram: bytes,
        source: tuple[str, int],
        members: Container[IPv4Address],
        knows: Knows,
    ) -> Iterator[tuple[bytes, int, bool]]:
        """Answer a member's question; of an answer, return the connections that are denied.

        Each is given with its iss, and with whether its first server denies it.
        """
        said = query_message.decode(datagram, self._key)
        address = IPv4Address(source[0])
        if isinstance(said, Question) and address in members:
            asked_about = said.connections[: query_message.ROWS_MAX]
            known = [knows(address, _key(one), one, said.of_first) for one in asked_about]
            self._send(query_message.encode(Answer(said.number, known), self._key), source)
        elif isinstance(said, Lost) and address in members:
            self._told.add(address)
        elif isinstance(said, Answer):
            server, of_first, asked, _ = self._asked.get(said.number, (None, False, [], 0))
            if server == address and len(asked) == len(said.known):
                del self._asked[said.number]
                for (key, iss, _), known_there in zip(asked, said.known, strict=True):
                    if not known_there:
                        yield key, iss, of_first


def _connection(key: bytes, iss: int, live: bool) -> Connection:
    ends = expiry_rules.ENDS.read(key)
    four = len(ends.service_ip) == 4
    client, service = (
        int.from_bytes(one, "big") if four else one for one in (ends.client_ip, ends.service_ip)
    )
    ports = (int.from_bytes(one, "big") for one in (ends.client_port, ends.service_port))
    client_port, service_port = ports
    return Connection(client, client_port, service, service_port, iss, live)


def _key(asked: Connection) -> bytes:
    """Empty, as no row's, for addresses of two families."""
    ports = asked.client_port, asked.service_port
    if isinstance(asked.client_ip, int) and isinstance(asked.service_ip, int):
        client, service = IPv4Address(asked.client_ip), IPv4Address(asked.service_ip)
        return _TUPLE.encode(Tuple(client, service, *ports))
    if isinstance(asked.client_ip, bytes) and isinstance(asked.service_ip, bytes):
        client6, service6 = IPv6Address(asked.client_ip), IPv6Address(asked.service_ip)
        return _TUPLE6.encode(Tuple6(client6, service6, *ports))
    return b""
