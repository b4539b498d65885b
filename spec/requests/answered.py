# SPDX-License-Identifier: Apache-2.0
"""Where an application's answers end: bytes it has sent -> how many requests they answer. Pure;
`http/response.h` is it in C.

`read` takes all that an application has sent on a connection, however much, and the requests it was
given. It reads HTTP/1 as RFC 9112 section 6.3 has it, from the side that needs no more than ends:

-   a status line begins with ``HTTP/1.``, one more byte, a space and three digits
-   1xx but 101 is followed by another head; 101, and 2xx to CONNECT, by another protocol
-   204, 304 and what answers HEAD have no body
-   one Transfer-Encoding, ``chunked`` alone, or one Content-Length; both: the encoding counts
-   lines end with LF; CR is skipped where it can be

Anything else, two of either field, and an answer that nobody asked for leave the end unknown, and
so does an answer that lasts as long as the connection. Letters are taken in either case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from spec.requests.reader import More, Reader

_DIGITS = b"0123456789"
_LENGTH_LIMIT = 1 << 59  # a digit more, and it might not fit
_SIZE_LIMIT = 1 << 56
_BODILESS = (204, 304)


class Asked(Enum):
    """What a request says of its answer's end. The last two are an application's last request."""

    PLAIN = "plain"
    HEAD = "head"
    UPGRADE = "upgrade"
    CONNECT = "connect"


class Stands(Enum):
    """Where the bytes end. UNKNOWN: which of them, or after them, are an answer cannot be told."""

    BETWEEN = "between answers"
    INSIDE = "inside an answer"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answers:
    """`answered`: requests whose answers are whole. `tunnel`: the connection has left HTTP; None
    while its last request may still take it there.
    """

    answered: int
    stands: Stands
    tunnel: bool | None = False


class _Unknown(Exception):
    pass


def read(sent: bytes, asked: Sequence[Asked]) -> Answers:
    """All the bytes since the first of these requests was given to the application."""
    reader = Reader(sent)
    answered = 0
    tunnel: bool | None = None if asked and asked[-1] in (Asked.UPGRADE, Asked.CONNECT) else False
    start = 0
    try:
        while True:
            start = reader.at
            if start < len(sent) and answered == len(asked):
                raise _Unknown
            status, fields = _head(reader)
            if status < 200 and status != 101:
                continue
            last = tunnel is None and answered + 1 == len(asked)
            if last:
                taken = status == 101 if asked[-1] is Asked.UPGRADE else 200 <= status < 300
                tunnel = taken
            if status == 101 or (last and tunnel):
                raise _Unknown
            if status not in _BODILESS and asked[answered] is not Asked.HEAD:
                _body(reader, fields)
            answered += 1
    except More:
        stands = Stands.BETWEEN if start == len(sent) else Stands.INSIDE
        return Answers(answered, stands, tunnel)
    except _Unknown:
        return Answers(answered, Stands.UNKNOWN, tunnel)


def _head(reader: Reader) -> tuple[int, dict[str, int]]:
    """The status, and what ends the body: `length` in bytes, `chunked` 1 or 0."""
    for wanted in b"http/1.":
        if bytes((reader.next(),)).lower() != bytes((wanted,)):
            raise _Unknown
    reader.next()
    if reader.next() != 0x20:
        raise _Unknown
    status = 0
    for _ in range(3):
        digit = reader.next()
        if digit not in _DIGITS:
            raise _Unknown
        status = status * 10 + digit - 0x30
    reader.line()
    fields: dict[str, int] = {}
    while True:
        while (first := reader.next()) == 0x0D:
            pass
        if first == 0x0A:
            return status, fields
        reader.at -= 1
        _field(reader, fields)


def _field(reader: Reader, fields: dict[str, int]) -> None:
    """One field's line, byte by byte where it says how long the answer is."""
    for name, value in (("length", _length), ("chunked", _chunked)):
        text = b"content-length:" if name == "length" else b"transfer-encoding:"
        rest = reader.data[reader.at :].partition(b"\n")[0]
        size = min(len(rest), len(text))
        if rest[:size].lower() != text[:size]:
            continue
        if size < len(text):
            break
        reader.at += size
        if name in fields:
            raise _Unknown
        fields[name] = 0
        value(reader, fields)
        return
    reader.line()


def _value(reader: Reader) -> int | None:
    """The next byte of a value that is no white space; None at the line's end."""
    while (byte := reader.next()) in b" \t\r":
        pass
    return None if byte == 0x0A else byte


def _length(reader: Reader, fields: dict[str, int]) -> None:
    while (digit := _value(reader)) is not None:
        if digit not in _DIGITS or fields["length"] >= _LENGTH_LIMIT:
            raise _Unknown
        fields["length"] = fields["length"] * 10 + digit - 0x30


def _chunked(reader: Reader, fields: dict[str, int]) -> None:
    text = b"chunked"
    seen = 0
    while (byte := _value(reader)) is not None:
        if seen >= len(text) or bytes((byte,)).lower() != text[seen : seen + 1]:
            raise _Unknown
        seen += 1
    fields["chunked"] = int(seen == len(text))


def _body(reader: Reader, fields: dict[str, int]) -> None:
    if "chunked" in fields:
        if not fields["chunked"]:
            raise _Unknown
        _chunks(reader)
    elif "length" in fields:
        reader.skip(fields["length"])
    else:
        raise _Unknown


def _chunks(reader: Reader) -> None:
    """RFC 9112 section 7.1; a CR or a LF stands nowhere but where a line ends."""
    while True:
        size = _size(reader)
        if not size:
            break
        reader.skip(size)
        _expect(reader, b"\r\n")
    while (first := reader.next()) != 0x0D:
        _text(reader, first)
    _expect(reader, b"\n")


def _size(reader: Reader) -> int:
    """A chunk's size; white space may stand behind it, and an extension."""
    size = digits = 0
    while (byte := reader.next()) in b"0123456789abcdefABCDEF":
        if size >= _SIZE_LIMIT:
            raise _Unknown
        size = size << 4 | int(bytes((byte,)), 16)
        digits += 1
    if not digits:
        raise _Unknown
    while byte in b" \t":
        byte = reader.next()
    if byte == 0x3B:
        _text(reader, reader.next())
    elif byte == 0x0D:
        _expect(reader, b"\n")
    else:
        raise _Unknown
    return size


def _text(reader: Reader, byte: int) -> None:
    """The rest of a line that begins with this byte: no control bytes but tabs, and CR LF."""
    while byte != 0x0D:
        if byte == 0x7F or (byte < 0x20 and byte != 0x09):
            raise _Unknown
        byte = reader.next()
    _expect(reader, b"\n")


def _expect(reader: Reader, text: bytes) -> None:
    for byte in text:
        if reader.next() != byte:
            raise _Unknown
