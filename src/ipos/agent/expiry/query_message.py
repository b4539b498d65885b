# SPDX-License-Identifier: Apache-2.0
"""Datagrams that ask whether the other side still knows a connection, and their answers.

A first server asks the owner, and an owner the first server.

    offset  size
    0       1     "Q" question, "A" answer or "L" lost; a state datagram has its version here
    1       n     body: `Question`, `Answer` or `Lost` as a MessagePack array
    1 + n   16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

An answer repeats its question's random number, which no stranger can know, so an answer cannot be
played back. A question that is played back is answered again, to a member, and changes nothing. A
`Lost` that is played back makes its receiver ask, at most once a second.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from ipos.agent.heartbeat import datagram_tags
from ipos.agent.heartbeat.datagram_tags import TAG_SIZE, Key

ROWS_MAX = 50
KINDS = _QUESTION, _ANSWER, _LOST = b"Q", b"A", b"L"


Four = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
Six = Annotated[bytes, Meta(min_length=16, max_length=16)]


class Connection(msgspec.Struct, frozen=True, array_like=True):
    """Addresses and ports as numbers, IPv6 addresses as 16 bytes; `iss` tells it from a successor
    on the same ports.


    live: it had a socket at another server before, so the first server may not know its owner yet.
    """

    client_ip: Four | Six
    client_port: int
    service_ip: Four | Six
    service_port: int
    iss: int
    live: bool = False


class Question(msgspec.Struct, frozen=True, array_like=True):
    """Of ROWS_MAX connections at most. of_first: the owner asks the first server."""

    number: int
    connections: list[Connection]
    of_first: bool = False


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """`known`: one for each connection of the question, in its order."""

    number: int
    known: list[bool]


class Lost(msgspec.Struct, frozen=True, array_like=True):
    """The sender thought its receiver dead, and has reset clients whose connections it owned."""

    number: int


_encoder = msgspec.msgpack.Encoder()
Said = Question | Answer | Lost
_KIND_OF: dict[type[Said], bytes] = {Question: _QUESTION, Answer: _ANSWER, Lost: _LOST}
_decoders = {kind: msgspec.msgpack.Decoder(said) for said, kind in _KIND_OF.items()}


def is_one(datagram: bytes) -> bool:
    """Whether a datagram on the port is for us to decode."""
    return datagram[:1] in _decoders


def encode(said: Said, key: Key) -> bytes:
    body = _KIND_OF[type(said)] + _encoder.encode(said)
    return body + datagram_tags.tag(body, key)


def decode(datagram: bytes, key: Key) -> Said | None:
    """The content of an authentic datagram, None for any other."""
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    if not is_one(body) or not datagram_tags.is_right(body, tag, key):
        return None
    try:
        said: Said = _decoders[body[:1]].decode(body[1:])
    except msgspec.MsgspecError:
        return None
    return said
