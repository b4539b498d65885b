# SPDX-License-Identifier: Apache-2.0
"""Datagrams that ask a server to examine itself, and those that say what it has found.

They travel on the port of the state datagrams.

    offset  size
    0       1     "D" question or "F" findings; a state datagram has its version here
    1       8     when it was sent, milliseconds since 1970, big-endian
    9       n     body: `Question` or `Findings` as a MessagePack array
    9 + n   16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

Both are believed for five seconds, as states are. A question names a random number, and findings
repeat it, so that findings that are played back answer nothing.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ipos.agent.heartbeat import datagram_tags
from ipos.agent.heartbeat.datagram_tags import TAG_SIZE, Key

KINDS = _QUESTION, _FINDINGS = b"D", b"F"
CLOCK_MS = 5_000
"""How far a sender's clock may be from ours, as for state datagrams."""
FINDINGS_MAX = 32
"""More than a server can have checks; the rest is counted."""
TEXT_MAX = 512
PARTS_MAX = 24
ROOM = 1300
"""Bytes of findings in one datagram: it fits any LAN of 1,400 bytes and more."""
_HEAD = struct.Struct(">cQ")
_SIZE_MAX = 2048


class Said(msgspec.Struct, frozen=True, array_like=True):
    """One thing that a server has found on itself. seen: whether it could be looked at."""

    check: Annotated[str, Meta(max_length=TEXT_MAX)]
    message: Annotated[str, Meta(max_length=TEXT_MAX)]
    seen: bool = True


class Question(msgspec.Struct, frozen=True, array_like=True):
    """Examine yourself, and answer with this number."""

    number: Annotated[int, Meta(ge=0)]


class Findings(msgspec.Struct, frozen=True, array_like=True):
    """A part of what was found; `left_out` is how many are in no part."""

    number: Annotated[int, Meta(ge=0)]
    part: Annotated[int, Meta(ge=0, lt=PARTS_MAX)]
    parts: Annotated[int, Meta(ge=1, le=PARTS_MAX)]
    findings: list[Said]
    left_out: Annotated[int, Meta(ge=0)] = 0


Message = Question | Findings
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[bytes, msgspec.msgpack.Decoder[Any]] = {
    _QUESTION: msgspec.msgpack.Decoder(Question),
    _FINDINGS: msgspec.msgpack.Decoder(Findings),
}


def encode(said: Message, sent_ms: int, key: Key) -> bytes:
    kind = _QUESTION if isinstance(said, Question) else _FINDINGS
    body = _HEAD.pack(kind, sent_ms) + _encoder.encode(said)
    return body + datagram_tags.tag(body, key)


def decode(datagram: bytes, now_ms: int, key: Key) -> Message | None:
    """What an authentic datagram of these seconds says, None for any other."""
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    if not _HEAD.size < len(body) < _SIZE_MAX or not datagram_tags.is_right(body, tag, key):
        return None
    kind, sent_ms = _HEAD.unpack_from(body)
    decoder = _decoders.get(kind)
    if decoder is None or abs(now_ms - sent_ms) > CLOCK_MS:
        return None
    try:
        said: Message = decoder.decode(body[_HEAD.size :])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return said


def answers(number: int, found: Iterable[Said]) -> list[Findings]:
    """The parts that say what was found, at least one; texts that are too long are cut."""
    every = [Said(_cut(one.check), _cut(one.message), one.seen) for one in found]
    pieces = list(_pieces(every[:FINDINGS_MAX])) or [[]]
    left_out = len(every) - sum(map(len, pieces))
    return [Findings(number, n, len(pieces), piece, left_out) for n, piece in enumerate(pieces)]


def _pieces(found: list[Said]) -> Iterator[list[Said]]:
    piece: list[Said] = []
    room = ROOM
    for one in found:
        size = len(_encoder.encode(one))
        if piece and size > room:
            yield piece
            piece, room = [], ROOM
        piece.append(one)
        room -= size
    if piece:
        yield piece


def _cut(text: str) -> str:
    """Of bytes and not of letters: a piece has room for one text of them."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= TEXT_MAX else raw[: TEXT_MAX - 3].decode("utf-8", "ignore") + "..."
