# SPDX-License-Identifier: Apache-2.0
"""Which server owns the connection of a packet that a server knows nothing of? Pure;
`lib/question.h`, `xdp/locate.h`, `xdp/located.h` and `tc/locating.h` are it in C.

    who asks     `Asker`: whether a packet goes to all servers, waits, or is answered by a reset
                 `Asker.request`: whether a request opens by its cookie, where another server had
                 the address until now
                 `Asker.answered`: whether an answer makes a row of Forward
    who owns it  `fits`: whether the packet in a question may be the client's, so that it is
                 answered
    who has it   `asked`: what becomes of a connection without an application
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

MS = 1_000_000
QUESTION_NS = 50 * MS
QUESTION_LIFE_NS = 10_000 * MS
QUESTIONS, QUESTIONS_NS = 3, 1_000 * MS
ANSWER_NS = 1_000 * MS
SECOND_NS = 1_000 * MS
CLIENT_WINDOW = 65_535 << 7
_MODULUS = 1 << 32


class Verdict(Enum):
    """What becomes of a packet; the counter that says so."""

    ASKED = "LOCATE_ASKED"
    WAITS = "DROP_LOCATING"
    SOURCE = "DROP_LOCATE_SOURCE"
    LIMIT = "DROP_LOCATE_LIMIT"
    RESET = "LOCATE_NOBODY"
    RESET_AGAIN = "DROP_COOKIE_USED"
    LATE = "DROP_NO_COOKIE"
    OPENS = "COOKIE_ACCEPTED"


@dataclass(slots=True)
class Question:
    """What was asked about one connection, last by `number`."""

    first_ns: int
    asked_ns: int
    count: int
    number: int = 0


@dataclass(slots=True)
class Second:
    """How often it was asked in the second that began then."""

    since_ns: int = 0
    asked: int = 0

    def exceeds(self, most: int, now_ns: int) -> bool:
        if now_ns - self.since_ns >= SECOND_NS:
            self.since_ns, self.asked = now_ns, 0
        if self.asked >= most:
            return True
        self.asked += 1
        return False


@dataclass(slots=True)
class Asker:
    """One server, and one source address. Connections are numbered."""

    locates: int
    locates_source: int
    all_answer: bool
    questions: dict[int, Question] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    owners: dict[int, int] = field(default_factory=dict)
    """By connection, the server that has answered for it."""
    _source: Second = field(default_factory=Second)
    _all: Second = field(default_factory=Second)

    def packet(self, connection: int, now_ns: int, *, reset: bool = False) -> Verdict:
        """A packet without a cookie, of a connection that has no row. reset: it is one."""
        if connection in self.ended:
            return Verdict.LATE if reset else Verdict.RESET_AGAIN
        before = self.questions.get(connection)
        if before is not None and now_ns - before.asked_ns >= QUESTION_LIFE_NS:
            before = None
        if before is not None and now_ns - before.asked_ns < QUESTION_NS:
            return Verdict.WAITS
        if self._source.exceeds(self.locates_source, now_ns):
            return Verdict.SOURCE
        if self._all.exceeds(self.locates, now_ns):
            return Verdict.LIMIT
        vain = (
            before is not None
            and before.count >= QUESTIONS
            and now_ns - before.first_ns >= QUESTIONS_NS
        )
        if vain and self.all_answer and not reset:
            self.ended.add(connection)
            return Verdict.RESET
        first_ns, count = (before.first_ns, before.count) if before else (now_ns, 0)
        self.questions[connection] = Question(first_ns, now_ns, min(count + 1, 255))
        return Verdict.ASKED

    def request(self, connection: int, now_ns: int) -> Verdict:
        """A request whose cookie is right, and whose handshake was not seen here.

        It never ends in a reset: when nobody has answered, its cookie opens.
        """
        before = self.questions.get(connection)
        if before is not None and QUESTION_NS <= now_ns - before.asked_ns < QUESTION_LIFE_NS:
            return Verdict.OPENS
        return self.packet(connection, now_ns, reset=True)

    def answered(self, connection: int, number: int, server: int, now_ns: int) -> bool:
        """An authentic answer; whether it is one to the last question about the connection."""
        asked = self.questions.get(connection)
        if asked is None or asked.number != number or now_ns - asked.asked_ns > ANSWER_NS:
            return False
        if connection in self.owners:
            return False
        del self.questions[connection]
        self.owners[connection] = server
        return True

    def counted(self, verdicts: Counter[Verdict]) -> dict[str, int]:
        """The counters after so many of each."""
        told = Counter({one.value: count for one, count in verdicts.items()})
        resets = verdicts[Verdict.RESET] + verdicts[Verdict.RESET_AGAIN]
        return {**told, **({"RST_SENT": resets} if resets else {})}


@dataclass(frozen=True, slots=True)
class Socket:
    """Where the owner's socket stands."""

    rcv_nxt: int
    snd_una: int
    snd_nxt: int
    max_window: int


def fits(socket: Socket | None, seq: int, ack: int | None, *, reset: bool = False) -> bool:
    """RFC 9293 3.10.7.4 and RFC 5961 5.2, with the largest window that we ever offer.

    ack: None for a packet that acknowledges nothing.
    """
    if socket is None or not -CLIENT_WINDOW <= _signed(seq - socket.rcv_nxt) <= CLIENT_WINDOW:
        return False
    if reset:
        return True
    if ack is None:
        return False
    return (
        _signed(socket.snd_nxt - ack) >= 0
        and _signed(ack - (socket.snd_una - socket.max_window)) >= 0
    )


class Without(Enum):
    """What a server has of a connection that has no application there."""

    NOTHING = "nothing"
    HANDSHAKE = "the row of a cookie, which opens at any server"
    PART = "a part of a request, of which nothing was acknowledged"
    KEPT = "what can only be here"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question does there: what stays, and whether it is answered."""

    stays: Without
    answered: bool = False


def asked(what: Without, sent: int, ack: int | None, *, data: bool, reset: bool = False) -> Asked:
    """sent: our next number. The client knows it, and acknowledges it without a reset.

    A packet without data is not answered: the asker would not be told when the connection ends.
    """
    if reset or ack != sent or what is Without.NOTHING:
        return Asked(what)
    return Asked(what, data) if what is Without.KEPT else Asked(Without.NOTHING)


def _signed(difference: int) -> int:
    return (difference + (_MODULUS >> 1)) % _MODULUS - (_MODULUS >> 1)
