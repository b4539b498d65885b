# SPDX-License-Identifier: Apache-2.0
"""Where a request head ends.

What a connection begins with says what it is, as far as its service leaves that open (`Mode`):

-   0x16: a TLS record (RFC 8446 section 5.1). The head ends with the ClientHello
    (`spec.requests.tls`).
-   the 24 bytes of the HTTP/2 preface (RFC 9113 section 3.4): HTTP/2. The head ends with the first
    header block (`spec.requests.h2`). What is not quite the preface is HTTP/1.
-   anything else: HTTP/1 (RFC 9112). Empty lines may come before the request line. The head ends
    with the first empty line behind it, or behind the first byte that no head can have in its
    place, so that nobody waits for the end of what is none. Here every byte is looked at by
    itself; `spec.requests.http` knows what they must be together, and says why one is refused.
-   of a service that does not care: a grammar we do not know; complete with its first byte.

A head's length counts from the first byte of the connection, empty lines included; bytes after it
(a body, a second request) are no part of it. Heads of up to 14,600 bytes are complete. Of a longer
ClientHello or HTTP/2 flight the first 14,600 bytes are the head; any other is too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from spec.requests import h2, tls
from spec.requests.reader import More, Reader

HEAD_MAX = 14_600  # bytes; the window of an unattached endpoint


class Mode(Enum):
    """What a head may be; of the data plane's `enum ipos_mode` ANY is TCP here."""

    AUTO = "TLS, HTTP/2 or HTTP/1"
    HTTP = "HTTP/2 or HTTP/1"
    TLS = "TLS"
    TCP = "anything, which is not looked at"
    LATER = "HTTP/1: it follows a request on its connection"


class State(IntEnum):
    """Where in a head of HTTP/1; numbers of `enum head_state` of the data plane."""

    VALUE = 1
    FIELD = 2
    END = 3
    METHOD = 18
    TARGET_FIRST = 19
    TARGET = 20
    VERSION = 21
    LINE_CR = 22
    NAME = 23


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


@dataclass(frozen=True, slots=True)
class Head:
    """A head so far. ``data`` are the connection's bytes up to its end, if that is ``found``."""

    data: bytes = b""
    grammar: Grammar = Grammar.UNKNOWN
    found: bool = False
    mode: Mode = Mode.AUTO

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
        grammar, end = _find(joined, self.mode)
        return Head(joined[:end], grammar, end is not None, self.mode)


def _find(data: bytes, mode: Mode) -> tuple[Grammar, int | None]:
    if mode is Mode.TCP:
        return Grammar.OPAQUE, 1
    if data[0] == tls.HANDSHAKE and mode in (Mode.AUTO, Mode.TLS):
        return Grammar.TLS, tls.hello_end(data, 0)
    if mode is Mode.TLS:
        return Grammar.UNKNOWN, 1
    if mode is not Mode.LATER:
        if data.startswith(h2.PREFACE):
            return Grammar.H2, h2.block_end(data)
        if h2.PREFACE.startswith(data):
            return Grammar.HTTP1, None  # the empty line inside the preface ends nothing yet
        if _differs(data) >= len(_PRI):
            return Grammar.HTTP1, _differs(data) + 1
    reader = _Reader(data)
    try:
        while reader.peek() == _CR:
            reader.expect(b"\r\n")
        _http1(reader)
    except More:
        blank = not data.strip(b"\r\n")
        return Grammar.UNKNOWN if blank else Grammar.HTTP1, None
    except _Wrong:
        reader.at += 1
    return Grammar.HTTP1, reader.at


_CR = 0x0D
_PRI = b"PRI * HTTP/2"  # what no HTTP/1 has
_METHOD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_")
_NAME = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_VISIBLE = frozenset(range(0x21, 0x7F))
_VALUE = frozenset(range(0x20, 0x100)) - {0x7F} | {0x09}


class _Wrong(Exception):
    """The byte at hand is none that may stand there."""


class _Reader(Reader):
    def expect(self, text: bytes) -> None:
        for byte in text:
            if self.peek() != byte:
                raise _Wrong
            self.at += 1

    def some(self, allowed: frozenset[int], least: int = 1) -> None:
        """Bytes of these, up to one that is none."""
        start = self.at
        while self.peek() in allowed:
            self.at += 1
        if self.at - start < least:
            raise _Wrong


def _http1(reader: _Reader) -> None:
    """From the request line past the empty line; each byte by itself."""
    reader.some(_METHOD)
    reader.expect(b" ")
    reader.some(_VISIBLE)
    reader.expect(b" HTTP/1.")
    if reader.peek() not in b"01":
        raise _Wrong
    reader.at += 1
    reader.expect(b"\r\n")
    while reader.peek() != _CR:
        reader.some(_NAME)
        reader.expect(b":")
        reader.some(_VALUE, least=0)
        reader.expect(b"\r\n")
    reader.expect(b"\r\n")


def _differs(data: bytes) -> int:
    """How many bytes are the preface's."""
    return next((i for i, (a, b) in enumerate(zip(data, h2.PREFACE, strict=False)) if a != b), 0)
