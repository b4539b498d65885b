# SPDX-License-Identifier: Apache-2.0
"""docs/frames.md: Figure 11 and our own types, from the layouts of `ipos.wire`."""

import struct
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from ipos.abi.layout import constant
from ipos.abi.layout import layout as struct_layout
from ipos.wire import ethernet
from ipos.wire.checksum import checksum
from ipos.wire.control import CONTROL_BLOCK, ControlBlock, ControlFlags, TcpState
from ipos.wire.fields import Layout
from ipos.wire.header import ADDRESS6_SIZE, HEADER, Header, PacketType, Protocol
from ipos.wire.packets import (
    CONNECTION_INFORMATION,
    CONNECTION_INFORMATION6,
    FLOW_OFFER,
    SHAPES,
    TRAILER,
    ConnectionPacket,
    DataPacket,
    FlowOffer,
    NoticePacket,
    Packet,
    Shape,
)
from scripts.docs.header import enumerators
from scripts.docs.markdown import code, fenced, page, prose, remarks, section, table

_KEY = bytes(range(16))
_S1, _S2 = (bytes.fromhex(f"02fe0a4d000{n}") for n in (1, 2))

_HEADER = Header(
    source_ip=IPv4Address("10.99.0.11"),
    source_port=40000,
    destination_ip=IPv4Address("203.0.113.2"),
    destination_port=8080,
    type=PacketType.CONNECTION,
    protocol=Protocol.TCP,
)
_ISS, _IRS = 0x4D1D0000, 0x2DEE0000
_BLOCK = ControlBlock(
    state=TcpState.ESTABLISHED,
    flags=ControlFlags.SACK | ControlFlags.TIMESTAMPS | ControlFlags.WINDOW_SCALE,
    iss=_ISS, irs=_IRS, snd_una=_ISS + 1, snd_nxt=_ISS + 1, snd_max=_ISS + 1,
    snd_wl1=_IRS + 1, snd_wl2=_ISS + 1, snd_wnd=64512, rcv_nxt=_IRS + 1, rcv_wnd=14600,
    rcv_adv=_IRS + 14601, peer_mss=1460, effective_mss=1432, snd_wscale=10, rcv_wscale=7,
    ts_recent=0x94BAB4C7, ts_recent_age_ms=0, ts_last_sent=0x4741470A, srtt_us=0, rttvar_us=0,
    rto_us=0, snd_cwnd_segments=10, snd_ssthresh_segments=0x7FFFFFFF, send_queue_bytes=0,
    receive_queue_bytes=0, migration_number=1, sent_s=1_800_000_000,
)  # fmt: skip
_CONNECTION = ConnectionPacket(
    header=_HEADER, server_ip=IPv4Address("203.0.113.1"), server_port=80, control_block=_BLOCK
)


def _inner(data: bytes) -> bytes:
    """A packet of the client's: PSH and ACK, no options, both checksums right."""
    client, service = _HEADER.source_ip.packed, IPv4Address("203.0.113.1").packed
    ports = struct.pack("!HH", _HEADER.source_port, 80)
    tcp = ports + struct.pack("!IIBBHHH", _IRS + 1, _ISS + 1, 5 << 4, 0x18, 63, 0, 0)
    pseudo = client + service + struct.pack("!HH", 6, len(tcp + data))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp + data)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp + data), 0, 0x4000, 64, 6, 0)
    ip = ip[:10] + struct.pack("!H", checksum(ip + client + service))
    return ip + client + service + tcp + data


_DATA = DataPacket(
    header=replace(_HEADER, type=PacketType.PACKET), inner=_inner(b"GET / HTTP/1.0\r\n")
)
_ACKNOWLEDGEMENT = NoticePacket.answering(_CONNECTION, PacketType.ACKNOWLEDGEMENT)

HEADER6_SIZE = HEADER.size + ADDRESS6_SIZE
_CONNECTIONS = [shape for shape in SHAPES if shape.ends]
_WIDER = [shape.layout.of_six() for shape in _CONNECTIONS]

_SIX = """
Protocol 3 is TCP over IPv6, and 4 is kept for UDP. The figure has neither. The header has 32 bytes:
the figure's 16, with the last four bytes of the client's address in the place of its source, and
the whole address. The checksum covers all 32. Servers have four bytes in IPv6's frames, too:
`endpoint_ip` is the server's first IPv4 service address, or its back address if it has none.

Service addresses have 16 bytes, and what follows them moves by 12. In a trailer four spare bytes
stand before the tag, which counts them as zeros: a network card may write a checksum there. Types
10 and 11 are padded to 72 bytes for the same reason. The packet in types 2 and 5 is the whole IPv6
packet, without extension headers. Its payload's words are numbered from 17 for the tag, and that is
where the last ten k belong. The MSS is 1396, so a client's packet fits into 1500 bytes here, as
well.

Types 8, 9 and 13 are about no connection, and always of protocol 1.
"""

_TAGGED = {
    PacketType.CONNECTION: "header, connection information, control block up to the tag; of UDP, "
    "the offer up to the tag and both MAC addresses",
    PacketType.PACKET: "header, inner IP and TCP headers with their options, short payloads",
    PacketType.LOCATE: "header, inner IP and TCP headers with their options, short payloads",
    **dict.fromkeys(
        (each for shape in SHAPES if shape.ends for each in shape.types),
        "header, trailer up to the tag, both MAC addresses",
    ),
}

_INTRODUCTION = """
This page describes the frames on the back LAN: Figure 11 byte for byte, and our own types 4 to 13.
Everything is big-endian. `ipos.wire` states the format in Python, and `bpf/lib/frame.h` in the data
plane.

An Ethernet header with type `0x0007` (`farm.ethertype`) comes first, with one 802.1Q tag where
`server.back_vlan` says so; then come the header, the type's own part, and the trailer. Frames are
padded to 60 bytes; lengths come from the headers.

Tags are SipHash-2-4 under the farm's frame key, except those of packets (types 2 and 5). A packet's
tag covers our header, the inner headers, and a payload of at most 1,024 bytes; with a longer
payload it covers the headers only. A request that another server is to take over travels in pieces
of that length. Both parts are zero padded to words of eight bytes, little-endian; the headers'
words are numbered from 0, the payload's from 12. Word n, with halves l (low) and h, adds
(l + k[2n]) (h + k[2n + 1]) to a first sum and (l + k[2n + 2]) (h + k[2n + 3]) to a second: the
additions modulo 2^32, the sums modulo 2^64 (NH, RFC 4418 5.2.2). The tag is SipHash-1-3 of 20
bytes, little-endian: both sums, and the lengths of both parts in two bytes each. SHAKE128 of
`b"ipos packet"` and the frame key gives SipHash's key, 16 bytes, and then the 292 k of four bytes,
of which IPv4 uses 282.

The tag comes after the packet and not before it, so the bytes before it are those of the figure. A
place before the packet would save little: room has to be made there in any case, and a short
frame's padding has to be removed from the end.

Types 1, 5, 10, 11 and 13 have a time in them, and are believed if it is within five seconds of the
receiver's clock. Types 5, 10, 11 and 13 go to all servers, by broadcast, and so do types 4 and 6 of
a connection that was located once. Types 1 and 2 are taken by the server whose address is their
destination, a notice by the server whose MAC address is under its tag. The
[threat model](threat-model.md) says what an attacker can still do.
"""


def document() -> str:
    flags = (f"{flag.value} {str(flag.name).lower().replace('_', ' ')}" for flag in ControlFlags)
    refusals = ((constant(name), text) for name, text in enumerators("ipos_refusal").items())
    return page(
        "Frames",
        _INTRODUCTION,
        (
            section("ipOS header", "Figure 11b, in every frame.", prose(Header), _layout(HEADER)),
            section("Types", _types()),
            section(
                "Connection information",
                "Figures 11c and 11d. The service address the client connected to; in type 1, "
                "before the control block.",
                _layout(CONNECTION_INFORMATION),
            ),
            section(
                "TCP control block",
                "The figure gives only its size; the names are those of RFC 9293 and RFC 7323.",
                prose(ControlBlock),
                _layout(CONTROL_BLOCK),
                f"Flags: {', '.join(flags)}.",
            ),
            section(
                "Flow offer",
                "Ours, after the figure's 36 bytes of a UDP flow's type 1.",
                prose(FlowOffer),
                _layout(FLOW_OFFER),
            ),
            section(
                "Trailer",
                "Ours, after the figure's bytes. Types 2 and 5 have the tag alone; type 1 has its "
                "tag in the control block.",
                _layout(TRAILER),
                table(("Reason", "Why an owner refuses (type 7)"), refusals),
                "The reason is in the low four bits of `reason`. The twelve bits above are the low "
                "bits of the migration number of the refused offer, or zero where there is no "
                "offer (6).",
            ),
            *(_shape(shape) for shape in SHAPES if shape.layout is not TRAILER),
            section(
                "IPv6",
                _SIX,
                _layout_of("ipos_header6"),
                "The longer bodies: connection information, trailer, and what a `LOCATED` says.",
                *(_layout(each) for each in (CONNECTION_INFORMATION6, *_WIDER)),
            ),
            section("Lengths", *_lengths()),
            section(
                "Examples",
                "Encoded by `ipos.wire.ethernet` with the frame key 00 01 02 ... 0f.",
                *_example("Type 1, connection", _CONNECTION),
                *_example("Type 2, packet", _DATA),
                *_example("Type 3, acknowledgement, padded", _ACKNOWLEDGEMENT),
            ),
        ),
    )


def _layout_of(struct: str) -> str:
    """Of a struct of the data plane's headers."""
    fields = struct_layout(struct).fields
    return table(
        ("Offset", "Size", "Field"), ((one.offset, one.size, code(one.name)) for one in fields)
    )


def _layout(layout: Layout[Any]) -> str:
    said = remarks(layout.value_type)
    rows = (
        (row.at.offset, row.at.size, code(row.name), said.get(row.name, "")) for row in layout.rows
    )
    return table(("Offset", "Size", "Field", "Remark"), rows)


def _shape(shape: Shape) -> str:
    plural = "Types" if len(shape.types) > 1 else "Type"
    numbers = _numbers(shape).replace(", ", " and ")
    return section(
        shape.title,
        f"{plural} {numbers}, in the trailer's place.",
        prose(shape.layout.value_type),
        _layout(shape.layout),
    )


def _numbers(shape: Shape) -> str:
    return ", ".join(str(each.value) for each in sorted(shape.types))


def _types() -> str:
    said = remarks(PacketType)
    rows = (
        (
            each.value,
            code(each.name.lower()),
            said[each.name],
            _TAGGED.get(each, "header and trailer up to the tag"),
        )
        for each in PacketType
    )
    return table(("Type", "Name", "Says", "Tag covers"), rows)


def _lengths() -> tuple[str, str]:
    mac = 12 + 2
    header = mac + HEADER.size
    information = CONNECTION_INFORMATION.size
    rows = [
        ("1, TCP", header + information + CONTROL_BLOCK.size, 0),
        ("1, UDP", header + information, FLOW_OFFER.size),
        ("2 and 5, TCP", f"{header} + 40 + data", constant("IPOS_TAG_LEN")),
        ("2 and 5, UDP", f"{header} + 28 + data", constant("IPOS_TAG_LEN")),
        *((_numbers(shape), header, shape.layout.size) for shape in SHAPES),
        ("1, IPv6", mac + HEADER6_SIZE + CONNECTION_INFORMATION6.size + CONTROL_BLOCK.size, 0),
        ("2 and 5, IPv6", f"{mac + HEADER6_SIZE} + 60 + data", constant("IPOS_TAG_LEN")),
        *(
            (f"{_numbers(shape)}, IPv6", mac + HEADER6_SIZE, wider.size)
            for shape, wider in zip(_CONNECTIONS, _WIDER, strict=True)
        ),
    ]
    paragraph = (
        "With TCP options the inner headers are longer by them. A later fragment of UDP has 20 "
        "bytes of inner headers. A datagram of UDP that is too long for one frame travels as two "
        "fragments, in two frames."
    )
    return (
        table(("Type", "Figure's length", "Trailer"), rows),
        paragraph,
    )


def _example(name: str, packet: Packet) -> tuple[str, str]:
    frame = ethernet.Frame(
        destination_mac=_S1 if isinstance(packet, NoticePacket) else _S2,
        source_mac=_S2 if isinstance(packet, NoticePacket) else _S1,
        packet=packet,
    )
    raw = ethernet.pad(ethernet.encode(frame, _KEY))
    ethernet.decode(raw, _KEY)
    lines = [f"{at:04x}  {raw[at : at + 16].hex(' ')}" for at in range(0, len(raw), 16)]
    return f"{name}, {len(raw)} bytes:", fenced("text", "\n".join(lines))
