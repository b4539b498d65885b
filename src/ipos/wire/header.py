# SPDX-License-Identifier: Apache-2.0
"""Figure 11b: the ipOS encapsulation header, the same for all types.

It has 16 bytes, and 32 where the client's address has 16: of protocols 3 and 4, which are ours.
Then the last four bytes of the address are in the figure's place, and all 16 behind the figure's
header.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from types import SimpleNamespace
from typing import Annotated, Any

from ipos.wire.checksum import checksum
from ipos.wire.cursor import Cursor
from ipos.wire.errors import WireError
from ipos.wire.fields import Address, At, Layout


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
    LEARNED = 10  # to all: the sender has the session of this cookie
    FORGOTTEN = 11  # to all: no server has the session of this cookie any more
    LOCATED = 12  # owner to the server that asked by type 5: the connection is here
    STATE = 13  # to all: the sender's load now; the rest of its state has not changed


class Protocol(IntEnum):
    """The client's transport, in the figure's own numbers (not IANA's); IPv6's are ours."""

    TCP = 1
    UDP = 2
    TCP6 = 3
    UDP6 = 4

    @property
    def is_six(self) -> bool:
        return self in (Protocol.TCP6, Protocol.UDP6)

    @property
    def is_tcp(self) -> bool:
        return self in (Protocol.TCP, Protocol.TCP6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Whose packet this is and where it goes. The source is the client, in every direction.

    The destination is the endpoint on the server concerned: a service address of that server, never
    a back address, and the port its application listens on there. A `LOCATE` has no endpoint yet:
    the destination is the first service address of the server that asks, and in the place of the
    port stand the low 16 bits of the time in seconds since 1970.
    """

    source_ip: Annotated[Address, At(0, 4)]
    source_port: Annotated[int, At(4, 2)]
    destination_ip: Annotated[IPv4Address, At(6, 4)]
    destination_port: Annotated[int, At(10, 2)]
    type: Annotated[PacketType, At(12, 1)]
    protocol: Annotated[Protocol, At(13, 1)]

    def __post_init__(self) -> None:
        HEADER.check(self)
        if (self.source_ip.version == 6) != self.protocol.is_six:
            raise ValueError(f"{self.source_ip} is no client's address of {self.protocol.name}")


HEADER = Layout(Header, 16, computed={"checksum": At(14, 2)})

_CHECKSUM = HEADER.place("checksum")
_TYPE = HEADER.place("type")
_PROTOCOL = HEADER.place("protocol")
_KNOWN_TYPES = frozenset(PacketType)
_SIX = (Protocol.TCP6, Protocol.UDP6)
_IPV4S = {Protocol.TCP6: Protocol.TCP, Protocol.UDP6: Protocol.UDP}
ADDRESS6_SIZE = 16


def encode(header: Header) -> bytes:
    """16 or 32 bytes, with the checksum over them."""
    fields: Any = header
    whole = b""
    if isinstance(header.source_ip, IPv6Address):
        whole = header.source_ip.packed
        fields = SimpleNamespace(**{row.name: getattr(header, row.name) for row in HEADER.fields})
        fields.source_ip = IPv4Address(whole[-4:])
    return HEADER.encode(fields, checksum=_checksum(HEADER.encode(fields) + whole)) + whole


def decode(cursor: Cursor) -> tuple[Header, bytes]:
    """The header and its bytes, which tags cover.

    The checksum comes first: without it no field means anything. As RFC 1071 has it, the sum over
    all bytes is checked, so 0xffff is as good as 0x0000 there.
    """
    base = cursor.offset
    raw = HEADER.take(cursor)
    if raw[_PROTOCOL.offset] in _SIX:
        raw += cursor.take("source_ip", ADDRESS6_SIZE)
    if checksum(raw) != 0:
        right = _checksum(raw[: _CHECKSUM.offset] + bytes(_CHECKSUM.size) + raw[_CHECKSUM.end :])
        received = raw[_CHECKSUM.offset : _CHECKSUM.end]
        raise WireError(
            "checksum",
            base + _CHECKSUM.offset,
            f"wrong: 0x{received.hex()} came, 0x{right.hex()} is right for this header",
        )
    number = raw[_TYPE.offset]
    if number not in _KNOWN_TYPES:
        raise WireError("type", base + _TYPE.offset, f"{number} is unknown", unknown_type=number)
    if len(raw) == HEADER.size:
        return HEADER.decode(raw, base), raw
    if raw[:4] != raw[-4:]:
        raise WireError("source_ip", base, "is not the end of the address that follows")
    short = raw[: _PROTOCOL.offset] + bytes([_IPV4S[Protocol(raw[_PROTOCOL.offset])]])
    plain = HEADER.decode(short + raw[_CHECKSUM.offset : _CHECKSUM.end], base)
    client = IPv6Address(raw[-ADDRESS6_SIZE:])
    return replace(plain, source_ip=client, protocol=Protocol(raw[_PROTOCOL.offset])), raw


def _checksum(raw: bytes) -> bytes:
    return checksum(raw).to_bytes(_CHECKSUM.size, "big")
