# SPDX-License-Identifier: Apache-2.0
"""One TCP segment in one IP packet: bytes <-> a value (RFC 791, RFC 8200, RFC 9293 section 3.1).

A packet is judged by the first of these that applies; the name is the counter of ``abi/ipos.h``:

1.  shorter than 20 bytes, version not 4, header length below 20, or protocol not TCP: not ours,
    ``PASSED``
2.  a fragment, the first or another: ``DROP_FRAGMENT``
3.  header length above 20: ``DROP_IP_OPTIONS``
4.  total length beyond the bytes that are there, TCP header cut short, data offset below 5, or
    headers longer than the total length: ``DROP_MALFORMED``
5.  a wrong IP or TCP checksum: ``DROP_BAD_CHECKSUM``

Of IPv6 rule 3 is about extension headers, behind which nothing is looked for:
``DROP_EXTENSION_HEADER``.  A fragment is one whose first header names TCP or another such header.

Whether the address is a service's is asked before 2 and after 1: what is no service's passes. A
fragment need not have ports: it is a service's if its address has a service on any port.
Bytes after the total length are padding and are ignored.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address, IPv6Address

IP_HEADER = 20
IP6_HEADER = 40
TCP_HEADER = 20
PROTOCOL_TCP = 6
TTL = 64

_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000
_FRAGMENT_OFFSET = 0x1FFF
_FRAGMENT6 = 44
_EXTENSIONS = (0, 43, 60, 51, 135)
"""Hop-by-hop, routing and destination options, authentication, mobility."""
_U32 = 0xFFFF_FFFF

Address = IPv4Address | IPv6Address


class Flag(IntFlag):
    """The nine flag bits of a TCP header; AE was NS before RFC 9768."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32
    ECE = 64
    CWR = 128
    AE = 256


class SegmentError(ValueError):
    """A packet that is no segment for us; ``counter`` is its fate by its name in ``abi/ipos.h``."""

    def __init__(self, counter: str, text: str) -> None:
        super().__init__(text)
        self.counter = counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Addresses, ports and sequence numbers as integers in host order; ``window`` is unscaled."""

    source: Address
    source_port: int
    destination: Address
    destination_port: int
    seq: int
    ack: int = 0
    flags: Flag
    window: int = 0
    options: bytes = b""  # raw; a multiple of four bytes, at most 40
    data: bytes = b""

    @property
    def end(self) -> int:
        """The sequence number after it: data, SYN and FIN take sequence space."""
        return (
            self.seq + len(self.data) + (Flag.SYN in self.flags) + (Flag.FIN in self.flags) & _U32
        )

    def packet(self) -> bytes:
        """The IP packet: no IP options, TOS 0, identification 0, don't fragment, TTL 64.

        Identification 0 is right for an atomic packet (RFC 6864 section 4.1). Of IPv6: hop limit
        64, and neither traffic class nor flow label.
        """
        ends = self.source.packed + self.destination.packed
        tcp = self.tcp(ends)
        if self.source.version == 6:
            return struct.pack("!IHBB", 6 << 28, len(tcp), PROTOCOL_TCP, TTL) + ends + tcp
        ip = struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            0,
            IP_HEADER + len(tcp),
            0,
            _DONT_FRAGMENT,
            TTL,
            PROTOCOL_TCP,
            0,
            self.source.packed,
            self.destination.packed,
        )
        return ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + tcp

    def tcp(self, ends: bytes) -> bytes:
        """What is behind the IP header, with the checksum for these addresses, source first.

        In the sum a pseudo-header of IPv6 (RFC 8200 section 8.1) is one of IPv4 with more address.
        """
        tcp = struct.pack(
            "!HHIIHHHH",
            self.source_port,
            self.destination_port,
            self.seq,
            self.ack,
            (TCP_HEADER + len(self.options)) // 4 << 12 | self.flags,
            self.window,
            0,
            0,
        )
        tcp += self.options + self.data
        pseudo = ends + struct.pack("!II", len(tcp), PROTOCOL_TCP)
        return tcp[:16] + checksum(pseudo + tcp).to_bytes(2, "big") + tcp[18:]


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071): 16 bits; an odd last byte is followed by a zero."""
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 65535, so the ones' complement sum is one remainder of one big number.
    total = int.from_bytes(data, "big")
    folded = total % 0xFFFF
    if folded == 0 and total:
        folded = 0xFFFF
    return folded ^ 0xFFFF


def signed(difference: int) -> int:
    """A difference of sequence numbers as RFC 9293 section 3.4 compares them: -2**31 .. 2**31-1."""
    return (difference + 0x8000_0000 & _U32) - 0x8000_0000


def parse_packet(packet: bytes) -> Segment:
    """The segment in an IP packet; ``SegmentError`` with its fate if there is none."""
    if packet and packet[0] >> 4 == 6:
        return _parse_packet6(packet)
    if len(packet) < IP_HEADER:
        raise SegmentError("PASSED", f"an IPv4 header is 20 bytes, here are {len(packet)}")
    version_length, _, total, _, fragment, _, protocol, _ = struct.unpack_from("!BBHHHBBH", packet)
    header = (version_length & 0xF) * 4
    if version_length >> 4 != 4 or header < IP_HEADER:
        raise SegmentError("PASSED", f"byte 0 is {version_length:#04x}, not 0x45")
    if protocol != PROTOCOL_TCP:
        raise SegmentError("PASSED", f"protocol {protocol}, not TCP")
    if fragment & (_FRAGMENT_OFFSET | _MORE_FRAGMENTS):
        raise SegmentError("DROP_FRAGMENT", f"a fragment, by its field {fragment:#06x}")
    if header > IP_HEADER:
        raise SegmentError("DROP_IP_OPTIONS", f"an IP header of {header} bytes has options")
    if total > len(packet):
        raise SegmentError("DROP_MALFORMED", f"total length {total} of {len(packet)} bytes")
    ends = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    return _parse_tcp(packet[header:total], *ends, sound=not checksum(packet[:header]))


def _parse_packet6(packet: bytes) -> Segment:
    if len(packet) < IP6_HEADER:
        raise SegmentError("PASSED", f"an IPv6 header is 40 bytes, here are {len(packet)}")
    length, following = struct.unpack_from("!HB", packet, 4)
    if following == _FRAGMENT6:
        behind = packet[IP6_HEADER] if len(packet) > IP6_HEADER else PROTOCOL_TCP
        if behind in (PROTOCOL_TCP, _FRAGMENT6, *_EXTENSIONS):
            raise SegmentError("DROP_FRAGMENT", "a fragment of TCP")
    if following in _EXTENSIONS:
        raise SegmentError("DROP_EXTENSION_HEADER", f"header {following} before TCP's")
    if following != PROTOCOL_TCP:
        raise SegmentError("PASSED", f"next header {following}, not TCP")
    if IP6_HEADER + length > len(packet):
        raise SegmentError("DROP_MALFORMED", f"payload length {length} of {len(packet)} bytes")
    ends = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return _parse_tcp(packet[IP6_HEADER : IP6_HEADER + length], *ends, sound=True)


def _parse_tcp(tcp: bytes, source: Address, destination: Address, *, sound: bool) -> Segment:
    """sound: the sum of the IP header before it is right."""
    if len(tcp) < TCP_HEADER:
        raise SegmentError("DROP_MALFORMED", f"{len(tcp)} bytes are no TCP header")
    source_port, destination_port, seq, ack, offset_flags, window = struct.unpack_from(
        "!HHIIHH", tcp
    )
    data_offset = (offset_flags >> 12) * 4
    if not TCP_HEADER <= data_offset <= len(tcp):
        raise SegmentError("DROP_MALFORMED", f"data offset {data_offset} of {len(tcp)} bytes")
    pseudo = source.packed + destination.packed + struct.pack("!BBH", 0, PROTOCOL_TCP, len(tcp))
    if not sound or checksum(pseudo + tcp):
        raise SegmentError("DROP_BAD_CHECKSUM", "the IP or the TCP checksum is wrong")
    return Segment(
        source=source,
        source_port=source_port,
        destination=destination,
        destination_port=destination_port,
        seq=seq,
        ack=ack,
        flags=Flag(offset_flags & 0x1FF),
        window=window,
        options=tcp[TCP_HEADER:data_offset],
        data=tcp[data_offset:],
    )
