# SPDX-License-Identifier: Apache-2.0
"""What a request's path and host are called, however the client spelled them. Pure functions.

A route is found by what the servers behind will serve, so a path is what nginx calls ``$uri``: it
ends at the first ``?`` or ``#``, percent signs are decoded once, and what that gives is read as
segments between slashes. Empty segments and ``.`` go, ``..`` takes the segment before it along
(RFC 3986 section 5.2.4), and a dot segment at the end leaves its slash. ``%2F`` is a slash here
and ``%2E`` a dot, as they are for a server that opens files.

Three spellings have no meaning that all servers share, and raise `UrlError`: a path that climbs
above its root (nginx refuses it, RFC 3986 stays at the root); a percent sign that starts no pair
of hexadecimal digits, or one that stands for NUL; and a path with both ``..`` and ``%2F``, because
``/a%2Fb/..`` is ``/a/`` for nginx and ``/`` for Apache, which decodes slashes last.

A path of which more than 256 bytes are left is cut there, and says so: prefixes of up to 256 bytes
still match it, no exact rule does. The data plane keeps no more of it, so it refuses one that goes
up from behind its 256th byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PATH_MAX = 256  # bytes
HOST_MAX = 255  # bytes; a name in DNS has at most 253
_HEX = b"0123456789abcdefABCDEF"
_NAME = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_LITERAL = frozenset(b"0123456789abcdefABCDEF:.")


class Fault(Enum):
    """What is wrong with a spelling."""

    PERCENT = "percent"
    ABOVE_ROOT = "above root"
    ENCODED_SLASH = "encoded slash"
    HOST = "host"


class UrlError(ValueError):
    """`fault` says what; `at` is the byte at which no other could help, from the text's start."""

    def __init__(self, fault: Fault, at: int) -> None:
        super().__init__(f"{fault.value} at byte {at}")
        self.fault, self.at = fault, at


@dataclass(frozen=True, slots=True)
class Path:
    """A normalised path; `cut` when it was longer than its 256 bytes."""

    text: bytes
    cut: bool = False


def decode(raw: bytes) -> list[tuple[int, int]]:
    """Bytes with the place of the last byte that spelled each, percent signs taken once."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(raw):
        byte = raw[at]
        if byte == 0x25:
            for digit in (at + 1, at + 2):
                if digit >= len(raw) or raw[digit] not in _HEX:
                    raise UrlError(Fault.PERCENT, digit)
            byte = int(raw[at + 1 : at + 3], 16)
            at += 2
            if not byte:
                raise UrlError(Fault.PERCENT, at)
        found.append((byte, at))
        at += 1
    return found


def normalise(raw: bytes) -> Path:
    """The path of a target from its slash up to, and without, ``?`` or ``#``."""
    late: UrlError | None = None
    try:
        decoded = decode(raw)
    except UrlError as error:
        # What comes before may be wrong too, and then it is the first fault.
        percent = raw[: error.at].rfind(b"%")
        decoded, late = decode(raw[:percent]), error
    kept: list[bytes] = []
    segment, length = bytearray(), 1  # of the kept segments with their slashes
    encoded = climbed = False
    for byte, at in decoded[1:]:
        if byte != 0x2F:
            segment.append(byte)
            continue
        encoded |= raw[at] != 0x2F
        climbed |= segment == b".."
        if encoded and climbed:
            raise UrlError(Fault.ENCODED_SLASH, at)
        length = _close(kept, bytes(segment), length, at)
        segment.clear()
    if late:
        raise late
    if encoded and segment == b"..":
        raise UrlError(Fault.ENCODED_SLASH, len(raw))
    trailing = bytes(segment) in (b"", b".", b"..")
    _close(kept, bytes(segment), length, len(raw))
    text = b"/" + b"/".join(kept) + (b"/" if trailing and kept else b"")
    return Path(text[:PATH_MAX], len(text) > PATH_MAX)


def _close(kept: list[bytes], segment: bytes, length: int, at: int) -> int:
    """Take one segment in; the length of what is kept, each with its slash, and the root's."""
    if segment == b"..":
        if not kept or length + 2 > PATH_MAX:
            raise UrlError(Fault.ABOVE_ROOT, at)
        return length - len(kept.pop()) - 1
    if segment in (b"", b"."):
        return length
    kept.append(segment)
    return length + len(segment) + 1


def host(raw: bytes) -> tuple[bytes, bytes]:
    """``name``, ``name:port`` or ``[IPv6]:port`` -> the name and the port's digits.

    Lower case; the port goes, and one dot at the end of a name. Letters, digits and ``-._~`` make
    a name: what else nginx and HAProxy take, they take differently, or for a user's name.
    """
    end = 0
    if raw[:1] == b"[":
        end = 1
        while end < len(raw) and raw[end] in _LITERAL:
            end += 1
        if raw[end : end + 1] != b"]" or end == 1:
            raise UrlError(Fault.HOST, min(_dots(raw, end), end))
        end += 1
    else:
        while end < len(raw) and raw[end] in _NAME:
            end += 1
    first = _dots(raw, end)
    if first < end:
        raise UrlError(Fault.HOST, first)
    name, port = raw[:end], raw[end:]
    if port[:1] not in (b"", b":"):
        raise UrlError(Fault.HOST, end)
    for at, byte in enumerate(port[1:], end + 1):
        if byte not in b"0123456789":
            raise UrlError(Fault.HOST, at)
    name = name.removesuffix(b".")
    if not name:
        raise UrlError(Fault.HOST, len(raw))
    return name.lower(), port[1:]


def _dots(raw: bytes, end: int) -> int:
    """Where the first `end` bytes stop being a host: a second dot in a row, or too many bytes."""
    twice = raw[:end].find(b"..")
    places = [at for at in (twice + 1 if twice >= 0 else end, HOST_MAX) if at < end]
    return min(places, default=end)
