# SPDX-License-Identifier: Apache-2.0
"""Every value the wire can carry, for hypothesis; and one of each shape, for reading."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from ipos.wire import (
    ConnectionPacket,
    ControlBlock,
    ControlFlags,
    DataPacket,
    FlowOffer,
    Frame,
    Header,
    LearnedPacket,
    LocatedPacket,
    NoticePacket,
    Packet,
    PacketType,
    ProbePacket,
    Protocol,
    StatePacket,
    TcpState,
    VlanTag,
)
from ipos.wire.control import CONTROL_BLOCK, Body
from ipos.wire.fields import Address

KEY = bytes(range(0x40, 0x50))

CLIENT = IPv4Address("10.99.0.7")
ENDPOINT = IPv4Address("203.0.113.2")
SERVICE = IPv4Address("203.0.113.1")

MAC_1 = bytes.fromhex("020000000001")
MAC_2 = bytes.fromhex("020000000002")


def header(packet_type: PacketType, protocol: Protocol = Protocol.TCP) -> Header:
    return Header(
        source_ip=CLIENT,
        source_port=40001,
        destination_ip=ENDPOINT,
        destination_port=8080,
        type=packet_type,
        protocol=protocol,
    )


# Every number differs, and differs from every other's halves, so that no swap goes unseen.
CONTROL = ControlBlock(
    state=TcpState.ESTABLISHED,
    flags=ControlFlags.SACK | ControlFlags.TIMESTAMPS | ControlFlags.WINDOW_SCALE,
    snd_wscale=10,
    rcv_wscale=7,
    body=Body.CHUNKED,
    **{
        row.name: int.from_bytes(bytes(range(row.at.offset + 64, row.at.end + 64)), "big")
        for row in CONTROL_BLOCK.fields
        if row.name not in ("version", "state", "flags", "snd_wscale", "rcv_wscale", "body")
    },
)

CONNECTION_TCP = ConnectionPacket(
    header=header(PacketType.CONNECTION),
    server_ip=SERVICE,
    server_port=80,
    control_block=CONTROL,
)
CONNECTION_UDP = ConnectionPacket(
    header=header(PacketType.CONNECTION, Protocol.UDP),
    server_ip=SERVICE,
    server_port=53,
    offer=FlowOffer(sent_s=1_600_000_020, number=0x123),
)
INNER_TCP = bytes(
    IP(src=str(CLIENT), dst=str(SERVICE))
    / TCP(sport=40001, dport=80, flags="PA", seq=1001, ack=2002, options=[("Timestamp", (5, 6))])
    / b"GET / HTTP/1.1\r\n\r\n"
)
INNER_UDP = bytes(IP(src=str(CLIENT), dst=str(SERVICE)) / UDP(sport=40001, dport=53) / b"query")
DATA_TCP = DataPacket(header=header(PacketType.PACKET), inner=INNER_TCP)
DATA_UDP = DataPacket(header=header(PacketType.PACKET, Protocol.UDP), inner=INNER_UDP)
ACKNOWLEDGEMENT = NoticePacket.answering(CONNECTION_TCP, PacketType.ACKNOWLEDGEMENT)
NONCE = bytes(range(0x20, 0x2C))
PROBE = ProbePacket(header=header(PacketType.PROBE), nonce=NONCE)

EXAMPLES = (CONNECTION_TCP, CONNECTION_UDP, DATA_TCP, DATA_UDP, ACKNOWLEDGEMENT, PROBE)


def frame(packet: Packet, vlan: VlanTag | None = None) -> Frame:
    return Frame(destination_mac=MAC_2, source_mac=MAC_1, vlan=vlan, packet=packet)


u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 0xFFFF_FFFF)
addresses = st.builds(IPv4Address, u32)
protocols = st.sampled_from(Protocol)
keys = st.none() | st.binary(min_size=16, max_size=16)
macs = st.binary(min_size=6, max_size=6)


addresses6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))


def ends(protocol: Protocol) -> st.SearchStrategy[Address]:
    """Clients' and services' addresses."""
    return addresses6 if protocol.is_six else addresses


@st.composite
def headers(
    draw: st.DrawFn, *types: PacketType, protocols: st.SearchStrategy[Protocol] = protocols
) -> Header:
    protocol = draw(protocols)
    return Header(
        source_ip=draw(ends(protocol)),
        source_port=draw(u16),
        destination_ip=draw(addresses),
        destination_port=draw(u16),
        type=draw(st.sampled_from(types)),
        protocol=protocol,
    )


control_blocks = st.builds(
    ControlBlock,
    state=st.sampled_from(TcpState),
    flags=st.integers(0, 255).map(ControlFlags),
    body=st.sampled_from(Body),
    snd_wscale=st.integers(0, 14),
    rcv_wscale=st.integers(0, 14),
    **{
        row.name: st.integers(0, (1 << 8 * row.at.size) - 1)
        for row in CONTROL_BLOCK.fields
        if row.name not in ("version", "state", "flags", "snd_wscale", "rcv_wscale", "body")
    },
)


@st.composite
def connections(draw: st.DrawFn) -> ConnectionPacket:
    """TCP and UDP."""
    head = draw(headers(PacketType.CONNECTION))
    tcp = head.protocol.is_tcp
    return ConnectionPacket(
        header=head,
        server_ip=draw(ends(head.protocol)),
        server_port=draw(u16),
        control_block=draw(control_blocks) if tcp else None,
        offer=None if tcp else FlowOffer(sent_s=draw(u32), number=draw(u16)),
    )


@st.composite
def data_packets(draw: st.DrawFn) -> DataPacket:
    """Inner packets with and without IP options, TCP options and data, built by scapy."""
    head = draw(headers(PacketType.PACKET, PacketType.LOCATE))
    ip_options = draw(st.integers(0, 10)) * b"\x01\x01\x01\x01"
    data = draw(st.binary(max_size=100))
    if head.protocol.is_tcp:
        tcp_options = draw(st.integers(0, 10)) * b"\x01\x01\x01\x01"
        transport = bytearray(bytes(TCP(sport=head.source_port, seq=draw(u32))) + tcp_options)
        transport[12] = len(transport) // 4 << 4
        number = 6
    else:
        transport = bytearray(bytes(UDP(sport=head.source_port, len=8 + len(data), chksum=0)))
        number = 17
    if head.protocol.is_six:
        ip6 = IPv6(src=str(head.source_ip), nh=number, plen=len(transport) + len(data))
        return DataPacket(header=head, inner=bytes(ip6) + bytes(transport) + data)
    ip = bytearray(
        bytes(
            IP(
                src=str(head.source_ip),
                ihl=5 + len(ip_options) // 4,
                len=20 + len(ip_options) + len(transport) + len(data),
                proto=number,
                chksum=0,
            )
        )
    )
    return DataPacket(header=head, inner=bytes(ip + ip_options + transport) + data)


@st.composite
def noticed(draw: st.DrawFn) -> NoticePacket:
    head = draw(
        headers(PacketType.ACKNOWLEDGEMENT, PacketType.CLOSED, PacketType.MOVED, PacketType.REFUSED)
    )
    return NoticePacket(
        header=head,
        service_ip=draw(ends(head.protocol)),
        service_port=draw(u16),
        reason=draw(u16),
        iss=draw(u32),
    )


notices = noticed()

probes = st.builds(
    ProbePacket,
    header=headers(PacketType.PROBE, PacketType.PROBE_ANSWER),
    nonce=st.binary(min_size=12, max_size=12),
)

states = st.builds(
    StatePacket,
    header=headers(PacketType.STATE),
    boot=u64,
    sequence=u64,
    memory_available=u64,
    bandwidth_available=u64,
    tcp_connections=u32,
    memory_short=u8,
    bandwidth_short=u8,
    cpu_permille=u16,
    edition=u32,
    sent_s=u32,
)

learned = st.builds(
    LearnedPacket,
    header=headers(PacketType.LEARNED, PacketType.FORGOTTEN),
    hash=st.binary(min_size=8, max_size=8),
    sent_s=u32,
)


@st.composite
def found(draw: st.DrawFn) -> LocatedPacket:
    head = draw(headers(PacketType.LOCATED))
    return LocatedPacket(
        header=head,
        service_ip=draw(ends(head.protocol)),
        service_port=draw(u16),
        move=draw(u16),
        iss=draw(u32),
        irs=draw(u32),
        question=draw(u32),
    )


located = found()

vlans = st.none() | st.builds(
    VlanTag, id=st.integers(0, 4094), priority=st.integers(0, 7), drop_eligible=st.booleans()
)
frames = st.builds(
    Frame,
    destination_mac=macs,
    source_mac=macs,
    vlan=vlans,
    ethertype=u16.filter(lambda number: number != 0x8100),
    packet=connections() | data_packets() | notices | probes | learned | located | states,
)
