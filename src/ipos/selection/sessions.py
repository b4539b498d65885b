# SPDX-License-Identifier: Apache-2.0
"""Sessions by cookie: which session a request belongs to, and what its server may have. Pure;
`select/session.h` and `select/session_line.h` do the same in C.

The value of an inserted cookie is 40 characters, lower case hexadecimal of

    offset  size
    0       8     sealed: the server's first address and 4 bytes of a nonce, which is another one in
                  each connection; XOR SipHash-2-4 (see `ipos.handshake.siphash`) of the tag and a
                  zero byte
    8       8     tag: SipHash-2-4 of address, nonce and day, 12 bytes
    16      4     day: since 1970, of 86,400 seconds

Both hashes are under the day's key, and as the reference implementation emits them. Address and day
are big-endian, the nonce is little-endian. So nobody without the key reads which server a value
names, nor whether two values name the same (a synthetic initialization vector, as in RFC 5297).

Before ABI 11 a value was 32 characters, in which the address stood open: day, address, and SipHash
of these 8 bytes under the same key. It counts for as long as its key does.

A learned cookie is known by SipHash-2-4 of its value under a key of the farm's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from ipos.handshake.siphash import siphash64
from ipos.selection.candidates import has_refused
from ipos.selection.policies import ServerState

VALUE_SIZE = 40
OPEN_SIZE = 32
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
    UNKNOWN = 4
    FORGED = 5


@dataclass(frozen=True, slots=True)
class Value:
    """What an inserted cookie says once its tag is right. `open`: in the form before ABI 11."""

    day: int
    server: IPv4Address
    open: bool = False


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


def nonce_of(iss: int, irs: int) -> int:
    """The nonce of a connection's cookie; of its handshake, the server's ISN and the client's."""
    return iss ^ irs


def encode(value: Value, key: bytes, nonce: int) -> str:
    """The cookie's value under the key of its day, of 16 bytes. nonce: of 32 bits."""
    day = value.day.to_bytes(4, "big")
    named = value.server.packed + nonce.to_bytes(4, "little")
    tag = _hash(key, named + day)
    return (_sealed(named, tag, key) + tag + day).hex()


def encode_open(value: Value, key: bytes) -> str:
    """The same as it was before ABI 11."""
    said = value.day.to_bytes(4, "big") + value.server.packed
    return (said + _hash(key, said)).hex()


def decode(text: str, keys: Mapping[int, bytes]) -> Value | None:
    """None for a value that none of the days' keys made. keys: by day."""
    if len(text) not in (VALUE_SIZE, OPEN_SIZE) or not set(text) <= set("0123456789abcdef"):
        return None
    raw = bytes.fromhex(text)
    return _decode_sealed(raw, keys) if len(text) == VALUE_SIZE else _decode_open(raw, keys)


def _decode_sealed(raw: bytes, keys: Mapping[int, bytes]) -> Value | None:
    sealed, tag, day = raw[:8], raw[8:16], int.from_bytes(raw[16:], "big")
    key = keys.get(day)
    if key is None:
        return None
    named = _sealed(sealed, tag, key)
    server = IPv4Address(named[:4])
    return Value(day, server) if int(server) and _hash(key, named + raw[16:]) == tag else None


def _decode_open(raw: bytes, keys: Mapping[int, bytes]) -> Value | None:
    value = Value(int.from_bytes(raw[:4], "big"), IPv4Address(raw[4:8]), open=True)
    key = keys.get(value.day)
    return value if key and int(value.server) and _hash(key, raw[:8]) == raw[8:] else None


def _sealed(named: bytes, tag: bytes, key: bytes) -> bytes:
    """Its own inverse."""
    return bytes(a ^ b for a, b in zip(named, _hash(key, tag + b"\0"), strict=True))


def _hash(key: bytes, message: bytes) -> bytes:
    return siphash64(key, message).to_bytes(8, "little")


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
    drains: bool = True,
    inserts: bool = False,
    fresh: bool = True,
) -> Choice:
    """May the session's server have this request? owner: its index, None if it has none any more.

    `pool`: the candidates of the request's route, `listening` those of all its service's requests.
    `full`: servers without room even for clients that come back, see `has_room`. `drains`: a server
    that drains keeps its sessions; it does not keep identified ones. `inserts`: the
    cookie is an inserted one; `fresh`: the client need not have it anew, see `is_fresh`.
    """
    serves = SERVES if drains else SERVES[:1]
    if owner is None or states.get(owner) not in serves or owner not in listening:
        return Choice(None, Standing.MOVED, inserts)
    if owner not in pool or has_refused(owner, refused) or owner in full:
        return Choice(None, Standing.ELSEWHERE, False)
    return Choice(owner, Standing.KEPT, inserts and not fresh)


def is_fresh(value: Value, today: int) -> bool:
    """Whether a client keeps its inserted cookie: one of today, and of today's form."""
    return value.day == today and not value.open


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
