# SPDX-License-Identifier: Apache-2.0
"""What a server says of itself every 100 ms, as one UDP datagram of a few hundred bytes.

    offset  size
    0       1     version = 1
    1       n     body: `State` as a MessagePack array; a receiver ignores elements it does not know
    1 + n   16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

BLAKE2b and not the SipHash of the frames: these datagrams never meet the data plane, and the
standard library has it in C, where SipHash in Python would be most of the agent's work.
"""

import hashlib
import hmac
from typing import Annotated

import msgspec
from msgspec import Meta

from ipos.errors import IposError

PORT = 7077
VERSION = 1
TAG_SIZE = 16
SIZE_MAX = 1400
LISTENERS_MAX = 24
"""Listening sockets that one datagram names at most; a service's own come first."""
APPLICATIONS_MAX = 8
"""And applications, in the order of their sockets."""


Word = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
Big = Annotated[int, Meta(ge=0)]


class Rejected(IposError):
    """A datagram that is not believed. `reason` is the name it is counted under."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Listening(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A listening TCP socket: address as a number, port, and its process (0: hidden)."""

    ip: Word
    port: Annotated[int, Meta(ge=0, le=0xFFFF)]
    pid: int = 0
    process: str = ""


class Application(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A process that listens, with its children: memory in bytes, CPU in permille of the board."""

    pid: int
    memory: int
    cpu_permille: int
    name: str = ""


class Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an operator wants of a server, its state and its weight, and when he said each.

    Times are ms since 1970, 0 for what nobody said. `weight` 0 is the one that is configured.
    """

    server: str
    state: int
    when_ms: int
    weight: int = 0
    weighed_ms: int = 0


class State(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One server at one moment.

    `boot` is when its agent started and `sent_ms` when this was sent, both wall-clock time since
    1970 in milliseconds; (boot, sequence) rises strictly. Addresses are numbers, `mac` is the
    back interface's. `services` are the names of those whose application listens and is well.
    `bandwidth` is in bits per second, memory in bytes; `limit` is how many connections it takes,
    0 for any number. `weight` counts in every pool that has it, 0: what is configured there does.
    New fields go to the end, with a default.
    """

    farm: str
    server: str
    boot: int
    sequence: int
    sent_ms: int
    state: Annotated[int, Meta(ge=1, le=3)]
    back_ip: Word
    mac: bytes
    addresses: list[Word]
    tcp_connections: Word
    cpu_permille: Word
    memory_available: Big
    bandwidth_available: Big
    services: list[str]
    listening: list[Listening]
    orders: list[Order] = []
    applications: list[Application] = []
    limit: Word = 0
    weight: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)


def encode(state: State, key: bytes) -> bytes:
    """The datagram that says this.

    Applications, and then listening sockets, are left out from the end until it fits.
    """
    while True:
        body = bytes((VERSION,)) + _encoder.encode(state)
        if len(body) + TAG_SIZE <= SIZE_MAX or not (state.listening or state.applications):
            return body + _tag(body, key)
        if state.applications:
            fewer = state.applications[: len(state.applications) // 2]
            state = msgspec.structs.replace(state, applications=fewer)
            continue
        shorter = state.listening[: len(state.listening) // 2]
        state = msgspec.structs.replace(state, listening=shorter)


def decode(datagram: bytes, key: bytes) -> State:
    """What an authentic datagram says; Rejected names why another is not believed."""
    if len(datagram) < 1 + TAG_SIZE:
        raise Rejected("short", f"a state datagram of {len(datagram)} bytes is cut short")
    if datagram[0] != VERSION:
        raise Rejected("version", f"a state datagram of version {datagram[0]}, not {VERSION}")
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    if not hmac.compare_digest(tag, _tag(body, key)):
        raise Rejected("tag", "a state datagram with a wrong tag: not of this farm's secret")
    try:
        return _decoder.decode(body[1:])
    except msgspec.MsgspecError as error:
        raise Rejected("malformed", f"a state datagram that cannot be read: {error}") from None


def _tag(body: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=TAG_SIZE).digest()
