# SPDX-License-Identifier: Apache-2.0
"""The datagrams by which two agents move an endpoint, on a UDP port of their own on back.

    offset  size
    0       1     "T"
    1       8     when it was sent, milliseconds since 1970, big-endian
    9       n     body: one of the messages below as a MessagePack array, with its kind in front
    9 + n   16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

They are believed for five seconds. Each names the migration that it is about by the connection, its
ISN, the number of the attempt and a random number, so that no two attempts are taken for one. An
agent that knows an attempt from a row only, which an agent before it has made, names the random
number 0. Addresses are packed, four or sixteen bytes.
"""

import struct
from typing import Annotated

import msgspec
from msgspec import Meta

from ipos.agent.heartbeat import datagram_tags
from ipos.agent.heartbeat.datagram_tags import TAG_SIZE, Key

PORT = 7078
CLOCK_MS = 5_000
"""How far a sender's clock may be from ours, as for state datagrams."""
PIECE = 1200
"""Bytes of a state or an image in one datagram: it fits any LAN of 1,400 bytes and more."""
STATE_MAX = 1 << 20
IMAGE_MAX = 16 << 20
TEXT_MAX = 300
SIZE_MAX = 2048
_KIND = b"T"
_HEAD = struct.Struct(">cQ")
_Address = Annotated[bytes, Meta(min_length=4, max_length=16)]
_Port = Annotated[int, Meta(ge=1, lt=1 << 16)]
_U32 = Annotated[int, Meta(ge=0, lt=1 << 32)]
_U64 = Annotated[int, Meta(ge=0)]


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One migration of one connection, whatever becomes of it."""

    client_ip: _Address
    client_port: _Port
    service_ip: _Address
    service_port: _Port
    iss: _U32
    migration: _U64
    nonce: _U64 = 0


class Offer(msgspec.Struct, frozen=True, array_like=True, tag="offer"):
    """The giver: an application has `state` bytes of state for this endpoint."""

    attempt: Attempt
    state: Annotated[int, Meta(ge=0, le=STATE_MAX)]


class Piece(msgspec.Struct, frozen=True, array_like=True, tag="piece"):
    """The giver: bytes of the state, or of the image, at `at`. all_: how many there are."""

    attempt: Attempt
    is_image: bool
    all_: Annotated[int, Meta(ge=0, le=IMAGE_MAX)]
    at: Annotated[int, Meta(ge=0, le=IMAGE_MAX)]
    bytes_: Annotated[bytes, Meta(max_length=PIECE)]


class Got(msgspec.Struct, frozen=True, array_like=True, tag="got"):
    """The taker: all pieces before number `next_` are here, and those whose bits are set behind."""

    attempt: Attempt
    is_image: bool
    next_: _U32
    more: _U64


class Said(msgspec.Struct, frozen=True, array_like=True, tag="said"):
    """The taker: `what` is the name of a `giving.Event`; why: for people, if it refuses."""

    attempt: Attempt
    what: Annotated[str, Meta(max_length=16)]
    why: Annotated[str, Meta(max_length=TEXT_MAX)] = ""


class Outcome(msgspec.Struct, frozen=True, array_like=True, tag="outcome"):
    """The giver: whose the endpoint is. first, located: as the giver's row had them at the end."""

    attempt: Attempt
    is_given: bool
    first: _Address = b"\0\0\0\0"
    located: bool = False


Message = Offer | Piece | Got | Said | Outcome
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(said: Message, sent_ms: int, key: Key) -> bytes:
    body = _HEAD.pack(_KIND, sent_ms) + _encoder.encode(said)
    return body + datagram_tags.tag(body, key)


def decode(datagram: bytes, now_ms: int, key: Key) -> Message | None:
    """What an authentic datagram of these seconds says, None for any other."""
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    if not _HEAD.size < len(body) < SIZE_MAX or not datagram_tags.is_right(body, tag, key):
        return None
    kind, sent_ms = _HEAD.unpack_from(body)
    if kind != _KIND or abs(now_ms - sent_ms) > CLOCK_MS:
        return None
    try:
        return _decoder.decode(body[_HEAD.size :])
    except msgspec.MsgspecError:
        return None
