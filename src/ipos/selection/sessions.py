# SPDX-License-Identifier: Apache-2.0
"""Sessions by cookie: which session a request belongs to, and what its server may have. Pure;
`select/session.h` and `select/session_line.h` do the same in C.

The value of an inserted cookie is 32 characters, lower case hexadecimal of

    offset  size
    0       4     day: since 1970, of 86,400 seconds
    4       4     the server's first address
    8       8     tag: SipHash-2-4 (see `ipos.handshake.siphash`) of the 8 bytes before, keyed with
                  the day's key

Day and address are big-endian, the tag as the reference implementation emits it. A learned cookie
is known by the same hash of its value under a key of the farm's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from ipos.handshake.siphash import siphash64
from ipos.selection.candidates import has_refused
from ipos.selection.policies import ServerState

VALUE_SIZE = 32
DAY_S = 86_400
COOKIE_MAX = 128
"""A longer value counts as none."""

SERVES = (ServerState.READY, ServerState.DRAIN)


class Standing(IntEnum):
    """What the request's session has to do with the choice; numbered as in the data plane."""

    NONE = 0
    KEPT = 1
    MOVED = 2
    ELSEWHERE = 3


@dataclass(frozen=True, slots=True)
class Value:
    """What an inserted cookie says once its tag is right."""

    day: int
    server: IPv4Address


@dataclass(frozen=True, slots=True)
class Choice:
    """`server`: the index of the server that has the session, None for "choose". `insert`: the
    first response gets a cookie."""

    server: int | None
    standing: Standing
    insert: bool


def cookie_of(header: str, name: str) -> str:
    """The value of the first cookie of that name in a Cookie header's (RFC 6265, 4.2.1), or ""."""
    for pair in header.split(";"):
        key, equals, value = pair.partition("=")
        if equals and key.strip(" \t") == name:
            value = value.strip(" \t")
            return value if len(value.encode()) <= COOKIE_MAX else ""
    return ""


def encode(value: Value, key: bytes) -> str:
    """The cookie's value under the key of its day, of 16 bytes."""
    said = value.day.to_bytes(4, "big") + value.server.packed
    return (said + siphash64(key, said).to_bytes(8, "little")).hex()


def decode(text: str, keys: Mapping[int, bytes]) -> Value | None:
    """None for a value that none of the days' keys made. keys: by day."""
    if len(text) != VALUE_SIZE or not set(text) <= set("0123456789abcdef"):
        return None
    raw = bytes.fromhex(text)
    value = Value(int.from_bytes(raw[:4], "big"), IPv4Address(raw[4:8]))
    key = keys.get(value.day)
    return value if key is not None and encode(value, key) == text else None


def learned_hash(value: bytes, key: bytes) -> int:
    """What a learned cookie is known by in the Cookie map; key: of 16 bytes."""
    return siphash64(key, value)


def choose(
    owner: int | None,
    states: Mapping[int, ServerState],
    pool: Collection[int],
    listening: Collection[int],
    refused: Collection[int] = (),
    *,
    full: Collection[int] = (),
    inserts: bool = False,
    fresh: bool = True,
) -> Choice:
    """May the session's server have this request? owner: its index, None if it has none any more.

    `pool`: the candidates of the request's route, `listening` those of all its service's requests.
    `full`: servers without room even for clients that come back, see `has_room`. `inserts`: the
    cookie is an inserted one; `fresh`: it is of today.
    """
    if owner is None or states.get(owner) not in SERVES or owner not in listening:
        return Choice(None, Standing.MOVED, inserts)
    if owner not in pool or has_refused(owner, refused) or owner in full:
        return Choice(None, Standing.ELSEWHERE, False)
    return Choice(owner, Standing.KEPT, inserts and not fresh)


def has_room(connections: int, limit: int) -> bool:
    """Whether a server takes a client that comes back: a quarter above its limit, 0 for none."""
    return not limit or connections < limit + limit // 4


def insertion(sent: bytes) -> int | None:
    """How many bytes an application has sent before the place of a Set-Cookie line.

    That is behind the status line of its first final response (RFC 9112, 4; RFC 9110, 15.2): 101 is
    final, because what follows it is another protocol. None while it is not there, or for what is
    no response of HTTP/1.
    """
    at = 0
    while (end := sent.find(b"\n", at)) >= 0:
        line = sent[at : end + 1]
        code = line[9:12]
        if line[:7] != b"HTTP/1." or not line[7:8].isdigit() or line[8:9] != b" ":
            return None
        if len(code) < 3 or not code.isdigit():
            return None
        if code[0] != 0x31 or code == b"101":
            return end + 1
        at = _head_end(sent, end + 1)
        if not at:
            return None
    return None


def _head_end(sent: bytes, at: int) -> int:
    """Behind the empty line that ends the fields which begin there; 0: it is not there yet."""
    while (end := sent.find(b"\n", at)) >= 0:
        if not sent[at:end].strip(b"\r"):
            return end + 1
        at = end + 1
    return 0
