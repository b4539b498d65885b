# SPDX-License-Identifier: Apache-2.0
"""Figure 11b: the ipOS encapsulation header, 16 bytes, the same for all types and transports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Annotated

from ipos.wire.checksum import checksum
from ipos.wire.cursor import Cursor
from ipos.wire.errors import WireError
from ipos.wire.fields import At, Layout


class PacketType(IntEnum):
    """What a frame says. The figure has 1 to 3, the others are ours."""

    CONNECTION = 1  # first server to owner: take over this endpoint
    PACKET = 2  # to the owner: a packet of the client's
    ACKNOWLEDGEMENT = 3  # owner to first server: the endpoint's socket exists
    CLOSED = 4  # owner to first server: the connection is over
    LOCATE = 5  # to all: which server owns the connection of this packet?
    MOVED = 6  # owner to first server: the endpoint lives at the destination now
    REFUSED = 7  # owner to first server: not taken over, choose again
    PROBE = 8  # an agent to a silent server: does your data plane work?
    PROBE_ANSWER = 9  # that data plane's answer
    LEARNED = 10  # to all: the endpoint's server has the session of this cookie
    FORGOTTEN = 11  # to all: no server has the session of this cookie any more
    LOCATED = 12  # owner to the server that asked by type 5: the connection is here
    STATE = 13  # to all: the sender's load now; the rest of its state has not changed


class Protocol(IntEnum):
    """The client's transport, in the figure's own numbers (not IANA's)."""

    TCP = 1
    UDP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Whose packet this is and where it goes. The source is the client, in every direction.

    The destination is the endpoint on the server concerned: a service address of that server, never
    a back address, and the port its application listens on there. A `LOCATE` has no endpoint yet:
    the destination is the first service address of the server that asks, and in the place of the
    port stand the low 16 bits of the time in seconds since 1970.
    """

    source_ip: Annotated[IPv4Address, At(0, 4)]
    source_port: Annotated[int, At(4, 2)]
    destination_ip: Annotated[IPv4Address, At(6, 4)]
    destination_port: Annotated[int, At(10, 2)]
    type: Annotated[PacketType, At(12, 1)]
    protocol: Annotated[Protocol, At(13, 1)]

    def __post_init__(self) -> None:
        HEADER.check(self)


HEADER = Layout(Header, 16, computed={"checksum": At(14, 2)})

_CHECKSUM = HEADER.place("checksum")
_TYPE = HEADER.place("type")
_KNOWN_TYPES = frozenset(PacketType)


def encode(header: Header) -> bytes:
    """16 bytes, with the checksum over them."""
    return HEADER.encode(header, checksum=_checksum(HEADER.encode(header)))


def decode(cursor: Cursor) -> tuple[Header, bytes]:
    """The header and its 16 bytes, which tags cover.

    The checksum comes first: without it no field means anything. As RFC 1071 has it, the sum over
    all 16 bytes is checked, so 0xffff is as good as 0x0000 there.
    """
    base = cursor.offset
    raw = HEADER.take(cursor)
    if checksum(raw) != 0:
        right = _checksum(raw[: _CHECKSUM.offset] + bytes(_CHECKSUM.size))
        received = raw[_CHECKSUM.offset : _CHECKSUM.end]
        raise WireError(
            "checksum",
            base + _CHECKSUM.offset,
            f"wrong: 0x{received.hex()} came, 0x{right.hex()} is right for this header",
        )
    number = raw[_TYPE.offset]
    if number not in _KNOWN_TYPES:
        raise WireError("type", base + _TYPE.offset, f"{number} is unknown", unknown_type=number)
    return HEADER.decode(raw, base), raw


def _checksum(raw: bytes) -> bytes:
    return checksum(raw).to_bytes(_CHECKSUM.size, "big")
