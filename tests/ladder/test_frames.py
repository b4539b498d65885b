# SPDX-License-Identifier: Apache-2.0
"""Captured frames put in words. The TCP in them is scapy's."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from ipos.kernel.capture import Frame
from ipos.ladder.frames import rungs, tell
from ipos.wire import (
    ConnectionPacket,
    DataPacket,
    Header,
    NoticePacket,
    PacketType,
    Protocol,
    ethernet,
)
from ipos.wire import Frame as WireFrame
from tests.support.strategies import CONTROL

CLIENT, S1, S2, STRANGER = (bytes([2, 0, 0, 0, 0, last]) for last in (1, 2, 3, 9))
HOSTS = {CLIENT: "client", S1: "s1", S2: "s2"}
PORT = 40_000
KEY = bytes(range(16))


def _mac(raw: bytes) -> str:
    return raw.hex(":")


def _tcp(
    flags: str = "A", payload: bytes = b"", *, answer: bool = False, port: int = PORT, seq: int = 1
) -> bytes:
    """The client's, or the server's answer. The ports and addresses are swapped in that."""
    segment = TCP(sport=port, dport=80, flags=flags, seq=seq)
    packet = IP(src="10.99.0.11", dst="203.0.113.1") / segment / payload
    if answer:
        segment.sport, segment.dport = 80, port
        packet = IP(src="203.0.113.1", dst="10.99.0.11") / segment / payload
    return bytes(packet)


def _ethernet(sender: bytes, receiver: bytes, packet: bytes) -> bytes:
    return bytes(Ether(src=_mac(sender), dst=_mac(receiver), type=0x0800)) + packet


def _header(kind: PacketType) -> Header:
    return Header(
        source_ip=IPv4Address("10.99.0.11"),
        source_port=PORT,
        destination_ip=IPv4Address("203.0.113.2"),
        destination_port=80,
        type=kind,
        protocol=Protocol.TCP,
    )


def _connection() -> ConnectionPacket:
    return ConnectionPacket(
        header=_header(PacketType.CONNECTION),
        server_ip=IPv4Address("203.0.113.1"),
        server_port=80,
        control_block=CONTROL,
    )


def _notice(kind: PacketType, iss: int = 7) -> NoticePacket:
    return NoticePacket(
        header=_header(kind), service_ip=IPv4Address("203.0.113.1"), service_port=80, iss=iss
    )


def _on_wire(
    packet: ConnectionPacket | DataPacket | NoticePacket, sender: bytes, to: bytes
) -> bytes:
    frame = WireFrame(destination_mac=to, source_mac=sender, packet=packet)
    return ethernet.pad(ethernet.encode(frame, KEY))


def _seen(data: bytes, when_ns: int, *, outbound: bool = False) -> Frame:
    return Frame(when_ns=when_ns, ifindex=2, outbound=outbound, length=len(data), data=data)


@pytest.mark.parametrize(
    ("packet", "label"),
    [
        (_tcp("S"), "SYN"),
        (_tcp("SA", answer=True), "SYN-ACK"),
        (_tcp("A"), "ACK"),
        (_tcp("FA"), "FIN-ACK"),
        (_tcp("RA", answer=True), "RST-ACK"),
        (_tcp("PA", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "GET / HTTP/1.1"),
        (_tcp("PA", b"HTTP/1.1 200 OK\r\n\r\nbody", answer=True), "HTTP/1.1 200 OK"),
        (_tcp("PAF", b"HTTP/1.1 200 OK\r\n\r\n", answer=True), "HTTP/1.1 200 OK, FIN"),
        (_tcp("PA", b"\x16\x03\x01rest"), "7 bytes"),
        (_tcp("PA", b"GET /" + b"a" * 40 + b" HTTP/1.1\r\n\r\n"), "58 bytes"),
    ],
)
def test_a_segment_is_called_by_what_it_says(packet: bytes, label: str) -> None:
    told = tell(_ethernet(CLIENT, S1, packet), ethernet.ETHERTYPE)
    assert told is not None
    assert (told.label, told.port, told.closes) == (label, PORT, False)


def test_padding_of_a_short_frame_is_no_payload() -> None:
    told = tell(ethernet.pad(_ethernet(CLIENT, S1, _tcp("A"))), ethernet.ETHERTYPE)
    assert told is not None
    assert told.label == "ACK"


@pytest.mark.parametrize(
    ("packet", "label"),
    [
        (_connection(), "type 1 connection"),
        (DataPacket(header=_header(PacketType.PACKET), inner=_tcp("FA")), "type 2: FIN-ACK"),
        (_notice(PacketType.ACKNOWLEDGEMENT), "type 3 acknowledgement"),
        (_notice(PacketType.CLOSED), "type 4 closed"),
        (_notice(PacketType.REFUSED), "type 7 refused"),
    ],
)
def test_our_frames_are_called_by_type_and_name(
    packet: ConnectionPacket | DataPacket | NoticePacket, label: str
) -> None:
    told = tell(_on_wire(packet, S1, S2), ethernet.ETHERTYPE)
    assert told is not None
    assert (told.label, told.port) == (label, PORT)
    assert told.closes is (label == "type 4 closed")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(Ether() / ARP()),
        bytes(Ether() / IP() / UDP(dport=80)),
        bytes(Ether() / IP() / ICMP()),
        _ethernet(CLIENT, S1, _tcp("A")[:30]),
        _on_wire(_connection(), S1, S2)[:100],
    ],
)
def test_any_other_frame_is_left_out(data: bytes) -> None:
    assert tell(data, ethernet.ETHERTYPE) is None
    assert rungs([_seen(data, 0)], PORT, HOSTS, ethernet.ETHERTYPE) == []


def test_frames_come_in_order_from_the_first_on() -> None:
    seen = [
        _seen(_ethernet(S2, CLIENT, _tcp("A", answer=True)), 5_500_000, outbound=True),
        _seen(_ethernet(CLIENT, S1, _tcp("S")), 4_000_000),
    ]
    found = rungs(seen, PORT, HOSTS, ethernet.ETHERTYPE)
    assert [(rung.when_ms, rung.sender, rung.receiver) for rung in found] == [
        (0, "client", "s1"),
        (1.5, "s2", "client"),
    ]


def test_a_frame_seen_at_both_ends_is_told_once_and_each_repetition_too() -> None:
    data = _on_wire(_connection(), S1, S2)
    both = [_seen(data, 0, outbound=True), _seen(data, 10)]
    again = [replace(frame, when_ns=frame.when_ns + 100) for frame in both]
    assert len(rungs(both, PORT, HOSTS, ethernet.ETHERTYPE)) == 1
    assert len(rungs(both + again, PORT, HOSTS, ethernet.ETHERTYPE)) == 2
    # A frame that left and never came is there all the same.
    assert len(rungs(both[:1] + again, PORT, HOSTS, ethernet.ETHERTYPE)) == 2


def test_other_connections_and_other_hosts_are_left_out() -> None:
    seen = [
        _seen(_ethernet(CLIENT, S1, _tcp("S", port=PORT + 1)), 0),
        _seen(_ethernet(STRANGER, S1, _tcp("S")), 0),
        _seen(_ethernet(CLIENT, STRANGER, _tcp("S")), 0),
    ]
    assert rungs(seen, PORT, HOSTS, ethernet.ETHERTYPE) == []
