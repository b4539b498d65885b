# SPDX-License-Identifier: Apache-2.0
"""What reading a request head yields: the request, or why it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag


class Ambiguity(IntEnum):
    """Why a head is refused; the numbers are ``enum ipos_ambiguity`` of the data plane."""

    LINE_FEED = 1
    CARRIAGE_RETURN = 2
    NUL = 3
    CONTROL = 4
    FOLD = 5
    LEADING_SPACE = 6
    SPACE_BEFORE_COLON = 7
    METHOD = 8
    TARGET = 9
    PERCENT = 10
    ABOVE_ROOT = 11
    VERSION = 12
    HEADER_NAME = 13
    HOST = 14
    HOST_MISSING = 15
    HOST_TWICE = 16
    LENGTH = 17
    LENGTH_TWICE = 18
    ENCODING = 19
    LENGTH_AND_ENCODING = 20
    TOO_LONG = 21
    HOST_DIFFERS = 22
    NOT_TLS = 23
    NO_HELLO = 24
    ENCODED_SLASH = 25


class Body(IntEnum):
    """What follows the head. CHUNKED: its end shows as it is read. OPAQUE: no HTTP any more."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    OPAQUE = 3


class Flag(IntFlag):
    HEAD = 1
    HTTP10 = 2
    CLOSE = 4
    KEEP_ALIVE = 8
    CONTINUE = 16
    PATH_CUT = 32


NO_FLAGS = Flag(0)


class Outcome(Enum):
    """PREFACE: no HTTP/1, but the first line and the empty one of HTTP/2's preface."""

    MORE = "more"
    DONE = "done"
    REFUSED = "refused"
    PREFACE = "preface"


METHODS = (
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
)  # fmt: skip
"""Those that the data plane knows by name, in the order of ``enum ipos_method`` from 1 on."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a head asks for. An empty `host` or `path`: it names none. `length` in bytes.

    An empty `method`: it is none of METHODS.
    """

    outcome: Outcome = Outcome.MORE
    refusal: Ambiguity | None = None
    host: bytes = b""
    path: bytes = b""
    cookie: bytes = b""
    body: Body = Body.NONE
    content_length: int = 0
    flags: Flag = NO_FLAGS
    length: int = 0
    method: bytes = b""
