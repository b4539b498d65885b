# SPDX-License-Identifier: Apache-2.0
"""Where a request head ends, byte by byte.

The first byte tells the grammar; CR and LF before it are skipped (RFC 9112 section 2.2):

-   an upper-case letter: HTTP/1. The head ends with the LF of the first empty line. A line ends
    with LF; one CR before it belongs to the line end, so CRLF CRLF, LF LF and every mix end a
    head, as nginx has it (RFC 9112 section 2.2 allows a bare LF). A CR elsewhere is content: CR CR
    LF is no empty line. HTTP/0.9, which has no head, never completes.
-   0x16: a TLS record (RFC 8446 section 5.1): 5 bytes of header, the last two of them the length
    of what follows. The head is the record, or its first 14,600 bytes if it is longer. The
    version is not looked at.
-   anything else: a grammar we do not know; complete with that byte.

The HTTP/2 preface, ``PRI * HTTP/2.0``, is a head of the first kind and ends after its empty line.

A head's length counts from the first byte of the connection, skipped CR and LF included; bytes
after it (a body, a second request) are no part of it. HTTP/1 heads of up to 14,600 bytes are
complete; if the first 14,600 bytes end no head it is too long, which bounds every other case too.

``TRANSITIONS[state][byte class]`` is the whole machine but for one number: the bytes missing of a
TLS record, which the two length bytes set and every byte of its body takes one from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HEAD_MAX = 14_600  # bytes; the window of an unattached endpoint


class State(IntEnum):
    """Where the machine stands; the numbers are ``enum head_state`` of the data plane."""

    START = 0  # nothing yet, or only CR and LF
    LINE = 1  # inside a line
    NEXT = 2  # after a LF: an empty line would end the head
    NEXT_CR = 3  # after a LF and a CR
    TLS_TYPE = 4  # 0x16 was seen
    TLS_MAJOR = 5
    TLS_MINOR = 6
    TLS_LENGTH = 7  # the first length byte was seen
    TLS_BODY = 8  # the record's header was seen, bytes are missing
    DONE = 9


class Byte(IntEnum):
    """Classes of bytes; two bytes of one class never differ in what they do."""

    CR = 0
    LF = 1
    UPPER = 2
    HANDSHAKE = 3
    OTHER = 4


class Grammar(IntEnum):
    """What the first byte said."""

    UNKNOWN = 0  # no byte yet that tells
    HTTP1 = 1
    TLS = 2
    OPAQUE = 3


class Progress(IntEnum):
    """What is known of a head."""

    MORE = 0
    COMPLETE = 1
    TOO_LONG = 2


def classify(byte: int) -> Byte:
    """The class of one byte."""
    if byte == 0x0D:
        return Byte.CR
    if byte == 0x0A:
        return Byte.LF
    if 0x41 <= byte <= 0x5A:
        return Byte.UPPER
    return Byte.HANDSHAKE if byte == 0x16 else Byte.OTHER


def _always(state: State) -> tuple[State, ...]:
    return (state,) * len(Byte)


# Columns: CR, LF, upper-case letter, 0x16, any other.
TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.START: (State.START, State.START, State.LINE, State.TLS_TYPE, State.DONE),
    State.LINE: (State.LINE, State.NEXT, State.LINE, State.LINE, State.LINE),
    State.NEXT: (State.NEXT_CR, State.DONE, State.LINE, State.LINE, State.LINE),
    State.NEXT_CR: (State.LINE, State.DONE, State.LINE, State.LINE, State.LINE),
    State.TLS_TYPE: _always(State.TLS_MAJOR),
    State.TLS_MAJOR: _always(State.TLS_MINOR),
    State.TLS_MINOR: _always(State.TLS_LENGTH),
    State.TLS_LENGTH: _always(State.TLS_BODY),  # DONE if nothing is missing
    State.TLS_BODY: _always(State.TLS_BODY),  # DONE with the last byte
    State.DONE: _always(State.DONE),
}
_CLASSES = tuple(classify(byte) for byte in range(256))
_GRAMMARS = {State.LINE: Grammar.HTTP1, State.TLS_TYPE: Grammar.TLS, State.DONE: Grammar.OPAQUE}


@dataclass(frozen=True, slots=True)
class Head:
    """A head so far: ``length`` bytes were read, and none is read after its end.

    ``missing`` is of a TLS record, in bytes, from its first length byte on.
    """

    state: State = State.START
    grammar: Grammar = Grammar.UNKNOWN
    length: int = 0
    missing: int = 0

    @property
    def progress(self) -> Progress:
        """COMPLETE: the head is ``length`` bytes. TOO_LONG: no head will be found."""
        if self.state is State.DONE:
            return Progress.COMPLETE
        if self.length < HEAD_MAX:
            return Progress.MORE
        return Progress.COMPLETE if self.state is State.TLS_BODY else Progress.TOO_LONG

    def feed(self, data: bytes) -> Head:
        """The head after the next bytes of the connection; stops at its end."""
        state, grammar, missing, read = self.state, self.grammar, self.missing, 0
        for byte in data[: HEAD_MAX - self.length]:
            if state is State.DONE:
                break
            read += 1
            before, state = state, TRANSITIONS[state][_CLASSES[byte]]
            if before is State.START:
                grammar = _GRAMMARS.get(state, Grammar.UNKNOWN)
            elif before is State.TLS_MINOR:
                missing = byte << 8
            elif before is State.TLS_LENGTH:
                missing |= byte
            elif before is State.TLS_BODY:
                missing -= 1
            if state is State.TLS_BODY and not missing:
                state = State.DONE
        return Head(state, grammar, self.length + read, missing)
