# SPDX-License-Identifier: Apache-2.0
"""Does the owner still know a connection? Asked and answered on the state datagrams' port.

    offset  size
    0       1     "Q" question or "A" answer; a state datagram has its version here
    1       n     body: `Question` or `Answer` as a MessagePack array
    1 + n   16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

An answer repeats its question's random number, which nobody else can know: it cannot be played
back. A question played back is answered again, to a member, and changes nothing.
"""

import hashlib
import hmac

import msgspec

TAG_SIZE = 16
ROWS_MAX = 50
KINDS = _QUESTION, _ANSWER = b"Q", b"A"


class Connection(msgspec.Struct, frozen=True, array_like=True):
    """Addresses and ports as numbers; `iss` tells it from a successor on the same ports."""

    client_ip: int
    client_port: int
    service_ip: int
    service_port: int
    iss: int


class Question(msgspec.Struct, frozen=True, array_like=True):
    """At most ROWS_MAX connections fit into a datagram."""

    number: int
    connections: list[Connection]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """`known`: one for each connection of the question, in its order."""

    number: int
    known: list[bool]


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[bytes, msgspec.msgpack.Decoder[Question] | msgspec.msgpack.Decoder[Answer]] = {
    _QUESTION: msgspec.msgpack.Decoder(Question),
    _ANSWER: msgspec.msgpack.Decoder(Answer),
}


def is_one(datagram: bytes) -> bool:
    """Whether a datagram on the port is for us to decode."""
    return datagram[:1] in _decoders


def encode(said: Question | Answer, key: bytes) -> bytes:
    body = (_QUESTION if isinstance(said, Question) else _ANSWER) + _encoder.encode(said)
    return body + _tag(body, key)


def decode(datagram: bytes, key: bytes) -> Question | Answer | None:
    """What an authentic datagram says, None for any other."""
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    if not is_one(body) or not hmac.compare_digest(tag, _tag(body, key)):
        return None
    try:
        said: Question | Answer = _decoders[body[:1]].decode(body[1:])
    except msgspec.MsgspecError:
        return None
    return said


def _tag(body: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=TAG_SIZE).digest()
