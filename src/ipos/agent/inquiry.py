# SPDX-License-Identifier: Apache-2.0
"""Asks owners about idle connections, and answers other servers that ask.

No answer changes nothing: a question is asked again on the next walk through the table.
"""

import secrets
from collections import deque
from collections.abc import Callable, Container, Iterator
from ipaddress import IPv4Address

from ipos.agent import questions
from ipos.agent.message import PORT
from ipos.agent.questions import Answer, Connection, Question
from ipos.inic.codec import Codec
from ipos.inic.layout import layout
from ipos.inic.rows import Tuple

Send = Callable[[bytes, tuple[str, int]], None]
Knows = Callable[[bytes, int], bool]

ASKED = 4 * questions.ROWS_MAX
"""Connections that are asked about at once."""
ANSWER_NS = 2_000_000_000
_TUPLE = Codec(Tuple, layout("ipos_tuple"))


class Inquiry:
    """Both sides of it. `key` is the farm's key of state datagrams; `send` may lose what it takes.

    Connections are given and taken as the key of their rows and the sequence number `iss`.
    """

    def __init__(self, key: bytes, send: Send) -> None:
        self._key = key
        self._send = send
        self._doubts: deque[tuple[IPv4Address, bytes, int]] = deque()
        self._asked: dict[int, tuple[IPv4Address, list[tuple[bytes, int]], int]] = {}

    def doubt(self, owner: IPv4Address, key: bytes, iss: int) -> None:
        """Have the owner, by its back address, asked."""
        self._doubts.append((owner, key, iss))

    @property
    def is_busy(self) -> bool:
        return bool(self._doubts)

    def ask(self, now_ns: int) -> None:
        """Send some of the questions that wait."""
        self._asked = {n: asked for n, asked in self._asked.items() if asked[2] > now_ns}
        by_owner: dict[IPv4Address, list[tuple[bytes, int]]] = {}
        for _ in range(min(ASKED, len(self._doubts))):
            owner, key, iss = self._doubts.popleft()
            by_owner.setdefault(owner, []).append((key, iss))
        for owner, doubts in by_owner.items():
            for start in range(0, len(doubts), questions.ROWS_MAX):
                some = doubts[start : start + questions.ROWS_MAX]
                number = secrets.randbits(63)
                self._asked[number] = (owner, some, now_ns + ANSWER_NS)
                said = Question(number, [_connection(key, iss) for key, iss in some])
                self._send(questions.encode(said, self._key), (str(owner), PORT))

    def receive(
        self,
        datagram: bytes,
        source: tuple[str, int],
        members: Container[IPv4Address],
        knows: Knows,
    ) -> Iterator[tuple[bytes, int]]:
        """Answer a member's question; of an answer, the connections that their owner denies."""
        said = questions.decode(datagram, self._key)
        address = IPv4Address(source[0])
        if isinstance(said, Question) and address in members:
            known = [knows(_key(one), one.iss) for one in said.connections[: questions.ROWS_MAX]]
            self._send(questions.encode(Answer(said.number, known), self._key), source)
        elif isinstance(said, Answer):
            owner, asked, _ = self._asked.get(said.number, (None, [], 0))
            if owner == address and len(asked) == len(said.known):
                del self._asked[said.number]
                for connection, known_there in zip(asked, said.known, strict=True):
                    if not known_there:
                        yield connection


def _connection(key: bytes, iss: int) -> Connection:
    ends = _TUPLE.decode(key)
    return Connection(
        int(ends.client_ip), ends.client_port, int(ends.service_ip), ends.service_port, iss
    )


def _key(asked: Connection) -> bytes:
    client_ip, service_ip = IPv4Address(asked.client_ip), IPv4Address(asked.service_ip)
    return _TUPLE.encode(Tuple(client_ip, service_ip, asked.client_port, asked.service_port))
