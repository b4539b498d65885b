# SPDX-License-Identifier: Apache-2.0
"""Figures 11c to 11i and our own types: an ipOS header and what follows it.

Thirteen types have seven shapes: `ConnectionPacket` (1), `DataPacket` (2, 5), `NoticePacket`
(3, 4, 6, 7), `ProbePacket` (8, 9), `LearnedPacket` (10, 11), `LocatedPacket` (12) and `StatePacket`
(13). `encode` and `decode` know nothing of the transport around them.

Decoding authenticates before it interprets: header, lengths, tag, and only then the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from ipos.wire import header as ipos_header
from ipos.wire import inner as inner_packet
from ipos.wire.control import CONTROL_BLOCK, ControlBlock
from ipos.wire.cursor import Cursor
from ipos.wire.errors import WireError
from ipos.wire.fields import Address, At, Layout
from ipos.wire.header import Header, PacketType
from ipos.wire.tags import (
    HEADER_WORDS,
    HEADER_WORDS6,
    TAG_SIZE,
    connection_tag,
    packet_tag,
    tag,
    verify,
)

DATA_TYPES = frozenset({PacketType.PACKET, PacketType.LOCATE})
TAGGED_PAYLOAD_MAX = 1024


class _Shaped:
    """A packet that `SHAPES` describes; ValueError for a field or a type that it cannot have."""

    __slots__ = ()
    header: Header

    def __post_init__(self) -> None:
        shape = _SHAPE_OF[type(self)]
        shape.layout.check(self)
        _require_type(self.header, shape.types)
        _require_family(self.header, getattr(self, "service_ip", None))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOffer:
    """What follows the 36 bytes of a UDP flow's type 1.

    ``sent_s`` is when, in seconds since 1970. ``number`` says which offer of the flow it is, in 12
    bits: its answer repeats them. The tag covers header, connection information, the offer up to
    the tag, and the transport's addresses.
    """

    sent_s: Annotated[int, At(0, 4)]
    number: Annotated[int, At(4, 2)]

    def __post_init__(self) -> None:
        FLOW_OFFER.check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPacket:
    """Figures 11e and 11f, type 1: an endpoint on its way to its owner.

    ``server_ip`` and ``server_port`` are the service address the client connected to. A TCP
    connection has a control block, a UDP flow an offer behind the figure's bytes.
    """

    header: Header
    server_ip: Annotated[Address, At(0, 4)]
    server_port: Annotated[int, At(4, 2)]
    control_block: ControlBlock | None = None
    offer: FlowOffer | None = None

    def __post_init__(self) -> None:
        CONNECTION_INFORMATION.check(self)
        _require_type(self.header, frozenset({PacketType.CONNECTION}))
        _require_family(self.header, self.server_ip)
        if (self.control_block is not None) != self.header.protocol.is_tcp:
            raise ValueError("a connection has a control block if, and only if, it is TCP")
        if (self.offer is not None) != (not self.header.protocol.is_tcp):
            raise ValueError("a connection has an offer if, and only if, it is UDP")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPacket:
    """Figures 11g and 11h, types 2 and 5: the client's IP packet, whole and untouched.

    Or an ICMP error about the connection, or a fragment of a UDP datagram. The tag covers the
    header, the inner headers and, after zeros up to a multiple of eight bytes, a payload of at most
    `TAGGED_PAYLOAD_MAX` bytes. All
    packets that carry a request to be taken over have such a payload. With a longer one it covers
    the headers only.
    """

    header: Header
    inner: bytes

    def __post_init__(self) -> None:
        _require_type(self.header, DATA_TYPES)
        cursor = Cursor(self.inner)
        try:
            inner_packet.take(cursor, self.header.protocol)
            cursor.finish()
        except WireError as error:
            raise ValueError(f"this inner packet cannot be carried: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticePacket(_Shaped):
    """Figure 11i and types 4, 6 and 7: the header, and a trailer that tells one connection's life.

    The service address completes the key of the row; ``iss`` keeps a delayed notice from ending a
    later connection on the same ports (zero for UDP). ``reason`` is the low 16 bits of the
    migration number in types 3 and 6, so an answer belongs to one offer; of a UDP flow, the number
    of the offer in the upper 12 bits, and in type 3 below them 1 if the application has answered
    the client. The tag covers the transport's addresses too, which are the sender and the receiver
    of the notice.
    """

    header: Header
    service_ip: Annotated[Address, At(0, 4)]
    service_port: Annotated[int, At(4, 2)]
    reason: Annotated[int, At(6, 2)] = 0
    iss: Annotated[int, At(8, 4)]

    @classmethod
    def answering(
        cls, connection: ConnectionPacket, answer: PacketType, *, reason: int = 0
    ) -> NoticePacket:
        """The notice that repeats a connection packet's header, as types 3 and 7 do."""
        block = connection.control_block
        if connection.offer is not None:
            reason |= (connection.offer.number & 0xFFF) << 4
        if answer is PacketType.ACKNOWLEDGEMENT and block is not None:
            reason = block.migration_number & 0xFFFF
        return cls(
            header=replace(connection.header, type=answer),
            service_ip=connection.server_ip,
            service_port=connection.server_port,
            reason=reason,
            iss=0 if block is None else block.iss,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePacket(_Shaped):
    """Types 8 and 9: a question to another server's data plane, and its answer.

    About no connection: the header's source is the asking server's first service address, its
    destination that of the server asked, in both directions; the ports are zero. ``nonce`` is 12
    random bytes of the asker, which the answer repeats.
    """

    header: Header
    nonce: Annotated[bytes, At(0, 12)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedPacket(_Shaped):
    """Types 10 and 11, to all servers: which server has a session, by the keyed hash of its cookie.

    About no connection: the header's source is the service address that the client knows, its
    destination the first address of the server that has the session, with port zero. ``sent_s`` is
    when, in seconds since 1970.
    """

    header: Header
    hash: Annotated[bytes, At(0, 8)]
    sent_s: Annotated[int, At(8, 4)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedPacket(_Shaped):
    """Type 12: the owner's answer to a `LOCATE`, from which the asker makes its row of Forward.

    ``question`` is the last four bytes of the question's tag, so that it is no answer to another
    one. ``move`` is the low 16 bits of the migration number. The tag covers the transport's
    addresses too, as in a notice.
    """

    header: Header
    service_ip: Annotated[Address, At(0, 4)]
    service_port: Annotated[int, At(4, 2)]
    move: Annotated[int, At(6, 2)]
    iss: Annotated[int, At(8, 4)]
    irs: Annotated[int, At(12, 4)]
    question: Annotated[int, At(16, 4)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePacket(_Shaped):
    """Type 13, to everybody: what changes all the time in a server's state.

    About no connection: the header's source is the sender's back address, its destination and the
    ports are zero. Memory is in bytes, bandwidth in bits per second, and what the server is short
    of in percent: both are 0 where there is enough. ``boot`` is when its agent started, in
    milliseconds since 1970; ``edition`` says which of the states that it has said in full these
    numbers belong to; ``sent_s`` is when, in seconds since 1970.
    """

    header: Header
    boot: Annotated[int, At(0, 8)]
    sequence: Annotated[int, At(8, 8)]
    memory_available: Annotated[int, At(16, 8)]
    bandwidth_available: Annotated[int, At(24, 8)]
    tcp_connections: Annotated[int, At(32, 4)]
    memory_short: Annotated[int, At(36, 1)]
    bandwidth_short: Annotated[int, At(37, 1)]
    cpu_permille: Annotated[int, At(38, 2)]
    edition: Annotated[int, At(40, 4)]
    sent_s: Annotated[int, At(44, 4)]


Packet = (
    ConnectionPacket
    | DataPacket
    | NoticePacket
    | ProbePacket
    | LearnedPacket
    | LocatedPacket
    | StatePacket
)

CONNECTION_INFORMATION = Layout(ConnectionPacket, 6)
CONNECTION_INFORMATION6 = CONNECTION_INFORMATION.of_six()
FLOW_OFFER = Layout(FlowOffer, 14, computed={"tag": At(6, TAG_SIZE)})
TRAILER = Layout(NoticePacket, 20, computed={"tag": At(12, TAG_SIZE)})
PROBE = Layout(ProbePacket, 20, computed={"tag": At(12, TAG_SIZE)})
LEARNED = Layout(LearnedPacket, 20, computed={"tag": At(12, TAG_SIZE)})
LOCATED = Layout(LocatedPacket, 28, computed={"tag": At(20, TAG_SIZE)})
STATE = Layout(StatePacket, 56, computed={"tag": At(48, TAG_SIZE)})
_BLOCK_TAG = CONTROL_BLOCK.place("tag")
_OFFER_TAG = FLOW_OFFER.place("tag")


@dataclass(frozen=True, slots=True)
class Shape:
    """What follows the header in some types: fields, and a tag over the header and the fields.

    ends: the tag covers the transport's addresses, too. title: what documentation calls it.
    """

    title: str
    types: frozenset[PacketType]
    layout: Layout[Any]
    ends: bool = False

    def of(self, header: Header) -> Layout[Any]:
        """The layout behind a header: IPv6's addresses are longer."""
        return _LAYOUTS6[self.title] if header.protocol.is_six else self.layout


SHAPES = (
    Shape(
        "Trailer",
        frozenset(
            {PacketType.ACKNOWLEDGEMENT, PacketType.CLOSED, PacketType.MOVED, PacketType.REFUSED}
        ),
        TRAILER,
        ends=True,
    ),
    Shape("Probe", frozenset({PacketType.PROBE, PacketType.PROBE_ANSWER}), PROBE),
    Shape("Learned cookie", frozenset({PacketType.LEARNED, PacketType.FORGOTTEN}), LEARNED),
    Shape("Located", frozenset({PacketType.LOCATED}), LOCATED, ends=True),
    Shape("Numbers of a server", frozenset({PacketType.STATE}), STATE),
)
_LAYOUTS6 = {shape.title: shape.layout.of_six() for shape in SHAPES}
_SHAPES = {each: shape for shape in SHAPES for each in shape.types}
_SHAPE_OF: dict[type, Shape] = {shape.layout.value_type: shape for shape in SHAPES}


def encode(packet: Packet, key: bytes | None = None, ends: bytes = b"") -> bytes:
    """ipOS header, body and trailer. ``key`` is the farm's frame key, None with authentication off.

    ``ends`` are the transport's addresses as they stand in its frame, receiver first.
    """
    head = ipos_header.encode(packet.header)
    match packet:
        case ConnectionPacket():
            return head + _encode_connection(packet, head, key, ends)
        case DataPacket():
            _, headers_size = inner_packet.take(Cursor(packet.inner), packet.header.protocol)
            return head + packet.inner + _data_tag(key, head, packet.inner, headers_size)
    shape = _SHAPES[packet.header.type]
    layout = shape.of(packet.header)
    covered = head + layout.encode(packet)[: layout.place("tag").offset]
    return head + layout.encode(packet, tag=tag(key, covered + (ends if shape.ends else b"")))


def decode(cursor: Cursor, key: bytes | None = None, ends: bytes = b"") -> Packet:
    """The packet at the cursor, which is left behind its last byte. Raises `WireError` only.

    ``key`` and ``ends``: see `encode`. Whether it is for us, and new, is for its receiver to say.
    What may follow, padding or nothing, is for the transport to say (`Cursor.finish`).
    """
    header, head = ipos_header.decode(cursor)
    if header.type in DATA_TYPES:
        return _decode_data(cursor, header, head, key)
    if header.type is PacketType.CONNECTION:
        return _decode_connection(cursor, header, head, key, ends)
    return _decode_shaped(cursor, header, head, key, ends)


def _information(header: Header) -> Layout[ConnectionPacket]:
    return CONNECTION_INFORMATION6 if header.protocol.is_six else CONNECTION_INFORMATION


def _encode_connection(
    packet: ConnectionPacket, head: bytes, key: bytes | None, ends: bytes
) -> bytes:
    information = _information(packet.header).encode(packet)
    block = packet.control_block
    if block is None:
        assert packet.offer is not None
        offer = FLOW_OFFER.encode(packet.offer)
        covered = head + information + offer[: _OFFER_TAG.offset] + ends
        return information + FLOW_OFFER.encode(packet.offer, tag=tag(key, covered))
    covered = head + information + CONTROL_BLOCK.encode(block)[: _BLOCK_TAG.offset]
    return information + CONTROL_BLOCK.encode(block, tag=connection_tag(key, covered))


def _decode_connection(
    cursor: Cursor, header: Header, head: bytes, key: bytes | None, ends: bytes
) -> ConnectionPacket:
    start = cursor.offset
    layout = _information(header)
    information = layout.take(cursor)
    block, offer = None, None
    if header.protocol.is_tcp:
        base = cursor.offset
        raw = CONTROL_BLOCK.take(cursor)
        expected = connection_tag(key, head + information + raw[: _BLOCK_TAG.offset])
        verify(key, raw[_BLOCK_TAG.offset :], expected, base + _BLOCK_TAG.offset)
        block = CONTROL_BLOCK.decode(raw, base)
    else:
        base = cursor.offset
        raw = FLOW_OFFER.take(cursor)
        expected = tag(key, head + information + raw[: _OFFER_TAG.offset] + ends)
        verify(key, raw[_OFFER_TAG.offset :], expected, base + _OFFER_TAG.offset)
        offer = FLOW_OFFER.decode(raw, base)
    return layout.decode(information, start, header=header, control_block=block, offer=offer)


def _decode_data(cursor: Cursor, header: Header, head: bytes, key: bytes | None) -> DataPacket:
    inner, headers_size = inner_packet.take(cursor, header.protocol)
    offset = cursor.offset
    received = cursor.take("tag", TAG_SIZE)
    verify(key, received, _data_tag(key, head, inner, headers_size), offset)
    return DataPacket(header=header, inner=inner)


def _data_tag(key: bytes | None, head: bytes, inner: bytes, headers_size: int) -> bytes:
    payload = inner[headers_size:]
    covered = payload if len(payload) <= TAGGED_PAYLOAD_MAX else b""
    first = HEADER_WORDS if inner[0] >> 4 == 4 else HEADER_WORDS6
    return packet_tag(key, head + inner[:headers_size], covered, first)


def _decode_shaped(
    cursor: Cursor, header: Header, head: bytes, key: bytes | None, ends: bytes
) -> Packet:
    shape = _SHAPES[header.type]
    layout = shape.of(header)
    base, at = cursor.offset, layout.place("tag").offset
    raw = layout.take(cursor)
    expected = tag(key, head + raw[:at] + (ends if shape.ends else b""))
    verify(key, raw[at:], expected, base + at)
    packet: Packet = layout.decode(raw, base, header=header)
    return packet


def _require_type(header: Header, allowed: frozenset[PacketType]) -> None:
    if header.type not in allowed:
        names = " or ".join(packet_type.name for packet_type in sorted(allowed))
        raise ValueError(f"the header's type must be {names}, not {header.type.name}")


def _require_family(header: Header, service: Address | None) -> None:
    if service is not None and (service.version == 6) != header.protocol.is_six:
        raise ValueError(f"{service} is no service's address of {header.protocol.name}")
