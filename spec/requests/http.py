# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1 request head: bytes -> what it asks for, or why no server may serve it. Pure.

`read` takes the first bytes of a connection, however many there are, and reads them as RFC 9112
section 2 to 6 has them, but nothing that nginx and HAProxy could understand differently:

-   a line ends with CR LF, nothing else; empty ones before the request line are skipped
-   one space between method, target and version; HTTP/1.0 and HTTP/1.1
-   a method of ``A-Z``, ``-`` and ``_``
-   ``/path?query``, ``scheme://host/path``, ``host:port`` for CONNECT, ``*`` for OPTIONS; bytes
    from 0x21 to 0x7e
-   a header's name is a token, the colon follows at once, the value has no control byte but tabs,
    and the next line is another header
-   one Host, which HTTP/1.1 must have; a target that names a host names the same, because some
    servers go by the target (section 3.2.2) and others by Host
-   at most one Content-Length, of digits; at most one Transfer-Encoding, ``chunked`` and nothing
    else, in HTTP/1.1; never both

The first byte that no acceptable head has in its place decides: nothing that comes after it could
help, and `read` of any longer text gives the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from spec.requests import url
from spec.requests.head import HEAD_MAX
from spec.requests.head_result import METHODS, Ambiguity, Body, Flag, Outcome, Request
from spec.requests.reader import More, Reader

COOKIE_MAX = 128  # bytes of a session cookie's value
LENGTH_MAX = 2**63 - 1

_METHOD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_")
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SCHEME = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.")
_VISIBLE = frozenset(range(0x21, 0x7F))
_VALUE = frozenset(range(0x20, 0x100)) - {0x7F} | {0x09}


class _Refused(Exception):
    def __init__(self, reason: Ambiguity) -> None:
        self.reason = reason


class _Reader(Reader):
    def take(self, allowed: frozenset[int]) -> bytes:
        """As many bytes of these as there are; there must be one behind them."""
        start = self.at
        while self.peek() in allowed:
            self.at += 1
        return self.data[start : self.at]

    def expect(self, text: bytes, otherwise: Ambiguity) -> None:
        for byte in text:
            if self.peek() != byte:
                raise self.wrong(otherwise)
            self.at += 1

    def wrong(self, otherwise: Ambiguity) -> _Refused:
        """What the byte at hand is, where it may not be."""
        byte = self.peek()
        if byte == 0x0A:
            return _Refused(Ambiguity.LINE_FEED)
        if byte == 0x0D:
            return _Refused(Ambiguity.CARRIAGE_RETURN)
        if byte == 0:
            return _Refused(Ambiguity.NUL)
        return _Refused(Ambiguity.CONTROL if byte < 0x20 or byte == 0x7F else otherwise)

    def line_end(self, otherwise: Ambiguity) -> None:
        if self.peek() != 0x0D:
            raise self.wrong(otherwise)
        self.at += 1
        if self.peek() != 0x0A:
            raise _Refused(Ambiguity.CARRIAGE_RETURN)
        self.at += 1


@dataclass(slots=True)
class _Seen:
    """What the lines have said so far."""

    method: bytes = b""
    later: bool = False
    authority: tuple[bytes, int] | None = None
    host: bytes | None = None
    length: int | None = None
    chunked: bool = False
    tokens: frozenset[bytes] = frozenset()
    upgrade: bool = False
    expects: bool = False
    cookie: bytes | None = None

    @property
    def preface(self) -> bool:
        """Whether it may be HTTP/2's."""
        return self.method == b"PRI" and not self.later


def read(data: bytes, cookie: bytes = b"", *, later: bool = False) -> Request:
    """The head at the start of these bytes.

    `cookie` is the name of the session's cookie; empty when there is none. `later`: it follows
    another on its connection, where HTTP/2 cannot begin. MORE when the head goes on behind the
    bytes at hand. The fields of a refused one mean nothing.
    """
    reader = _Reader(data[:HEAD_MAX])
    try:
        return _request(reader, cookie, later=later)
    except More:
        if len(data) >= HEAD_MAX:
            return Request(Outcome.REFUSED, Ambiguity.TOO_LONG)
        return Request()
    except _Refused as refused:
        return Request(Outcome.REFUSED, refused.reason)


def _request(reader: _Reader, cookie: bytes, *, later: bool) -> Request:
    while reader.peek() in b"\r\n":
        reader.line_end(Ambiguity.METHOD)
        later = True
    seen = _Seen(method=reader.take(_METHOD), later=later)
    if not seen.method:
        raise reader.wrong(Ambiguity.METHOD)
    reader.expect(b" ", Ambiguity.METHOD)
    path = _target(reader, seen)
    flags = Flag.HEAD if seen.method == b"HEAD" else Flag(0)
    if path is not None and path.cut:
        flags |= Flag.PATH_CUT
    version = _version(reader, preface=seen.preface and path is None)
    if version == b"2.0":
        if reader.peek() != 0x0D:
            raise reader.wrong(Ambiguity.VERSION)
        reader.line_end(Ambiguity.VERSION)
        return _preface(reader)
    first = True
    while reader.peek() != 0x0D:
        if reader.peek() in b" \t":
            raise _Refused(Ambiguity.LEADING_SPACE if first else Ambiguity.FOLD)
        _header(reader, seen, cookie)
        first = False
    reader.line_end(Ambiguity.HEADER_NAME)
    if version == b"1.0":
        flags |= Flag.HTTP10
    return _together(seen, path, flags, reader.at)


def _preface(reader: _Reader) -> Request:
    """After the empty line: a reader that takes the preface for HTTP/1 reads on here."""
    at = reader.at
    for byte, wanted in zip(reader.data[at:], b"SM\r\n\r\n", strict=False):
        if byte != wanted:
            raise _Refused(Ambiguity.VERSION)
    return Request(Outcome.PREFACE, length=at)


def _version(reader: _Reader, *, preface: bool) -> bytes:
    reader.expect(b"HTTP/", Ambiguity.VERSION)
    if preface and reader.peek() == 0x32:
        reader.expect(b"2.0", Ambiguity.VERSION)
        version = b"2.0"
    else:
        reader.expect(b"1.", Ambiguity.VERSION)
        minor = bytes([reader.peek()])
        if minor not in (b"0", b"1"):
            raise reader.wrong(Ambiguity.VERSION)
        reader.at += 1
        version = b"1." + minor
    reader.line_end(Ambiguity.VERSION)
    return version


def _target(reader: _Reader, seen: _Seen) -> url.Path | None:
    """The path, which `*` alone has none of; the space behind the target is read."""
    if seen.method == b"CONNECT":
        seen.authority = _authority(reader, b" ", port=True)
        reader.at += 1
        return url.Path(b"/")  # as Apache serves it
    first = reader.peek()
    if first == 0x2A and (seen.method == b"OPTIONS" or seen.preface):
        reader.at += 1
        reader.expect(b" ", Ambiguity.TARGET)
        return None
    if bytes([first]).isalpha() and first < 0x80:
        reader.take(_SCHEME)
        reader.expect(b"://", Ambiguity.TARGET)
        seen.authority = _authority(reader, b" /")  # and not ?: HAProxy finds a path in a query
    elif first != 0x2F:
        raise reader.wrong(Ambiguity.TARGET)
    path = url.Path(b"/")
    if reader.peek() == 0x2F:
        path = _path(reader)
    if reader.peek() != 0x20:
        reader.take(_VISIBLE)
    reader.expect(b" ", Ambiguity.TARGET)
    return path


def _path(reader: _Reader) -> url.Path:
    """Everything up to ``?``, ``#`` or a space, normalised."""
    rest = reader.data[reader.at :]
    raw = bytes(rest[: next((i for i, b in enumerate(rest) if b not in _VISIBLE - {0x3F, 0x23}),
                            len(rest))])  # fmt: skip
    whole = reader.at + len(raw) < len(reader.data)
    ends = whole and reader.data[reader.at + len(raw)] in b" ?#"
    try:
        path = url.normalise(raw)
    except url.UrlError as error:
        # At the end of what is here, only an end of the path makes the fault certain.
        if error.at >= len(raw):
            reader.at += len(raw)
            if error.fault is url.Fault.PERCENT:
                raise reader.wrong(Ambiguity.PERCENT) from None
            if not ends:
                raise reader.wrong(Ambiguity.TARGET) from None
        raise _Refused(Ambiguity[error.fault.name]) from None
    reader.at += len(raw)
    if not whole or ends:
        return path
    raise reader.wrong(Ambiguity.TARGET)


def _authority(reader: _Reader, ends: bytes, *, port: bool = False) -> tuple[bytes, int]:
    """A host up to one of these bytes, and its port, 0 for none."""
    rest = reader.data[reader.at :]
    size = next((i for i, byte in enumerate(rest) if byte in ends), len(rest))
    raw = bytes(rest[:size])
    start = reader.at
    try:
        name, digits = url.host(raw)
    except url.UrlError as error:
        reader.at = start + error.at
        if error.at >= size and port:
            reader.peek()
            raise _Refused(Ambiguity.TARGET) from None
        if error.at >= size:
            reader.peek()
            raise _Refused(Ambiguity.HOST) from None
        raise reader.wrong(Ambiguity.HOST) from None
    reader.at += size
    reader.peek()
    if port and not digits:
        raise _Refused(Ambiguity.TARGET)
    return name, min(int(digits or b"0"), 65_535)


def _header(reader: _Reader, seen: _Seen, cookie: bytes) -> None:
    name = reader.take(_TOKEN)
    if reader.peek() in b" \t" and name:
        raise _Refused(Ambiguity.SPACE_BEFORE_COLON)
    if not name:
        raise reader.wrong(Ambiguity.HEADER_NAME)
    reader.expect(b":", Ambiguity.HEADER_NAME)
    known = name.lower()
    if known == b"host":
        _host(reader, seen)
    elif known == b"content-length":
        _length(reader, seen)
    elif known == b"transfer-encoding":
        _encoding(reader, seen)
    else:
        value = reader.take(_VALUE)
        if reader.peek() != 0x0D:
            raise reader.wrong(Ambiguity.CONTROL)
        _noted(known, value, seen, cookie)
    reader.line_end(Ambiguity.CONTROL)


def _host(reader: _Reader, seen: _Seen) -> None:
    """Spaces around it go; nginx takes a tab for a part of it, and refuses that."""
    if seen.host is not None:
        raise _Refused(Ambiguity.HOST_TWICE)
    reader.take(frozenset(b" "))
    seen.host, port = _authority(reader, b" \r")
    if seen.authority is not None and not _same((seen.host, port), seen.authority):
        raise _Refused(Ambiguity.HOST_DIFFERS)
    reader.take(frozenset(b" "))
    if reader.peek() != 0x0D:
        raise reader.wrong(Ambiguity.HOST)


def _same(one: tuple[bytes, int], other: tuple[bytes, int]) -> bool:
    """Whether they are one host. A host without a port means port 80 or 443."""
    ports = {one[1], other[1]}
    return one[0] == other[0] and (len(ports) == 1 or ports in ({0, 80}, {0, 443}))


def _length(reader: _Reader, seen: _Seen) -> None:
    if seen.length is not None:
        raise _Refused(Ambiguity.LENGTH_TWICE)
    reader.take(frozenset(b" "))
    seen.length = 0
    digits = 0
    while chr(reader.peek()) in "0123456789":
        seen.length = seen.length * 10 + reader.peek() - 0x30
        if seen.length > LENGTH_MAX:
            raise _Refused(Ambiguity.LENGTH)
        digits += 1
        reader.at += 1
    if digits:
        reader.take(frozenset(b" "))
    if reader.peek() == 0x0D and not digits:
        raise _Refused(Ambiguity.LENGTH)
    if reader.peek() != 0x0D:
        raise reader.wrong(Ambiguity.LENGTH)


def _encoding(reader: _Reader, seen: _Seen) -> None:
    if seen.chunked:
        raise _Refused(Ambiguity.ENCODING)
    value = reader.take(_VALUE)
    if reader.peek() != 0x0D:
        raise reader.wrong(Ambiguity.CONTROL)
    if value.strip(b" ").lower() != b"chunked":
        raise _Refused(Ambiguity.ENCODING)
    seen.chunked = True


def _noted(name: bytes, value: bytes, seen: _Seen, cookie: bytes) -> None:
    if name == b"connection":
        seen.tokens |= {token.strip(b" \t").lower() for token in value.split(b",")}
    elif name == b"upgrade":
        seen.upgrade |= bool(value.strip(b" \t"))
    elif name == b"expect":
        seen.expects |= value.strip(b" \t").lower() == b"100-continue"
    elif name == b"cookie" and cookie and seen.cookie is None:
        seen.cookie = session_cookie(value, cookie)


def session_cookie(value: bytes, name: bytes) -> bytes | None:
    """The value of a cookie in one Cookie header (RFC 6265 section 4.2.1); None if it is not there.

    The first of that name, with its quotes, without white space around it or around ``=``. Empty
    when it is longer than 128 bytes, which is the same as none.
    """
    for pair in value.split(b";"):
        key, equals, found = pair.partition(b"=")
        if equals and key.strip(b" \t") == name:
            # More bytes than the data plane keeps, even if they are spaces, are too many.
            found = found.lstrip(b" \t")
            return b"" if len(found) > COOKIE_MAX else found.rstrip(b" \t")
    return None


def _together(seen: _Seen, path: url.Path | None, flags: Flag, length: int) -> Request:
    """What the headers say at the head's end."""
    old = Flag.HTTP10 in flags
    if seen.host is None and not old:
        raise _Refused(Ambiguity.HOST_MISSING)
    if seen.chunked and seen.length is not None:
        raise _Refused(Ambiguity.LENGTH_AND_ENCODING)
    if seen.chunked and old:
        raise _Refused(Ambiguity.ENCODING)
    if b"close" in seen.tokens:
        flags |= Flag.CLOSE
    if b"keep-alive" in seen.tokens:
        flags |= Flag.KEEP_ALIVE
    if seen.expects:
        flags |= Flag.CONTINUE
    body = Body.LENGTH if seen.length else Body.NONE
    if seen.chunked:
        body = Body.CHUNKED
    if seen.method == b"CONNECT" or (seen.upgrade and b"upgrade" in seen.tokens):
        body = Body.OPAQUE
    name = seen.authority[0] if seen.authority is not None else seen.host
    return replace(
        Request(Outcome.DONE),
        method=seen.method if seen.method in METHODS else b"",
        host=name or b"",
        path=path.text if path else b"",
        cookie=seen.cookie or b"",
        body=body,
        content_length=seen.length or 0,
        flags=flags,
        length=length,
    )
