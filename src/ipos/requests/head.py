# SPDX-License-Identifier: Apache-2.0
"""Where a request head ends.

The first byte tells the grammar; CR and LF before it are skipped (RFC 9112 section 2.2):

-   an upper-case letter: HTTP/1. The head ends with the LF of the first empty line. A line ends
    with LF; one CR before it belongs to the line end, so CRLF CRLF, LF LF and every mix end a
    head, as nginx has it (RFC 9112 section 2.2 allows a bare LF). A CR elsewhere is content: CR CR
    LF is no empty line. HTTP/0.9, which has no head, never completes.
-   the 24 bytes of the HTTP/2 preface (RFC 9113 section 3.4), if they are the very first: HTTP/2.
    The head ends with the first header block (`ipos.requests.h2`). What is not quite the preface
    is HTTP/1.
-   0x16: a TLS record (RFC 8446 section 5.1). The head ends with the ClientHello
    (`ipos.requests.tls`).
-   anything else: a grammar we do not know; complete with that byte.

A head's length counts from the first byte of the connection, skipped CR and LF included; bytes
after it (a body, a second request) are no part of it. Heads of up to 14,600 bytes are complete.
Of a longer ClientHello or HTTP/2 flight the first 14,600 bytes are the head; any other is too
long.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ipos.requests import h2, tls

HEAD_MAX = 14_600  # bytes; the window of an unattached endpoint


class State(IntEnum):
    """Where in an HTTP/1 head; the numbers are ``enum head_state`` of the data plane."""

    START = 0
    LINE = 1  # inside a line
    NEXT = 2  # after a LF: an empty line would end the head
    NEXT_CR = 3  # after a LF and a CR
    DONE = 9


class Byte(IntEnum):
    """Classes of bytes; two bytes of one class never differ in what they do."""

    CR = 0
    LF = 1
    OTHER = 2


class Grammar(IntEnum):
    """What the first bytes said; the numbers are ``enum ipos_grammar``."""

    UNKNOWN = 0  # no byte yet that tells
    HTTP1 = 1
    TLS = 2
    OPAQUE = 3
    H2 = 4


class Progress(IntEnum):
    """What is known of a head."""

    MORE = 0
    COMPLETE = 1
    TOO_LONG = 2


def classify(byte: int) -> Byte:
    """The class of one byte."""
    return Byte.CR if byte == 0x0D else Byte.LF if byte == 0x0A else Byte.OTHER


# Columns: CR, LF, any other.
TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.START: (State.START, State.START, State.LINE),
    State.LINE: (State.LINE, State.NEXT, State.LINE),
    State.NEXT: (State.NEXT_CR, State.DONE, State.LINE),
    State.NEXT_CR: (State.LINE, State.DONE, State.LINE),
    State.DONE: (State.DONE, State.DONE, State.DONE),
}


@dataclass(frozen=True, slots=True)
class Head:
    """A head so far. ``data`` are the connection's bytes up to its end, if that is ``found``."""

    data: bytes = b""
    grammar: Grammar = Grammar.UNKNOWN
    found: bool = False

    @property
    def length(self) -> int:
        """Bytes of the head that are here."""
        return len(self.data)

    @property
    def progress(self) -> Progress:
        """COMPLETE: the head is ``length`` bytes. TOO_LONG: no head will be found."""
        if self.found:
            return Progress.COMPLETE
        if self.length < HEAD_MAX:
            return Progress.MORE
        bounded = self.grammar in (Grammar.TLS, Grammar.H2)
        return Progress.COMPLETE if bounded else Progress.TOO_LONG

    @property
    def waits(self) -> bool:
        """Whether a client that sends no more now is one that waits for the server."""
        return self.grammar is Grammar.H2 and not self.found and h2.at_rest(self.data)

    def feed(self, data: bytes) -> Head:
        """The head after the next bytes of the connection; stops at its end."""
        if self.progress is not Progress.MORE or not data:
            return self
        joined = (self.data + data)[:HEAD_MAX]
        grammar, end = _find(joined)
        return Head(joined[:end], grammar, end is not None)


def _find(data: bytes) -> tuple[Grammar, int | None]:
    start = len(data) - len(data.lstrip(b"\r\n"))
    if start == len(data):
        return Grammar.UNKNOWN, None
    first = data[start]
    if first == tls.HANDSHAKE:
        return Grammar.TLS, tls.hello_end(data, start)
    if not 0x41 <= first <= 0x5A:
        return Grammar.OPAQUE, start + 1
    if data.startswith(h2.PREFACE):
        return Grammar.H2, h2.block_end(data)
    if h2.PREFACE.startswith(data):
        return Grammar.HTTP1, None  # the empty line inside the preface ends nothing yet
    state = State.START
    for at, byte in enumerate(data):
        state = TRANSITIONS[state][classify(byte)]
        if state is State.DONE:
            # A preface that goes wrong after its empty line is known by the byte that is wrong.
            wrong = _differs(data) + 1
            return Grammar.HTTP1, max(at + 1, wrong) if wrong > len(_PRI) else at + 1
    return Grammar.HTTP1, None


_PRI = h2.PREFACE[:18]  # an HTTP/1 head by itself


def _differs(data: bytes) -> int:
    """How many bytes are the preface's."""
    return next((i for i, (a, b) in enumerate(zip(data, h2.PREFACE, strict=False)) if a != b), 0)
